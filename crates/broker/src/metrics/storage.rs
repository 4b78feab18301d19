//! Disk, log and caches.

use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{
    Counter, Gauge, Histogram,
    labels::{Cache, CacheResult, CorruptionAction, DeletedReason, RoundKind},
    seconds_buckets,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: RoundKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAction {
    action: CorruptionAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: DeletedReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCache {
    cache: Cache,
    result: CacheResult,
}

/// The storage metrics.
#[derive(Clone, Debug)]
pub struct StorageMetrics {
    /// Seconds of the appends of each produce request: offsets, into memory. No disk is touched.
    pub append_seconds: Histogram,
    /// Commit rounds that synced the segments they touched.
    pub commit_rounds_direct: Counter,
    /// Commit rounds whose batches, or some of them, became durable by the commit journal.
    pub commit_rounds_journal: Counter,
    /// Bytes written to the commit journal.
    pub journal_bytes: Counter,
    /// Bytes that the commit journal carries over for logs that cannot be reopened.
    pub journal_carried_bytes: Gauge,
    /// Seconds of each checkpoint: syncs of the segments that the commit journal holds data for.
    pub checkpoint_seconds: Histogram,
    /// Seconds of each commit round, writes and syncs together.
    pub commit_round_seconds: Histogram,
    /// Seconds of each sync call.
    pub fsync_seconds: Histogram,
    /// Bytes of batches that compaction read, twice where it mapped them first.
    pub compaction_read_bytes: Counter,
    /// Bytes of batches that compaction removed.
    pub compaction_removed_bytes: Counter,
    corruption: Family<OfAction, Counter>,
    deleted: Family<OfReason, Counter>,
    cache: Family<OfCache, Counter>,
}

impl StorageMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let rounds = Family::<OfKind, Counter>::default();
        let metrics = Self {
            append_seconds: seconds_buckets(),
            commit_rounds_direct: rounds.get_or_create_owned(&OfKind { kind: RoundKind::Direct }),
            commit_rounds_journal: rounds.get_or_create_owned(&OfKind { kind: RoundKind::Journal }),
            journal_bytes: Counter::default(),
            journal_carried_bytes: Gauge::default(),
            checkpoint_seconds: seconds_buckets(),
            commit_round_seconds: seconds_buckets(),
            fsync_seconds: seconds_buckets(),
            compaction_read_bytes: Counter::default(),
            compaction_removed_bytes: Counter::default(),
            corruption: Family::default(),
            deleted: Family::default(),
            cache: Family::default(),
        };
        registry.register(
            "append_seconds",
            "Time of appends into memory, by produce request",
            metrics.append_seconds.clone(),
        );
        registry.register("commit_rounds", "Commit rounds, by the way they became durable", rounds);
        registry.register(
            "journal_bytes",
            "Bytes written to the commit journal",
            metrics.journal_bytes.clone(),
        );
        registry.register(
            "journal_carried_bytes",
            "Bytes that the commit journal carries from one filling to the next, for logs that cannot be reopened",
            metrics.journal_carried_bytes.clone(),
        );
        registry.register(
            "checkpoint_seconds",
            "Time of checkpoints, in which the segments are synced that the commit journal holds data for",
            metrics.checkpoint_seconds.clone(),
        );
        registry.register(
            "commit_round_seconds",
            "Time of commit rounds, writes and syncs together",
            metrics.commit_round_seconds.clone(),
        );
        registry.register("fsync_seconds", "Time of sync calls", metrics.fsync_seconds.clone());
        registry.register(
            "log_corruption",
            "Damage found in logs, by what was done: cut (an unacknowledged tail at recovery), read_refused (each read), fenced (each range found at start or by the scrub), given_up (each range, by an operator), repaired (small files whose contents were taken from a copy, or built again), journal (each place in the commit journal, at start)",
            metrics.corruption.clone(),
        );
        registry.register(
            "retention_deleted_bytes",
            "Bytes of segments removed, by reason: time, size, delete_records",
            metrics.deleted.clone(),
        );
        registry.register(
            "compaction_read_bytes",
            "Bytes of batches that compaction read",
            metrics.compaction_read_bytes.clone(),
        );
        registry.register(
            "compaction_removed_bytes",
            "Bytes of superseded batches that compaction removed",
            metrics.compaction_removed_bytes.clone(),
        );
        registry.register("cache_requests", "Reads by cache and result", metrics.cache.clone());
        metrics.create_series();
        metrics
    }

    /// Creates every series at 0, so that a rate over its first increase is right.
    fn create_series(&self) {
        for &action in CorruptionAction::ALL {
            let _ = self.corruption(action);
        }
        for &reason in DeletedReason::ALL {
            let _ = self.deleted_bytes(reason);
        }
        for &result in CacheResult::ALL {
            let _ = self.tail_cache(result);
        }
    }

    /// Places of damage found in logs.
    pub fn corruption(&self, action: CorruptionAction) -> Counter {
        self.corruption.get_or_create_owned(&OfAction { action })
    }

    /// Bytes of segments that were removed.
    pub fn deleted_bytes(&self, reason: DeletedReason) -> Counter {
        self.deleted.get_or_create_owned(&OfReason { reason })
    }

    /// Reads that the tail cache served, or did not. Keep the handles.
    pub fn tail_cache(&self, result: CacheResult) -> Counter {
        self.cache.get_or_create_owned(&OfCache { cache: Cache::Tail, result })
    }
}
