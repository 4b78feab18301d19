//! The two indexes of a segment, in Kafka's formats. They are caches: rebuilt from the log when in doubt.
//!
//! The same bytes serve in memory (active segment) and in a file (sealed one), so there is one way to read.
//! Nothing may depend on them; still, both files are synced once, when their segment is sealed, and a checksum over
//! them is kept (of sealed segments in the catalogue): an index that is wrong but well formed would make a look-up by
//! time pass over records. Files are read whole and searched in memory, never mapped: a page of a mapping that cannot
//! be read, or that lies behind the end of a file that was cut, kills the process; a read that fails is an error.

mod build;
mod kept;
pub(crate) mod offset;
pub(crate) mod time;

use std::path::{Path, PathBuf};

use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};

use crate::disk::{Disk, read_file};
use crate::segment::{INDEX_SUFFIX, TIME_INDEX_SUFFIX, file_path};

use bytes::Bytes;

pub(crate) use build::IndexBuilder;
use kept::Kept;

/// Both indexes of one sealed segment, ready to be searched.
#[derive(Clone)]
pub(crate) struct Indexes {
    pub(crate) offsets: Bytes,
    pub(crate) times: Bytes,
    /// Counts their memory, where they are held for the next look-up.
    _kept: Option<Kept>,
}

/// The fewest bytes of a batch, so that an index has at most one entry for each of them.
const BATCH_BYTES_MIN: u64 = corduroy_batch::HEADER_BYTES as u64;

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (offsets, times) = (self.offsets.len(), self.times.len());
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

/// CRC-32 over the contents of an offset index and a time index.
pub(crate) fn checksum(offsets: &[u8], times: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(offsets);
    hasher.update(times);
    hasher.finalize()
}

/// Why index files are not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct IndexDoubt {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: IndexFault,
}

/// What is wrong with an index file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// It cannot be read, for this reason.
    #[error("{0}")]
    Unreadable(String),
    /// Its length is no whole number of entries.
    #[error("{bytes} bytes are no whole number of {entry_bytes}-byte entries")]
    Length {
        /// Its length.
        bytes: usize,
        /// The length of one entry.
        entry_bytes: usize,
    },
    /// An entry is out of order, or lies outside the segment.
    #[error("entry {entry} after {previous} does not fit a segment of {span} offsets{}", of_bytes(*bytes))]
    Entry {
        /// The entry.
        entry: String,
        /// The entry before it, if any.
        previous: String,
        /// How many offsets the segment has.
        span: u64,
        /// How many bytes the segment has, where entries are positions.
        bytes: Option<u64>,
    },
    /// The checksum of both index files is not the one that was stored when the segment was sealed.
    #[error("the checksum of both indexes is {computed:#010x}, and was {stored:#010x}")]
    Checksum {
        /// Over the files as they are.
        computed: u32,
        /// From the segment's seal.
        stored: u32,
    },
    /// The segment has no batch as this entry says.
    #[error("no batch agrees with entry {0}")]
    NoBatch(String),
    /// The last entry does not hold the segment's greatest timestamp.
    #[error("the greatest timestamp is {max:?}, and the last entry says {indexed:?}")]
    GreatestTimestamp {
        /// Of the segment.
        max: Option<TimestampMs>,
        /// Of the index.
        indexed: Option<TimestampMs>,
    },
}

fn of_bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" and {bytes} bytes"))
}

impl Indexes {
    pub(crate) fn new(offsets: Bytes, times: Bytes) -> Self {
        Self { offsets, times, _kept: None }
    }

    /// Reads the index files of the segment at `base` with `bytes` bytes, whose offsets end at `end`. With a `checksum`,
    /// they are exactly those that it was computed over.
    pub(crate) fn load(
        disk: &dyn Disk,
        dir: &Path,
        base: Offset,
        (end, bytes): (Offset, u64),
        checksum: Option<u32>,
    ) -> Result<Self, IndexDoubt> {
        let entries_max = bytes / BATCH_BYTES_MIN + 1;
        let read = |suffix: &str, entry_bytes: usize| {
            let file = file_path(dir, base, suffix);
            match read_file(disk, &file, entries_max.saturating_mul(entry_bytes as u64)) {
                Ok(contents) => Ok((Bytes::from(contents), file)),
                Err(error) => Err(IndexDoubt { file, reason: IndexFault::Unreadable(error.to_string()) }),
            }
        };
        let (offsets, offsets_file) = read(INDEX_SUFFIX, offset::ENTRY_BYTES)?;
        let (times, times_file) = read(TIME_INDEX_SUFFIX, time::ENTRY_BYTES)?;
        let span = end.distance_from(base);
        offset::check(&offsets, span, bytes)
            .map_err(|reason| IndexDoubt { file: offsets_file.clone(), reason })?;
        time::check(&times, span).map_err(|reason| IndexDoubt { file: times_file, reason })?;
        let indexes = Self::new(offsets, times);
        match checksum.filter(|checksum| *checksum != indexes.checksum()) {
            None => Ok(indexes),
            Some(stored) => {
                let computed = indexes.checksum();
                let reason = IndexFault::Checksum { computed, stored };
                Err(IndexDoubt { file: offsets_file, reason })
            }
        }
    }

    /// CRC-32 over the contents of both files.
    pub(crate) fn checksum(&self) -> u32 {
        checksum(&self.offsets, &self.times)
    }

    /// The same, counted as held in memory; `None` where all that are held take too much already.
    pub(crate) fn keep(&self) -> Option<Self> {
        let kept = Kept::new(self.offsets.len() + self.times.len())?;
        Some(Self { _kept: Some(kept), ..self.clone() })
    }

    /// Where a scan for the batch that holds `target` may begin.
    pub(crate) fn scan_start(&self, base: Offset, target: Offset) -> ScanStart {
        ScanStart::new(base, offset::lookup(&self.offsets, target.distance_from(base)))
    }

    /// Where a walk to the segment's end may begin.
    pub(crate) fn last_scan_start(&self, base: Offset) -> ScanStart {
        ScanStart::new(base, offset::last(&self.offsets))
    }

    /// The greatest timestamp of the segment, and the last offset of the batch that has it.
    pub(crate) fn max_timestamp(&self, base: Offset) -> Option<(TimestampMs, Offset)> {
        time::last(&self.times).map(|entry| (entry.timestamp, entry.offset(base)))
    }

    /// The offset from which a scan finds the first record at or after `target`.
    pub(crate) fn offset_before(&self, base: Offset, target: TimestampMs) -> Offset {
        time::offset_before(&self.times, base, target)
    }
}
