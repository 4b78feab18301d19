//! Reading by offset: planned under the log's lock, performed without it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use corduroy_types::Offset;

use crate::damage::DamagedRange;
use crate::error::ReadError;
use crate::log::Log;
use crate::read_disk::{DiskRead, ReadSource};
use crate::segment::FileId;
use crate::shared::Shared;
use crate::tail::TailEntry;

/// Where a read ended: given to [`Log::plan_read_at`], the next one finds its place without an index.
///
/// Only a hint: it is checked against the batch that is found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadCursor {
    /// The offset to read from.
    pub offset: Offset,
    pub(crate) hint: Option<Hint>,
}

/// A position in a segment at which the batch with the cursor's offset should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
    /// The file whose batches ended there, where one was read: in that very file the next batch begins there even
    /// if it has a later offset.
    pub(crate) file: Option<FileId>,
}

impl From<Offset> for ReadCursor {
    fn from(offset: Offset) -> Self {
        Self { offset, hint: None }
    }
}

/// Whole batches, one after the other, as stored.
#[derive(Clone, Debug)]
pub struct ReadBatches {
    /// The first one holds the offset asked for, so it may begin below it; where that offset was compacted away,
    /// it is the one after. It may hold no record. Empty when nothing is there yet, or nothing more up to
    /// `next_offset`.
    pub bytes: Bytes,
    /// The offset after the last one. When there are none, the one asked for, or a later one before which nothing
    /// is stored.
    pub next_offset: Offset,
    /// The same place, for [`Log::plan_read_at`].
    pub next: ReadCursor,
}

impl ReadBatches {
    pub(crate) fn none(at: Offset) -> Self {
        Self { bytes: Bytes::new(), next_offset: at, next: at.into() }
    }
}

/// A read that was planned. Holds on to what it needs; may be performed on any thread, or not at all.
#[derive(Debug)]
pub struct ReadPlan {
    shared: Arc<Shared>,
    from: Offset,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Nothing,
    /// Below what is served while the state of the partition is in doubt.
    Doubtful(Box<DamagedRange>),
    Memory(Vec<TailEntry>),
    Disk(DiskRead),
}

impl Log {
    /// Plans to read whole batches, beginning with the one that holds `from`, none of them reaching beyond
    /// `upper` (exclusive: the high watermark for consumers).
    ///
    /// `max_bytes` counts encoded bytes and is soft: the first batch is returned even when larger, so that a
    /// reader always advances (KIP-74). A read may return less than there is, at a segment's end for one; go on
    /// at its `next_offset`. Only at `upper` or the log end does it not advance.
    ///
    /// # Errors
    /// [`ReadError::BelowStart`] and [`ReadError::AboveEnd`]; reading at the log end is no error.
    pub fn plan_read(&self, from: Offset, max_bytes: u32, upper: Offset) -> Result<ReadPlan, ReadError> {
        self.plan_read_at(from.into(), max_bytes, upper)
    }

    /// As [`Log::plan_read`], going on where an earlier read ended.
    ///
    /// # Errors
    /// As [`Log::plan_read`].
    pub fn plan_read_at(&self, at: ReadCursor, max_bytes: u32, upper: Offset) -> Result<ReadPlan, ReadError> {
        let from = at.offset;
        let (log_start, log_end) = (self.cursors.log_start(), self.cursors.log_end());
        if from < log_start {
            return Err(ReadError::BelowStart { from, log_start });
        }
        if from > log_end {
            return Err(ReadError::AboveEnd { from, log_end });
        }
        let upper = upper.min(self.readable_end());
        let source = if from >= upper {
            Source::Nothing
        } else if let Some(doubt) = self.shared.doubt().filter(|doubt| from < doubt.next_good) {
            Source::Doubtful(Box::new(doubt))
        } else if self.tail.start().is_some_and(|start| start <= from) {
            Source::Memory(self.tail_entries(from, max_bytes, upper))
        } else {
            Source::Disk(self.disk_read(at, max_bytes, upper))
        };
        Ok(ReadPlan { shared: Arc::clone(&self.shared), from, source })
    }

    fn tail_entries(&self, from: Offset, max_bytes: u32, upper: Offset) -> Vec<TailEntry> {
        let mut bytes = 0;
        let within = self.tail.from(from).take_while(|entry| {
            bytes += entry.bytes() as u64;
            entry.end.offset <= upper && (bytes <= u64::from(max_bytes) || bytes == entry.bytes() as u64)
        });
        within.cloned().collect()
    }

    fn disk_read(&self, at: ReadCursor, max_bytes: u32, upper: Offset) -> DiskRead {
        let from = at.offset;
        let (file, place, end, bytes) = match self.sealed_at(from) {
            Some(sealed) => {
                (Arc::clone(&sealed.file), ReadSource::Sealed(Arc::clone(sealed)), sealed.end, sealed.bytes)
            }
            None => {
                let place =
                    self.active.scan_start(from).map_or_else(ReadSource::UnscannedPrefix, ReadSource::Active);
                (Arc::clone(&self.active.file), place, self.cursors.written_end(), self.active.bytes)
            }
        };
        let hint = at.hint.filter(|hint| hint.segment_base == file.base);
        let limit = self.readable_bytes(file.base, bytes);
        DiskRead { file, place, hint, limit, end, from, max_bytes, upper }
    }
}

impl ReadPlan {
    /// Whether performing this blocks on the disk. Otherwise it only copies memory, or not even that.
    pub fn needs_disk(&self) -> bool {
        matches!(self.source, Source::Disk(_))
    }

    /// Whether there is nothing to read yet.
    pub fn is_empty(&self) -> bool {
        match &self.source {
            Source::Nothing => true,
            Source::Memory(entries) => entries.is_empty(),
            Source::Doubtful(_) | Source::Disk(_) => false,
        }
    }

    /// Reads. What comes from disk has passed its checksums.
    ///
    /// # Errors
    /// [`ReadError::BelowStart`] when the records were deleted since the plan was made, [`ReadError::Corrupt`],
    /// [`ReadError::Io`].
    pub fn perform(&self) -> Result<ReadBatches, ReadError> {
        match &self.source {
            Source::Nothing => Ok(ReadBatches::none(self.from)),
            Source::Doubtful(doubt) => Err(ReadError::from(&**doubt)),
            Source::Memory(entries) => Ok(concatenate(self.from, entries)),
            Source::Disk(read) => read.perform(&self.shared),
        }
    }
}

fn concatenate(from: Offset, entries: &[TailEntry]) -> ReadBatches {
    let bytes = match entries {
        [one] => one.contiguous(),
        _ => {
            let mut all = BytesMut::with_capacity(entries.iter().map(TailEntry::bytes).sum());
            for entry in entries {
                entry.copy_to(&mut all);
            }
            all.freeze()
        }
    };
    let Some(last) = entries.last() else { return ReadBatches::none(from) };
    let hint = Hint { segment_base: last.end.segment_base, position: last.end.position, file: None };
    let next = ReadCursor { offset: last.end.offset, hint: Some(hint) };
    ReadBatches { bytes, next_offset: last.end.offset, next }
}
