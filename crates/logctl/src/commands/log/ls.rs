//! `logctl log ls`

use corduroy_log::{RealDisk, offline};
use serde::Serialize;

use super::{from_log, journal, partition_dirs::PartitionDirs};
use crate::{
    cli::LogDirArgs,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, wide, write_rows},
    ui::Ui,
};

#[derive(Serialize)]
struct SegmentRow {
    /// Its name, where the metadata log says.
    topic: Option<String>,
    topic_id: String,
    partition: String,
    base_offset: u64,
    bytes: u64,
    has_index: bool,
    has_time_index: bool,
    /// Whether the catalogue says what the file should be.
    catalogued: bool,
    /// Whether offsets may be missing in it, as after compaction.
    may_have_gaps: bool,
    path: String,
}

impl Row for SegmentRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        wide("TOPIC-ID"),
        column("PARTITION"),
        column("SEGMENT"),
        column("SIZE"),
        column("INDEX"),
        wide("CATALOGUED"),
        wide("GAPS"),
        wide("FILE"),
    ];

    fn name(&self) -> String {
        self.path.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        let index = match (self.has_index, self.has_time_index) {
            (true, true) => "yes",
            (false, false) => "no",
            _ => "partly",
        };
        let yes = |yes: bool| Cell::text(if yes { "yes" } else { "no" });
        vec![
            Cell::text(self.topic.as_ref().unwrap_or(&self.topic_id)),
            Cell::text(&self.topic_id),
            Cell::text(&self.partition),
            Cell::text(format!("{:020}", self.base_offset)),
            Cell::Bytes(self.bytes),
            Cell::text(index),
            yes(self.catalogued),
            yes(self.may_have_gaps),
            Cell::text(&self.path),
        ]
    }
}

pub(super) fn run(args: &LogDirArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dirs = PartitionDirs::of(&args.dir)?;
    let mut rows = Vec::new();
    for dir in &dirs.partitions {
        let listing = offline::list(&RealDisk, &dir.path).map_err(|error| from_log(&error))?;
        rows.extend(listing.segments.into_iter().map(|segment| SegmentRow {
            topic: dir.topic.clone(),
            topic_id: dir.topic_id.clone(),
            partition: dir.partition.clone(),
            base_offset: segment.base_offset.get(),
            bytes: segment.bytes,
            has_index: segment.has_index,
            has_time_index: segment.has_time_index,
            catalogued: segment.is_catalogued(),
            may_have_gaps: segment.may_have_gaps,
            path: segment.path.display().to_string(),
        }));
        for snapshot in listing.snapshots {
            ui.note(format!("{}: snapshot of producers", snapshot.display()));
        }
        for leftover in listing.leftovers {
            ui.note(format!("{}: left by an interrupted replacement", leftover.display()));
        }
        for name in listing.unknown_files {
            ui.note(format!("{} is not a file of the log", dir.path.join(name).display()));
        }
    }
    journal::name_files(&args.dir, ui);
    write_rows(ui, &rows)?;
    Ok(Exit::Ok)
}
