//! `logctl log dump` of a snapshot of producers.

use std::path::Path;

use corduroy_log::{
    RealDisk,
    offline::{ReadSnapshotError, read_snapshot},
    producers::{Producer, Snapshot},
};
use corduroy_types::{ErrorCode, TimestampMs};
use serde::Serialize;

use super::from_log;
use crate::{
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, counted, wide, write_rows},
    ui::Ui,
};

/// How such a file's name ends.
pub(super) const SNAPSHOT_SUFFIX: &str = "snapshot";

#[derive(Serialize)]
struct ProducerRow {
    producer_id: i64,
    producer_epoch: i16,
    /// The sequence that its next batch begins at.
    next_sequence: Option<u32>,
    quiet_since_ms: i64,
    /// The batches that are remembered, oldest first.
    batches: Vec<BatchRow>,
}

#[derive(Serialize)]
struct BatchRow {
    first_sequence: u32,
    base_offset: u64,
    last_offset: u64,
    max_timestamp_ms: i64,
}

impl Row for ProducerRow {
    const COLUMNS: &'static [Column] = &[
        column("PRODUCER"),
        column("EPOCH"),
        column("NEXT-SEQUENCE"),
        column("BATCHES"),
        column("LAST-OFFSET"),
        column("QUIET-SINCE"),
        wide("FIRST-OFFSETS"),
    ];

    fn name(&self) -> String {
        self.producer_id.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        let number =
            |number: Option<i64>| number.map_or(Cell::Nothing, |number| Cell::text(number.to_string()));
        let offsets: Vec<String> = self.batches.iter().map(|batch| batch.base_offset.to_string()).collect();
        vec![
            Cell::text(self.producer_id.to_string()),
            number(Some(self.producer_epoch.into())),
            number(self.next_sequence.map(i64::from)),
            Cell::Count(self.batches.len() as u64),
            self.batches.last().map_or(Cell::Nothing, |batch| Cell::Count(batch.last_offset)),
            Cell::Time(TimestampMs(self.quiet_since_ms)),
            Cell::text(offsets.join(",")),
        ]
    }
}

/// Prints the producers of the snapshot at `path`, the one that was quiet longest first.
pub(super) fn dump(path: &Path, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let Snapshot { offset, segment_base, position, producers, .. } =
        read_snapshot(&RealDisk, path).map_err(|error| refused(&error))?;
    let rows: Vec<ProducerRow> = producers.iter().map(|(id, producer)| row(id, producer)).collect();
    write_rows(ui, &rows)?;
    ui.note(format!(
        "{} as of offset {offset}, which is at position {position} of the segment at {segment_base}",
        counted(rows.len() as u64, "producer")
    ));
    Ok(Exit::Ok)
}

fn row(id: i64, producer: &Producer) -> ProducerRow {
    let batches = producer.batches().iter().map(|batch| BatchRow {
        first_sequence: batch.first_sequence.get(),
        base_offset: batch.base_offset.get(),
        last_offset: batch.next_offset().get() - 1,
        max_timestamp_ms: batch.max_timestamp.0,
    });
    ProducerRow {
        producer_id: id,
        producer_epoch: producer.epoch(),
        next_sequence: producer.last_batch().map(|batch| batch.next_sequence().get()),
        quiet_since_ms: producer.quiet_since().0,
        batches: batches.collect(),
    }
}

fn refused(error: &ReadSnapshotError) -> CliError {
    match error {
        ReadSnapshotError::Log(error) => from_log(error),
        ReadSnapshotError::Fault { .. } => CliError::new(ErrorCode::Corrupt, error.to_string())
            .caused_by(error)
            .with_hint("nothing is lost: the broker reads the log instead"),
    }
}
