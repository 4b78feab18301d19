//! How far groups are behind: records that a consumer can still receive, and the age of the first of them.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_group::TopicPartition;
use corduroy_log::StretchWithGaps;
use corduroy_types::{Offset, TimestampMs};
use parking_lot::Mutex;

use super::Groups;
use crate::engine::{Engine, Replica};

/// How far a group is behind in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Records that a consumer can still receive.
    pub(crate) records: u64,
    /// How old the first of them is; 0 if there is none, `None` if it cannot be read.
    pub(crate) age_ms: Option<u64>,
    /// The time of the first of them.
    pub(super) first_at: Option<TimestampMs>,
}

impl Lag {
    const NONE: Self = Self { records: 0, age_ms: Some(0), first_at: None };
}

/// What was read to compute lag. It stays valid, because stored records do not change and compaction changes a
/// stretch's bytes. An entry that two snapshots did not use is dropped.
#[derive(Default)]
pub(super) struct LagCache {
    /// Of a stretch: the offset that counting started at, and how many records follow.
    counts: Aging<(TopicPartition, StretchWithGaps), (Offset, u64)>,
    firsts: Aging<(TopicPartition, Offset), Option<TimestampMs>>,
}

/// A map that drops what was not read between two calls of [`Aging::age`].
struct Aging<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Aging<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + std::hash::Hash + Copy, V: Copy> Aging<K, V> {
    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(known) = self.young.get(key) {
            return Some(*known);
        }
        let known = self.old.remove(key)?;
        self.young.insert(*key, known);
        Some(known)
    }

    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

impl LagCache {
    /// Begins a new snapshot.
    pub(super) fn age(&mut self) {
        self.counts.age();
        self.firsts.age();
    }
}

impl Groups {
    /// The lag of a group that has committed `position` in a partition. `None` if the partition is gone, if
    /// nothing is committed and there are records to read, and if the position is beyond the end: a consumer
    /// cannot read there, so it has not caught up.
    pub(crate) async fn lag(&self, at: TopicPartition, position: Option<Offset>) -> Option<Lag> {
        let replica = self.engine.replicas().topics().by_id(at.topic_id)?.replica(at.partition)?;
        let cursors = replica.cursors().ok()?;
        let end = cursors.high_watermark;
        if position.is_some_and(|position| position > end) {
            return None;
        }
        if cursors.log_start >= end {
            return Some(Lag::NONE);
        }
        let from = position?.max(cursors.log_start);
        let records = records_between(&self.engine, &self.lag_cache, &replica, at, from, end).await;
        if records == 0 {
            return Some(Lag::NONE);
        }
        let first_at = first_at(&self.engine, &self.lag_cache, &replica, at, from).await;
        let now = self.engine.clock().now();
        let age_ms = first_at.map(|first| u64::try_from(now.0.saturating_sub(first.0)).unwrap_or(0));
        Some(Lag { records, age_ms, first_at })
    }
}

impl Groups {
    /// Records of a partition that can be read now.
    pub(crate) async fn record_count(&self, replica: &Arc<Replica>) -> u64 {
        let Ok(cursors) = replica.cursors() else { return 0 };
        let key = replica.key();
        let at = TopicPartition { topic_id: key.topic_id, partition: key.partition };
        let (start, end) = (cursors.log_start, cursors.high_watermark);
        records_between(&self.engine, &self.lag_cache, replica, at, start, end).await
    }
}

/// Records with offsets from `from` to `end`, exclusive. Offsets whose bytes cannot be read are counted as
/// records.
async fn records_between(
    engine: &Arc<Engine>,
    lag_cache: &Mutex<LagCache>,
    replica: &Arc<Replica>,
    at: TopicPartition,
    from: Offset,
    end: Offset,
) -> u64 {
    let mut records = end.distance_from(from.min(end));
    for stretch in replica.stretches_with_gaps(from) {
        let (first, last) = (stretch.base.max(from), stretch.end.min(end));
        if first >= last {
            continue;
        }
        let known = lag_cache.lock().counts.get(&(at, stretch));
        let counted = match known {
            None if (first, last) == (stretch.base, stretch.end) && stretch.records.is_some() => {
                stretch.records
            }
            Some((known_first, known)) if last == stretch.end => {
                // Only the difference is counted.
                let (low, high) = (known_first.min(first), known_first.max(first));
                let between = engine.replicas().count_records(replica, low, high).await.ok();
                between.map(|between| match known_first < first {
                    true => known.saturating_sub(between),
                    false => known + between,
                })
            }
            _ => engine.replicas().count_records(replica, first, last).await.ok(),
        };
        if let Some(counted) = counted {
            let offsets = last.distance_from(first);
            records = records.saturating_sub(offsets.saturating_sub(counted));
            // The count is final only if the whole stretch is below the end.
            if last == stretch.end {
                lag_cache.lock().counts.young.insert((at, stretch), (first, counted));
            }
        }
    }
    records
}

/// The time of the first record that is not below `from`.
async fn first_at(
    engine: &Arc<Engine>,
    lag_cache: &Mutex<LagCache>,
    replica: &Arc<Replica>,
    at: TopicPartition,
    from: Offset,
) -> Option<TimestampMs> {
    let known = lag_cache.lock().firsts.get(&(at, from));
    if let Some(known) = known {
        return known;
    }
    let mut next = from;
    let first = loop {
        let fetched = engine.replicas().read(replica, next, 1, false, None).await.ok()?;
        if let Some(first) = first_within(fetched.bytes, from) {
            break Some(first);
        }
        if fetched.next_offset <= next {
            return None;
        }
        // Compaction keeps some batches without records.
        next = fetched.next_offset;
    };
    lag_cache.lock().firsts.young.insert((at, from), first);
    first
}

fn first_within(mut batches: Bytes, from: Offset) -> Option<TimestampMs> {
    while let Some(batch) = Batch::parse_prefix(&mut batches).ok()? {
        let mut first = None;
        let seen = batch.visit_stamps_while(DecompressLimits::default(), |offset, timestamp| {
            first = (offset >= from).then_some(timestamp);
            first.is_none()
        });
        if first.is_some() {
            return first;
        }
        seen.ok()?;
    }
    None
}
