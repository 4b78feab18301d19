//! What a partition's directory holds, and which of it counts.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};

use corduroy_types::Offset;

use crate::catalogue::{Catalogue, CatalogueEntry};
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::recovery::{Files, checksum, look_through};
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::state_file::{self, Found, StateFault, Stored};
use crate::swap::Name;

/// What a partition's directory holds, by names, lengths and the state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Where the log starts; `None` when the state file is missing or damaged.
    pub log_start: Option<Offset>,
    /// Whether there are state files, and none that is to be believed.
    pub state_is_damaged: bool,
    /// What is wrong with one of the two copies of the state.
    pub state_fault: Option<StateFault>,
    /// The segments that count, by base offset.
    pub segments: Vec<SegmentFiles>,
    /// Offsets for which there should be a file, and is none.
    pub missing: Vec<Range<Offset>>,
    /// Snapshots of producers, by offset.
    pub snapshots: Vec<PathBuf>,
    /// What an interrupted replacement has left. Opening the log finishes or removes it.
    pub leftovers: Vec<PathBuf>,
    /// Names that are not the log's.
    pub unknown_files: Vec<String>,
}

/// A segment's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFiles {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last, by the catalogue, or where the next one begins; `None` for the one that is
    /// appended to.
    pub end_offset: Option<Offset>,
    /// The file of batches.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Whether offsets may be missing in it: compacted, sealed after damage, or no one knows.
    pub may_have_gaps: bool,
    /// Whether the offset index is there. The active segment has one only after a clean close.
    pub has_index: bool,
    /// Whether the time index is there.
    pub has_time_index: bool,
    pub(super) entry: Option<CatalogueEntry>,
}

impl SegmentFiles {
    /// Where the offset index is, or would be.
    pub fn index_path(&self) -> PathBuf {
        file_path(self.dir(), self.base_offset, INDEX_SUFFIX)
    }

    /// Where the time index is, or would be.
    pub fn time_index_path(&self) -> PathBuf {
        file_path(self.dir(), self.base_offset, TIME_INDEX_SUFFIX)
    }

    /// Whether it is on record what the file should be.
    pub fn is_catalogued(&self) -> bool {
        self.entry.is_some()
    }

    /// Bytes of the file that are the log's.
    pub(super) fn counted_bytes(&self) -> u64 {
        self.entry.map_or(self.bytes, |entry| entry.bytes.min(self.bytes))
    }

    /// Whether it still has the name under which it is swapped in.
    pub(super) fn is_swapping(&self) -> bool {
        self.path.extension().is_none_or(|suffix| suffix != LOG_SUFFIX)
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// Lists what a partition's directory holds. Where a replacement was interrupted, the segments are those that opening
/// the log would leave there.
///
/// # Errors
/// [`LogError::Io`], also when there is no such directory; [`LogError::NewerFormat`].
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, LogError> {
    disk.list(dir).map_err(LogError::io("list", dir))?;
    let files = look_through(disk, dir)?;
    let found = state_file::read(disk, dir)?;
    let state_is_damaged = found == Found::Damaged;
    let (state, state_fault) = match found {
        Found::Whole(Stored { state, fault, .. }) => (Some(state), fault),
        Found::Missing | Found::Damaged => (None, None),
    };
    let log_start = state.as_ref().map(|state| state.log_start);
    let catalogue = state.map(|state| state.catalogue);
    let (mut leftovers, parts) = lay_out(disk, dir, &files, catalogue.as_ref())?;
    let missing = missing(&parts, log_start);
    let segments = segments(dir, &files, &parts, catalogue.is_none());
    let snapshots = files.snapshots.iter().map(|offset| file_path(dir, *offset, SNAPSHOT_SUFFIX)).collect();
    let Files { temporary, unknown: unknown_files, .. } = files;
    leftovers.extend(temporary.into_iter().map(|name| dir.join(name)));
    leftovers.sort_unstable();
    Ok(Listing {
        log_start,
        state_is_damaged,
        state_fault,
        segments,
        missing,
        snapshots,
        leftovers,
        unknown_files,
    })
}

/// What there is, or should be, from an offset on.
#[derive(Debug, Default)]
struct Part {
    entry: Option<CatalogueEntry>,
    /// The file, with its length.
    file: Option<(PathBuf, u64)>,
}

type Parts = BTreeMap<Offset, Part>;

/// The parts by base offset, and the files that do not count.
fn lay_out(
    disk: &dyn Disk,
    dir: &Path,
    files: &Files,
    catalogue: Option<&Catalogue>,
) -> Result<(Vec<PathBuf>, Parts), LogError> {
    let entries = catalogue.map(Catalogue::entries).unwrap_or_default();
    let part = |entry: &CatalogueEntry| (entry.base, Part { entry: Some(*entry), file: None });
    let mut parts: Parts = entries.iter().map(part).collect();
    let mut leftovers = Vec::new();
    for segment in &files.segments {
        let path = file_path(dir, segment.base, LOG_SUFFIX);
        match catalogue.and_then(|catalogue| catalogue.covering(segment.base)) {
            Some(entry) if entry.base != segment.base => leftovers.push(path),
            _ => parts.entry(segment.base).or_default().file = Some((path, segment.bytes)),
        }
    }
    for (base, name) in &files.leftovers.0 {
        let path = name.path(dir, *base);
        let part = parts.get_mut(base).filter(|_| *name == Name::Swap);
        if let Some((part, entry)) = part.and_then(|part| part.entry.map(|entry| (part, entry)))
            && is_named(disk, &path, &entry)?
        {
            part.file = Some((path.clone(), entry.bytes));
        }
        leftovers.push(path);
    }
    Ok((leftovers, parts))
}

/// Whether a file is the one that an entry describes.
fn is_named(disk: &dyn Disk, path: &Path, entry: &CatalogueEntry) -> Result<bool, LogError> {
    let file = disk.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
    if file.len().map_err(LogError::io("read", path))? != entry.bytes {
        return Ok(false);
    }
    let found = checksum(&*file, 0, 0, entry.bytes).map_err(LogError::io("read", path))?;
    Ok(found == entry.checksum)
}

/// The offsets from the log start on for which there should be a file.
fn missing(parts: &Parts, log_start: Option<Offset>) -> Vec<Range<Offset>> {
    let mut missing = Vec::new();
    let mut end = log_start;
    for (base, part) in parts {
        missing.extend(end.filter(|end| end < base).map(|end| end..*base));
        let part_end = part.entry.map(|entry| entry.end);
        if let Some(part_end) = part_end.filter(|_| part.file.is_none()) {
            missing.push(*base..part_end);
        }
        end = end.max(part_end.or_else(|| next_base(parts, *base)));
    }
    missing
}

/// Where the part behind the one at `base` begins: a segment that is not in the catalogue goes up to there.
fn next_base(parts: &Parts, base: Offset) -> Option<Offset> {
    parts.range((Bound::Excluded(base), Bound::Unbounded)).next().map(|(next, _)| *next)
}

fn segments(dir: &Path, files: &Files, parts: &Parts, catalogue_is_lost: bool) -> Vec<SegmentFiles> {
    let segment = |(base, part): (&Offset, &Part)| {
        let (path, bytes) = part.file.clone()?;
        let swapping = path != file_path(dir, *base, LOG_SUFFIX);
        let has = |suffix| !swapping && files.indexes.contains(&(*base, suffix));
        Some(SegmentFiles {
            base_offset: *base,
            end_offset: part.entry.map(|entry| entry.end).or_else(|| next_base(parts, *base)),
            path,
            bytes,
            may_have_gaps: part.entry.map_or(catalogue_is_lost, |entry| entry.gaps),
            has_index: has(INDEX_SUFFIX),
            has_time_index: has(TIME_INDEX_SUFFIX),
            entry: part.entry,
        })
    };
    parts.iter().filter_map(segment).collect()
}
