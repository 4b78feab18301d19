//! The part of the active segment that lay below the durable mark when the log was opened.
//!
//! Recovery does not read it, so that opening is bounded by what was not synced. Its index is made by the first
//! read that needs it.

use std::io;
use std::sync::Arc;

use corduroy_types::Offset;
use parking_lot::Mutex;

use crate::disk::DiskFile;
use crate::index::{Expect, Indexes, ScanStart};
use crate::recovery::{Extent, index_segment};
use crate::segment::SegmentFile;
use crate::shared::Shared;

#[derive(Debug)]
pub(crate) struct UnscannedPrefix {
    /// Where it ends.
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    indexes: Mutex<Option<Indexes>>,
}

impl UnscannedPrefix {
    pub(crate) fn new(position: u64, offset: Offset) -> Arc<Self> {
        Arc::new(Self { position, offset, indexes: Mutex::new(None) })
    }

    /// Where a scan for batches behind it may begin.
    pub(crate) fn end(&self) -> ScanStart {
        ScanStart { position: self.position, expect: Expect::Base(self.offset) }
    }

    /// Its indexes, made now if they were not.
    pub(crate) fn indexes(
        &self,
        shared: &Shared,
        segment: &SegmentFile,
        file: &Arc<dyn DiskFile>,
    ) -> io::Result<Indexes> {
        let mut slot = self.indexes.lock();
        if let Some(indexes) = &*slot {
            return Ok(indexes.clone());
        }
        let extent = Extent { base: segment.base, end: self.offset, bytes: self.position, gaps: false };
        let built = index_segment(shared.index_interval_bytes, segment.path(), file, extent)?;
        shared.note_damages_of(segment, built.damages);
        Ok(slot.insert(built.index.indexes()).clone())
    }

    /// Gives the memory back.
    pub(crate) fn release(&self) {
        // The holder is building them, which is I/O: it is not idle.
        if let Some(mut indexes) = self.indexes.try_lock() {
            *indexes = None;
        }
    }
}
