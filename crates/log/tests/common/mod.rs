//! What the tests of the log share: batches, a small config, and a naive model to compare with.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test may stop, and its numbers are small"
)]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_log::{Appended, Disk, Known, Log, LogConfig, ReadCursor, ReadError, RecoveryReport, SimDisk};
use corduroy_types::{Durability, LeaderEpoch, Offset, TimestampMs};

pub const NOW: TimestampMs = TimestampMs(1_000_000);

pub fn at(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data/5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/0")
}

/// Small enough that a few batches fill a segment and an index entry is made every few batches.
pub fn small_config() -> LogConfig {
    LogConfig {
        durability: Durability::Sync,
        segment_bytes: 4_000,
        segment_ms: 100_000,
        index_interval_bytes: 300,
        index_bytes_max: 1 << 20,
        retention_bytes: None,
        retention_ms: None,
        compaction: None,
        tail_bytes: 0,
        producer_expiration_ms: 86_400_000,
        round_bytes: 3_000,
    }
}

/// A batch with a record for each timestamp; the values differ with `seed`.
pub fn batch(timestamps: &[i64], value_bytes: usize, seed: u64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 64 << 20);
    for (index, timestamp) in timestamps.iter().enumerate() {
        let mut value = format!("{seed}/{index}/").into_bytes();
        value.resize(value.len().max(value_bytes), b'a' + (seed % 26) as u8);
        let pushed = builder.push(TimestampMs(*timestamp), None, Some(&value), std::iter::empty());
        assert_eq!(pushed, Ok(PushOutcome::Added));
    }
    Batch::parse(builder.build().unwrap()).unwrap()
}

pub fn open(disk: &SimDisk, config: LogConfig, clean: bool) -> (Log, RecoveryReport) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(disk, dir(), config, Known::clean(clean), NOW).unwrap()
}

/// A disk on which the data directory exists durably, as the broker makes it.
pub fn new_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// Performs rounds until there is nothing more to do.
pub fn commit(log: &mut Log, disk: &dyn Disk) {
    while let Some(round) = log.take_round() {
        let result = round.perform(disk);
        log.round_done(result).unwrap();
    }
}

/// Reads everything from `from` to `upper`, going on from read to read.
pub fn read_all(log: &Log, from: Offset, upper: Offset, max_bytes: u32, with_hints: bool) -> Vec<u8> {
    let mut all = Vec::new();
    let mut cursor = ReadCursor::from(from);
    loop {
        let read = log.plan_read_at(cursor, max_bytes, upper).unwrap().perform().unwrap();
        if read.next_offset == cursor.offset {
            assert!(read.bytes.is_empty());
            return all;
        }
        all.extend_from_slice(&read.bytes);
        cursor = if with_hints { read.next } else { read.next_offset.into() };
    }
}

/// One appended batch, as the model keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub next: u64,
    pub bytes: Bytes,
    pub timestamps: Vec<i64>,
}

/// A log as naive as can be: a map of batches.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub batches: BTreeMap<u64, Kept>,
    pub log_start: u64,
    pub log_end: u64,
}

impl Model {
    pub fn append(&mut self, batch: Batch, timestamps: Vec<i64>, epoch: LeaderEpoch, appended: Appended) {
        assert_eq!(appended.base_offset.get(), self.log_end);
        let bytes = batch.stamp(appended.base_offset, epoch).to_bytes();
        self.log_end = appended.next_offset.get();
        self.batches.insert(appended.base_offset.get(), Kept { next: self.log_end, bytes, timestamps });
    }

    /// What a crash may leave: everything below `log_end`.
    pub fn cut(&mut self, log_end: u64) {
        self.batches.split_off(&log_end);
        assert!(
            self.batches.values().next_back().is_none_or(|last| last.next <= log_end),
            "cut inside a batch"
        );
        self.log_end = log_end;
    }

    /// All batches from the one that holds `from`, below `upper`.
    pub fn bytes(&self, from: u64, upper: u64) -> Vec<u8> {
        let wanted = self.batches.values().filter(|kept| kept.next > from && kept.next <= upper);
        wanted.flat_map(|kept| kept.bytes.iter().copied()).collect()
    }

    fn records(&self, upper: u64) -> impl Iterator<Item = (u64, i64)> + '_ {
        let all = self.batches.iter().flat_map(|(base, kept)| (*base..).zip(kept.timestamps.iter().copied()));
        let log_start = self.log_start;
        all.filter(move |(offset, _)| (log_start..upper).contains(offset))
    }

    pub fn first_at_or_after(&self, timestamp: i64, upper: u64) -> Option<(u64, i64)> {
        self.records(upper).find(|record| record.1 >= timestamp)
    }

    pub fn greatest_timestamp(&self, upper: u64) -> Option<(u64, i64)> {
        self.records(upper).max_by_key(|record| (record.1, std::cmp::Reverse(record.0)))
    }
}

/// Compares all that can be read with the model, by every way of reading.
pub fn compare(log: &Log, model: &Model) {
    let cursors = log.cursors();
    assert_eq!(cursors.log_start().get(), model.log_start);
    assert_eq!(cursors.log_end().get(), model.log_end);
    let (start, end) = (cursors.log_start(), cursors.log_end());
    for max_bytes in [1, 700, 1 << 20] {
        for with_hints in [false, true] {
            let read = read_all(log, start, end, max_bytes, with_hints);
            assert!(
                read == model.bytes(model.log_start, model.log_end),
                "reads differ from what was appended"
            );
        }
    }
    let below = log.plan_read(start.saturating_sub(1), 1, end);
    assert!(model.log_start == 0 || matches!(below, Err(ReadError::BelowStart { .. })));
    assert!(matches!(log.plan_read(end.saturating_add(1), 1, end), Err(ReadError::AboveEnd { .. })));
}
