//! The data directory's lock: the same file, and directory, that a broker locks while it runs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use corduroy_types::ErrorCode;
use rustix::fs::{FlockOperation, flock};

use crate::error::CliError;

const LOCK_FILE: &str = "LOCK";
/// What makes a directory a data directory, where its lock file was removed.
const IDENTITY_FILE: &str = "directory.toml";
/// From a segment file: partition, topic, data directory.
const LEVELS_UP: usize = 4;

/// Keeps brokers out of a data directory until it is dropped. Several that only read go together.
#[derive(Debug)]
pub(super) struct DirLock {
    _held: Vec<File>,
}

impl DirLock {
    /// Locks the data directory that `path` is, or lies in, to read in it. A copy without a lock file needs none.
    ///
    /// # Errors
    /// `DIRECTORY_IN_USE` while a broker has it, `FILE_FAILED`.
    pub(super) fn take(path: &Path) -> Result<Self, CliError> {
        Self::take_as(path, FlockOperation::NonBlockingLockShared)
    }

    /// The same, to write in it: no one else is in it then.
    ///
    /// # Errors
    /// `DIRECTORY_IN_USE` while a broker or another command has it, `FILE_FAILED`.
    pub(super) fn take_to_write(path: &Path) -> Result<Self, CliError> {
        Self::take_as(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn take_as(path: &Path, operation: FlockOperation) -> Result<Self, CliError> {
        let absolute = path.canonicalize().map_err(|error| CliError::file(path, "open", &error))?;
        let is_data_dir =
            |dir: &&Path| [LOCK_FILE, IDENTITY_FILE].iter().any(|name| dir.join(name).is_file());
        let found = absolute.ancestors().take(LEVELS_UP).find(is_data_dir);
        let Some(dir) = found else { return Ok(Self { _held: Vec::new() }) };
        let lock = dir.join(LOCK_FILE);
        let mut held = Vec::new();
        // A broker has locked the directory too: its lock file may have been removed under it.
        for (path, is_needed) in [(dir, false), (&*lock, true)] {
            let file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(|error| CliError::file(path, "open", &error))?,
            };
            match flock(&file, operation) {
                Ok(()) => held.push(file),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(dir)),
                // Some file systems lock no directories.
                Err(_) if !is_needed => {}
                Err(error) => return Err(CliError::file(path, "lock", &io::Error::from(error))),
            }
        }
        Ok(Self { _held: held })
    }
}

fn in_use(dir: &Path) -> CliError {
    let mut pid = String::new();
    // For the message only.
    let _not_known = File::open(dir.join(LOCK_FILE)).map(|file| file.take(32).read_to_string(&mut pid));
    let by = match pid.trim() {
        "" => String::new(),
        pid => format!(" (process {pid})"),
    };
    CliError::new(
        ErrorCode::DirectoryInUse,
        format!("{} is in use by a broker{by} or another offline command", dir.display()),
    )
    .with_hint("stop it first, or work on a copy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_from_any_place_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("topic").join("0");
        std::fs::create_dir_all(&inner).unwrap();
        assert!(DirLock::take(&inner).is_ok(), "a copy has no lock");
        std::fs::write(dir.path().join(LOCK_FILE), "4711\n").unwrap();
        let (first, second) = (DirLock::take(&inner).unwrap(), DirLock::take(dir.path()).unwrap());
        let error = DirLock::take_to_write(&inner).unwrap_err();
        assert_eq!(error.code, ErrorCode::DirectoryInUse);
        drop((first, second));
        let writing = DirLock::take_to_write(&inner).unwrap();
        assert_eq!(DirLock::take(&inner).unwrap_err().code, ErrorCode::DirectoryInUse);
        drop(writing);
        let broker = File::open(dir.path().join(LOCK_FILE)).unwrap();
        flock(&broker, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = DirLock::take(&inner).unwrap_err();
        assert_eq!(error.code, ErrorCode::DirectoryInUse);
        assert!(error.message.contains("process 4711"), "{}", error.message);
        drop(broker);
        assert_eq!(DirLock::take(&inner.join("none")).unwrap_err().code, ErrorCode::FileFailed);

        // The lock file of a broker that runs was removed; the broker holds the directory.
        std::fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        std::fs::write(dir.path().join(IDENTITY_FILE), "").unwrap();
        let broker = File::open(dir.path()).unwrap();
        flock(&broker, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(DirLock::take(&inner).unwrap_err().code, ErrorCode::DirectoryInUse);
    }
}
