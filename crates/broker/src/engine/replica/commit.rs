//! The commit thread: performs commit rounds, one at a time, and reports them. It is the only one that writes to the
//! commit journal.
//!
//! While a round is in flight the next one gathers: everything that is appended until it ends, to any partition, is
//! in the next round. Nothing waits for a timer.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use corduroy_log::{
    Disk, Journal, PartitionKey, Round,
    journal::{CommitKind, JournalFailed, JournalRequest},
};
use corduroy_types::LeaderEpoch;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Checkpointer, Clock, Replica, preparing::Preparer};
use crate::{
    metrics::Metrics,
    parallel::{SYNCS_AT_ONCE, run_parallel},
};

/// How long a round rests for which there was no file handle, unless others come before that.
const POSTPONED_REST: Duration = Duration::from_millis(50);

/// How long a durable mark waits for something to ride along with.
const MARKS_WITHIN: Duration = Duration::from_millis(100);

/// The replicas that have something to write, in the order in which they asked.
#[derive(Clone)]
pub(crate) struct CommitQueue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<QueueState>,
    wake: Condvar,
    /// When the oldest round that is not reported yet was taken, in milliseconds of the monotonic clock; no round:
    /// [`NO_ROUND`].
    oldest_ms: AtomicU64,
}

const NO_ROUND: u64 = u64::MAX;

#[derive(Default)]
struct QueueState {
    ready: VecDeque<Arc<Replica>>,
    /// Rounds that are being prepared: when each was taken, by replica.
    preparing: HashMap<PartitionKey, u64>,
    /// Those that were, and can be committed.
    prepared: Vec<TakenRound>,
    asked: Vec<Asked>,
    closed: bool,
    abandoned: bool,
}

/// What is to be made durable in addition to batches, and who waits for it.
struct Asked {
    requests: Vec<JournalRequest>,
    answer: oneshot::Sender<Result<(), JournalFailed>>,
}

/// What one commit is made of.
struct Gathered {
    ready: VecDeque<Arc<Replica>>,
    prepared: Vec<TakenRound>,
    asked: Vec<Asked>,
}

impl CommitQueue {
    pub(crate) fn new() -> Self {
        let (state, oldest_ms) = (Mutex::new(QueueState::default()), AtomicU64::new(NO_ROUND));
        Self { shared: Arc::new(Shared { state, wake: Condvar::new(), oldest_ms }) }
    }

    /// For how long the oldest round has been on its way to disk; `None` while there is none.
    pub(crate) fn oldest_round_age(&self, clock: Clock) -> Option<Duration> {
        let preparing = self.shared.state.lock().preparing.values().copied().min().unwrap_or(NO_ROUND);
        let began = self.shared.oldest_ms.load(Ordering::Relaxed).min(preparing);
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

    /// A round of this replica, taken at `now_ms`, is being prepared.
    fn preparing(&self, replica: &Replica, now_ms: u64) {
        self.shared.state.lock().preparing.insert(replica.key(), now_ms);
    }

    /// The round can be committed, or has failed.
    pub(in crate::engine) fn prepared(&self, taken: TakenRound) {
        let mut state = self.shared.state.lock();
        state.preparing.remove(&taken.replica.key());
        state.prepared.push(taken);
        self.shared.wake.notify_one();
    }

    /// Makes requests durable in the commit journal, all of them with one sync. The answer says why not; there is none
    /// when the broker stops.
    pub(in crate::engine) fn ask(
        &self,
        requests: Vec<JournalRequest>,
    ) -> oneshot::Receiver<Result<(), JournalFailed>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.shared.state.lock();
        if !state.closed {
            state.asked.push(Asked { requests, answer });
            self.shared.wake.notify_one();
        }
        answered
    }

    /// Lets the thread see what the journal has to write now.
    pub(in crate::engine) fn wake(&self) {
        drop(self.ask(Vec::new()));
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
    fn take(&self, rest: Option<Duration>) -> Option<Gathered> {
        let mut state = self.shared.state.lock();
        while state.ready.is_empty() && state.asked.is_empty() && state.prepared.is_empty() || state.abandoned
        {
            if state.closed && (state.preparing.is_empty() || state.abandoned) {
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
        let QueueState { ready, asked, prepared, .. } = &mut *state;
        Some(Gathered {
            ready: std::mem::take(ready),
            prepared: std::mem::take(prepared),
            asked: std::mem::take(asked),
        })
    }
}

/// A round of one replica, taken and not yet reported.
pub(in crate::engine) struct TakenRound {
    pub(in crate::engine) replica: Arc<Replica>,
    /// The epoch that was led in when it was taken: what it reports counts in that one only.
    pub(in crate::engine) epoch: LeaderEpoch,
    pub(in crate::engine) round: Round,
}

/// What the commit thread works with.
pub(in crate::engine) struct CommitThread {
    pub(in crate::engine) queue: CommitQueue,
    pub(in crate::engine) disk: Arc<dyn Disk>,
    pub(in crate::engine) journal: Arc<Mutex<Journal>>,
    pub(in crate::engine) checkpointer: Checkpointer,
    pub(in crate::engine) clock: Clock,
    pub(in crate::engine) metrics: Arc<Metrics>,
}

/// Starts the commit thread of one data directory.
///
/// # Errors
/// When the system has no thread left.
pub(in crate::engine) fn spawn(thread: CommitThread) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("commit".to_owned()).spawn(move || thread.run())
}

impl CommitThread {
    fn run(self) {
        let preparer = Preparer::new(Arc::clone(&self.disk), self.queue.clone());
        let mut postponed = Vec::new();
        let mut marks_written = Instant::now();
        loop {
            let rest = if postponed.is_empty() {
                let waiting = self.journal.lock().has_unwritten_state();
                waiting.then(|| MARKS_WITHIN.saturating_sub(marks_written.elapsed()))
            } else {
                Some(POSTPONED_REST)
            };
            let Some(gathered) = self.queue.take(rest) else { break };
            let marks_due = marks_written.elapsed() >= MARKS_WITHIN;
            if marks_due {
                marks_written = Instant::now();
            }
            postponed = self.perform(gathered, postponed, marks_due, &preparer);
        }
        preparer.close();
        if !self.queue.is_abandoned() {
            // The last try: an append that finds no file handle now ends as unknown.
            for TakenRound { replica, epoch, round } in postponed {
                replica.round_done(epoch, round.perform(self.disk.as_ref()), self.clock);
            }
        }
    }

    /// One commit of all replicas that are ready, and those postponed before: first every write, then every sync, then
    /// the reports. Returns what has to be performed again, because there was no file handle for it.
    fn perform(
        &self,
        gathered: Gathered,
        postponed: Vec<TakenRound>,
        marks_due: bool,
        preparer: &Preparer,
    ) -> Vec<TakenRound> {
        let was_postponed = !postponed.is_empty();
        let Gathered { ready, prepared, asked } = gathered;
        let mut taken = postponed;
        taken.extend(prepared);
        for replica in ready {
            // Cleared before the round is taken: whatever is appended after that asks again.
            replica.queued.store(false, Ordering::Release);
            match replica.take_round() {
                Some(next) if next.round.needs_preparation() => {
                    self.queue.preparing(&replica, self.clock.monotonic_ms());
                    preparer.begin(next);
                }
                Some(next) => taken.push(next),
                None => {}
            }
        }
        let (requests, waiting): (Vec<_>, Vec<_>) =
            asked.into_iter().map(|asked| (asked.requests, asked.answer)).unzip();
        let requests = requests.concat();
        let split = |TakenRound { replica, epoch, round }: TakenRound| {
            let key = replica.key();
            ((replica, epoch), (key, round))
        };
        let (replicas, rounds): (Vec<_>, Vec<_>) = taken.into_iter().map(split).unzip();
        let mut journal = self.journal.lock();
        if rounds.is_empty() && requests.is_empty() && !(marks_due && journal.has_unwritten_state()) {
            answer(waiting, &Ok(()));
            return Vec::new();
        }
        let mut commit = journal.plan(rounds, requests, marks_due);
        drop(journal);
        let disk = self.disk.as_ref();
        let began = Instant::now();
        // A round that was postponed has kept its time.
        let oldest_ms = &self.queue.shared.oldest_ms;
        oldest_ms.fetch_min(self.clock.monotonic_ms(), Ordering::Relaxed);
        commit.perform_writes(disk);
        let syncs_began = Instant::now();
        run_parallel(commit.syncs(), SYNCS_AT_ONCE, |index| commit.perform_sync(index, disk));
        let ended = Instant::now();
        let mut journal = self.journal.lock();
        let done = journal.finish(commit);
        let wants_checkpoint = journal.wants_checkpoint();
        drop(journal);
        if wants_checkpoint {
            self.checkpointer.wake();
        }
        answer(waiting, &done.requests);
        let storage = &self.metrics.storage;
        match done.kind {
            CommitKind::Direct => {
                storage.commit_rounds_direct.inc();
            }
            CommitKind::Journal => {
                storage.commit_rounds_journal.inc();
            }
            CommitKind::StateOnly => {}
        }
        storage.journal_bytes.inc_by(done.journal_bytes);
        storage.commit_round_seconds.observe((ended - began).as_secs_f64());
        storage.fsync_seconds.observe((ended - syncs_began).as_secs_f64());
        self.report(replicas, done.results, was_postponed)
    }

    fn report(
        &self,
        replicas: Vec<(Arc<Replica>, LeaderEpoch)>,
        results: Vec<(Round, corduroy_log::RoundResult)>,
        was_postponed: bool,
    ) -> Vec<TakenRound> {
        let mut postponed = Vec::new();
        for ((replica, epoch), (round, result)) in replicas.into_iter().zip(results) {
            if result.is_postponed() {
                if !was_postponed && postponed.is_empty() {
                    tracing::warn!(event = "B0211", round = ?result, "no file handle is left");
                }
                postponed.push(TakenRound { replica, epoch, round });
            } else if replica.round_done(epoch, result, self.clock) {
                self.queue.push(&replica);
            }
        }
        if postponed.is_empty() {
            self.queue.shared.oldest_ms.store(NO_ROUND, Ordering::Relaxed);
        }
        postponed
    }
}

fn answer(waiting: Vec<oneshot::Sender<Result<(), JournalFailed>>>, result: &Result<(), JournalFailed>) {
    for waiting in waiting {
        // The caller may no longer wait.
        let _asker_gone = waiting.send(result.clone());
    }
}
