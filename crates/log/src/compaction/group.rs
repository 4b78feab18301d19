//! Copying some neighbouring segments into one.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{Batch, BatchRewriter};

use super::CompactionError;
use super::pass::{CompactionTotals, at, unreadable, walk_error};
use super::rules::{Rules, Verdict};
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::index::ScanStart;
use crate::scan::{Depth, Walk};
use crate::segment::{RELATIVE_MAX, Sealed};
use crate::shared::Shared;
use crate::swap::{SegmentWriter, Swap};

/// What is to become one segment.
pub(super) struct Group {
    segments: Vec<Arc<Sealed>>,
    /// The one that is being copied, counted from 0, and the walk through it.
    at: usize,
    walk: Option<Walk>,
    writer: Option<SegmentWriter>,
    changed: bool,
}

impl Group {
    /// As many segments from the front of `left` as may become one: within the size of a segment and of its
    /// indexes, and with offsets that fit them.
    pub(super) fn first_of(left: &[Arc<Sealed>], config: &LogConfig) -> Self {
        let mut bytes = 0_u64;
        let index_bytes = |bytes: u64| bytes / u64::from(config.index_interval_bytes.max(1)) * 12;
        let base = left.first().map(|sealed| sealed.base()).unwrap_or_default();
        let fits = |sealed: &&Arc<Sealed>| {
            bytes = bytes.saturating_add(sealed.bytes);
            bytes <= config.segment_bytes.min(RELATIVE_MAX)
                && index_bytes(bytes) <= u64::from(config.index_bytes_max)
                && sealed.end.distance_from(base) <= RELATIVE_MAX
        };
        let count = left.iter().take_while(fits).count().max(1);
        let segments: Vec<_> = left.iter().take(count).cloned().collect();
        let changed = segments.len() > 1;
        Self { segments, at: 0, walk: None, writer: None, changed }
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Copies batches until `max_bytes` were read. Returns whether all were.
    pub(super) fn copy(
        &mut self,
        shared: &Arc<Shared>,
        rules: &Rules,
        rewriter: &mut BatchRewriter,
        max_bytes: u64,
        totals: &mut CompactionTotals,
    ) -> Result<bool, CompactionError> {
        let mut read_bytes = 0;
        while let Some(sealed) = self.segments.get(self.at) {
            let last_segment = self.at + 1 == self.segments.len();
            let walk = match &mut self.walk {
                Some(walk) => walk,
                none => none.insert(walk_through(shared, sealed)?),
            };
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(SegmentWriter::create(shared, sealed.base())?),
            };
            let Some(header) = walk.next().map_err(|error| walk_error(error, sealed))? else {
                self.walk = None;
                self.at += 1;
                continue;
            };
            let bytes = Bytes::copy_from_slice(walk.batch_bytes());
            let batch = Batch::parse(bytes).map_err(|reason| unreadable(sealed, walk, &header, reason))?;
            // The end of a segment is where its last batch ends, with records or without.
            let needed = last_segment && walk.position() >= sealed.bytes;
            let verdict = rules.judge(&batch, needed, rewriter);
            let verdict = verdict.map_err(|reason| unreadable(sealed, walk, &header, reason))?;
            self.changed |= !matches!(verdict, Verdict::Same);
            let stays = match verdict {
                Verdict::Same => Some(batch),
                Verdict::Rewritten(batch) => Some(batch),
                Verdict::Gone => None,
            };
            totals.count(&header, stays.as_ref().map(Batch::header));
            if let Some(batch) = stays {
                writer.push(&batch.header().clone(), batch.into_bytes())?;
            }
            read_bytes += u64::from(header.total_bytes());
            if read_bytes >= max_bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The copy, where it differs from what it was made from.
    pub(super) fn finish(&mut self, shared: &Arc<Shared>) -> Result<Option<Swap>, CompactionError> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let Some(end) = self.segments.last().map(|last| last.end).filter(|_| self.changed) else {
            writer.discard(&*shared.disk);
            return Ok(None);
        };
        let new = writer.finish(end)?;
        Ok(Some(Swap::new(shared, self.segments.clone(), new)))
    }

    pub(super) fn discard(&mut self, disk: &dyn Disk) {
        if let Some(writer) = self.writer.take() {
            writer.discard(disk);
        }
    }
}

/// A walk through all of a segment that checks every batch.
fn walk_through(shared: &Arc<Shared>, sealed: &Sealed) -> Result<Walk, CompactionError> {
    let path = sealed.file.path();
    let file = sealed.file.open(&*shared.disk).map_err(at(&path))?;
    let start = ScanStart::of_segment(sealed.base());
    Ok(Walk::new(&file, path, Depth::Checksums, start, sealed.bytes).allowing_gaps(sealed.gaps))
}
