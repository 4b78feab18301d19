//! What is in a partition's directory.

use std::io;
use std::path::Path;

use corduroy_types::Offset;

use crate::catalogue::CatalogueEntry;
use crate::disk::Disk;
use crate::error::LogError;
use crate::retention::remove_if_present;
use crate::segment::{
    INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, file_path, parse_file_name,
};
use crate::state_file::{STATE_COPY, STATE_FILE, STATE_TEMPORARIES};
use crate::swap::{Leftovers, Name};

/// Suffix of a file that is written to replace another.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A segment's file of batches, as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) base: Offset,
    pub(crate) bytes: u64,
}

/// The files of a partition.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// By base offset.
    pub(crate) segments: Vec<SegmentEntry>,
    /// Index files by base offset and suffix.
    pub(crate) indexes: Vec<(Offset, &'static str)>,
    /// Snapshots of producers, by offset.
    pub(crate) snapshots: Vec<Offset>,
    pub(crate) unknown: Vec<String>,
    /// Files that were being written to replace others.
    pub(crate) temporary: Vec<String>,
    /// Files of swaps that a crash has interrupted.
    pub(crate) leftovers: Leftovers,
}

/// Lists a partition's directory; one that does not exist is empty.
pub(crate) fn look_through(disk: &dyn Disk, dir: &Path) -> Result<Files, LogError> {
    let entries = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::default()),
        other => other.map_err(LogError::io("list", dir))?,
    };
    let mut files = Files::default();
    for entry in entries {
        match parse_file_name(&entry.name).filter(|_| !entry.is_dir) {
            Some((base, LOG_SUFFIX)) => files.segments.push(SegmentEntry { base, bytes: entry.bytes }),
            Some((base, INDEX_SUFFIX)) => files.indexes.push((base, INDEX_SUFFIX)),
            Some((offset, SNAPSHOT_SUFFIX)) => files.snapshots.push(offset),
            Some((base, _)) => files.indexes.push((base, TIME_INDEX_SUFFIX)),
            None if Name::parse(&entry.name).is_some() && !entry.is_dir => {
                files.leftovers.0.extend(Name::parse(&entry.name));
            }
            None if [STATE_FILE, STATE_COPY].contains(&&*entry.name) => {}
            None if STATE_TEMPORARIES.contains(&&*entry.name) => {}
            None if entry.name.strip_suffix(TEMPORARY_SUFFIX).and_then(parse_file_name).is_some() => {
                files.temporary.push(entry.name);
            }
            None => files.unknown.push(entry.name),
        }
    }
    // Twenty digits sort like numbers, but a disk need not list them sorted.
    files.segments.sort_by_key(|segment| segment.base);
    files.snapshots.sort_unstable();
    Ok(files)
}

impl SegmentEntry {
    /// Removes the segment's files. Durable after a sync of the directory.
    pub(crate) fn remove(self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
            remove_if_present(disk, file_path(dir, self.base, suffix))?;
        }
        Ok(())
    }
}

impl Files {
    /// Takes note that a swap was finished.
    pub(crate) fn swapped(&mut self, entry: &CatalogueEntry, others: &[Offset]) {
        self.gone(others);
        let new = SegmentEntry { base: entry.base, bytes: entry.bytes };
        match self.segments.binary_search_by_key(&entry.base, |segment| segment.base) {
            Ok(at) => self.segments.iter_mut().skip(at).take(1).for_each(|segment| *segment = new),
            Err(at) => self.segments.insert(at, new),
        }
    }

    /// Takes note that segments were removed with their indexes.
    pub(crate) fn gone(&mut self, bases: &[Offset]) {
        self.segments.retain(|segment| !bases.contains(&segment.base));
        self.indexes.retain(|(base, _)| !bases.contains(base));
    }

    /// Removes segments that lie wholly below the log start, which an interrupted deletion has left, so that
    /// they do not count as holes; and indexes without a segment. Returns how many segments went.
    pub(crate) fn remove_below(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        log_start: Offset,
    ) -> Result<usize, LogError> {
        let next_bases = self.segments.iter().skip(1).map(|segment| segment.base);
        let count = next_bases.take_while(|next| *next <= log_start).count();
        for segment in self.segments.drain(..count) {
            segment.remove(disk, dir)?;
        }
        for (base, suffix) in self.indexes.drain(..) {
            if self.segments.binary_search_by_key(&base, |segment| segment.base).is_err() {
                remove_if_present(disk, file_path(dir, base, suffix))?;
            }
        }
        Ok(count)
    }
}
