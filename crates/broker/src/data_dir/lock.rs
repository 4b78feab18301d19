//! One process at a time in a data directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::{DataDirError, IDENTITY_FILE, LOCK_FILE, refuse_foreign};

/// The lock of a data directory on a real disk; held until it is dropped, or the process ends in any way.
///
/// An advisory `flock` on the file `LOCK`, which holds the process id for people. The file stays.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock, and creates the directory when it is missing.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] at once when another process has it; [`DataDirError::Foreign`], before anything is
    /// written into it, when the directory has files of somebody else; [`DataDirError::Failed`] when it cannot be
    /// created or written.
    pub fn take(dir: &Path) -> Result<Self, DataDirError> {
        let failed = |action| move |source| DataDirError::Failed { dir: dir.to_owned(), action, source };
        std::fs::create_dir_all(dir).map_err(failed("create it"))?;
        if !dir.join(IDENTITY_FILE).exists() {
            let names = names(dir).map_err(failed("list it"))?;
            refuse_foreign(dir, names.iter().map(String::as_str))?;
        }
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("write in it"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DataDirError::InUse { dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(error) => return Err(failed("lock it")(error.into())),
        }
        // For people and messages only: on a full disk the lock holds without it.
        if file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).is_err() {
            tracing::warn!(dir = %dir.display(), "the process id could not be written to the lock file");
        }
        Ok(Self { _file: file })
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
