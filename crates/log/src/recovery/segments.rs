//! Opening segments: the sealed ones by the catalogue or their indexes, the last one from the mark on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corduroy_batch::HEADER_BYTES;
use corduroy_types::{Offset, TimestampMs};
use parking_lot::Mutex;

use super::{Opening, SegmentEntry, checksum};
use crate::catalogue::CatalogueEntry;
use crate::damage::DamagedRange;
use crate::disk::{DiskFile, OpenMode};
use crate::error::LogError;
use crate::index::{IndexBuilder, Indexes, ScanStart};
use crate::mark::DurableMark;
use crate::scan::{Damage, DamageReason, Depth, Walk, WalkError, check_crc, parse_header};
use crate::segment::{LOG_SUFFIX, Lost, Sealed, SegmentFile, file_path};

/// How far a segment goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) gaps: bool,
}

/// Indexes made from a segment's headers.
#[derive(Debug)]
pub(crate) struct Indexed {
    pub(crate) index: IndexBuilder,
    /// What was stepped over.
    pub(crate) damages: Vec<DamagedRange>,
    pub(crate) read_bytes: u64,
}

/// Builds a segment's indexes from its headers, stepping over damage.
pub(crate) fn index_segment(
    interval_bytes: u32,
    path: PathBuf,
    file: &Arc<dyn DiskFile>,
    extent: Extent,
) -> io::Result<Indexed> {
    let by_headers = index_at(interval_bytes, path.clone(), file, extent, Depth::Headers)?;
    if by_headers.damages.is_empty() {
        return Ok(by_headers);
    }
    // A header that cannot be believed may have blamed its neighbour.
    index_at(interval_bytes, path, file, extent, Depth::Checksums)
}

fn index_at(
    interval_bytes: u32,
    path: PathBuf,
    file: &Arc<dyn DiskFile>,
    extent: Extent,
    depth: Depth,
) -> io::Result<Indexed> {
    let Extent { base, end, bytes, gaps } = extent;
    let mut index = IndexBuilder::new(base, interval_bytes);
    let walk = Walk::new(file, path, depth, ScanStart::of_segment(base), bytes);
    let mut walk = walk.allowing_gaps(gaps);
    let mut damages = Vec::new();
    loop {
        match walk.next() {
            Ok(Some(header)) => index.note(&header, walk.batch_at()),
            Ok(None) => break,
            Err(WalkError::Damaged(damage)) => damages.push(walk.pass(base, damage, end)?),
            Err(WalkError::Io(error)) => return Err(error),
        }
    }
    let missing = walk.missing_before(end);
    damages.extend(missing.map(|damage| DamagedRange { damage, segment_base: base, next_good: end }));
    Ok(Indexed { index, damages, read_bytes: walk.read_bytes() })
}

/// What a segment is that was synced up to a mark.
fn of_mark(mark: DurableMark) -> CatalogueEntry {
    CatalogueEntry {
        base: mark.segment_base,
        end: mark.offset,
        bytes: mark.position,
        checksum: mark.checksum,
        max_timestamp: mark.max_timestamp.map(|(timestamp, _)| timestamp),
        gaps: false,
        records: None,
        first_crc: mark.first_crc,
        index_checksum: None,
        suspect: false,
    }
}

/// Whether the first batch of a segment's file is sound, and not the one that carries this checksum. What cannot be
/// parsed, or fails its own check, is damaged, and does not say whose it was.
pub(super) fn begins_otherwise(file: &dyn DiskFile, first_crc: u32, present: u64) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.read_at(&mut bytes, 0, HEADER_BYTES)?;
    let Ok(header) = parse_header(&bytes, present) else { return Ok(false) };
    if header.crc == first_crc {
        return Ok(false);
    }
    let total = header.total_bytes() as usize;
    file.read_at(&mut bytes, HEADER_BYTES as u64, total.saturating_sub(HEADER_BYTES))?;
    Ok(check_crc(&header, &bytes).is_ok())
}

/// A segment of which nothing is known but how far it goes.
fn unknown(file: Arc<SegmentFile>, end: Offset, bytes: u64) -> Sealed {
    Sealed {
        file,
        end,
        bytes,
        max_timestamp: None,
        checksum: None,
        gaps: false,
        lost: None,
        records: None,
        index_checksum: None,
        indexes: Mutex::new(None),
    }
}

/// A segment as the catalogue has it, of which `bytes` are there.
fn catalogued(file: Arc<SegmentFile>, entry: &CatalogueEntry, bytes: u64, lost: Option<Lost>) -> Sealed {
    Sealed {
        max_timestamp: entry.max_timestamp,
        checksum: Some(entry.checksum),
        gaps: entry.gaps,
        lost,
        records: entry.record_count(),
        index_checksum: entry.index_checksum,
        ..unknown(file, entry.end, bytes)
    }
}

impl Opening<'_> {
    fn segment_file(&self, base: Offset) -> Arc<SegmentFile> {
        SegmentFile::new(Arc::clone(&self.shared.dir), base)
    }

    /// Opens a segment that the catalogue knows: without reading it, if its length is right.
    pub(super) fn open_catalogued(
        &mut self,
        entry: CatalogueEntry,
        bytes: Option<u64>,
    ) -> Result<Arc<Sealed>, LogError> {
        let CatalogueEntry { base, end, .. } = entry;
        let present = bytes.unwrap_or(0).min(entry.bytes);
        let lost = match bytes {
            None => Some(Lost::Missing),
            Some(_) => self.is_other(&entry, present)?.then_some(Lost::Other),
        };
        let sealed = catalogued(self.segment_file(base), &entry, present, lost);
        if let Some(lost) = lost {
            self.report_lost(base, end, lost);
        } else if present < entry.bytes {
            // Offsets may be missing in it, but not bytes.
            self.index_again(&sealed, false)?;
            let known = self.report.damages.iter().any(|range| range.segment_base == base);
            if !known {
                let reason = DamageReason::Shortened { stored_bytes: entry.bytes };
                let damage = Damage { file: sealed.file.path(), position: present, offset: end, reason };
                self.report.damages.push(DamagedRange { damage, segment_base: base, next_good: end });
            }
        }
        Ok(Arc::new(sealed))
    }

    /// Opens what was the last segment when it was synced up to the mark, and now ends before it. What is missing
    /// was acknowledged: the segment is sealed as it was, so that its offsets are not given away again.
    pub(super) fn open_short(
        &mut self,
        mark: DurableMark,
        bytes: Option<u64>,
    ) -> Result<Arc<Sealed>, LogError> {
        let entry = of_mark(mark);
        self.entered.push(entry);
        self.open_catalogued(entry, bytes)
    }

    /// Opens what was the last segment, and now is another one's file. It is sealed as what it was, and not touched: the
    /// right file may be put back.
    pub(super) fn open_other(&mut self, mark: DurableMark) -> Arc<Sealed> {
        let entry = CatalogueEntry { suspect: true, ..of_mark(mark) };
        self.entered.push(entry);
        self.report_lost(entry.base, entry.end, Lost::Other);
        Arc::new(catalogued(self.segment_file(entry.base), &entry, entry.bytes, Some(Lost::Other)))
    }

    /// Whether the file of a sealed segment is another one's: its first batch is sound, and not the one that was written
    /// there. Where another file was found before, all of it is compared.
    fn is_other(&self, entry: &CatalogueEntry, present: u64) -> Result<bool, LogError> {
        if entry.first_crc.is_none() && !entry.suspect {
            return Ok(false);
        }
        let path = file_path(&self.shared.dir, entry.base, LOG_SUFFIX);
        let read = |error| LogError::io("read", &*path)(error);
        let file = self.disk().open(&path, OpenMode::Read).map_err(LogError::io("open", &*path))?;
        if entry.suspect {
            let found = checksum(&*file, 0, 0, present).map_err(read)?;
            return Ok(present != entry.bytes || found != entry.checksum);
        }
        let Some(first_crc) = entry.first_crc else { return Ok(false) };
        begins_otherwise(&*file, first_crc, present).map_err(read)
    }

    /// A range of offsets for which there is no file.
    pub(super) fn open_hole(&mut self, base: Offset, end: Offset) -> Arc<Sealed> {
        self.report_lost(base, end, Lost::Missing);
        Arc::new(Sealed { lost: Some(Lost::Missing), ..unknown(self.segment_file(base), end, 0) })
    }

    fn report_lost(&mut self, base: Offset, end: Offset, lost: Lost) {
        let file = file_path(&self.shared.dir, base, LOG_SUFFIX);
        let damage = Damage { file, position: 0, offset: base, reason: lost.reason(end) };
        self.report.damages.push(DamagedRange { damage, segment_base: base, next_good: end });
    }

    /// Opens a segment that ends where the next begins, at `end`, and of which the catalogue knows nothing.
    pub(super) fn open_uncatalogued(
        &mut self,
        segment: SegmentEntry,
        end: Offset,
    ) -> Result<Arc<Sealed>, LogError> {
        let SegmentEntry { base, bytes } = segment;
        let dir: &Path = &self.shared.dir;
        let loaded = match Indexes::load(self.disk(), dir, base, (end, bytes), None) {
            Ok(indexes) => Some(indexes),
            Err(doubt) => {
                self.report.index_doubts.push(doubt);
                None
            }
        };
        // Where the catalogue was lost, it cannot say any more that there are gaps.
        let gaps = self.report.state_lost || base < self.shared.doubtful_end();
        let sealed = Sealed { gaps, ..unknown(self.segment_file(base), end, bytes) };
        let trusted = match loaded {
            Some(indexes) if self.report.clean => Some(indexes),
            Some(indexes) if self.ends_as_indexed(&sealed, &indexes)? => Some(indexes),
            _ => None,
        };
        let (max, image) = match trusted {
            Some(indexes) => (indexes.max_timestamp(base), None),
            None => self.index_again(&sealed, true)?,
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
    fn index_again(
        &mut self,
        sealed: &Sealed,
        keep: bool,
    ) -> Result<(Option<(TimestampMs, Offset)>, Option<Indexes>), LogError> {
        let path = sealed.file.path();
        let file = sealed.file.open(self.disk()).map_err(LogError::io("open", &*path))?;
        let built = index_segment(self.config.index_interval_bytes, path.clone(), &file, sealed.extent());
        let Indexed { index, damages, read_bytes } = built.map_err(LogError::io("read", path))?;
        self.report.scanned_bytes += read_bytes;
        let max = index.max_timestamp().filter(|_| damages.is_empty());
        self.report.damages.extend(damages);
        sealed.file.release();
        Ok((max, keep.then(|| index.indexes())))
    }
}
