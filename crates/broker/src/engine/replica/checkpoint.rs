//! The checkpoint thread: syncs the segments that the commit journal holds data for, so that the journal can be used
//! again. No acknowledgement waits for it.

use std::{
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use corduroy_log::{
    Disk, Journal,
    journal::{Checkpoint, CheckpointFailure},
};
use parking_lot::{Condvar, Mutex};

use super::CommitQueue;
use crate::{
    metrics::Metrics,
    parallel::{SYNCS_AT_ONCE, run_parallel},
};

/// When nothing was committed through the journal for this long, all of it is checkpointed: a start after a crash has
/// little to do then, and idle partitions give their files back.
const IDLE: Duration = Duration::from_secs(1);

/// Wakes and stops the thread.
#[derive(Clone, Default)]
pub(in crate::engine) struct Checkpointer {
    shared: Arc<(Mutex<Wanted>, Condvar)>,
}

#[derive(Default)]
struct Wanted {
    now: bool,
    stop: bool,
}

/// What woke the thread.
enum Woken {
    Wanted,
    Idle,
    Stop,
}

impl Checkpointer {
    /// Asks for a checkpoint soon.
    pub(in crate::engine) fn wake(&self) {
        self.shared.0.lock().now = true;
        self.shared.1.notify_one();
    }

    /// Lets the thread end after the checkpoint it is at.
    pub(in crate::engine) fn stop(&self) {
        self.shared.0.lock().stop = true;
        self.shared.1.notify_one();
    }

    fn wait(&self) -> Woken {
        let mut wanted = self.shared.0.lock();
        loop {
            if wanted.stop {
                return Woken::Stop;
            }
            if std::mem::take(&mut wanted.now) {
                return Woken::Wanted;
            }
            if self.shared.1.wait_for(&mut wanted, IDLE).timed_out() {
                return Woken::Idle;
            }
        }
    }
}

/// What the thread works with.
pub(in crate::engine) struct CheckpointThread {
    pub(in crate::engine) checkpointer: Checkpointer,
    /// Stops the log whose segment could not be synced.
    pub(in crate::engine) stop_log: Box<dyn Fn(&CheckpointFailure) + Send + Sync>,
    pub(in crate::engine) journal: Arc<Mutex<Journal>>,
    pub(in crate::engine) commits: CommitQueue,
    pub(in crate::engine) disk: Arc<dyn Disk>,
    pub(in crate::engine) metrics: Arc<Metrics>,
}

/// Starts the checkpoint thread of one data directory.
///
/// # Errors
/// When the system has no thread left.
pub(in crate::engine) fn spawn(thread: CheckpointThread) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || thread.run())
}

impl CheckpointThread {
    fn run(self) {
        let mut seen_bytes = 0;
        loop {
            let planned = match self.checkpointer.wait() {
                Woken::Stop => return,
                Woken::Wanted => self.plan(Journal::wants_checkpoint),
                Woken::Idle => self.plan(|journal| journal.used_bytes() == seen_bytes),
            };
            if let Some(checkpoint) = planned {
                self.perform(checkpoint);
            }
            seen_bytes = self.journal.lock().used_bytes();
        }
    }

    fn plan(&self, is_due: impl FnOnce(&Journal) -> bool) -> Option<Checkpoint> {
        let journal = self.journal.lock();
        is_due(&journal).then(|| journal.plan_checkpoint()).flatten()
    }

    fn perform(&self, checkpoint: Checkpoint) {
        let began = Instant::now();
        run_parallel(checkpoint.segments(), SYNCS_AT_ONCE, |index| {
            checkpoint.perform_step(index, self.disk.as_ref())
        });
        self.metrics.storage.checkpoint_seconds.observe(began.elapsed().as_secs_f64());
        let failures = self.journal.lock().checkpointed(checkpoint);
        failures.iter().for_each(|failure| (self.stop_log)(failure));
        self.commits.wake();
    }
}
