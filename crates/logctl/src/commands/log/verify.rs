//! `logctl log verify`

use corduroy_batch::DecompressLimits;
use corduroy_log::{
    RealDisk,
    offline::{self, Verification},
};
use corduroy_types::ErrorCode;
use serde::Serialize;

use super::{
    dump::BATCH_BYTES_MAX,
    from_log, journal,
    partition_dirs::{PartitionDir, PartitionDirs},
};
use crate::{
    cli::{LogDirArgs, OutputForm},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, counted, wide, write_rows},
    ui::Ui,
};

#[derive(Serialize)]
struct VerifiedRow {
    /// Its name, where the metadata log says.
    topic: Option<String>,
    topic_id: String,
    partition: String,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    findings: Vec<FindingRow>,
    /// What is as it should be, though it may not look so.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct FindingRow {
    /// Whether records are lost or cannot be read; the rest is repaired when the broker starts, or harmless.
    damage: bool,
    message: String,
}

impl Row for VerifiedRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        wide("TOPIC-ID"),
        column("PARTITION"),
        column("SEGMENTS"),
        column("BATCHES"),
        column("RECORDS"),
        column("BYTES"),
        column("FINDINGS"),
    ];

    fn name(&self) -> String {
        format!("{}/{}", self.topic_id, self.partition)
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(self.topic.as_ref().unwrap_or(&self.topic_id)),
            Cell::text(&self.topic_id),
            Cell::text(&self.partition),
            Cell::Count(self.segments),
            Cell::Count(self.batches),
            Cell::Count(self.records),
            Cell::Bytes(self.bytes),
            Cell::Count(self.findings.len() as u64),
        ]
    }
}

pub(super) fn run(args: &LogDirArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let mut dirs = PartitionDirs::of(&args.dir)?;
    let journal = journal::near(&args.dir);
    if let Some(journal) = &journal {
        dirs.add_lost(&args.dir, journal);
    }
    let mut rows = Vec::new();
    for dir in &dirs.partitions {
        let limits = DecompressLimits::new(BATCH_BYTES_MAX);
        let verified = match journal.as_ref().zip(dir.key()) {
            Some((journal, key)) => offline::verify_against(&RealDisk, &dir.path, limits, journal, key),
            None => offline::verify(&RealDisk, &dir.path, limits),
        };
        let verified = verified.map_err(|error| from_log(&error))?;
        rows.push(row(dir, verified));
    }
    write_rows(ui, &rows)?;
    for note in rows.iter().flat_map(|row| &row.notes) {
        ui.note(format!("note: {note}"));
    }
    journal::note(&args.dir, ui);
    let all = rows.iter().flat_map(|row| &row.findings);
    let (count, damages) =
        all.fold((0, 0), |(count, damages), finding| (count + 1, damages + u64::from(finding.damage)));
    if count == 0 {
        return Ok(Exit::Ok);
    }
    if matches!(ui.settings.output, OutputForm::Table | OutputForm::Wide) {
        for finding in rows.iter().flat_map(|row| &row.findings) {
            let severity = if finding.damage { "damage" } else { "no damage" };
            ui.line(format!("{severity}: {}", finding.message))?;
        }
    }
    ui.flush()?;
    let message = match damages {
        0 => format!("{}, no damage", counted(count, "finding")),
        _ if damages == count => format!("{} of damage", counted(count, "finding")),
        _ => format!("{}, {damages} of them damage", counted(count, "finding")),
    };
    Err(CliError::new(ErrorCode::HasFindings, message)
        .with_hint(if damages > 0 {
            "keep a copy of the directory as it is before a broker opens it; restore the named files from a replica or backup"
        } else {
            "nothing is lost: what is noted is repaired when the broker starts, or harmless"
        })
        .with_detail("findings", count)
        .with_detail("damages", damages)
        .into())
}

fn row(dir: &PartitionDir, verified: Verification) -> VerifiedRow {
    let finding =
        |finding: &offline::Finding| FindingRow { damage: finding.is_damage(), message: finding.to_string() };
    VerifiedRow {
        topic: dir.topic.clone(),
        topic_id: dir.topic_id.clone(),
        partition: dir.partition.clone(),
        segments: verified.segments,
        batches: verified.batches,
        records: verified.records,
        bytes: verified.bytes,
        findings: verified.findings.iter().map(finding).collect(),
        notes: verified.notes.iter().map(ToString::to_string).collect(),
    }
}
