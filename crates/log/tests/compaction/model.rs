//! The model, and a log with keyed records to compare it with.

use std::collections::BTreeMap;

use corduroy_batch::{Batch, BatchBuilder, Compression, DecompressLimits, PushOutcome};
use corduroy_log::{
    Compaction, CompactionConfig, CompactionError, CompactionProgress, CompactionStep, Disk, Log, LogConfig,
    LogError, SimDisk,
};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::common::{self, at, small_config};

pub const RETENTION_MS: u64 = 1_000;

pub fn config() -> LogConfig {
    let compaction = CompactionConfig { delete_retention_ms: RETENTION_MS, ..CompactionConfig::default() };
    LogConfig { segment_bytes: 1_500, compaction: Some(compaction), ..small_config() }
}

/// A record as a test appends it: the number of its key, if it has one, and whether it has a value.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    pub key: Option<u8>,
    pub value: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
}

pub type Records = BTreeMap<u64, Record>;

/// What a log holds, and what a pass makes of it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub all: Records,
    pub kept: Records,
    /// The batches: where they begin, where they end, and the horizon of each once it has one.
    batches: Vec<(u64, u64, Option<i64>)>,
}

impl Model {
    pub fn append(&mut self, base: u64, records: Vec<Record>) {
        let end = base + records.len() as u64;
        self.batches.push((base, end, None));
        for (offset, record) in (base..).zip(records) {
            self.all.insert(offset, record.clone());
            self.kept.insert(offset, record);
        }
    }

    /// A crash has taken everything from `end` on.
    pub fn cut(&mut self, end: u64) {
        self.all.split_off(&end);
        self.kept.split_off(&end);
        self.batches.retain(|batch| batch.1 <= end);
    }

    /// One pass that went as far as `end`.
    pub fn compact(&mut self, end: u64, now: i64) {
        let mut last = BTreeMap::new();
        for (offset, record) in self.kept.range(..end) {
            last.insert(record.key.clone(), *offset);
        }
        for (base, next, horizon) in &mut self.batches {
            let range = *base..(*next).min(end).max(*base);
            let before: Vec<_> = self.kept.range(range).map(|(at, record)| (*at, record.clone())).collect();
            let mut tombstones = false;
            for (offset, record) in before {
                let stays = record.key.is_some()
                    && last[&record.key] == offset
                    && (record.value.is_some() || horizon.is_none_or(|horizon| now < horizon));
                if !stays {
                    self.kept.remove(&offset);
                }
                tombstones |= stays && record.value.is_none();
            }
            if tombstones && horizon.is_none() && *next <= end {
                *horizon = Some(now + RETENTION_MS as i64);
            }
        }
    }

    /// What a reader knows who has read all of `records`: deleted keys are not there.
    pub fn replay(records: &Records) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut known = BTreeMap::new();
        for record in records.values() {
            match (&record.key, &record.value) {
                (Some(key), Some(value)) => drop(known.insert(key.clone(), value.clone())),
                (Some(key), None) => drop(known.remove(key)),
                (None, _) => {}
            }
        }
        known
    }
}

/// A batch of these records, and the records.
pub fn batch(puts: &[Put], codec: Compression, seed: u64, now: i64) -> (Batch, Vec<Record>) {
    let mut builder = BatchBuilder::new(codec, 1 << 20);
    let mut records = Vec::new();
    for (index, put) in puts.iter().enumerate() {
        let key = put.key.map(|key| format!("key-{key}").into_bytes());
        let value = put.value.then(|| format!("{seed}/{index}").repeat(1 + index * 7 % 5).into_bytes());
        let timestamp = now + (seed as i64 * 31 + index as i64 * 17) % 200 - 100;
        let pushed =
            builder.push(TimestampMs(timestamp), key.as_deref(), value.as_deref(), std::iter::empty());
        assert_eq!(pushed, Ok(PushOutcome::Added));
        records.push(Record { key, value, timestamp });
    }
    (Batch::parse(builder.build().unwrap()).unwrap(), records)
}

pub fn append(log: &mut Log, model: &mut Model, puts: &[Put], codec: Compression, seed: u64, now: i64) {
    let (batch, records) = batch(puts, codec, seed, now);
    let appended = log.append(batch, LeaderEpoch::ZERO, TimestampMs(now)).unwrap();
    model.append(appended.base_offset.get(), records);
}

/// Everything from `from` to the log end, as a reader gets it who asks for `max_bytes` at a time.
pub fn read(log: &Log, from: u64, max_bytes: u32, hints: bool) -> Records {
    let mut bytes = bytes::Bytes::from(read_bytes(log, at(from), max_bytes, hints));
    let mut records = Records::new();
    let mut next = 0;
    while let Some(batch) = Batch::parse_prefix(&mut bytes).unwrap() {
        assert!(batch.header().base_offset.get() >= next, "offsets go back");
        next = batch.header().next_offset().get();
        for record in &batch.records(DecompressLimits::default()).unwrap() {
            let record = record.unwrap();
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            if record.offset.get() >= from {
                let timestamp = record.timestamp.0;
                records.insert(record.offset.get(), Record { key, value, timestamp });
            }
        }
    }
    records
}

fn read_bytes(log: &Log, from: Offset, max_bytes: u32, hints: bool) -> Vec<u8> {
    common::read_all(log, from, log.cursors().log_end(), max_bytes, hints)
}

/// Compares what can be read, from each of some offsets on, and found by time.
pub fn compare(log: &Log, model: &Model) {
    let end = log.cursors().log_end().get();
    for (from, max_bytes, hints) in [(0, 1 << 20, false), (0, 900, true), (0, 1, true)] {
        assert_eq!(read(log, from, max_bytes, hints), model.kept, "from {from}, {max_bytes} bytes");
    }
    for from in (0..end).step_by(1 + end as usize / 23) {
        let kept: Records = model.kept.range(from..).map(|(at, record)| (*at, record.clone())).collect();
        assert_eq!(read(log, from, 500, false), kept, "from {from}");
    }
    let greatest = log.plan_max_timestamp_lookup(at(end)).perform().unwrap();
    let expected = model.kept.iter().max_by_key(|(at, record)| (record.timestamp, std::cmp::Reverse(**at)));
    assert_eq!(
        greatest.map(|found| (found.offset.get(), found.timestamp.0)),
        expected.map(|(at, record)| (*at, record.timestamp))
    );
    let times = model.all.values().map(|record| record.timestamp);
    for time in times.step_by(1 + model.all.len() / 11) {
        let found = log.plan_time_lookup(TimestampMs(time), at(end)).perform().unwrap();
        let expected = model.kept.iter().find(|(_, record)| record.timestamp >= time);
        assert_eq!(found.map(|found| found.offset.get()), expected.map(|(at, _)| *at), "at {time}");
    }
}

/// The settings of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub map_bytes: u64,
    pub step_bytes: u64,
}

pub const UNLIMITED: Limits = Limits { map_bytes: 1 << 20, step_bytes: 1 << 30 };

pub fn plan(log: &Log, now: i64, limits: Limits) -> Option<Compaction> {
    log.plan_compaction(TimestampMs(now), log.cursors().counted_end(), limits.map_bytes)
}

/// Performs a pass to its end, with something else between any two steps. Returns how far it went.
pub fn perform(
    log: &mut Log,
    disk: &SimDisk,
    mut pass: Compaction,
    limits: Limits,
    mut between: impl FnMut(&mut Log),
) -> Result<Offset, CompactionError> {
    loop {
        match pass.step(CompactionStep { max_bytes: limits.step_bytes })? {
            CompactionProgress::More => between(log),
            CompactionProgress::Swap(swap) => {
                assert!(log.may_swap(&swap));
                swap.commit(disk)?;
                between(log);
                assert!(log.apply_swap(&swap));
                between(log);
                swap.finish(disk)?;
                between(log);
            }
            CompactionProgress::Done(compacted) => {
                compacted.persist(disk)?;
                log.apply_compacted(&compacted);
                return Ok(compacted.end());
            }
        }
    }
}

/// Performs rounds until there is nothing more to do.
pub fn commit(log: &mut Log, disk: &dyn Disk) -> Result<(), LogError> {
    while let Some(round) = log.take_round() {
        let result = round.perform(disk);
        log.round_done(result)?;
    }
    Ok(())
}
