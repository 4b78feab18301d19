//! What the commit journal holds that the segments may not.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::LogError;
use crate::journal::{JOURNAL_DIR, Replay, ReplayReport};

/// A data directory's journal, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSummary {
    /// Its files, with their lengths.
    pub files: Vec<(PathBuf, u64)>,
    /// What opening the data directory would do with it: [`ReplayReport::data_bytes`] of batches are not known to be
    /// in their segments yet.
    pub replay: ReplayReport,
}

/// Reads the journal of a data directory, and changes nothing; `None` where there is none. It is read into memory.
///
/// # Errors
/// [`LogError::Io`], [`LogError::NewerFormat`].
pub fn journal(disk: &dyn Disk, data_dir: &Path) -> Result<Option<JournalSummary>, LogError> {
    let dir = data_dir.join(JOURNAL_DIR);
    let entries = match disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(LogError::io("list", &*dir))?,
    };
    let files = entries.into_iter().filter(|entry| !entry.is_dir);
    let mut files: Vec<_> = files.map(|entry| (dir.join(&entry.name), entry.bytes)).collect();
    files.sort();
    let replay = Replay::read(disk, data_dir)?.report();
    Ok((!files.is_empty()).then_some(JournalSummary { files, replay }))
}
