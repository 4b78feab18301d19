//! The two indexes of a segment, in Kafka's formats. They are caches: rebuilt from the log when in doubt.
//!
//! The same bytes serve in memory (active segment) and in a file (sealed one), so there is one way to read.
//! Nothing may depend on them; still, both files are synced once, when their segment is sealed: a time index
//! cut short by a power loss would look sound and make retention believe that a segment is older than it is.

mod build;
pub(crate) mod offset;
pub(crate) mod time;

use std::path::{Path, PathBuf};

use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};

use crate::disk::{Disk, Mapped};
use crate::segment::{INDEX_SUFFIX, TIME_INDEX_SUFFIX, file_path};

pub(crate) use build::IndexBuilder;

/// Both indexes of one sealed segment, ready to be searched.
#[derive(Clone)]
pub(crate) struct Indexes {
    pub(crate) offsets: Mapped,
    pub(crate) times: Mapped,
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (offsets, times) = ((*self.offsets).as_ref().len(), (*self.times).as_ref().len());
        write!(f, "Indexes {{ offsets: {offsets} bytes, times: {times} bytes }}")
    }
}

/// A place in a segment where a batch begins, and what is known of that batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanStart {
    pub(crate) position: u64,
    pub(crate) expect: Expect,
}

/// What is known of the offsets of a batch that is about to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Its first offset.
    Base(Offset),
    /// Its first offset is this or a later one: what can be said behind a gap.
    AtLeast(Offset),
    /// Its last offset: what an index entry holds.
    Last(Offset),
}

impl Expect {
    /// Whether a batch has the offsets that it should have.
    pub(crate) fn holds(self, header: &BatchHeader) -> bool {
        match self {
            Self::Base(base) => header.base_offset == base,
            Self::AtLeast(least) => header.base_offset >= least,
            Self::Last(last) => header.last_offset() == last,
        }
    }

    /// The offset itself, for a message.
    pub(crate) fn offset(self) -> Offset {
        match self {
            Self::Base(offset) | Self::AtLeast(offset) | Self::Last(offset) => offset,
        }
    }

    /// What follows a batch that ends before `next`, in a segment that has gaps or not.
    pub(crate) fn next(next: Offset, gaps: bool) -> Self {
        if gaps { Self::AtLeast(next) } else { Self::Base(next) }
    }

    /// The same, knowing that offsets may be missing before the batch.
    pub(crate) fn allowing_gaps(self, gaps: bool) -> Self {
        match self {
            Self::Base(offset) if gaps => Self::AtLeast(offset),
            other => other,
        }
    }
}

impl ScanStart {
    /// The beginning of the segment at `base`.
    pub(crate) fn of_segment(base: Offset) -> Self {
        Self { position: 0, expect: Expect::Base(base) }
    }

    /// The same place in a segment that has gaps or not.
    pub(crate) fn allowing_gaps(self, gaps: bool) -> Self {
        Self { expect: self.expect.allowing_gaps(gaps), ..self }
    }

    fn new(base: Offset, entry: Option<offset::OffsetEntry>) -> Self {
        entry.map_or(Self::of_segment(base), |entry| Self {
            position: entry.position.into(),
            expect: Expect::Last(base.saturating_add(entry.relative.into())),
        })
    }
}

/// Why index files are not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct IndexDoubt {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Indexes {
    /// Maps the index files of the segment at `base` with `bytes` bytes, whose offsets end at `end`.
    pub(crate) fn map(
        disk: &dyn Disk,
        dir: &Path,
        base: Offset,
        end: Offset,
        bytes: u64,
    ) -> Result<Self, IndexDoubt> {
        let open = |suffix: &str| {
            let file = file_path(dir, base, suffix);
            match disk.map(&file) {
                Ok(map) => Ok((map, file)),
                Err(error) => Err(IndexDoubt { file, reason: error.to_string() }),
            }
        };
        let (offsets, offsets_file) = open(INDEX_SUFFIX)?;
        let (times, times_file) = open(TIME_INDEX_SUFFIX)?;
        let span = end.distance_from(base);
        offset::check((*offsets).as_ref(), span, bytes)
            .map_err(|reason| IndexDoubt { file: offsets_file, reason })?;
        time::check((*times).as_ref(), span).map_err(|reason| IndexDoubt { file: times_file, reason })?;
        Ok(Self { offsets, times })
    }

    /// Where a scan for the batch that holds `target` may begin.
    pub(crate) fn scan_start(&self, base: Offset, target: Offset) -> ScanStart {
        ScanStart::new(base, offset::lookup((*self.offsets).as_ref(), target.distance_from(base)))
    }

    /// Where a walk to the segment's end may begin.
    pub(crate) fn last_scan_start(&self, base: Offset) -> ScanStart {
        ScanStart::new(base, offset::last((*self.offsets).as_ref()))
    }

    /// The greatest timestamp of the segment, and the last offset of the batch that has it.
    pub(crate) fn max_timestamp(&self, base: Offset) -> Option<(TimestampMs, Offset)> {
        time::last((*self.times).as_ref()).map(|entry| (entry.timestamp, entry.offset(base)))
    }

    /// The offset from which a scan finds the first record at or after `target`.
    pub(crate) fn offset_before(&self, base: Offset, target: TimestampMs) -> Offset {
        time::offset_before((*self.times).as_ref(), base, target)
    }
}
