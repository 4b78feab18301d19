//! Whether a sealed segment's indexes agree with its batches.

use std::path::Path;

use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};

use super::SegmentFiles;
use crate::disk::Disk;
use crate::index::offset::OffsetEntry;
use crate::index::time::TimeEntry;
use crate::index::{IndexDoubt, IndexFault, Indexes, offset, time};

/// Follows a segment's batches and compares them with the index entries on the way.
pub(super) struct Agreement {
    segment: SegmentFiles,
    offsets: std::iter::Peekable<std::vec::IntoIter<OffsetEntry>>,
    times: std::iter::Peekable<std::vec::IntoIter<TimeEntry>>,
    max: Option<TimestampMs>,
    indexed_max: Option<TimestampMs>,
    doubts: Vec<IndexDoubt>,
}

impl Agreement {
    /// For a segment that ends at `end`.
    pub(super) fn new(disk: &dyn Disk, dir: &Path, segment: &SegmentFiles, end: Offset) -> Self {
        let (mut offsets, mut times, mut doubts) = (Vec::new(), Vec::new(), Vec::new());
        // Without the checksum: what each entry says is more.
        match Indexes::load(disk, dir, segment.base_offset, (end, segment.counted_bytes()), None) {
            Ok(indexes) => {
                offsets = offset::entries(&indexes.offsets).collect();
                times = time::entries(&indexes.times).collect();
            }
            Err(doubt) => doubts.push(doubt),
        }
        let indexed_max = times.last().map(|entry: &TimeEntry| entry.timestamp);
        let (offsets, times) = (offsets.into_iter().peekable(), times.into_iter().peekable());
        Self { segment: segment.clone(), offsets, times, max: None, indexed_max, doubts }
    }

    /// Takes note of the next batch. Entries are in the order of the batches, so each is met or passed.
    pub(super) fn note(&mut self, header: &BatchHeader, position: u64) {
        if header.max_timestamp != TimestampMs(-1) {
            self.max = self.max.max(Some(header.max_timestamp));
        }
        let base = self.segment.base_offset;
        while let Some(entry) = self.offsets.next_if(|entry| u64::from(entry.position) <= position) {
            let agrees = u64::from(entry.position) == position
                && base.saturating_add(entry.relative.into()) == header.last_offset();
            self.doubt_offset(agrees, entry);
        }
        while let Some(entry) = self.times.next_if(|entry| entry.offset(base) <= header.last_offset()) {
            let agrees = entry.offset(base) == header.last_offset() && Some(entry.timestamp) == self.max;
            self.doubt_time(agrees, entry);
        }
    }

    fn doubt_offset(&mut self, agrees: bool, entry: OffsetEntry) {
        if !agrees {
            let reason = IndexFault::NoBatch(format!("{entry:?}"));
            self.doubts.push(IndexDoubt { file: self.segment.index_path(), reason });
        }
    }

    fn doubt_time(&mut self, agrees: bool, entry: TimeEntry) {
        if !agrees {
            let reason = IndexFault::NoBatch(format!("{entry:?}"));
            self.doubts.push(IndexDoubt { file: self.segment.time_index_path(), reason });
        }
    }

    /// What does not agree, once every batch was noted. One file that is missing altogether is one doubt.
    pub(super) fn finish(mut self) -> Vec<IndexDoubt> {
        while let Some(entry) = self.offsets.next() {
            self.doubt_offset(false, entry);
        }
        while let Some(entry) = self.times.next() {
            self.doubt_time(false, entry);
        }
        if self.doubts.is_empty() && self.max != self.indexed_max {
            let (max, indexed) = (self.max, self.indexed_max);
            let reason = IndexFault::GreatestTimestamp { max, indexed };
            self.doubts.push(IndexDoubt { file: self.segment.time_index_path(), reason });
        }
        self.doubts
    }
}
