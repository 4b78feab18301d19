//! Calls that hang until they are freed.

use std::path::PathBuf;
use std::sync::Arc;

use super::Shared;
use super::calls::SimCall;

/// Holds all calls of one kind until it is opened or dropped, as a device that does not answer. Held calls also go
/// on when the power goes, when the disk crashes and when it is healed.
#[derive(Debug)]
#[must_use = "calls are held only as long as the gate is there"]
pub struct SimGate {
    pub(super) disk: Arc<Shared>,
    pub(super) id: u64,
}

/// What the disk knows of a gate.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) call: SimCall,
    /// Only calls on paths that begin with this.
    pub(super) under: PathBuf,
    pub(super) waiting: usize,
}

impl SimGate {
    /// How many calls hang now.
    pub fn waiting(&self) -> usize {
        let state = self.disk.state.lock();
        state.gates.iter().find(|held| held.id == self.id).map_or(0, |held| held.waiting)
    }

    /// Blocks until at least `calls` hang. Returns at once when the disk was crashed or healed, which opens gates.
    pub fn wait_for(&self, calls: usize) {
        let mut state = self.disk.state.lock();
        while state.gates.iter().any(|held| held.id == self.id && held.waiting < calls) {
            self.disk.changed.wait(&mut state);
        }
    }

    /// Lets the held calls go on, and all later ones through. The same as dropping it.
    pub fn open(self) {}
}

impl Drop for SimGate {
    fn drop(&mut self) {
        self.disk.state.lock().gates.retain(|held| held.id != self.id);
        self.disk.changed.notify_all();
    }
}
