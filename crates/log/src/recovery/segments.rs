//! Opening segments: the sealed ones by their indexes, the last one by reading it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corduroy_batch::{HEADER_BYTES, crc32c_append};
use corduroy_types::Offset;
use parking_lot::Mutex;

use super::{Cut, Opening, SegmentEntry};
use crate::disk::DiskFile;
use crate::error::LogError;
use crate::index::{IndexBuilder, Indexes, ScanStart};
use crate::mark::DurableMark;
use crate::scan::{Damage, Depth, Walk, WalkError, parse_header};
use crate::segment::{Active, Sealed, SegmentFile};

/// Builds a segment's indexes from its headers, up to the end or to damage. Also returns the bytes read.
pub(crate) fn index_segment(
    interval_bytes: u32,
    path: PathBuf,
    file: &Arc<dyn DiskFile>,
    base: Offset,
    end: Option<Offset>,
    gaps: bool,
    bytes: u64,
) -> io::Result<(IndexBuilder, Option<Damage>, u64)> {
    let mut index = IndexBuilder::new(base, interval_bytes);
    let walk = Walk::new(file, path, Depth::Headers, ScanStart::of_segment(base), bytes);
    let mut walk = walk.allowing_gaps(gaps);
    let damage = loop {
        match walk.next() {
            Ok(Some(header)) => index.note(&header, walk.batch_at()),
            Ok(None) => break end.and_then(|end| walk.missing_before(end)),
            Err(WalkError::Damaged(damage)) => break Some(damage),
            Err(WalkError::Io(error)) => return Err(error),
        }
    };
    Ok((index, damage, walk.read_bytes()))
}

impl Opening<'_> {
    /// Opens a segment that ends where the next begins, at `end`.
    pub(super) fn open_sealed(&mut self, entry: SegmentEntry, end: Offset) -> Result<Arc<Sealed>, LogError> {
        let SegmentEntry { base, bytes } = entry;
        let dir: &Path = &self.shared.dir;
        let mapped = match Indexes::map(self.disk(), dir, base, end, bytes) {
            Ok(indexes) => Some(indexes),
            Err(doubt) => {
                self.report.index_doubts.push(doubt);
                None
            }
        };
        let file = SegmentFile::new(Arc::clone(&self.shared.dir), base);
        let entry = self.catalogue.get(base).filter(|entry| (entry.end, entry.bytes) == (end, bytes));
        let (checksum, gaps) = (entry.map(|entry| entry.checksum), entry.is_some_and(|entry| entry.gaps));
        let indexes = Mutex::new(None);
        let sealed = Sealed { file, end, bytes, max_timestamp: None, checksum, gaps, indexes };
        let trusted = match mapped {
            Some(indexes) if self.report.clean => Some(indexes),
            Some(indexes) if self.ends_as_indexed(&sealed, &indexes)? => Some(indexes),
            _ => None,
        };
        let (max, image) = match trusted {
            Some(indexes) => (indexes.max_timestamp(base), None),
            None => self.index_anew(&sealed)?,
        };
        sealed.file.release();
        let max_timestamp = max.map(|(timestamp, _)| timestamp);
        Ok(Arc::new(Sealed { max_timestamp, indexes: Mutex::new(image), ..sealed }))
    }

    /// Whether batches follow one another from the last index entry to exactly the segment's end.
    fn ends_as_indexed(&mut self, sealed: &Sealed, indexes: &Indexes) -> Result<bool, LogError> {
        let path = sealed.file.path();
        let file = sealed.file.open(self.disk()).map_err(LogError::io("open", &*path))?;
        let start = indexes.last_scan_start(sealed.base());
        let walk = Walk::new(&file, path.clone(), Depth::Headers, start, sealed.bytes);
        let mut walk = walk.allowing_gaps(sealed.gaps);
        let ends = loop {
            match walk.next() {
                Ok(Some(_)) => {}
                Ok(None) => break walk.missing_before(sealed.end).is_none(),
                Err(WalkError::Damaged(_)) => break false,
                Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
            }
        };
        self.report.scanned_bytes += walk.read_bytes();
        Ok(ends)
    }

    /// Indexes built from the segment itself. A damaged segment's greatest timestamp is not known; it has no
    /// age then, so that retention does not delete what might be young.
    #[expect(clippy::type_complexity, reason = "both parts go into one Sealed")]
    fn index_anew(
        &mut self,
        sealed: &Sealed,
    ) -> Result<(Option<(corduroy_types::TimestampMs, Offset)>, Option<Indexes>), LogError> {
        let path = sealed.file.path();
        let file = sealed.file.open(self.disk()).map_err(LogError::io("open", &*path))?;
        let interval = self.config.index_interval_bytes;
        let (base, end) = (sealed.base(), Some(sealed.end));
        let built = index_segment(interval, path.clone(), &file, base, end, sealed.gaps, sealed.bytes);
        let (index, damage, read_bytes) = built.map_err(LogError::io("read", path))?;
        self.report.scanned_bytes += read_bytes;
        let max = index.max_timestamp().filter(|_| damage.is_none());
        self.report.damages.extend(damage);
        Ok((max, Some(index.indexes())))
    }

    /// Opens the last segment for appending; returns it and the log end.
    pub(super) fn open_active(&mut self, entry: SegmentEntry) -> Result<(Active, Offset), LogError> {
        // Without the mark the checksum of what is there is not known, so all of it has to be read anyway.
        let whole = |mark: &&DurableMark| (mark.segment_base, mark.position) == (entry.base, entry.bytes);
        let mark = self.known.mark.filter(|mark| self.report.clean && whole(&mark));
        if let Some(mark) = mark
            && let Some((mut active, end)) = self.resume_active(entry)?
            && end == mark.offset
        {
            active.checksum = mark.checksum;
            return Ok((active, end));
        }
        self.scan_active(entry)
    }

    /// The last segment as its clean close left it; `None` when anything does not fit.
    fn resume_active(&mut self, entry: SegmentEntry) -> Result<Option<(Active, Offset)>, LogError> {
        let SegmentEntry { base, bytes } = entry;
        let mut active = Active::new(&self.shared.dir, base, &self.config);
        active.created = true;
        if bytes == 0 {
            return Ok(Some((active, base)));
        }
        let Ok(indexes) = Indexes::map(self.disk(), &self.shared.dir, base, Offset::MAX, bytes) else {
            return Ok(None);
        };
        let path = active.file.path();
        let file = active.file.open(self.disk()).map_err(LogError::io("open", &*path))?;
        let mut first = Vec::new();
        file.read_at(&mut first, 0, HEADER_BYTES).map_err(LogError::io("read", &*path))?;
        let Ok(first) = parse_header(&first, bytes) else { return Ok(None) };
        active.note_first(&first, self.now);
        active.index = IndexBuilder::resume(base, self.config.index_interval_bytes, &indexes);
        active.bytes = bytes;
        let start = indexes.last_scan_start(base);
        let mut walk = Walk::new(&file, path.clone(), Depth::Headers, start, bytes);
        loop {
            match walk.next() {
                Ok(Some(header)) => active.index.note(&header, walk.batch_at()),
                Ok(None) => break,
                Err(WalkError::Damaged(_)) => return Ok(None),
                Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
            }
        }
        self.report.scanned_bytes += walk.read_bytes();
        active.file.release();
        Ok(Some((active, walk.expected())))
    }

    /// Reads the last segment through, cuts it at the first batch that is not sound, and syncs it: what is in
    /// the page cache after a kill is listed and read, but not durable.
    fn scan_active(&mut self, entry: SegmentEntry) -> Result<(Active, Offset), LogError> {
        let SegmentEntry { base, bytes } = entry;
        let mut active = Active::new(&self.shared.dir, base, &self.config);
        active.created = true;
        let path = active.file.path();
        let file = active.file.open(self.disk()).map_err(LogError::io("open", &*path))?;
        let start = ScanStart::of_segment(base);
        let mut walk = Walk::new(&file, path.clone(), Depth::Checksums, start, bytes);
        let damage = loop {
            match walk.next() {
                Ok(Some(header)) => {
                    active.note(&header, self.now);
                    active.checksum = crc32c_append(active.checksum, walk.batch_bytes());
                }
                Ok(None) => break None,
                Err(WalkError::Damaged(damage)) => break Some(damage),
                Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
            }
        };
        self.report.scanned_bytes += walk.read_bytes();
        if let Some(damage) = damage {
            let position = walk.position();
            file.set_len(position).map_err(LogError::io("cut", &*path))?;
            self.report.cut = Some(Cut { damage, bytes: bytes - position });
        }
        file.sync().map_err(LogError::io("sync", path))?;
        active.file.release();
        Ok((active, walk.expected()))
    }
}
