//! `logctl log stats`

use corduroy_log::{
    RealDisk,
    offline::{self, PartitionStats},
};
use corduroy_types::TimestampMs;
use serde::Serialize;

use super::{
    from_log,
    partition_dirs::{PartitionDir, PartitionDirs},
};
use crate::{
    cli::LogDirArgs,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, wide, write_rows},
    ui::Ui,
};

#[derive(Serialize)]
struct StatsRow {
    /// Its name, where the metadata log says.
    topic: Option<String>,
    topic_id: String,
    partition: String,
    segments: u64,
    bytes: u64,
    batches: u64,
    records: u64,
    batch_bytes_min: u64,
    batch_bytes_max: u64,
    log_start: Option<u64>,
    log_end: u64,
    timestamp_min_ms: Option<i64>,
    timestamp_max_ms: Option<i64>,
    by_compression: Vec<CodecRow>,
    segments_with_gaps: u64,
    missing_offsets: u64,
    empty_batches: u64,
    horizon_batches: u64,
    damages: Vec<String>,
}

#[derive(Serialize)]
struct CodecRow {
    compression: String,
    batches: u64,
    bytes: u64,
}

impl Row for StatsRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        wide("TOPIC-ID"),
        column("PARTITION"),
        column("START"),
        column("END"),
        column("RECORDS"),
        column("BATCHES"),
        column("SEGMENTS"),
        column("BYTES"),
        column("CODECS"),
        wide("BATCH-MIN"),
        wide("BATCH-MAX"),
        wide("OLDEST"),
        wide("NEWEST"),
        wide("GAPPED-SEGMENTS"),
        wide("MISSING-OFFSETS"),
        wide("EMPTY-BATCHES"),
        wide("HORIZON-BATCHES"),
        wide("DAMAGES"),
    ];

    fn name(&self) -> String {
        format!("{}/{}", self.topic_id, self.partition)
    }

    fn cells(&self) -> Vec<Cell> {
        let codecs: Vec<&str> = self.by_compression.iter().map(|codec| codec.compression.as_str()).collect();
        let time = |time: Option<i64>| time.map_or(Cell::Nothing, |time| Cell::Time(TimestampMs(time)));
        vec![
            Cell::text(self.topic.as_ref().unwrap_or(&self.topic_id)),
            Cell::text(&self.topic_id),
            Cell::text(&self.partition),
            self.log_start.map_or(Cell::Nothing, Cell::Count),
            Cell::Count(self.log_end),
            Cell::Count(self.records),
            Cell::Count(self.batches),
            Cell::Count(self.segments),
            Cell::Bytes(self.bytes),
            if codecs.is_empty() { Cell::Nothing } else { Cell::text(codecs.join(",")) },
            Cell::Bytes(self.batch_bytes_min),
            Cell::Bytes(self.batch_bytes_max),
            time(self.timestamp_min_ms),
            time(self.timestamp_max_ms),
            Cell::Count(self.segments_with_gaps),
            Cell::Count(self.missing_offsets),
            Cell::Count(self.empty_batches),
            Cell::Count(self.horizon_batches),
            Cell::Count(self.damages.len() as u64),
        ]
    }
}

pub(super) fn run(args: &LogDirArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dirs = PartitionDirs::of(&args.dir)?;
    let mut rows = Vec::new();
    for dir in &dirs.partitions {
        let stats = offline::stats(&RealDisk, &dir.path).map_err(|error| from_log(&error))?;
        rows.push(row(dir, stats));
    }
    write_rows(ui, &rows)?;
    for damage in rows.iter().flat_map(|row| &row.damages) {
        ui.note(format!("not counted: {damage}"));
    }
    Ok(Exit::Ok)
}

fn row(dir: &PartitionDir, stats: PartitionStats) -> StatsRow {
    let codecs = stats.by_compression.into_iter().map(|(compression, batches, bytes)| CodecRow {
        compression: compression.to_string(),
        batches,
        bytes,
    });
    StatsRow {
        topic: dir.topic.clone(),
        topic_id: dir.topic_id.clone(),
        partition: dir.partition.clone(),
        segments: stats.segments,
        bytes: stats.bytes,
        batches: stats.batches,
        records: stats.records,
        batch_bytes_min: stats.batch_bytes_min,
        batch_bytes_max: stats.batch_bytes_max,
        log_start: stats.log_start.map(|offset| offset.get()),
        log_end: stats.log_end.get(),
        timestamp_min_ms: stats.timestamp_min.map(|time| time.0),
        timestamp_max_ms: stats.timestamp_max.map(|time| time.0),
        by_compression: codecs.collect(),
        segments_with_gaps: stats.segments_with_gaps,
        missing_offsets: stats.missing_offsets,
        empty_batches: stats.empty_batches,
        horizon_batches: stats.horizon_batches,
        damages: stats.damages.iter().map(ToString::to_string).collect(),
    }
}
