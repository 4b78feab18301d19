//! The commit thread and the checkpoint thread, as the broker has them, with a record of what they asked of the disk.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use corduroy_benches::Failure;
use corduroy_broker::parallel::{SYNCS_AT_ONCE, run_parallel};
use corduroy_log::{Journal, Round, journal::CommitKind};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Semaphore;

use crate::data_dir::{DataDir, Partition};

/// How long a durable mark waits for something to ride along with.
const MARKS_WITHIN: Duration = Duration::from_millis(100);

/// What one commit wrote and synced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traced {
    /// Segments written to, and bytes in them.
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) journal_bytes: u64,
    pub(crate) syncs: usize,
}

/// The partitions that have something to write, in the order in which they asked.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    ready: Vec<Arc<Partition>>,
    closed: bool,
}

impl Queue {
    pub(crate) fn push(&self, partition: &Arc<Partition>) {
        if !partition.queued.swap(true, Ordering::AcqRel) {
            self.state.lock().ready.push(Arc::clone(partition));
            self.wake.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Everything that is ready; waits for something, at most `rest` if that is given. `None`: closed and empty.
    fn take(&self, rest: Option<Duration>) -> Option<Vec<Arc<Partition>>> {
        let mut state = self.state.lock();
        while state.ready.is_empty() {
            if state.closed {
                return None;
            }
            match rest {
                None => self.wake.wait(&mut state),
                Some(rest) => {
                    if self.wake.wait_for(&mut state, rest).timed_out() {
                        break;
                    }
                }
            }
        }
        Some(std::mem::take(&mut state.ready))
    }
}

/// What came of one run of the commit thread.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) trace: Vec<Traced>,
    pub(crate) journaled: usize,
    /// From append to acknowledgement, in microseconds, of some of the appends.
    pub(crate) waits_us: Vec<f64>,
}

/// One run of the commit thread.
#[derive(Debug)]
pub(crate) struct CommitThread<'a> {
    pub(crate) data_dir: &'a DataDir,
    pub(crate) queue: &'a Queue,
    /// What each writer may still have in flight; acknowledgements give it back.
    pub(crate) permits: &'a [Semaphore],
    pub(crate) checkpoints: &'a Checkpoints,
}

impl CommitThread<'_> {
    /// Commits until the queue is closed and empty.
    pub(crate) fn run(&self) -> Result<Committed, Failure> {
        let mut committed = Committed::default();
        let mut marks_written = Instant::now();
        loop {
            let waiting = self.data_dir.journal.lock().has_unwritten_state();
            let rest = waiting.then(|| MARKS_WITHIN.saturating_sub(marks_written.elapsed()));
            let Some(ready) = self.queue.take(rest) else { return Ok(committed) };
            let marks_due = marks_written.elapsed() >= MARKS_WITHIN;
            if marks_due {
                marks_written = Instant::now();
            }
            self.commit(ready, marks_due, &mut committed)?;
        }
    }

    fn commit(
        &self,
        ready: Vec<Arc<Partition>>,
        marks_due: bool,
        committed: &mut Committed,
    ) -> Result<(), Failure> {
        let mut partitions = Vec::with_capacity(ready.len());
        let mut rounds: Vec<(_, Round)> = Vec::with_capacity(ready.len());
        for partition in ready {
            partition.queued.store(false, Ordering::Release);
            let round = partition.state.lock().log.take_round();
            if let Some(round) = round {
                rounds.push((partition.key, round));
                partitions.push(partition);
            }
        }
        let mut journal = self.data_dir.journal.lock();
        if rounds.is_empty() && !(marks_due && journal.has_unwritten_state()) {
            return Ok(());
        }
        let bytes = rounds.iter().map(|(_, round)| round.bytes()).sum();
        let mut traced = Traced { files: rounds.len(), bytes, ..Traced::default() };
        let mut commit = journal.plan(rounds, Vec::new(), marks_due);
        drop(journal);
        commit.perform_writes(&*self.data_dir.disk);
        traced.syncs = commit.syncs();
        run_parallel(commit.syncs(), SYNCS_AT_ONCE, |index| commit.perform_sync(index, &*self.data_dir.disk));
        let mut journal = self.data_dir.journal.lock();
        let done = journal.finish(commit);
        let wants_checkpoint = journal.wants_checkpoint();
        drop(journal);
        if wants_checkpoint {
            self.checkpoints.wake();
        }
        done.requests?;
        traced.journal_bytes = done.journal_bytes;
        committed.journaled += usize::from(done.kind == CommitKind::Journal);
        committed.trace.push(traced);
        for (partition, (_, result)) in partitions.iter().zip(done.results) {
            self.report(partition, result, committed)?;
        }
        Ok(())
    }

    fn report(
        &self,
        partition: &Arc<Partition>,
        result: corduroy_log::RoundResult,
        committed: &mut Committed,
    ) -> Result<(), Failure> {
        const WAITS_MAX: usize = 100_000;
        let mut state = partition.state.lock();
        let state = &mut *state;
        let cursors = state.log.round_done(result)?;
        // With durability `background` an append counts at once; its memory is given back when it is written.
        let end = match state.log.config().durability {
            corduroy_types::Durability::Sync => cursors.durable_end(),
            corduroy_types::Durability::Background => cursors.written_end(),
        };
        let done = state.waiting.partition_point(|waiting| waiting.end <= end);
        let now = Instant::now();
        for waiting in state.waiting.drain(..done) {
            if committed.waits_us.len() < WAITS_MAX {
                committed.waits_us.push((now - waiting.since).as_secs_f64() * 1e6);
            }
            if let Some(permits) = self.permits.get(waiting.writer) {
                permits.add_permits(1);
            }
        }
        if state.log.wants_round() {
            self.queue.push(partition);
        }
        Ok(())
    }
}

/// Wakes and stops the checkpoint thread.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Whether one is wanted, and whether to stop.
    wanted: Mutex<(bool, bool)>,
    wake: Condvar,
}

impl Checkpoints {
    fn wake(&self) {
        self.wanted.lock().0 = true;
        self.wake.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.wanted.lock().1 = true;
        self.wake.notify_one();
    }

    /// Makes checkpoints when they are wanted, until it is stopped. Returns how many.
    pub(crate) fn run(&self, data_dir: &DataDir) -> Result<usize, Failure> {
        let mut count = 0;
        loop {
            let mut wanted = self.wanted.lock();
            while !wanted.0 && !wanted.1 {
                self.wake.wait(&mut wanted);
            }
            if wanted.1 {
                return Ok(count);
            }
            wanted.0 = false;
            drop(wanted);
            if checkpoint(data_dir, Journal::wants_checkpoint)? {
                count += 1;
            }
        }
    }
}

/// Syncs every segment that the journal holds data for.
pub(crate) fn checkpoint(data_dir: &DataDir, is_due: impl FnOnce(&Journal) -> bool) -> Result<bool, Failure> {
    let journal = data_dir.journal.lock();
    let planned = is_due(&journal).then(|| journal.plan_checkpoint()).flatten();
    drop(journal);
    let Some(checkpoint) = planned else { return Ok(false) };
    run_parallel(checkpoint.segments(), SYNCS_AT_ONCE, |index| {
        checkpoint.perform_step(index, &*data_dir.disk)
    });
    match data_dir.journal.lock().checkpointed(checkpoint).into_iter().next() {
        Some(failure) => Err(format!("checkpoint of {}: {}", failure.file, failure.error).into()),
        None => Ok(true),
    }
}
