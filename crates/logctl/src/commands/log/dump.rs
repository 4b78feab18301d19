//! `logctl log dump`

use std::path::Path;

use corduroy_batch::DecompressLimits;
use corduroy_log::{
    RealDisk,
    offline::{SegmentReader, StoredBatch},
};
use corduroy_types::ErrorCode;
use serde::Serialize;

use super::{
    from_log, from_read,
    lock::DirLock,
    partition_dirs::{PartitionDir, partition_dir_of},
    producers,
};
use crate::{
    cli::{DumpArgs, OutputForm},
    error::{CliError, Stop},
    exit::Exit,
    format::{HeaderView, RecordView, write_jsonl},
    output::{Cell, Column, Row, column, wide, write_rows},
    ui::Ui,
};

/// Rows are written in groups of this size, so that a large segment needs no more memory than a small one.
const ROWS_AT_ONCE: usize = 10_000;
/// The most that one batch may grow to.
pub(super) const BATCH_BYTES_MAX: u64 = 1 << 30;

#[derive(Serialize)]
struct BatchRow {
    position: u64,
    base_offset: u64,
    last_offset: u64,
    record_count: u32,
    bytes: u32,
    compression: String,
    timestamp_type: String,
    /// Records without a value, which delete their key where the topic is compacted; `None` where they cannot be read.
    tombstones: Option<u64>,
    /// Until when compaction keeps them, once it has met them.
    delete_horizon_ms: Option<i64>,
    /// In a batch with a delete horizon that, as stored.
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    leader_epoch: Option<u32>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    control: bool,
    transactional: bool,
    crc: u32,
}

impl Row for BatchRow {
    const COLUMNS: &'static [Column] = &[
        column("POSITION"),
        column("FIRST"),
        column("LAST"),
        column("RECORDS"),
        column("BYTES"),
        column("CODEC"),
        column("MAX-TIMESTAMP"),
        column("EPOCH"),
        wide("TIMESTAMP-TYPE"),
        wide("PRODUCER/EPOCH/SEQUENCE"),
        wide("TOMBSTONES"),
        wide("DELETE-HORIZON"),
        wide("CRC"),
    ];

    fn name(&self) -> String {
        self.base_offset.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::Count(self.position),
            Cell::Count(self.base_offset),
            Cell::Count(self.last_offset),
            Cell::Count(self.record_count.into()),
            Cell::Bytes(self.bytes.into()),
            Cell::text(&self.compression),
            Cell::Time(corduroy_types::TimestampMs(self.max_timestamp_ms)),
            self.leader_epoch.map_or(Cell::Nothing, |epoch| Cell::Count(epoch.into())),
            Cell::text(&self.timestamp_type),
            self.producer(),
            self.tombstones.map_or(Cell::Nothing, Cell::Count),
            self.delete_horizon_ms
                .map_or(Cell::Nothing, |time| Cell::Time(corduroy_types::TimestampMs(time))),
            Cell::text(format!("{:08x}", self.crc)),
        ]
    }
}

impl BatchRow {
    fn producer(&self) -> Cell {
        if self.producer_id < 0 {
            return Cell::Nothing;
        }
        Cell::text(format!("{}/{}/{}", self.producer_id, self.producer_epoch, self.base_sequence))
    }
}

pub(super) fn run(args: &DumpArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let _lock = DirLock::take(&args.file)?;
    if args.file.extension().is_some_and(|suffix| suffix == producers::SNAPSHOT_SUFFIX) {
        return producers::dump(&args.file, ui);
    }
    let mut reader = SegmentReader::open(&RealDisk, &args.file).map_err(|error| from_log(&error))?;
    let dir = partition_dir_of(args.file.parent().unwrap_or(Path::new(".")));
    let mut rows = Vec::new();
    let (from, to) = (args.from.unwrap_or(0), args.to.unwrap_or(u64::MAX));
    let mut damaged = None;
    for stored in &mut reader {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                damaged = Some(from_read(&error));
                break;
            }
        };
        let header = stored.batch.header();
        if header.base_offset.get() >= to {
            break;
        }
        if header.next_offset().get() <= from {
            continue;
        }
        if args.records {
            print_records(&stored, from, to, &dir, ui)?;
            continue;
        }
        rows.push(row(&stored));
        // One JSON or YAML value cannot be written in pieces.
        let in_pieces = !matches!(ui.settings.output, OutputForm::Json | OutputForm::Yaml);
        if in_pieces && rows.len() >= ROWS_AT_ONCE {
            write_rows(ui, &rows)?;
            rows.clear();
        }
    }
    match damaged {
        Some(error) => {
            // What is sound is data; scripts that asked for one value get only the error.
            if !args.records && !ui.settings.json_errors() {
                write_rows(ui, &rows)?;
            }
            Err(error.into())
        }
        None if args.records => Ok(Exit::Ok),
        None => {
            write_rows(ui, &rows)?;
            Ok(Exit::Ok)
        }
    }
}

fn row(stored: &StoredBatch) -> BatchRow {
    let header = stored.batch.header();
    BatchRow {
        position: stored.position,
        base_offset: header.base_offset.get(),
        last_offset: header.last_offset().get(),
        record_count: header.record_count,
        bytes: header.total_bytes(),
        compression: header.compression().to_string(),
        timestamp_type: header.timestamp_type().to_string(),
        tombstones: tombstones(stored),
        delete_horizon_ms: header.delete_horizon().map(|time| time.0),
        base_timestamp_ms: header.base_timestamp.0,
        max_timestamp_ms: header.max_timestamp.0,
        leader_epoch: header.leader_epoch.map(|epoch| epoch.get()),
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        control: header.is_control(),
        transactional: header.is_transactional(),
        crc: header.crc,
    }
}

fn tombstones(stored: &StoredBatch) -> Option<u64> {
    let records = stored.batch.records(DecompressLimits::new(BATCH_BYTES_MAX)).ok()?;
    let mut count = 0;
    for record in &records {
        count += u64::from(record.ok()?.value.is_none());
    }
    Some(count)
}

/// The records of a batch, as jsonl.
fn print_records(
    stored: &StoredBatch,
    from: u64,
    to: u64,
    dir: &PartitionDir,
    ui: &mut Ui<'_>,
) -> Result<(), Stop> {
    let header = stored.batch.header();
    let unreadable = |error: corduroy_batch::BatchError| {
        let message =
            format!("the batch at position {}, offset {}: {error}", stored.position, header.base_offset);
        CliError::new(ErrorCode::Corrupt, message)
    };
    let records = stored.batch.records(DecompressLimits::new(BATCH_BYTES_MAX)).map_err(unreadable)?;
    let mut lines = Vec::new();
    for record in records.iter() {
        let record = record.map_err(unreadable)?;
        if record.offset.get() < from || record.offset.get() >= to {
            continue;
        }
        write_jsonl(
            &RecordView {
                topic: dir.topic_name(),
                partition: dir.partition.parse().unwrap_or(0),
                offset: record.offset.get(),
                timestamp: record.timestamp,
                leader_epoch: header.leader_epoch.map_or(-1, |epoch| epoch.as_i32()),
                compression: "",
                key: record.key,
                value: record.value,
                headers: HeaderView::Batch(record.headers),
            },
            &mut lines,
        );
    }
    ui.out.write_all(&lines)?;
    Ok(())
}
