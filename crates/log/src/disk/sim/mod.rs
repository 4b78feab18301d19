//! A disk in memory that can lose power, fail, hang, lie and rot.
//!
//! Every file has bytes as they are read now and as they are on disk, and in between an ordered list of changes
//! that were not synced; so has every directory for its names. A [`SimDisk::lose_power`] keeps any legal subset of
//! them (see [`Kept`]), [`SimDisk::crash`] none. Deterministic: no clock; what is drawn comes from seeds it was
//! given; listings are sorted.
//!
//! | file | what it holds |
//! |---|---|
//! | `content` | a file's bytes and its unsynced changes, by sector |
//! | `tree` | directories and their unsynced changes of names |
//! | `kept`, `power` | what a power loss keeps, and the report of it |
//! | `faults`, `gate` | calls that fail, writes that go astray; calls that hang |
//! | `calls` | kinds of calls, and the record of those made |
//! | `access`, `file` | the [`Disk`] and [`DiskFile`] themselves |
//!
//! Slowness has no call of its own, because there is no clock: [`SimDisk::watch`] is called before every call and
//! may advance a simulated clock, and a [`SimGate`] holds calls for as long as a test likes.
//!
//! [`Disk`]: super::Disk
//! [`DiskFile`]: super::DiskFile

mod access;
mod calls;
mod content;
mod faults;
mod file;
mod gate;
mod kept;
mod power;
mod random;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

pub use calls::{SimCall, SimEvent, SimFailure, SimRecord};
pub use faults::Astray;
pub use gate::SimGate;
pub use kept::{Kept, SECTOR_BYTES};
pub use power::PowerLoss;

use faults::Faults;
use gate::Held;
use random::Random;
use tree::Tree;

/// What is called before every call of the disk. It may look at the disk, and change what it does.
pub type SimWatch = Arc<dyn Fn(&SimEvent<'_>) + Send + Sync>;

/// A simulated disk. Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<SimState>,
    /// Notified when a gate is opened, and when another call hangs.
    changed: Condvar,
}

#[derive(Default)]
struct SimState {
    tree: Tree,
    /// Grows with each crash, so that handles from before it are refused.
    incarnation: u64,
    /// Mutating calls made since the disk was made.
    calls: u64,
    /// No call after this many has an effect, as if the power had gone.
    stop_after: Option<u64>,
    faults: Faults,
    /// Syncs that succeed without doing anything: a lying device, to prove that tests notice.
    syncs_ignored: Option<SimCall>,
    capacity_bytes: Option<u64>,
    used_bytes: u64,
    watch: Option<SimWatch>,
    gates: Vec<Held>,
    gates_made: u64,
    recorded: Option<Vec<SimRecord>>,
}

impl fmt::Debug for SimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimState")
            .field("calls", &self.calls)
            .field("used_bytes", &self.used_bytes)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same content, unsynced changes included, that shares nothing with this one. It has
    /// no faults, no gates and no watch, and its power is on.
    pub fn fork(&self) -> Self {
        let state = self.0.state.lock();
        let forked = SimState {
            tree: state.tree.fork(),
            calls: state.calls,
            capacity_bytes: state.capacity_bytes,
            used_bytes: state.used_bytes,
            ..SimState::default()
        };
        Self(Arc::new(Shared { state: Mutex::new(forked), changed: Condvar::new() }))
    }

    /// The power goes and comes back: everything unsynced is forgotten, faults are over, open files are dead.
    pub fn crash(&self) {
        self.lose_power(Kept::Nothing);
    }

    /// The power goes and comes back: of what was not synced there is what `kept` says, faults are over, open
    /// files are dead. What is found afterwards is durable. Returns what became of the unsynced changes.
    pub fn lose_power(&self, kept: Kept) -> PowerLoss {
        let mut state = self.0.state.lock();
        state.incarnation += 1;
        state.heal();
        let mut loss = PowerLoss::new(kept);
        state.tree.lose(&mut loss);
        state.used_bytes = loss.used_bytes;
        self.0.changed.notify_all();
        loss
    }

    /// How many calls that change the disk were made so far.
    pub fn calls(&self) -> u64 {
        self.0.state.lock().calls
    }

    /// Lets the next `calls` mutating calls through; all later ones fail without effect, until a crash.
    pub fn stop_after(&self, calls: u64) {
        let mut state = self.0.state.lock();
        state.stop_after = Some(state.calls + calls);
        self.0.changed.notify_all();
    }

    /// Makes one call of this kind fail with `EIO`: the `nth` from now, counted from 0. A failing write leaves its
    /// first half in the file; a failing sync see [`SimDisk::failed_syncs_keep`].
    pub fn fail_nth(&self, call: SimCall, nth: u64) {
        self.fail_nth_with(call, nth, SimFailure::Io);
    }

    /// As [`SimDisk::fail_nth`], with another error.
    pub fn fail_nth_with(&self, call: SimCall, nth: u64, failure: SimFailure) {
        self.0.state.lock().faults.add_nth(call, nth, failure);
    }

    /// Makes calls of these kinds fail `per_mille` times in a thousand, drawn from `seed`.
    pub fn fail_randomly(&self, seed: u64, per_mille: u16, calls: &[SimCall], failure: SimFailure) {
        self.0.state.lock().faults.add_randomly(seed, per_mille, calls, failure);
    }

    /// Makes calls of these kinds fail on everything whose path begins with `under`, until [`SimDisk::repair`] or
    /// [`SimDisk::heal`].
    pub fn fail_under(&self, under: &Path, calls: &[SimCall], failure: SimFailure) {
        self.0.state.lock().faults.add_under(under, calls, failure);
    }

    /// Ends what [`SimDisk::fail_under`] asked for with exactly this path.
    pub fn repair(&self, under: &Path) {
        self.0.state.lock().faults.repair(under);
    }

    /// What a failing sync of a file has written all the same; [`Kept::Nothing`] unless said otherwise. Whatever
    /// it has not written counts as clean from then on, as in the kernel: it is read until the power goes, a
    /// later sync succeeds without writing it, and then it is gone.
    pub fn failed_syncs_keep(&self, kept: Kept) {
        self.0.state.lock().faults.failed_sync_keeps = Some(kept);
    }

    /// Makes the `nth` write from now, counted from 0, go astray while it is said to have succeeded.
    pub fn misdirect_nth_write(&self, nth: u64, astray: Astray) {
        self.0.state.lock().faults.add_astray(nth, astray);
    }

    /// Makes `Sync` or `SyncDir` do nothing and say it did, as a lying device would.
    pub fn ignore_syncs(&self, call: SimCall) {
        self.0.state.lock().syncs_ignored = Some(call);
    }

    /// Ends the faults asked for: [`SimDisk::stop_after`], failing and misdirected calls, gates.
    pub fn heal(&self) {
        self.0.state.lock().heal();
        self.0.changed.notify_all();
    }

    /// Sets the size of the disk; writes beyond it fail as on a full disk, after what still fits. `None` lifts the
    /// limit.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.0.state.lock().capacity_bytes = capacity_bytes;
    }

    /// Changes bytes in place, live and durable, as bit rot does. Returns whether that range exists.
    pub fn damage(&self, path: &Path, position: u64, change: impl FnOnce(&mut [u8])) -> bool {
        let Ok(content) = self.0.state.lock().tree.file(path) else { return false };
        let Ok(position) = usize::try_from(position) else { return false };
        content.lock().damage(position, change)
    }

    /// Flips one bit in one of the files whose path passes `which`, both drawn from `seed`. Returns the file, the
    /// position of the byte and the flipped bit as a mask; `None` where those files hold nothing.
    pub fn flip_bit(&self, seed: u64, which: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64, u8)> {
        let mut files = self.0.state.lock().tree.files();
        files.retain(|(path, content)| which(path) && !content.lock().live.is_empty());
        let mut random = Random::new(seed);
        let (path, content) = files.get(random.below(files.len()))?;
        let mut content = content.lock();
        let position = random.below(content.live.len());
        let mask = 1_u8 << random.below(8);
        content.damage(position, |bytes| bytes.iter_mut().take(1).for_each(|byte| *byte ^= mask));
        Some((path.clone(), position as u64, mask))
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.state.lock().tree.files().into_iter().map(|(path, _)| path).collect()
    }

    /// Holds all calls of this kind from now on, until the gate is opened or dropped.
    pub fn hold(&self, call: SimCall) -> SimGate {
        self.hold_under(Path::new(""), call)
    }

    /// As [`SimDisk::hold`], only of calls on what has a path that begins with `under`.
    pub fn hold_under(&self, under: &Path, call: SimCall) -> SimGate {
        let mut state = self.0.state.lock();
        let id = state.gates_made;
        state.gates_made += 1;
        state.gates.push(Held { id, call, under: under.to_owned(), waiting: 0 });
        SimGate { disk: Arc::clone(&self.0), id }
    }

    /// Calls `watch` before every call from now on, without any lock held; `None` ends it. It stays through a crash.
    /// With it a test can count, hold, fork the disk between two calls, or advance a simulated clock.
    pub fn watch(&self, watch: Option<SimWatch>) {
        self.0.state.lock().watch = watch;
    }

    /// Begins to record calls, or to record them again.
    pub fn record(&self) {
        self.0.state.lock().recorded = Some(Vec::new());
    }

    /// The calls made since [`SimDisk::record`], which are then forgotten. Recording goes on.
    pub fn take_record(&self) -> Vec<SimRecord> {
        self.0.state.lock().recorded.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The disk's state, once the call may be made.
    fn enter(&self, event: &SimEvent<'_>) -> MutexGuard<'_, SimState> {
        let mut state = self.0.state.lock();
        if let Some(watch) = state.watch.clone() {
            drop(state);
            watch(event);
            state = self.0.state.lock();
        }
        let incarnation = state.incarnation;
        while let Some(id) = state.hang(event, incarnation) {
            self.0.changed.notify_all();
            while state.is_held(id, incarnation) {
                self.0.changed.wait(&mut state);
            }
            state.gates.iter_mut().filter(|gate| gate.id == id).for_each(|gate| gate.waiting -= 1);
        }
        state
    }
}

impl SimState {
    /// Counts a call, or refuses it. Without power nothing is counted, and nothing changes.
    fn begin(&mut self, call: SimCall, path: &Path) -> io::Result<()> {
        if call.changes() {
            if !self.has_power() {
                return Err(io::Error::other("the simulated machine has lost power"));
            }
            self.calls += 1;
        }
        self.faults.count(call, path).map_or(Ok(()), |failure| Err(failure.error(call)))
    }

    fn has_power(&self) -> bool {
        self.stop_after.is_none_or(|limit| self.calls < limit)
    }

    fn heal(&mut self) {
        self.stop_after = None;
        self.faults.clear();
        self.gates.clear();
    }

    /// Counts a call at the gate that holds it, if one does; gives the gate.
    fn hang(&mut self, event: &SimEvent<'_>, incarnation: u64) -> Option<u64> {
        let gate =
            self.gates.iter().find(|gate| gate.call == event.call && event.path.starts_with(&gate.under));
        let gate = gate.map(|gate| gate.id);
        let id = gate.filter(|id| self.is_held(*id, incarnation))?;
        self.gates.iter_mut().filter(|gate| gate.id == id).for_each(|gate| gate.waiting += 1);
        Some(id)
    }

    fn is_held(&self, gate: u64, incarnation: u64) -> bool {
        self.has_power() && self.incarnation == incarnation && self.gates.iter().any(|held| held.id == gate)
    }

    fn note<T>(&mut self, event: &SimEvent<'_>, result: &io::Result<T>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(SimRecord::new(event, result));
        }
    }

    /// Books a change of a file's length; returns what it may be, less than asked for on a full disk.
    fn grow(&mut self, from: usize, to: usize) -> usize {
        let free = self.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes));
        let growth = to.saturating_sub(from);
        let allowed = growth.min(usize::try_from(free).unwrap_or(usize::MAX));
        if to < from {
            self.shrink(from, to);
            return to;
        }
        self.used_bytes += allowed as u64;
        from + allowed
    }

    fn shrink(&mut self, from: usize, to: usize) {
        self.used_bytes = self.used_bytes.saturating_sub((from - to) as u64);
    }
}
