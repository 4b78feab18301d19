//! Cutting a log: removing its newest records.

use std::path::Path;

use corduroy_types::Offset;

use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::index::ScanStart;
use crate::recovery::look_through;
use crate::retention::remove_if_present;
use crate::scan::{Depth, Walk, WalkError};
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::state_file::{self, StateWriter};

/// Cuts the files of a log so that it ends at `to`, or at the beginning of the batch that holds it: whole
/// segments, newest first, then the rest of the one it is in. The directory is synced after each, so that a crash
/// cannot bring back one behind a hole (rule R7). Doing it again changes nothing.
///
/// Returns where the log ends then.
pub(crate) fn cut_files(disk: &dyn Disk, dir: &Path, to: Offset) -> Result<Offset, LogError> {
    let files = look_through(disk, dir)?;
    // Before the segments, so that none is ever found shorter than the catalogue says.
    let state = match state_file::read(disk, dir)? {
        state_file::Found::Whole(state) => Some(state),
        _ => None,
    };
    let state = StateWriter::new(dir, state);
    state.cut(disk, to).map_err(LogError::io("write", state.path()))?;
    let mut end = to;
    for segment in files.segments.iter().rev() {
        if segment.base >= to {
            segment.remove(disk, dir)?;
            disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
            end = segment.base.min(end);
            continue;
        }
        if state.is_sealed(segment.base) {
            return Ok(end);
        }
        // It becomes the active segment again, whose indexes are not in files.
        for suffix in [TIME_INDEX_SUFFIX, INDEX_SUFFIX] {
            remove_if_present(disk, file_path(dir, segment.base, suffix))?;
        }
        return cut_segment(disk, dir, segment.base, segment.bytes, to);
    }
    Ok(end)
}

fn cut_segment(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    bytes: u64,
    to: Offset,
) -> Result<Offset, LogError> {
    let path = file_path(dir, base, LOG_SUFFIX);
    let file = disk.open(&path, OpenMode::ReadWrite).map_err(LogError::io("open", &*path))?;
    let mut walk = Walk::new(&file, path.clone(), Depth::Headers, ScanStart::of_segment(base), bytes);
    let (position, end) = loop {
        match walk.next() {
            Ok(Some(header)) if header.next_offset() > to => break (walk.batch_at(), header.base_offset),
            Ok(Some(_)) => {}
            // Bytes that are no batch come after everything that may be kept.
            Ok(None) | Err(WalkError::Damaged(_)) => break (walk.position(), walk.expected()),
            Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
        }
    };
    let cut = file.set_len(position).and_then(|()| file.sync());
    cut.map_err(LogError::io("cut", path))?;
    Ok(end)
}
