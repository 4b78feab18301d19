//! Counting records: where offsets may be missing, as compaction leaves them, a count is not a distance.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_types::Offset;

use super::{Replica, Replicas};

/// Bytes of one read of a stretch that is counted.
const COUNT_BYTES: u32 = 1024 * 1024;

impl Replicas {
    /// Records with offsets from `from` to `end`, exclusive, that can be read.
    ///
    /// # Errors
    /// What reading says.
    pub(crate) async fn count_records(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        from: Offset,
        end: Offset,
    ) -> Result<u64, Refusal> {
        let mut counted = 0;
        self.visit(replica, from, end, |_, records| {
            counted += records;
            None
        })
        .await?;
        Ok(counted)
    }

    /// The offset of the record that is followed by `count` less one more below the high watermark; the log start where
    /// there are not so many. What cannot be read is passed over.
    ///
    /// # Errors
    /// The partition is offline.
    pub(crate) async fn before_end(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        count: u64,
    ) -> Result<Offset, Refusal> {
        let cursors = replica.cursors()?;
        let (start, end) = (cursors.log_start, cursors.high_watermark);
        let (mut left, mut upper) = (count, end);
        for stretch in replica.stretches_with_gaps(start).iter().rev() {
            let (first, last) = (stretch.base.max(start), stretch.end.min(end));
            if first >= last {
                continue;
            }
            let dense = upper.distance_from(last);
            if left <= dense {
                return Ok(upper.saturating_sub(left));
            }
            left -= dense;
            upper = first;
            let whole = (first, last) == (stretch.base, stretch.end);
            let records = match stretch.records.filter(|_| whole) {
                Some(records) => records,
                None => self.count_records(replica, first, last).await.unwrap_or(0),
            };
            match records.checked_sub(left) {
                Some(skipped) => return Ok(self.nth(replica, first, last, skipped).await.unwrap_or(first)),
                None => left -= records,
            }
        }
        Ok(upper.saturating_sub(left).max(start))
    }

    /// The offset of the record behind `skipped` others from `from` on.
    async fn nth(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        from: Offset,
        end: Offset,
        mut skipped: u64,
    ) -> Option<Offset> {
        let found = self.visit(replica, from, end, |offsets, records| match skipped.checked_sub(records) {
            Some(left) => {
                skipped = left;
                None
            }
            None => offsets().nth(usize::try_from(skipped).ok()?),
        });
        found.await.ok().flatten()
    }

    /// Calls `each` with the records of one batch after the other, until it returns something: how many lie in the
    /// range, and what lists their offsets.
    async fn visit(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        from: Offset,
        end: Offset,
        mut each: impl FnMut(&dyn Fn() -> std::vec::IntoIter<Offset>, u64) -> Option<Offset>,
    ) -> Result<Option<Offset>, Refusal> {
        let (mut next, mut hint) = (from, None);
        while next < end {
            let fetched = self.read(replica, next, COUNT_BYTES, false, hint.take()).await?;
            if fetched.next_offset <= next {
                break;
            }
            let mut batches: Bytes = fetched.bytes;
            while let Ok(Some(batch)) = Batch::parse_prefix(&mut batches) {
                let header = batch.header();
                let offsets = || offsets_within(&batch, next, end);
                let whole = header.base_offset >= next && header.next_offset() <= end;
                let records = match whole {
                    true => u64::from(header.record_count),
                    false => u64::try_from(offsets().len()).unwrap_or(u64::MAX),
                };
                if let Some(found) = each(&offsets, records) {
                    return Ok(Some(found));
                }
            }
            (next, hint) = (fetched.next_offset, fetched.hint);
        }
        Ok(None)
    }
}

/// The offsets of a batch's records from `from` to `end`, exclusive.
fn offsets_within(batch: &Batch, from: Offset, end: Offset) -> std::vec::IntoIter<Offset> {
    let records = batch.records(DecompressLimits::default());
    let offsets = records.iter().flat_map(|records| records.iter().map_while(Result::ok));
    let within = offsets.map(|record| record.offset).filter(|offset| (from..end).contains(offset));
    within.collect::<Vec<_>>().into_iter()
}
