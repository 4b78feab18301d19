//! The commit thread: performs commit rounds, one at a time, and reports them.
//!
//! While a round is in flight the next one gathers: whatever was appended meanwhile, to whichever partitions, is
//! in the next round. Nothing waits for a timer.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use corduroy_log::{Disk, Round, RoundResult};
use parking_lot::{Condvar, Mutex};

use super::{Replica, clock::Clock};
use crate::metrics::Metrics;

/// Files that are synced beside each other in one round.
const SYNCS_AT_ONCE: usize = 8;
/// How long a round rests for which there was no file handle, unless others come before that.
const POSTPONED_REST: Duration = Duration::from_millis(50);

/// The replicas that have something to write, in the order in which they asked.
#[derive(Clone)]
pub(crate) struct CommitQueue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// When the oldest round that is not reported yet was taken, in milliseconds of the monotonic clock; no round:
    /// [`NO_ROUND`].
    oldest_ms: AtomicU64,
}

const NO_ROUND: u64 = u64::MAX;

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Replica>>,
    closed: bool,
    abandoned: bool,
}

impl CommitQueue {
    pub(crate) fn new() -> Self {
        let (state, oldest_ms) = (Mutex::new(State::default()), AtomicU64::new(NO_ROUND));
        Self { shared: Arc::new(Shared { state, wake: Condvar::new(), oldest_ms }) }
    }

    /// For how long the oldest round has been on its way to disk; `None` while there is none.
    pub(crate) fn oldest_round_age(&self, clock: Clock) -> Option<Duration> {
        let began = self.shared.oldest_ms.load(Ordering::Relaxed);
        (began != NO_ROUND).then(|| Duration::from_millis(clock.monotonic_ms().saturating_sub(began)))
    }

    /// Puts a replica into the next round. Asking twice is the same as asking once.
    pub(crate) fn push(&self, replica: &Arc<Replica>) {
        if replica.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.state.lock().ready.push_back(Arc::clone(replica));
        self.shared.wake.notify_one();
    }

    /// Lets the thread finish what is queued, and end.
    pub(crate) fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_one();
    }

    /// Lets the thread end after the round in flight, leaving the rest unwritten.
    pub(crate) fn abandon(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.abandoned = true;
        self.shared.wake.notify_one();
    }

    fn is_abandoned(&self) -> bool {
        self.shared.state.lock().abandoned
    }

    /// Everything that is ready now; waits for something, at most `rest` if that is given. `None`: closed and empty.
    fn take(&self, rest: Option<Duration>) -> Option<VecDeque<Arc<Replica>>> {
        let mut state = self.shared.state.lock();
        while state.ready.is_empty() || state.abandoned {
            if state.closed {
                return None;
            }
            match rest {
                None => self.shared.wake.wait(&mut state),
                Some(rest) => {
                    if self.shared.wake.wait_for(&mut state, rest).timed_out() {
                        break;
                    }
                }
            }
        }
        Some(std::mem::take(&mut state.ready))
    }
}

/// A round of one replica, taken and not yet reported.
type Taken = (Arc<Replica>, Round);

/// Starts the commit thread of one data directory.
///
/// # Errors
/// When the system has no thread left.
pub(crate) fn spawn(
    queue: CommitQueue,
    disk: Arc<dyn Disk>,
    clock: Clock,
    metrics: Arc<Metrics>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("commit".to_owned()).spawn(move || {
        let thread = CommitThread { queue, disk, clock, metrics };
        let mut postponed = Vec::new();
        while let Some(ready) = thread.queue.take((!postponed.is_empty()).then_some(POSTPONED_REST)) {
            postponed = thread.perform(ready, postponed);
        }
        if !thread.queue.is_abandoned() {
            // The last try: what finds no file handle now is unknown to whoever waits for it.
            for (replica, round) in postponed {
                replica.round_done(round.perform(thread.disk.as_ref()), clock);
            }
        }
    })
}

struct CommitThread {
    queue: CommitQueue,
    disk: Arc<dyn Disk>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl CommitThread {
    /// One commit round over all replicas that are ready, and those postponed before: first every write, then every
    /// sync, then the reports. Returns what has to be performed again, because there was no file handle for it.
    fn perform(&self, ready: VecDeque<Arc<Replica>>, postponed: Vec<Taken>) -> Vec<Taken> {
        let mut was_postponed = !postponed.is_empty();
        let mut rounds = postponed;
        for replica in ready {
            // Cleared before the round is taken: whatever is appended after that asks again.
            replica.queued.store(false, Ordering::Release);
            if let Some(round) = replica.take_round() {
                rounds.push((replica, round));
            }
        }
        if rounds.is_empty() {
            return Vec::new();
        }
        let disk = self.disk.as_ref();
        let began = Instant::now();
        // A round that was postponed has kept its time.
        let oldest_ms = &self.queue.shared.oldest_ms;
        oldest_ms.fetch_min(self.clock.monotonic_ms(), Ordering::Relaxed);
        let written: Vec<_> = rounds.iter().map(|(_, round)| round.perform_writes(disk)).collect();
        let syncs_began = Instant::now();
        let results = sync_all(&rounds, written, disk);
        let syncs = syncs_began.elapsed();
        let mut postponed = Vec::new();
        for ((replica, round), result) in rounds.into_iter().zip(results) {
            if result.is_postponed() {
                if !was_postponed {
                    tracing::warn!(event = "B0211", round = ?result, "no file handle is left");
                    was_postponed = true;
                }
                postponed.push((replica, round));
            } else if replica.round_done(result, self.clock) {
                self.queue.push(&replica);
            }
        }
        if postponed.is_empty() {
            oldest_ms.store(NO_ROUND, Ordering::Relaxed);
        }
        let storage = &self.metrics.storage;
        storage.commit_rounds_direct.inc();
        storage.commit_round_seconds.observe(began.elapsed().as_secs_f64());
        storage.fsync_seconds.observe(syncs.as_secs_f64());
        postponed
    }
}

/// Syncs every round that was written; several beside each other, because the disk then merges their flushes.
///
/// `written` holds the result of a round that failed already. Helpers are a gain, not a need: where the system gives no
/// thread, this one does all of it.
fn sync_all(rounds: &[Taken], written: Vec<Option<RoundResult>>, disk: &dyn Disk) -> Vec<RoundResult> {
    let results: Vec<_> = written.into_iter().map(Mutex::new).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((result, (_, round))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            results.get(index).zip(rounds.get(index))
        } {
            result.lock().get_or_insert_with(|| round.perform_syncs(disk));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..rounds.len().min(SYNCS_AT_ONCE) {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let result = |(result, (_, round)): (Mutex<Option<RoundResult>>, &Taken)| {
        result.into_inner().unwrap_or_else(|| round.perform_syncs(disk))
    };
    results.into_iter().zip(rounds).map(result).collect()
}
