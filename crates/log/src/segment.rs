//! Segments: their names, their file handles, and what is known of a sealed and of the active one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};
use parking_lot::Mutex;

use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode, is_out_of_handles};
use crate::error::ReadError;
use crate::index::{IndexBuilder, Indexes, ScanStart};
use crate::mark::Point;
use crate::recovery::Extent;
use crate::scan::{Damage, DamageReason};
use crate::swap::Name;
use crate::unscanned_prefix::UnscannedPrefix;

/// Suffix of a file of batches.
pub(crate) const LOG_SUFFIX: &str = "log";
/// Suffix of an offset index.
pub(crate) const INDEX_SUFFIX: &str = "index";
/// Suffix of a time index.
pub(crate) const TIME_INDEX_SUFFIX: &str = "timeindex";
/// Suffix of a snapshot of producers.
pub(crate) const SNAPSHOT_SUFFIX: &str = "snapshot";

/// An active segment up to this size is closed without index files: reading it takes less than syncing those, and a
/// node may have thousands.
pub(crate) const UNINDEXED_BYTES: u64 = 64 << 10;

/// The path of a segment's file: its base offset in twenty digits, and the suffix.
pub(crate) fn file_path(dir: &Path, base: Offset, suffix: &str) -> PathBuf {
    dir.join(format!("{:020}.{suffix}", base.get()))
}

/// The base offset and suffix that a file name stands for, if it is a segment's.
pub(crate) fn parse_file_name(name: &str) -> Option<(Offset, &str)> {
    let (digits, suffix) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, SNAPSHOT_SUFFIX].contains(&suffix).then_some(())?;
    Some((Offset::new(digits.parse().ok()?)?, suffix))
}

/// Distinguishes a file from another that later has its name. Only for comparison, and only within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64);

impl FileId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A segment's file of batches. The handle is opened when first needed, so that an idle log holds none.
pub(crate) struct SegmentFile {
    pub(crate) base: Offset,
    pub(crate) id: FileId,
    dir: Arc<Path>,
    slot: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Whether it may still have the name under which it is swapped in.
    swapping: AtomicBool,
    /// What has taken its place.
    replacement: OnceLock<Arc<Sealed>>,
    /// Why a sync failed, once one has. Held during a sync: of two in parallel on one handle only one would
    /// get the error.
    failed: Mutex<Option<String>>,
    /// Whether it holds batches that the journal has made durable, and no sync of this file yet.
    journaled: AtomicBool,
}

impl SegmentFile {
    pub(crate) fn new(dir: Arc<Path>, base: Offset) -> Arc<Self> {
        Arc::new(Self::named(dir, base, false))
    }

    /// One that is about to take the place of others: see `swap`.
    pub(crate) fn swapped_in(dir: Arc<Path>, base: Offset) -> Arc<Self> {
        Arc::new(Self::named(dir, base, true))
    }

    fn named(dir: Arc<Path>, base: Offset, swapping: bool) -> Self {
        Self {
            base,
            id: FileId::next(),
            dir,
            slot: Mutex::new(None),
            swapping: AtomicBool::new(swapping),
            replacement: OnceLock::new(),
            failed: Mutex::new(None),
            journaled: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        file_path(&self.dir, self.base, LOG_SUFFIX)
    }

    /// The open file; opened now if it is not.
    pub(crate) fn open(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        let mut slot = self.slot.lock();
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let swapping = self.is_swapping().then(|| Name::Swap.path(&self.dir, self.base));
        let file = match swapping.map(|path| disk.open(&path, OpenMode::Read)) {
            // It has got its name, if it ever had another.
            None => disk.open(&self.path(), OpenMode::ReadWrite)?,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                disk.open(&self.path(), OpenMode::ReadWrite)?
            }
            Some(opened) => opened?,
        };
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Whether its name is not settled, so that files with that name may be another segment's.
    pub(crate) fn is_swapping(&self) -> bool {
        self.swapping.load(Ordering::Acquire)
    }

    /// It has its name from now on.
    pub(crate) fn take_name(&self) {
        let mut slot = self.slot.lock();
        self.swapping.store(false, Ordering::Release);
        *slot = None;
    }

    /// The segment that has taken this one's place, once one has. Known before the file with this name is another:
    /// a read that finds nothing here afterwards was of the file that was meant.
    pub(crate) fn replacement(&self) -> Option<&Arc<Sealed>> {
        self.replacement.get()
    }

    pub(crate) fn replace(&self, new: &Arc<Sealed>) {
        let _only_once = self.replacement.set(Arc::clone(new));
    }

    /// Makes the file, which must not exist.
    pub(crate) fn create(&self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.open(&self.path(), OpenMode::CreateNew)?;
        *self.slot.lock() = Some(file);
        Ok(())
    }

    /// Makes what was written durable. After a failure it fails for ever: the kernel takes the pages that it could
    /// not write for clean, and would say that all is well. Only having found no file handle is no failure.
    pub(crate) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut failed = self.failed.lock();
        if let Some(reason) = &*failed {
            return Err(io::Error::other(format!("an earlier sync failed: {reason}")));
        }
        let file = self.open(disk)?;
        // Before the sync: what is written during it may not be covered.
        self.journaled.store(false, Ordering::Release);
        file.sync().inspect_err(|error| {
            if is_out_of_handles(error) {
                self.journaled.store(true, Ordering::Release);
            } else {
                *failed = Some(error.to_string());
            }
        })
    }

    /// Makes what only the journal holds durable here.
    pub(crate) fn sync_journaled(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.journaled.load(Ordering::Acquire) || self.failed.lock().is_some() {
            return self.sync(disk);
        }
        Ok(())
    }

    /// Notes that batches were written which become durable by the journal.
    pub(crate) fn note_journaled(&self) {
        self.journaled.store(true, Ordering::Release);
    }

    /// Gives the handle back; it is opened again when needed. One with unsynced batches is kept: it is the one that
    /// learns of a failure to write them.
    pub(crate) fn release(&self) {
        if self.journaled.load(Ordering::Acquire) {
            return;
        }
        // The holder is opening the file, which is I/O: it is not idle.
        if let Some(mut slot) = self.slot.try_lock() {
            *slot = None;
        }
    }
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

/// A segment that will not grow any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) file: Arc<SegmentFile>,
    /// The offset after its last.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// The greatest timestamp of its records, if any has one.
    pub(crate) max_timestamp: Option<TimestampMs>,
    /// CRC-32C over all of its file; `None` where no catalogue has it (written before there was one, or lost).
    pub(crate) checksum: Option<u32>,
    /// Whether offsets may be missing between its base and its end: compacted, or sealed after damage.
    pub(crate) gaps: bool,
    /// Why nothing of it is served: the offsets are known to have been given out, and nothing else.
    pub(crate) lost: Option<Lost>,
    /// Records in it; `None` where they were not counted.
    pub(crate) records: Option<u64>,
    /// CRC-32 over its index files, where it is on record.
    pub(crate) index_checksum: Option<u32>,
    /// Read when first needed; before its files are written, and when they are doubtful, an image in memory.
    pub(crate) indexes: Mutex<Option<Indexes>>,
}

/// Why nothing of a sealed segment is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// There is no file.
    Missing,
    /// The file is another segment's.
    Other,
}

impl Lost {
    /// What a read of the segment that ends at `end` says.
    pub(crate) fn reason(self, end: Offset) -> DamageReason {
        match self {
            Self::Missing => DamageReason::Missing { next: end },
            Self::Other => DamageReason::OtherSegment,
        }
    }
}

impl Sealed {
    pub(crate) fn base(&self) -> Offset {
        self.file.base
    }

    /// What a read of it says when nothing of it is served.
    pub(crate) fn lost_error(&self) -> Option<ReadError> {
        let reason = self.lost?.reason(self.end);
        let damage = Damage { file: self.file.path(), position: 0, offset: self.base(), reason };
        Some(ReadError::Corrupt { damage: Box::new(damage), next_good: Some(self.end) })
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { base: self.base(), end: self.end, bytes: self.bytes, gaps: self.gaps }
    }
}

/// The segment that is appended to. Its indexes live in memory.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Arc<SegmentFile>,
    /// Whether the file exists, or a pending round makes it.
    pub(crate) created: bool,
    pub(crate) bytes: u64,
    /// CRC-32C over all of them.
    pub(crate) checksum: u32,
    pub(crate) index: IndexBuilder,
    /// What `index` does not cover.
    pub(crate) unscanned: Option<Arc<UnscannedPrefix>>,
    first: Option<First>,
}

/// The first batch of a segment, from which its age counts.
#[derive(Clone, Copy, Debug)]
struct First {
    timestamp: TimestampMs,
    /// When it was appended: the age of records without a timestamp.
    appended_at: TimestampMs,
    /// The checksum that it carries.
    crc: Option<u32>,
}

/// Positions and relative offsets are stored in 31 bits.
pub(crate) const RELATIVE_MAX: u64 = i32::MAX.unsigned_abs() as u64;

impl Active {
    /// A segment without records and without a file.
    pub(crate) fn new(dir: &Arc<Path>, base: Offset, config: &LogConfig) -> Self {
        let index = IndexBuilder::new(base, config.index_interval_bytes);
        let file = SegmentFile::new(Arc::clone(dir), base);
        Self { file, created: false, bytes: 0, checksum: 0, index, unscanned: None, first: None }
    }

    pub(crate) fn base(&self) -> Offset {
        self.file.base
    }

    /// The place behind the last batch, which ends at `offset`.
    pub(crate) fn end_point(&self, offset: Offset) -> Point {
        Point {
            offset,
            segment_base: self.base(),
            position: self.bytes,
            checksum: self.checksum,
            max_timestamp: self.index.max_timestamp(),
            first_crc: self.first.and_then(|first| first.crc),
        }
    }

    /// Counts a batch at the end of the segment; its checksum is the caller's to add.
    pub(crate) fn note(&mut self, header: &BatchHeader, now: TimestampMs) {
        // What was stepped over before it was the first.
        self.note_first(header, Some(header.crc).filter(|_| self.bytes == 0), now);
        self.index.note(header, self.bytes);
        self.bytes += u64::from(header.total_bytes());
    }

    /// Notes the first batch that is sound, and the checksum of the segment's first one, if that is known.
    pub(crate) fn note_first(&mut self, header: &BatchHeader, crc: Option<u32>, now: TimestampMs) {
        let timestamp = header.max_timestamp;
        self.first.get_or_insert(First { timestamp, appended_at: now, crc });
    }

    /// Where a scan for the batch that holds `target` may begin, if it is not in the part without an index.
    pub(crate) fn scan_start(&self, target: Offset) -> Result<ScanStart, Arc<UnscannedPrefix>> {
        let start = self.index.scan_start(target);
        match &self.unscanned {
            Some(unscanned) if target < unscanned.offset => Err(Arc::clone(unscanned)),
            Some(unscanned) if start.position < unscanned.position => Ok(unscanned.end()),
            _ => Ok(start),
        }
    }

    /// Whether a batch that ends at `last_offset` has to go to a new segment (Kafka's rules, evaluated on append only).
    pub(crate) fn must_roll(
        &self,
        incoming: &BatchHeader,
        last_offset: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> bool {
        let Some(first) = self.first else { return false };
        let bytes = self.bytes + u64::from(incoming.total_bytes());
        let full = bytes > config.segment_bytes.min(RELATIVE_MAX);
        let out_of_range = last_offset.distance_from(self.base()) > RELATIVE_MAX;
        // Room for one more entry of either kind, and for the time index's final one.
        let index_full = self.index.bytes() as u64 + 24 > u64::from(config.index_bytes_max);
        let (newest, oldest) = match first.timestamp {
            TimestampMs(-1) => (now, first.appended_at),
            timestamp => (incoming.max_timestamp, timestamp),
        };
        let too_old = newest.0.saturating_sub(oldest.0) > i64::try_from(config.roll_ms()).unwrap_or(i64::MAX);
        full || out_of_range || index_full || too_old
    }

    /// How long ago its first batch was appended, or its first record made if that is longer; `None` while it has
    /// none.
    pub(crate) fn age_ms(&self, now: TimestampMs) -> Option<u64> {
        let first = self.first?;
        let since = match first.timestamp {
            TimestampMs(-1) => first.appended_at,
            timestamp => timestamp,
        };
        Some(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0))
    }

    /// The segment as it is now, never to be appended to again. `index_checksum` is that of its index files, if it gets
    /// any.
    pub(crate) fn seal(&self, end: Offset, index_checksum: Option<u32>) -> Sealed {
        Sealed {
            file: Arc::clone(&self.file),
            end,
            bytes: self.bytes,
            max_timestamp: self.index.max_timestamp().map(|(timestamp, _)| timestamp),
            checksum: Some(self.checksum),
            gaps: false,
            lost: None,
            records: Some(end.distance_from(self.base())),
            index_checksum,
            indexes: Mutex::new(Some(self.index.indexes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let name = file_path(Path::new("/d"), Offset::new(42).unwrap(), LOG_SUFFIX);
        assert_eq!(name, Path::new("/d/00000000000000000042.log"));
        assert_eq!(parse_file_name("00000000000000000042.log"), Some((Offset::new(42).unwrap(), "log")));
        for other in [
            "42.log",
            "0000000000000000004x.log",
            "00000000000000000042.log.deleted",
            "99999999999999999999.log",
            "+0000000000000000042.log",
            "partition.state",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
