//! The one door to storage: the [`Disk`] trait, the real one and a simulated one.
//!
//! Everything the log knows about files goes through here, so that a simulator can put anything between two
//! calls. A [`Disk`] promises what POSIX promises and no more: bytes are durable after [`DiskFile::sync`],
//! a name is durable after [`Disk::sync_dir`] of the directory that holds it.

mod handles;
mod real;
mod sim;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use handles::HandleCache;
pub(crate) use handles::is_lost_write;
pub use real::RealDisk;
pub use sim::{
    Astray, Kept, PowerLoss, SECTOR_BYTES, SimCall, SimDisk, SimEvent, SimFailure, SimGate, SimRecord,
    SimWatch,
};

/// How a file is opened. None of them follows a promise about durability: see [`Disk::sync_dir`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet.
    CreateNew,
    /// A file that is made when missing and emptied when present.
    Truncate,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its directory. A name that is not UTF-8 is listed with replacement characters, so
    /// that it can be reported; it can never be one of the log's own.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes of a file, 0 of a directory.
    pub bytes: u64,
}

/// Room in the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still use.
    pub free_bytes: u64,
    /// Size of the file system in bytes.
    pub total_bytes: u64,
}

/// Storage, as the log sees it. All calls may block; none is made while a log's lock is held, except at open.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` and `AlreadyExists` as the mode says; anything else is the disk's own failure.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, replacing what had it. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system's `rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name; who holds it open may keep it, or lose it. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, or `DirectoryNotEmpty`.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and all missing ones above it; an existing one is no error.
    ///
    /// # Errors
    /// As the operating system's `mkdir`.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Makes the names in a directory durable: those added, replaced and removed.
    ///
    /// # Errors
    /// After a failure none of the names changed since the last success can be relied on.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room in the file system that holds `path`.
    ///
    /// # Errors
    /// As the operating system's `statvfs`.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Appends up to `max_bytes` of the file, from `position` on, to `buffer`; returns how many.
    ///
    /// Fewer than asked for only at the end of the file. The buffer grows only by what it was asked for, so
    /// the caller checks `max_bytes` against the file before it asks.
    ///
    /// # Errors
    /// What the disk reports; `buffer` may then hold a part.
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize>;
    /// Writes all `parts`, one after the other, from `position` on.
    ///
    /// # Errors
    /// Any part may have been written then.
    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()>;
    /// Makes what was written, and the length, durable.
    ///
    /// # Errors
    /// Nothing written since the last success may be believed; a second call proves nothing, because the
    /// kernel marks the pages it failed to write as clean.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends (with zeros) the file. Durable after [`DiskFile::sync`].
    ///
    /// # Errors
    /// What the disk reports.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Length in bytes.
    ///
    /// # Errors
    /// What the disk reports.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// An error of the operating system, and the path it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct AtPath {
    path: PathBuf,
    source: io::Error,
}

/// The same error, naming the path it is about.
fn at(path: &Path, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), AtPath { path: path.to_owned(), source })
}

/// Whether a file was not opened because this process, or the system, has no handle left (`EMFILE`, `ENFILE`).
///
/// Only opening a file can fail with it, before it has any effect: the same call may be made again later.
pub fn is_out_of_handles(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<AtPath>());
    let number = inner.map_or(error, |inner| &inner.source).raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&number)
}

/// Whether an error says that there is no room.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a whole file of at most `max_bytes`.
///
/// # Errors
/// `InvalidData` when the file is larger; else what the disk reports.
pub fn read_file(disk: &dyn Disk, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let bytes = file.len()?;
    let wanted = usize::try_from(bytes).ok().filter(|_| bytes <= max_bytes).ok_or_else(|| {
        let text = format!("{} has {bytes} bytes, more than the {max_bytes} it may have", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let mut buffer = Vec::with_capacity(wanted);
    file.read_at(&mut buffer, 0, wanted)?;
    Ok(buffer)
}

/// Replaces a small file so that after a crash it is either the old or the new one, never a mixture.
///
/// Written next to it as `<name>.tmp`, synced, renamed, and the directory synced.
///
/// # Errors
/// What the disk reports; the old file is then still there, or the new one is, not yet durable.
pub fn replace_file(disk: &dyn Disk, path: &Path, contents: Bytes) -> io::Result<()> {
    let temporary = write_next_to(disk, path, contents)?;
    put_in_place(disk, &temporary, path)
}

/// The first part of [`replace_file`]: after a failure the old file is certainly the one that counts.
pub(crate) fn write_next_to(disk: &dyn Disk, path: &Path, contents: Bytes) -> io::Result<PathBuf> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    // Never written into what is there: after a crash it may be the very file that has the other name already.
    let file = match disk.open(&temporary, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove_file(&temporary)?;
            disk.open(&temporary, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    file.write_at(&[contents], 0)?;
    file.sync()?;
    Ok(temporary)
}

/// The second part: after a failure either file may be there.
pub(crate) fn put_in_place(disk: &dyn Disk, temporary: &Path, path: &Path) -> io::Result<()> {
    disk.rename(temporary, path)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

/// Makes `dir`, its parent and its grandparent durable: the names of a new `<topic id>/<partition>`.
pub(crate) fn create_partition_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.create_dir_all(dir)?;
    for above in dir.ancestors().skip(1).take(2).filter(|path| !path.as_os_str().is_empty()) {
        disk.sync_dir(above)?;
    }
    Ok(())
}
