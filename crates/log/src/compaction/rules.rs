//! Which records and batches stay.

use corduroy_batch::{Batch, BatchError, BatchHeader, BatchRewriter, DecompressLimits, RecordRef};
use corduroy_types::{Offset, TimestampMs};

use super::key_map::KeyMap;

/// What one pass goes by.
#[derive(Debug)]
pub(super) struct Rules {
    /// Of each key in the mapped range its last offset.
    pub(super) map: KeyMap,
    /// Records from here on were not mapped and stay.
    pub(super) mapped_end: Offset,
    /// Records below were deleted.
    pub(super) log_start: Offset,
    pub(super) now: TimestampMs,
    /// The horizon of tombstones that are met for the first time.
    pub(super) horizon: TimestampMs,
    pub(super) limits: DecompressLimits,
    /// The base offsets of the producers' last batches, in order: those stay, if need be without records, because a
    /// log without a snapshot knows the producers by them.
    pub(super) last_batches: Vec<Offset>,
}

/// What becomes of a batch.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It stays as it is.
    Same,
    /// It stays with fewer records, or with a horizon.
    Rewritten(Batch),
    /// Nothing of it stays.
    Gone,
}

/// What stays of a batch's records.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    kept: u32,
    tombstones: u32,
}

impl Rules {
    fn keeps(&self, header: &BatchHeader, record: &RecordRef<'_>) -> bool {
        if record.offset >= self.mapped_end {
            return true;
        }
        let Some(key) = record.key.filter(|_| record.offset >= self.log_start) else { return false };
        if self.map.last(key).is_some_and(|last| last > record.offset) {
            return false;
        }
        record.value.is_some() || header.delete_horizon().is_none_or(|horizon| self.now < horizon)
    }

    /// Judges a batch. With `needed`, its header stays even without records.
    pub(super) fn judge(
        &self,
        batch: &Batch,
        needed: bool,
        rewriter: &mut BatchRewriter,
    ) -> Result<Verdict, BatchError> {
        let header = batch.header();
        if header.base_offset >= self.mapped_end || header.is_control() {
            return Ok(Verdict::Same);
        }
        let mut count = Count::default();
        batch.visit_records(self.limits, |record| {
            if self.keeps(header, record) {
                count.kept += 1;
                count.tombstones += u32::from(record.value.is_none());
            }
        })?;
        let needed = needed || self.last_batches.binary_search(&header.base_offset).is_ok();
        if count.kept == 0 && !needed {
            return Ok(Verdict::Gone);
        }
        // Of a batch that was mapped in part, the next pass has yet to remove what its tombstones supersede.
        let stamps = count.tombstones > 0
            && header.delete_horizon().is_none()
            && header.next_offset() <= self.mapped_end;
        let whole = count.kept == header.record_count;
        let mut rewrite = |horizon| rewriter.rewrite(batch, horizon, |record| self.keeps(header, record));
        let stamped = match stamps.then(|| rewrite(Some(self.horizon))) {
            // Its timestamps are too far from any horizon: its tombstones stay for good.
            Some(Err(BatchError::TimestampDelta { .. })) | None => None,
            Some(stamped) => Some(stamped?),
        };
        Ok(match stamped {
            Some(stamped) => Verdict::Rewritten(stamped),
            None if whole => Verdict::Same,
            None => Verdict::Rewritten(rewrite(None)?),
        })
    }
}
