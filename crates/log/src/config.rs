//! The settings of a log.

use corduroy_types::{Durability, MIB, Ratio};

/// How one partition's log behaves. Topic configs of the same name are the source of most of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Whether an append counts when it is on stable storage or when it is in the page cache.
    pub durability: Durability,
    /// `segment.bytes`: a segment is rolled before it grows beyond this. One batch may alone be larger.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is rolled when its records span more time than this.
    pub segment_ms: u64,
    /// Bytes between two index entries (Kafka's `index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// Bytes an index may grow to before the segment is rolled (Kafka's `segment.index.bytes`).
    pub index_bytes_max: u32,
    /// `retention.bytes`: older segments may go while the log is larger than this. `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`: segments may go whose newest record is older than this. `None` keeps them.
    pub retention_ms: Option<u64>,
    /// How the log is compacted; `None` keeps every record until retention takes it.
    pub compaction: Option<CompactionConfig>,
    /// Bytes of the newest batches that reads are served from memory. Batches that are not on disk yet are
    /// always kept, beyond this if need be.
    pub tail_bytes: u64,
    /// Log time after which an idempotent producer that appended nothing more is forgotten (Kafka's
    /// `producer.id.expiration.ms`).
    pub producer_expiration_ms: u64,
    /// Bytes of batches that one commit round carries at most; one batch may alone be more.
    pub round_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            segment_bytes: 256 * MIB,
            segment_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 4096,
            index_bytes_max: 10 << 20,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3_600_000),
            compaction: None,
            tail_bytes: 4 * MIB,
            producer_expiration_ms: 24 * 3_600_000,
            round_bytes: 16 * MIB,
        }
    }
}

/// How a log is compacted: the last record of each key stays. Kafka's topic configs of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// `min.compaction.lag.ms`: a segment with a younger record is left alone.
    pub min_lag_ms: u64,
    /// `max.compaction.lag.ms`: no record stays out of compaction for longer; also a bound on `segment_ms`. `None`
    /// sets no bound.
    pub max_lag_ms: Option<u64>,
    /// `min.cleanable.dirty.ratio`: compaction is due when this much of the log is not compacted.
    pub min_dirty_ratio: Ratio,
    /// `delete.retention.ms`: how long a tombstone can still be read once compaction has met it.
    pub delete_retention_ms: u64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        let day_ms = 24 * 3_600_000;
        Self { min_lag_ms: 0, max_lag_ms: None, min_dirty_ratio: Ratio::HALF, delete_retention_ms: day_ms }
    }
}

impl CompactionConfig {
    /// What of the maximum lag a segment may span. With as much again until its newest record counts as overdue, no
    /// record waits longer than the whole.
    pub(crate) fn half_lag_ms(&self) -> Option<u64> {
        self.max_lag_ms.map(|max_lag_ms| max_lag_ms / 2)
    }
}

impl LogConfig {
    /// When a segment is rolled for its age.
    pub(crate) fn roll_ms(&self) -> u64 {
        let lag_ms = self.compaction.as_ref().and_then(CompactionConfig::half_lag_ms);
        self.segment_ms.min(lag_ms.unwrap_or(u64::MAX))
    }
}

/// No stored batch is larger; a length field that says so is damage. Producers are held to far less.
pub const BATCH_BYTES_MAX: u32 = 128 << 20;

/// Batches below this size are copied when they are kept, so that a small slice does not hold on to the large
/// network buffer it came in.
pub(crate) const COPIED_BELOW_BYTES: usize = 4 << 10;
