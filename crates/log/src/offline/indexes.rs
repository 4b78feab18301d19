//! Whether the indexes agree with the segments, and writing them again.

use std::path::Path;

use bytes::Bytes;
use corduroy_types::Offset;

use super::agreement::Agreement;
use super::{SegmentFiles, SegmentReader};
use crate::LogConfig;
use crate::disk::{Disk, write_next_to};
use crate::error::{LogError, ReadError};
use crate::index::{IndexBuilder, IndexDoubt};
use crate::scan::Damage;

/// What is known of a segment's indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Both are there and agree with every batch.
    Agree,
    /// One or both are not there. They are built when needed.
    Missing,
    /// They are wrong.
    Doubtful(Vec<IndexDoubt>),
    /// No one believes them: the segment is the one that is appended to and was not closed cleanly, or it is on its
    /// way into the place of others. Opening the log makes what it needs.
    Unused,
    /// The segment itself cannot be read through, so that nothing can be said.
    Damaged(Damage),
}

/// Compares a segment's indexes with its batches. `clean` says whether the data directory was closed cleanly: only
/// then are those of the last segment believed.
///
/// # Errors
/// [`LogError::Io`].
pub fn check_indexes(
    disk: &dyn Disk,
    dir: &Path,
    segment: &SegmentFiles,
    clean: bool,
) -> Result<IndexState, LogError> {
    if !believed(segment, clean) {
        return Ok(IndexState::Unused);
    }
    if !segment.has_index || !segment.has_time_index {
        return Ok(IndexState::Missing);
    }
    let end = match segment.end_offset {
        Some(end) => end,
        None => match walk(disk, segment, |_| {})? {
            Ok(end) => end,
            Err(damage) => return Ok(IndexState::Damaged(damage)),
        },
    };
    let mut agreement = Agreement::new(disk, dir, segment, end);
    let walked = walk(disk, segment, |stored| agreement.note(stored.batch.header(), stored.position))?;
    let doubts = agreement.finish();
    Ok(match walked {
        Err(damage) => IndexState::Damaged(damage),
        Ok(_) if doubts.is_empty() => IndexState::Agree,
        Ok(_) => IndexState::Doubtful(doubts),
    })
}

/// Writes a segment's indexes again, from its batches; those that were there are replaced, each as a whole. What it
/// returns is [`IndexState::Agree`] when they were written, or why not. With `dry_run` all is done but the writing.
///
/// The caller keeps everybody else away from the directory.
///
/// # Errors
/// [`LogError::Io`]. Each file is the old or the new one then; try again.
pub fn rebuild_indexes(
    disk: &dyn Disk,
    dir: &Path,
    segment: &SegmentFiles,
    clean: bool,
    dry_run: bool,
) -> Result<IndexState, LogError> {
    if !believed(segment, clean) {
        return Ok(IndexState::Unused);
    }
    let mut index = IndexBuilder::new(segment.base_offset, LogConfig::default().index_interval_bytes);
    let walked = walk(disk, segment, |stored| index.note(stored.batch.header(), stored.position))?;
    if let Err(damage) = walked {
        return Ok(IndexState::Damaged(damage));
    }
    if !dry_run {
        let (offsets, times) = index.finish();
        write(disk, dir, segment, offsets, times)?;
    }
    Ok(IndexState::Agree)
}

fn believed(segment: &SegmentFiles, clean: bool) -> bool {
    let closed = segment.end_offset.is_some() || (clean && segment.has_index && segment.has_time_index);
    closed && !segment.is_swapping()
}

/// Goes through a segment's batches; returns where its offsets end, or what is wrong with it.
fn walk(
    disk: &dyn Disk,
    segment: &SegmentFiles,
    mut note: impl FnMut(&super::StoredBatch),
) -> Result<Result<Offset, Damage>, LogError> {
    let mut reader = SegmentReader::open_listed(disk, segment)?;
    for stored in &mut reader {
        match stored {
            Ok(stored) => note(&stored),
            Err(ReadError::Corrupt { damage, .. }) => return Ok(Err(*damage)),
            Err(ReadError::Io { file, source }) => return Err(LogError::io("read", file)(source)),
            Err(ReadError::BelowStart { .. } | ReadError::AboveEnd { .. }) => {}
        }
    }
    Ok(match segment.end_offset.and_then(|end| reader.missing_before(end)) {
        Some(damage) => Err(damage),
        None => Ok(reader.next_offset()),
    })
}

fn write(
    disk: &dyn Disk,
    dir: &Path,
    segment: &SegmentFiles,
    offsets: Bytes,
    times: Bytes,
) -> Result<(), LogError> {
    let mut written = Vec::new();
    for (path, contents) in [(segment.index_path(), offsets), (segment.time_index_path(), times)] {
        let temporary = write_next_to(disk, &path, contents).map_err(LogError::io("write", &*path))?;
        written.push((temporary, path));
    }
    for (temporary, path) in written {
        disk.rename(&temporary, &path).map_err(LogError::io("replace", path))?;
    }
    disk.sync_dir(dir).map_err(LogError::io("sync", dir))
}
