//! How far groups are behind.

use corduroy_batch::{Batch, DecompressLimits};
use corduroy_group::TopicPartition;
use corduroy_types::{Offset, TimestampMs};

use super::Groups;

/// How far a group is behind in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Records that a consumer can still receive.
    pub(crate) records: u64,
    /// How old the first of them is; 0 where there is none, `None` where it cannot be read.
    pub(crate) age_ms: Option<u64>,
}

impl Groups {
    /// The lag of a group that has committed `position` in a partition. `None` where nothing was committed, unless
    /// there is nothing to read, and where the partition is gone.
    pub(crate) async fn lag(&self, at: TopicPartition, position: Option<Offset>) -> Option<Lag> {
        let replica = self.engine.topics().by_id(at.topic_id)?.replica(at.partition)?;
        let cursors = replica.cursors();
        if cursors.log_start >= cursors.high_watermark {
            return Some(Lag { records: 0, age_ms: Some(0) });
        }
        let from = position?.max(cursors.log_start);
        if from >= cursors.high_watermark {
            return Some(Lag { records: 0, age_ms: Some(0) });
        }
        let first = match self.engine.read(&replica, from, 1, false, None).await {
            Ok(fetched) if fetched.bytes.is_empty() => return Some(Lag { records: 0, age_ms: Some(0) }),
            Ok(fetched) => first_at_or_after(fetched.bytes, from),
            Err(_) => None,
        };
        let age_ms =
            first.map(|time| u64::try_from(self.engine.clock().now().0.saturating_sub(time.0)).unwrap_or(0));
        Some(Lag { records: cursors.high_watermark.distance_from(from), age_ms })
    }
}

/// The time of the first record that is not below `from`.
fn first_at_or_after(mut batches: bytes::Bytes, from: Offset) -> Option<TimestampMs> {
    while let Some(batch) = Batch::parse_prefix(&mut batches).ok()? {
        let records = batch.records(DecompressLimits::default()).ok()?;
        let first = records.iter().map_while(Result::ok).find(|record| record.offset >= from);
        if let Some(first) = first {
            return Some(first.timestamp);
        }
    }
    None
}
