//! What there is to compact in a log, and whether it is due.

use std::sync::Arc;

use corduroy_types::{Offset, Ratio, TimestampMs};

use super::Compaction;
use crate::log::Log;
use crate::segment::Sealed;

/// How much of a log is to be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionNeed {
    /// Bytes that no pass has been through and that one may go through now.
    pub dirty_bytes: u64,
    /// Bytes that a pass has been through.
    pub clean_bytes: u64,
    /// Whether a record would be left out for longer than the maximum lag.
    pub overdue: bool,
    min_ratio: Ratio,
}

impl CompactionNeed {
    /// How much of what there is has not been compacted.
    pub fn dirty_ratio(&self) -> Ratio {
        Ratio::of(self.dirty_bytes, self.dirty_bytes.saturating_add(self.clean_bytes))
    }

    /// Whether the log is to be compacted now.
    pub fn is_due(&self) -> bool {
        self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio() >= self.min_ratio)
    }
}

impl Log {
    /// What there is to compact, without I/O; `None` where the log is not compacted, or has stopped.
    pub fn compaction_need(&self, now: TimestampMs, high_watermark: Offset) -> Option<CompactionNeed> {
        let config = self.config.compaction.filter(|_| self.is_changeable())?;
        let clean = self.sealed.iter().take_while(|sealed| sealed.end <= self.compacted_end());
        let clean_bytes = clean.map(|sealed| sealed.bytes).sum();
        let dirty = self.dirty(now, high_watermark);
        let newest = dirty.first().and_then(|sealed| sealed.max_timestamp);
        let overdue = config.half_lag_ms().zip(newest).is_some_and(|(lag, at)| at < now.minus_ms(lag));
        Some(CompactionNeed {
            dirty_bytes: dirty.iter().map(|sealed| sealed.bytes).sum(),
            clean_bytes,
            overdue,
            min_ratio: config.min_dirty_ratio,
        })
    }

    /// The segments that a pass may take keys from. None while the log's state is lost: what it stores is not served
    /// then, and is not taken for what should stay.
    fn dirty(&self, now: TimestampMs, high_watermark: Offset) -> &[Arc<Sealed>] {
        let Some(config) = self.config.compaction.filter(|_| self.shared.doubt().is_none()) else {
            return &[];
        };
        let from = self.sealed.partition_point(|sealed| sealed.end <= self.compacted_end());
        let dirty = self.sealed.get(from..).unwrap_or_default();
        let end = high_watermark.min(self.settled_end);
        let young = |sealed: &Sealed| {
            config.min_lag_ms > 0
                && sealed.max_timestamp.is_some_and(|newest| newest > now.minus_ms(config.min_lag_ms))
        };
        let count = dirty.iter().take_while(|sealed| sealed.end <= end && !young(sealed)).count();
        dirty.get(..count).unwrap_or_default()
    }

    /// Begins another segment where the active one has a record that would else be left out of compaction for
    /// longer than the maximum lag, because nothing is appended. A round carries it out.
    pub fn roll_for_compaction(&mut self, now: TimestampMs) {
        let lag_ms = self.config.compaction.and_then(|config| config.half_lag_ms());
        let old = lag_ms.zip(self.active.age_ms(now)).is_some_and(|(lag_ms, age_ms)| age_ms > lag_ms);
        if old && self.failure.is_none() {
            self.roll();
        }
    }

    /// Plans one pass, due or not; `None` when there is nothing to compact. `map_bytes` bounds the memory for keys:
    /// 24 bytes each, three quarters of it used. A pass that needs more does a part, and the next one goes on.
    ///
    /// Of one log there is at most one at a time.
    pub fn plan_compaction(
        &self,
        now: TimestampMs,
        high_watermark: Offset,
        map_bytes: u64,
    ) -> Option<Compaction> {
        let config = self.config.compaction.filter(|_| self.is_changeable())?;
        let end = self.dirty(now, high_watermark).last()?.end;
        let count = self.sealed.partition_point(|sealed| sealed.end <= end);
        let segments = self.sealed.iter().take(count).cloned().collect();
        let range = self.compacted_end()..end;
        Some(Compaction::new(self, config, segments, range, now, map_bytes))
    }
}
