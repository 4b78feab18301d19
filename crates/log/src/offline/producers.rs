//! Reading a snapshot of producers.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, read_file};
use crate::error::LogError;
use crate::producers::{SNAPSHOT_BYTES_MAX, Snapshot, SnapshotFault};

/// Why a snapshot was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSnapshotError {
    /// The disk failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file is no snapshot that can be used. The log is read instead of it.
    #[error("{}: {fault}", file.display())]
    Fault {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        fault: SnapshotFault,
    },
}

/// Reads the snapshot of producers at `path`, with all whom it remembers.
///
/// # Errors
/// [`ReadSnapshotError`].
pub fn read_snapshot(disk: &dyn Disk, path: &Path) -> Result<Snapshot, ReadSnapshotError> {
    let fault = |fault| ReadSnapshotError::Fault { file: path.to_owned(), fault };
    let bytes = read_file(disk, path, SNAPSHOT_BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => fault(SnapshotFault::Damaged),
        _ => LogError::io("read", path)(error).into(),
    })?;
    Snapshot::decode(&bytes, u64::MAX).map_err(fault)
}
