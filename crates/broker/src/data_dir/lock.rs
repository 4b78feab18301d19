//! One process at a time in a data directory, and whether it is still the directory that was locked.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use corduroy_log::Disk;
use rustix::fs::{FlockOperation, flock};

use super::{DataDirError, DirLost, Fence, IDENTITY_FILE, LOCK_FILE, refuse_foreign};

/// The lock of a data directory on a real disk; held until it is dropped, or the process ends in any way.
///
/// An advisory `flock` on the file `LOCK`, which holds the process id for people, and on the directory itself, which
/// keeps other brokers out after the file was removed. The file stays.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    /// Open for as long as the lock is held, so that the system gives their inodes to no other file.
    directory: (File, FileId),
    file: (File, FileId),
    fence: Fence,
}

/// What distinguishes a file from every other one while it is open somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of(&metadata))
    }
}

impl DirLock {
    /// Takes the lock, and creates the directory when it is missing.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] at once when another process has it; [`DataDirError::Foreign`], before anything is
    /// written into it, when the directory has files of someone else; [`DataDirError::Failed`] when it cannot be
    /// created or written.
    pub fn take(dir: &Path) -> Result<Self, DataDirError> {
        let failed = |action| move |source| DataDirError::Failed { dir: dir.to_owned(), action, source };
        std::fs::create_dir_all(dir).map_err(failed("create it"))?;
        if !dir.join(IDENTITY_FILE).exists() {
            let names = names(dir).map_err(failed("list it"))?;
            refuse_foreign(dir, names.iter().map(String::as_str))?;
        }
        let directory = File::open(dir).map_err(failed("open it"))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(dir)),
            // Some file systems lock no directories; the file is locked.
            Err(error) => tracing::debug!(dir = %dir.display(), %error, "the directory itself is not locked"),
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK_FILE))
            .map_err(failed("write in it"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(dir)),
            Err(error) => return Err(failed("lock it")(error.into())),
        }
        // For people and messages only: on a full disk the lock holds without it.
        if file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).is_err() {
            tracing::warn!(dir = %dir.display(), "the process id could not be written to the lock file");
        }
        let identify = |file: File| {
            let metadata = file.metadata().map_err(failed("look at it"))?;
            Ok((file, FileId::of(&metadata)))
        };
        Ok(Self {
            dir: dir.to_owned(),
            directory: identify(directory)?,
            file: identify(file)?,
            fence: Fence::default(),
        })
    }

    /// `disk` for who uses the directory under this lock. While the directory is lost, nothing on it is written and no
    /// path is followed; what is open can be read. Goes below a [`corduroy_log::disk::HandleCache`], which follows paths.
    pub fn guard(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        self.fence.before(disk)
    }

    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The directory, as it was named.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks whether the directory and its lock file are still those that were locked. Blocks on the file system.
    ///
    /// # Errors
    /// [`DirLost`]: what is written may be lost, and another process may use what is there. A later call may
    /// succeed, when the same directory is back; no other process has had its lock meanwhile.
    pub fn check(&self) -> Result<(), DirLost> {
        let lock_file = self.dir.join(LOCK_FILE);
        for (path, known) in [(&self.dir, self.directory.1), (&lock_file, self.file.1)] {
            match FileId::at(path) {
                Ok(found) if found == known => {}
                Ok(_) => return Err(DirLost::Replaced { path: path.clone() }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(DirLost::Removed { path: path.clone() });
                }
                Err(source) => return Err(DirLost::Unreachable { path: path.clone(), source }),
            }
        }
        Ok(())
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

fn in_use(dir: &Path) -> DataDirError {
    let read_pid = || {
        let mut text = String::new();
        File::open(dir.join(LOCK_FILE)).ok()?.take(32).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    };
    DataDirError::InUse { dir: dir.to_owned(), pid: read_pid() }
}
