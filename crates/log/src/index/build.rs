//! Building both indexes, batch by batch: while appending, and again from the log when a file is in doubt.

use bytes::Bytes;
use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};

use super::{Indexes, ScanStart, offset, time};
use crate::index::offset::OffsetEntry;
use crate::index::time::TimeEntry;

/// The timestamp by which the format says "none".
const NO_TIMESTAMP: TimestampMs = TimestampMs(-1);

/// The indexes of one segment as far as it goes. The same batches and interval always give the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct IndexBuilder {
    base: Offset,
    interval_bytes: u32,
    bytes_since_entry: u64,
    offsets: Vec<u8>,
    times: Vec<u8>,
    max: Option<(TimestampMs, Offset)>,
}

impl IndexBuilder {
    pub(crate) fn new(base: Offset, interval_bytes: u32) -> Self {
        let (offsets, times) = (Vec::new(), Vec::new());
        Self { base, interval_bytes, bytes_since_entry: 0, offsets, times, max: None }
    }

    /// Goes on from the files of a segment that was closed cleanly. Where the
    /// next entry comes differs from an index built in one go.
    pub(crate) fn resume(base: Offset, interval_bytes: u32, indexes: &Indexes) -> Self {
        let times = indexes.times.to_vec();
        let max = time::last(&times).map(|entry| (entry.timestamp, entry.offset(base)));
        let offsets = indexes.offsets.to_vec();
        Self { base, interval_bytes, bytes_since_entry: 0, offsets, times, max }
    }

    /// Begins behind batches of which only the greatest timestamp is known.
    pub(crate) fn behind(base: Offset, interval_bytes: u32, max: Option<(TimestampMs, Offset)>) -> Self {
        Self { max, ..Self::new(base, interval_bytes) }
    }

    /// Takes note of the next batch, which begins at `position`.
    pub(crate) fn note(&mut self, header: &BatchHeader, position: u64) {
        let timestamp = header.max_timestamp;
        let greater = self.max.is_none_or(|(max, _)| max < timestamp);
        if greater && timestamp != NO_TIMESTAMP {
            self.max = Some((timestamp, header.last_offset()));
        }
        if self.bytes_since_entry > self.interval_bytes.into() {
            self.enter(header.last_offset(), position);
        }
        self.bytes_since_entry += u64::from(header.total_bytes());
    }

    fn enter(&mut self, last_offset: Offset, position: u64) {
        let relative = u32::try_from(last_offset.distance_from(self.base));
        // Rolling keeps both numbers in range; a batch that is not can be found by scanning.
        if let (Ok(relative), Ok(position)) = (relative, u32::try_from(position)) {
            self.offsets.extend_from_slice(&OffsetEntry { relative, position }.to_bytes());
            self.enter_time();
        }
        self.bytes_since_entry = 0;
    }

    fn enter_time(&mut self) {
        let Some((timestamp, offset)) = self.max else { return };
        if time::last(&self.times).is_some_and(|last| last.timestamp >= timestamp) {
            return;
        }
        if let Ok(relative) = u32::try_from(offset.distance_from(self.base)) {
            self.times.extend_from_slice(&TimeEntry { timestamp, relative }.to_bytes());
        }
    }

    /// The greatest timestamp so far, and the last offset of the batch that has it.
    pub(crate) fn max_timestamp(&self) -> Option<(TimestampMs, Offset)> {
        self.max
    }

    /// Where a scan for the batch that holds `target` may begin.
    pub(crate) fn scan_start(&self, target: Offset) -> ScanStart {
        ScanStart::new(self.base, offset::lookup(&self.offsets, target.distance_from(self.base)))
    }

    /// The offset from which a scan finds the first record at or after `target`.
    pub(crate) fn offset_before(&self, target: TimestampMs) -> Offset {
        time::offset_before(&self.times, self.base, target)
    }

    /// Bytes of the larger index.
    pub(crate) fn bytes(&self) -> usize {
        self.offsets.len().max(self.times.len())
    }

    /// The contents of both files, with the final entry of the time index.
    pub(crate) fn finish(&self) -> (Bytes, Bytes) {
        let mut whole = self.clone();
        whole.enter_time();
        (whole.offsets.into(), whole.times.into())
    }

    /// The same as indexes to be searched.
    pub(crate) fn indexes(&self) -> Indexes {
        let (offsets, times) = self.finish();
        Indexes::new(offsets, times)
    }
}
