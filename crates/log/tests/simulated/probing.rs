//! The power going between disk calls, without disturbing who makes them.

use std::sync::Arc;

use corduroy_log::disk::SimEvent;
use parking_lot::Mutex;

use crate::promise::mixed;
use crate::world::World;

/// Before which disk calls the disk is forked, and each fork loses its power.
#[derive(Clone, Copy)]
pub struct Probing {
    pub seed: u64,
    /// One call in so many.
    pub one_in: u64,
    /// How many subsets are tried at each.
    pub subsets: u64,
}

impl Probing {
    /// Watches the world's disk from now on. The forks are taken between two calls, so that they also show what is
    /// there in the middle of a write or sync: any part of what it did is a legal subset.
    pub fn watch(self, world: &World) {
        let (disk, promise, config) = (world.disk.clone(), Arc::clone(&world.promise), world.config);
        let calls = Mutex::new(0_u64);
        let watch = move |event: &SimEvent<'_>| {
            if !event.call.changes() {
                return;
            }
            let mut calls = calls.lock();
            *calls += 1;
            if !mixed(self.seed, *calls).is_multiple_of(self.one_in) {
                return;
            }
            for subset in 0..self.subsets {
                let seed = mixed(self.seed ^ subset, *calls);
                eprintln!(
                    "before call {} ({:?} {}), subset {seed}",
                    *calls,
                    event.call,
                    event.path.display()
                );
                let promise = promise.lock().clone();
                if subset % 4 == 3 {
                    promise.check_kill(&disk.fork(), config, seed);
                } else {
                    promise.check_power_loss(&disk.fork(), config, seed);
                }
            }
        };
        world.disk.watch(Some(Arc::new(watch)));
    }
}
