//! The checkpoint thread: syncs the segments that the commit journal holds data for, so that the journal can be used
//! again. No acknowledgement waits for it.

use std::{
    io,
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use corduroy_log::{
    Disk, Journal,
    journal::{Checkpoint, CheckpointFailure},
};
use parking_lot::{Condvar, Mutex};

use super::{CommitQueue, Engine};
use crate::{
    metrics::Metrics,
    parallel::{SYNCS_AT_ONCE, run_parallel},
};

/// When nothing was committed through the journal for this long, all of it is checkpointed: a start after a crash has
/// little to do then, and idle partitions give their files back.
const IDLE: Duration = Duration::from_secs(1);

/// Wakes and stops the thread.
#[derive(Clone, Default)]
pub(super) struct Checkpointer {
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
    pub(super) fn wake(&self) {
        self.shared.0.lock().now = true;
        self.shared.1.notify_one();
    }

    /// Lets the thread end after the checkpoint it is at.
    pub(super) fn stop(&self) {
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
pub(super) struct CheckpointThread {
    pub(super) checkpointer: Checkpointer,
    pub(super) engine: Weak<Engine>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) commits: CommitQueue,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) metrics: Arc<Metrics>,
}

/// Starts the checkpoint thread of one data directory.
///
/// # Errors
/// When the system has no thread left.
pub(super) fn spawn(thread: CheckpointThread) -> io::Result<JoinHandle<()>> {
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
        self.stop_logs(&failures);
        self.commits.wake();
    }

    fn stop_logs(&self, failures: &[CheckpointFailure]) {
        let Some(engine) = self.engine.upgrade().filter(|_| !failures.is_empty()) else { return };
        for failure in failures {
            engine.for_each_replica(|replica| {
                if replica.key() == failure.key {
                    replica.stop_log(engine.clock, |log| log.checkpoint_failed(failure));
                }
            });
        }
    }
}
