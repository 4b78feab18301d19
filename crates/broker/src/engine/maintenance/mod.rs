//! What is done to the partitions in the background, or because an operator asked for it: retention, delete-records, compaction,
//! the scrub, giving damage up. It also watches free space, the disk's speed and the time by which records expire.

mod compaction;
mod expiry;
mod housekeeping;
mod removals;
mod salvage;
mod scrubbing;
mod slow_disk;

use std::sync::Arc;

use corduroy_log::RetentionBlock;
use corduroy_types::TimestampMs;
use parking_lot::Mutex;

pub(super) use self::expiry::Expiry;
use super::{Context, Replica, Replicas};

/// The upkeep of all replicas.
pub(crate) struct Maintenance {
    context: Arc<Context>,
    replicas: Arc<Replicas>,
    expiry: Mutex<Expiry>,
    /// Held while logs are compacted: one at a time.
    compacting: tokio::sync::Mutex<()>,
}

impl Maintenance {
    pub(super) fn new(context: Arc<Context>, replicas: Arc<Replicas>, expiry: Expiry) -> Arc<Self> {
        let (expiry, compacting) = (Mutex::new(expiry), tokio::sync::Mutex::default());
        Arc::new(Self { context, replicas, expiry, compacting })
    }

    /// Begins what runs until the broker stops.
    pub(super) fn spawn_tasks(self: &Arc<Self>) {
        tokio::spawn(housekeeping::run(Arc::downgrade(self)));
        tokio::spawn(housekeeping::expire(Arc::downgrade(self)));
        tokio::spawn(scrubbing::run(Arc::downgrade(self)));
        tokio::spawn(compaction::run(Arc::downgrade(self)));
    }

    /// The time by which records expire: the wall clock, but for its jumps.
    pub(crate) fn expiry_now(&self) -> TimestampMs {
        let clock = self.context.clock;
        self.expiry.lock().advance(clock.now(), clock.monotonic_ms())
    }

    /// How far the wall clock has jumped ahead of the time by which records expire, if it has.
    pub(crate) fn expiry_held_ms(&self) -> Option<u64> {
        self.expiry.lock().held_ms()
    }

    /// What blocks retention by time in a partition: a record whose timestamp lies in the future.
    pub(crate) fn retention_block(&self, replica: &Replica) -> Option<RetentionBlock> {
        let now = self.context.clock.now();
        replica.with_log(|log, _| log.retention_block(now)).flatten()
    }
}
