//! `logctl log metadata repair`

mod names;
mod rewrite;
mod stored;

use corduroy_metadata::{RepairFacts, Repaired, repair};
use corduroy_types::{BrokerId, TimestampMs};
use serde::Serialize;

use super::lock::DirLock;
use crate::{
    cli::{LogMetadataCommand, RepairMetadataArgs},
    data_dir,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, counted, human_count, write_rows},
    prompt,
    ui::Ui,
};

pub(super) use names::TopicNames;
use stored::Stored;

/// What becomes of something that the metadata says.
#[derive(Serialize)]
struct RepairRow {
    /// `lost`, `left out`, `recovered`, `kept`
    outcome: &'static str,
    /// A topic, or the offset of a record.
    what: String,
    detail: String,
}

impl Row for RepairRow {
    const COLUMNS: &'static [Column] = &[column("OUTCOME"), column("WHAT"), column("DETAIL")];

    fn name(&self) -> String {
        self.what.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(self.outcome), Cell::text(&self.what), Cell::text(&self.detail)]
    }
}

pub(super) fn run(command: &LogMetadataCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        LogMetadataCommand::Repair(args) => run_repair(args, ui),
    }
}

fn run_repair(args: &RepairMetadataArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dir = args.dir.as_path();
    let _lock = if args.accept_data_loss { DirLock::take_to_write(dir)? } else { DirLock::take(dir)? };
    let broker = data_dir::node_id(dir)?;
    let stored = stored::read(dir)?;
    let now = TimestampMs(jiff::Timestamp::now().as_millisecond());
    let repaired = plan(&stored, broker, now);
    if stored.damages.is_empty() && stored.lost_records == 0 && repaired.left_out.is_empty() {
        ui.note(format!("the metadata log is sound: {}", counted(stored.records.len() as u64, "record")));
        return Ok(Exit::Ok);
    }
    write_rows(ui, &rows(&stored, &repaired))?;
    if !args.accept_data_loss {
        ui.note(
            "dry run: nothing was changed; --accept-data-loss carries it out and keeps the old log next to the new one",
        );
        return Ok(Exit::Ok);
    }
    let lost = stored.lost_records + repaired.left_out.len() as u64;
    let question = format!(
        "Give up {} metadata records of {}, and recover {}?",
        human_count(lost),
        dir.display(),
        counted(repaired.recovered.len() as u64, "topic")
    );
    prompt::confirm(ui, &question)?;
    let kept = rewrite::replace(dir, &repaired.records, stored.last_epoch, now)?;
    ui.note(format!("repaired; the old log is kept in {}: remove it when all is well", kept.display()));
    Ok(Exit::Ok)
}

fn plan(stored: &Stored, broker: BrokerId, now: TimestampMs) -> Repaired {
    let records: Vec<_> = stored.records.iter().map(|stored| stored.record.clone()).collect();
    // Damage that hit no record known to have been there may still have hit one.
    let lost_records = stored.lost_records.max(u64::from(!stored.damages.is_empty()));
    let (partitions, epochs) = (stored.partitions.clone(), stored.epochs.clone());
    repair(&records, &RepairFacts { broker, lost_records, partitions, epochs, now })
}

fn rows(stored: &Stored, repaired: &Repaired) -> Vec<RepairRow> {
    let row = |outcome, what: String, detail: String| RepairRow { outcome, what, detail };
    let mut rows: Vec<_> =
        stored.damages.iter().map(|damage| row("lost", "records".to_owned(), damage.clone())).collect();
    for left_out in &repaired.left_out {
        let offset = stored.records.get(left_out.index).map(|stored| stored.offset.to_string());
        let detail = format!("{}: {}", left_out.kind, left_out.reason);
        rows.push(row("left out", format!("record {}", offset.unwrap_or_default()), detail));
    }
    for topic in repaired.image.topics() {
        let partitions = counted(topic.partition_count().into(), "partition");
        let (outcome, detail) = if repaired.recovered.contains(topic.name()) {
            ("recovered", format!("{partitions}; its name and configs are lost, its records are not"))
        } else if repaired.extended.contains(topic.name()) {
            ("recovered", format!("{partitions}, some of them by their files alone"))
        } else {
            ("kept", format!("{partitions}; changes of its configs may be among what is lost"))
        };
        rows.push(row(outcome, topic.name().to_string(), detail));
    }
    rows
}
