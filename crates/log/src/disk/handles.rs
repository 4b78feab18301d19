//! A bound on open files: [`HandleCache`] gives back the handles that were not used for longest.
//!
//! A file that is opened through it stays usable whether its handle is open or not: the handle comes back when it
//! is needed. So a log may keep its files "open" without counting them.
//!
//! What a handle knows must not get lost with it. The kernel reports a failed write-back to the handles that were open
//! then, so a handle with writes that no sync has confirmed is never just closed: it is synced first, and where that
//! fails the file remembers it and refuses every later write and sync with [`is_lost_write`].

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Disk, DiskFile, Entry, OpenMode, Space, is_out_of_handles};

/// A disk with at most so many files open at one time, apart from those in use at the moment.
///
/// When the system itself has no handle left, idle ones are given back and the call is made once more. A file that is
/// renamed or removed while it is open may be lost to who has it open.
#[derive(Clone, Debug)]
pub struct HandleCache {
    disk: Arc<dyn Disk>,
    pool: Arc<Pool>,
}

impl HandleCache {
    /// A view of `disk` that keeps at most `capacity` files open; at least one.
    pub fn new(disk: Arc<dyn Disk>, capacity: usize) -> Self {
        Self { disk, pool: Arc::new(Pool { capacity: capacity.max(1), ..Pool::default() }) }
    }

    /// Files open now.
    pub fn open_files(&self) -> usize {
        self.pool.open.load(Relaxed)
    }

    fn with_room<T>(&self, call: impl Fn(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        self.pool.with_room(|| call(&*self.disk))
    }
}

/// Files that were dropped are taken off the list when it has as many entries as twice the open files, and this many more.
const LISTED_MIN: usize = 64;

/// The files that have a handle.
#[derive(Debug, Default)]
struct Pool {
    capacity: usize,
    open: AtomicUsize,
    /// Grows with each use of a file, so that the one used longest ago is known.
    uses: AtomicU64,
    files: Mutex<Vec<Weak<CachedFile>>>,
    /// One gives back at a time: a second one would find the list empty.
    releasing: Mutex<()>,
    /// Syncs that have failed, by path: how many, and why the last. One file may be open more than once, and whether the
    /// kernel reports to each of its handles is not relied on.
    failures: Mutex<HashMap<PathBuf, (u64, String)>>,
    any_failure: AtomicBool,
}

impl Pool {
    /// Makes a call that may need a handle; once more when there was none and one could be given back.
    fn with_room<T>(&self, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match call() {
            Err(error) if is_out_of_handles(&error) && self.release(None) > 0 => call(),
            other => other,
        }
    }

    /// Counts a handle that was opened, and gives back others for it.
    fn opened(&self, file: &Arc<CachedFile>) {
        let mut files = self.files.lock();
        // Files that were dropped are still listed. Without this the list grows for ever while few files are open.
        if files.len() >= 2 * self.open.load(Relaxed) + LISTED_MIN {
            files.retain(|file| file.strong_count() > 0);
        }
        files.push(Arc::downgrade(file));
        drop(files);
        if self.open.fetch_add(1, Relaxed) >= self.capacity {
            self.release(Some(file));
        }
    }

    fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    fn sync_failed(&self, path: &Path, reason: &str) {
        let mut failures = self.failures.lock();
        let (count, last) = failures.entry(path.to_path_buf()).or_default();
        (*count, *last) = (*count + 1, reason.to_owned());
        self.any_failure.store(true, Release);
    }

    /// How many syncs of a file have failed, and why the last.
    fn failures_of(&self, path: &Path) -> Option<(u64, String)> {
        self.any_failure.load(Acquire).then(|| self.failures.lock().get(path).cloned()).flatten()
    }

    /// Gives back an eighth of the handles, those used longest ago first, but not `newest`; returns how many. Unsynced
    /// ones only when no other is left.
    fn release(&self, newest: Option<&Arc<CachedFile>>) -> usize {
        let _one_at_a_time = self.releasing.lock();
        let mut files: Vec<Arc<CachedFile>> =
            self.files.lock().drain(..).filter_map(|file| file.upgrade()).collect();
        files.sort_by_cached_key(|file| file.used.load(Relaxed));
        let wanted = self.capacity.div_ceil(8);
        let mut released = 0;
        for may_sync in [false, true] {
            if released == 0 {
                files.retain(|file| {
                    let is_newest = newest.is_some_and(|newest| Arc::ptr_eq(newest, file));
                    let gone = released < wanted && !is_newest && file.give_back(may_sync);
                    released += usize::from(gone);
                    !gone
                });
            }
        }
        self.files.lock().extend(files.iter().map(Arc::downgrade));
        released
    }
}

/// A file whose handle comes and goes.
struct CachedFile {
    disk: Arc<dyn Disk>,
    pool: Arc<Pool>,
    path: PathBuf,
    /// How it is opened again.
    mode: OpenMode,
    used: AtomicU64,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    handle: Option<Arc<dyn DiskFile>>,
    /// Counts each write twice, as it begins and as it ends, so that a sync at the same time does not confirm it.
    writes: u64,
    /// As much of `writes` as a sync has confirmed.
    synced: u64,
    /// Why writes were lost, once a sync has failed.
    lost: Option<String>,
    /// Failed syncs of the file that this handle had no part in, or has reported.
    failures_seen: u64,
}

impl Slot {
    /// A sync of the same file by another handle has failed: what was written by this one and not confirmed is lost too.
    fn hear_of(&mut self, failures: Option<(u64, String)>) {
        let Some((count, reason)) = failures.filter(|(count, _)| *count > self.failures_seen) else { return };
        self.failures_seen = count;
        if self.writes != self.synced {
            self.lost.get_or_insert(reason);
        }
    }
}

/// What a handle is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
    Sync,
}

/// Writes of a file that no sync can confirm any more.
#[derive(Debug, thiserror::Error)]
#[error("{}: what was written is lost since a sync failed: {reason}", path.display())]
struct LostWrites {
    path: PathBuf,
    reason: String,
}

/// Whether a call was refused because an earlier sync of the file had failed, so that nothing written to it since the
/// last successful one may be believed.
pub(crate) fn is_lost_write(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<LostWrites>())
}

impl CachedFile {
    /// The handle, opened again if it was given back, and how many writes have begun or ended.
    ///
    /// A write counts itself here, before it begins. No one gives the handle back while the caller has it.
    fn begin(self: &Arc<Self>, purpose: Purpose) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        self.used.store(self.pool.uses.fetch_add(1, Relaxed), Relaxed);
        let mut slot = self.slot.lock();
        slot.hear_of(self.pool.failures_of(&self.path));
        if let Some(reason) = slot.lost.as_ref().filter(|_| purpose != Purpose::Read) {
            let lost = LostWrites { path: self.path.clone(), reason: reason.clone() };
            return Err(io::Error::other(lost));
        }
        let reopened = slot.handle.is_none();
        let handle = match &slot.handle {
            Some(handle) => Arc::clone(handle),
            None => self.pool.with_room(|| self.disk.open(&self.path, self.mode))?,
        };
        if reopened {
            slot.handle = Some(Arc::clone(&handle));
        }
        slot.writes += u64::from(purpose == Purpose::Write);
        let writes = slot.writes;
        drop(slot);
        if reopened {
            self.pool.opened(self);
        }
        Ok((handle, writes))
    }

    /// Closes the handle, unless someone uses it. One with unsynced writes is synced first, if that is allowed.
    fn give_back(&self, may_sync: bool) -> bool {
        let Some(mut slot) = self.slot.try_lock() else { return false };
        // Clones are made under this lock only: no one else has the one that is counted alone.
        let Some(handle) = slot.handle.take_if(|handle| Arc::strong_count(handle) == 1) else { return false };
        if slot.writes != slot.synced {
            if !may_sync {
                slot.handle = Some(handle);
                return false;
            }
            slot.hear_of(self.pool.failures_of(&self.path));
            match handle.sync() {
                Ok(()) => slot.synced = slot.writes,
                Err(error) => {
                    self.pool.sync_failed(&self.path, &error.to_string());
                    slot.lost = Some(error.to_string());
                }
            }
        }
        self.pool.closed();
        true
    }

    /// Makes a call that changes the file.
    fn change(self: &Arc<Self>, call: impl FnOnce(&dyn DiskFile) -> io::Result<()>) -> io::Result<()> {
        let (handle, _) = self.begin(Purpose::Write)?;
        let result = call(&*handle);
        self.slot.lock().writes += 1;
        result
    }
}

impl fmt::Debug for CachedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Drop for CachedFile {
    fn drop(&mut self) {
        if self.slot.get_mut().handle.is_some() {
            self.pool.closed();
        }
    }
}

/// What callers hold.
#[derive(Debug)]
struct CachedHandle(Arc<CachedFile>);

impl Disk for HandleCache {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let handle = self.with_room(|disk| disk.open(path, mode))?;
        let file = Arc::new(CachedFile {
            disk: Arc::clone(&self.disk),
            pool: Arc::clone(&self.pool),
            path: path.to_owned(),
            mode: if mode == OpenMode::Read { mode } else { OpenMode::ReadWrite },
            used: AtomicU64::new(self.pool.uses.fetch_add(1, Relaxed)),
            // Opened with an effect, its length waits for a sync like a write.
            slot: Mutex::new(Slot {
                handle: Some(handle),
                writes: u64::from(mode == OpenMode::Truncate),
                failures_seen: self.pool.failures_of(path).map_or(0, |(count, _)| count),
                ..Slot::default()
            }),
        });
        self.pool.opened(&file);
        Ok(Arc::new(CachedHandle(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.with_room(|disk| disk.list(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.with_room(|disk| disk.sync_dir(dir))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

impl DiskFile for CachedHandle {
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize> {
        self.0.begin(Purpose::Read)?.0.read_at(buffer, position, max_bytes)
    }

    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        self.0.change(|handle| handle.write_at(parts, position))
    }

    fn sync(&self) -> io::Result<()> {
        let file = &self.0;
        let (handle, writes) = file.begin(Purpose::Sync)?;
        // Written by others too: a sync is made even where nothing was written through this handle.
        let result = handle.sync();
        let mut slot = file.slot.lock();
        match &result {
            Ok(()) => slot.synced = slot.synced.max(writes),
            Err(error) => {
                file.pool.sync_failed(&file.path, &error.to_string());
                slot.lost = Some(error.to_string());
            }
        }
        result
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.change(|handle| handle.set_len(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.0.begin(Purpose::Read)?.0.len()
    }
}

#[cfg(test)]
mod tests;
