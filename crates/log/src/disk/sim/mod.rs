//! A disk in memory that can lose power.
//!
//! Every file has a *live* and a *durable* content, and so has the tree of names. [`SimDisk::crash`] brings
//! back the durable ones: a file as of its last sync, a directory's names as of their last `sync_dir`. It is
//! deterministic: no clock, no randomness, sorted listings.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use file::{Content, SimFile};

use super::{Disk, DiskFile, Entry, Mapped, OpenMode, Space};

/// A kind of call that changes the disk, and can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimCall {
    /// `open` with a mode that makes or empties a file.
    Create,
    /// `write_at`
    Write,
    /// `sync`
    Sync,
    /// `set_len`
    SetLen,
    /// `rename`
    Rename,
    /// `remove_file` and `remove_dir`
    Remove,
    /// `create_dir_all`
    CreateDir,
    /// `sync_dir`
    SyncDir,
}

/// A simulated disk. Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Grows with each crash, so that handles from before it are refused.
    incarnation: u64,
    /// Mutating calls made since the disk was made.
    calls: u64,
    /// No call after this many has an effect, as if the power had gone.
    stop_after: Option<u64>,
    /// Fails the call of this kind when the count reaches 0.
    failing: Vec<(SimCall, u64)>,
    /// Syncs that succeed without doing anything: a lying device, to prove that tests notice.
    syncs_ignored: Option<SimCall>,
    capacity_bytes: Option<u64>,
    used_bytes: u64,
}

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File(Arc<Mutex<Content>>),
}

impl SimDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes and comes back: everything unsynced is forgotten, faults are over, open files are dead.
    pub fn crash(&self) {
        let mut state = self.0.lock();
        state.incarnation += 1;
        state.stop_after = None;
        state.failing.clear();
        let mut kept: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (path, node) in &state.durable {
            // A durable name in a directory that is not durable itself cannot be found any more. The map is
            // sorted, so a directory is decided before what is in it.
            let reachable = parent_of(path).is_none_or(|parent| matches!(kept.get(parent), Some(Node::Dir)));
            if reachable {
                kept.insert(path.clone(), node.clone());
            }
        }
        let mut used_bytes = 0;
        for node in kept.values() {
            if let Node::File(content) = node {
                let mut content = content.lock();
                content.lose_unsynced();
                used_bytes += content.bytes.len() as u64;
            }
        }
        state.used_bytes = used_bytes;
        state.durable.clone_from(&kept);
        state.live = kept;
    }

    /// How many calls that change the disk were made so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Lets the next `calls` mutating calls through; all later ones fail without effect, until a crash.
    pub fn stop_after(&self, calls: u64) {
        let mut state = self.0.lock();
        state.stop_after = Some(state.calls + calls);
    }

    /// Makes one call of this kind fail: the `nth` from now, counted from 0. A failing write leaves its
    /// first half in the file.
    pub fn fail_nth(&self, call: SimCall, nth: u64) {
        self.0.lock().failing.push((call, nth));
    }

    /// Makes `Sync` or `SyncDir` do nothing and say it did, as a lying device would.
    pub fn ignore_syncs(&self, call: SimCall) {
        self.0.lock().syncs_ignored = Some(call);
    }

    /// Ends the faults asked for with [`SimDisk::stop_after`] and [`SimDisk::fail_nth`].
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.stop_after = None;
        state.failing.clear();
    }

    /// Sets the size of the disk; writes beyond it fail as on a full disk. `None` lifts the limit.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.0.lock().capacity_bytes = capacity_bytes;
    }

    /// Changes bytes in place, live and durable, as bit rot does. Returns whether that range exists.
    pub fn damage(&self, path: &Path, position: u64, change: impl FnOnce(&mut [u8])) -> bool {
        let state = self.0.lock();
        let Some(Node::File(content)) = state.live.get(path) else { return false };
        let mut content = content.lock();
        match usize::try_from(position).ok().and_then(|at| content.bytes.get_mut(at..)) {
            Some(bytes) if !bytes.is_empty() => {
                change(bytes);
                true
            }
            _ => false,
        }
    }
}

impl State {
    /// Counts a mutating call, or refuses it.
    fn begin(&mut self, call: SimCall) -> io::Result<()> {
        if self.stop_after.is_some_and(|limit| self.calls >= limit) {
            return Err(io::Error::other("the simulated machine has lost power"));
        }
        self.calls += 1;
        let mut fails = false;
        self.failing.retain_mut(|(kind, left)| {
            if *kind != call {
                return true;
            }
            let now = *left == 0;
            fails |= now;
            *left = left.saturating_sub(1);
            !now
        });
        if fails { Err(io::Error::other(format!("injected failure of {call:?}"))) } else { Ok(()) }
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        match self.live.get(path) {
            Some(Node::File(content)) => Ok(Arc::clone(content)),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    fn require_parent(&self, path: &Path) -> io::Result<()> {
        match parent_of(path) {
            Some(parent) if !matches!(self.live.get(parent), Some(Node::Dir)) => Err(not_found(parent)),
            _ => Ok(()),
        }
    }

    /// Books a change of a file's length, or refuses it on a full disk.
    fn resize(&mut self, from: usize, to: usize) -> io::Result<()> {
        let used = (self.used_bytes + to as u64).saturating_sub(from as u64);
        if to > from && self.capacity_bytes.is_some_and(|capacity| used > capacity) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        self.used_bytes = used;
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        let content = match mode {
            OpenMode::Read | OpenMode::ReadWrite => state.file(path)?,
            OpenMode::CreateNew | OpenMode::Truncate => {
                state.begin(SimCall::Create)?;
                state.require_parent(path)?;
                match state.live.get(path).cloned() {
                    Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
                    Some(Node::File(_)) if mode == OpenMode::CreateNew => {
                        return Err(io::ErrorKind::AlreadyExists.into());
                    }
                    Some(Node::File(content)) => {
                        let mut inner = content.lock();
                        let len = inner.bytes.len();
                        state.resize(len, 0)?;
                        inner.remember(0, len);
                        inner.bytes.clear();
                        drop(inner);
                        content
                    }
                    None => {
                        let content = Arc::new(Mutex::new(Content::default()));
                        state.live.insert(path.to_owned(), Node::File(Arc::clone(&content)));
                        content
                    }
                }
            }
        };
        let (disk, incarnation) = (self.clone(), state.incarnation);
        Ok(Arc::new(SimFile { disk, content, incarnation, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin(SimCall::Rename)?;
        state.require_parent(to)?;
        let node = Node::File(state.file(from)?);
        state.live.remove(from);
        state.live.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin(SimCall::Remove)?;
        let content = state.file(path)?;
        let len = content.lock().bytes.len();
        state.resize(len, 0)?;
        state.live.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin(SimCall::Remove)?;
        match state.live.get(path) {
            None => return Err(not_found(path)),
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Dir) => {}
        }
        if state.live.keys().any(|other| parent_of(other) == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.live.remove(path);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin(SimCall::CreateDir)?;
        for dir in path.ancestors().filter(|dir| parent_of(dir).is_some() || !is_root(dir)) {
            match state.live.get(dir) {
                Some(Node::Dir) => break,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => state.live.insert(dir.to_owned(), Node::Dir),
            };
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock();
        if !is_root(dir) && !matches!(state.live.get(dir), Some(Node::Dir)) {
            return Err(not_found(dir));
        }
        let range = state.live.range(dir.to_owned()..).take_while(|(path, _)| path.starts_with(dir));
        let entries = range.filter(|(path, _)| path.parent() == Some(dir)).map(|(path, node)| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match node {
                Node::Dir => Entry { name, is_dir: true, bytes: 0 },
                Node::File(content) => {
                    Entry { name, is_dir: false, bytes: content.lock().bytes.len() as u64 }
                }
            }
        });
        Ok(entries.collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin(SimCall::SyncDir)?;
        if !is_root(dir) && !matches!(state.live.get(dir), Some(Node::Dir)) {
            return Err(not_found(dir));
        }
        if state.syncs_ignored == Some(SimCall::SyncDir) {
            return Ok(());
        }
        let State { live, durable, .. } = &mut *state;
        durable.retain(|path, _| path.parent() != Some(dir) || live.contains_key(path));
        for (path, node) in live.range(dir.to_owned()..).take_while(|(path, _)| path.starts_with(dir)) {
            if path.parent() == Some(dir) {
                durable.insert(path.clone(), node.clone());
            }
        }
        Ok(())
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        let content = self.0.lock().file(path)?;
        let copy = content.lock().bytes.clone();
        Ok(Arc::new(copy))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.0.lock();
        let total_bytes = state.capacity_bytes.unwrap_or(1 << 50);
        Ok(Space { free_bytes: total_bytes.saturating_sub(state.used_bytes), total_bytes })
    }
}

/// The directory a path is in; `None` for those at the top, which need none.
fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !is_root(parent))
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}
