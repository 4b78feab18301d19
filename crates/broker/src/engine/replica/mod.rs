//! One partition on this broker: its log, its replication state machine, and the appends that wait for acknowledgements.
//!
//! One mutex for both, held for memory work only. I/O is taken out as a value (a commit round, a read plan, a
//! removal), performed without the lock, and reported back.

mod actions;
mod append;
mod checkpoint;
mod commit;
mod compaction_failure;
mod identity;
mod leading;
mod log;
mod log_slot;
mod opening;
pub(super) mod partition_dirs;
mod preparing;
mod retry;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use corduroy_api::Refusal;
use corduroy_batch::{Batch, BatchHeader};
use corduroy_log::producers::Producer;
use corduroy_log::{
    Appended, Log, LogConfig, LogError, ObsoleteFiles, PartitionKey, Removal, RoundResult, Swap,
};
use corduroy_partition::{Action, Event, LogEnds, LogState, MonotonicMs, NotLeading, Partition, RequestId};
use corduroy_types::{LeaderEpoch, Offset, Outcome, PartitionIndex, TopicId, TopicName};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use self::{append::Ack, commit::TakenRound};
pub(crate) use self::{
    append::{AppendRequest, PendingAck},
    identity::ReplicaCursors,
};
pub(super) use self::{
    checkpoint::{CheckpointThread, Checkpointer, spawn as spawn_checkpoints},
    commit::{CommitQueue, CommitThread, spawn as spawn_commits},
    compaction_failure::CompactionFailure,
    identity::ReplicaIdentity,
    leading::{Claim, EpochError, begin_and_lead},
    log_slot::{LogSlot, WhyClosed},
    opening::{Opening, Unreplayed, blocking, open_log},
    retry::Retry,
};
use super::{Clock, refusals};
use crate::metrics::TopicMetrics;

/// Reads of one partition's files at a time: fewer than the pool has places, so that one whose file hangs leaves some.
const READS_AT_ONCE: usize = 4;

/// One partition on this broker.
pub(crate) struct Replica {
    pub(in crate::engine) identity: ReplicaIdentity,
    /// Whether it is in the commit queue: see [`CommitQueue::push`].
    pub(in crate::engine) queued: AtomicBool,
    /// Serialises what moves the log start: retention and delete-records.
    pub(in crate::engine) removals: Arc<tokio::sync::Mutex<()>>,
    pub(in crate::engine) state: Mutex<ReplicaState>,
    /// How far records can be read, for those who wait for more. The partition decides what may be read.
    readable: watch::Sender<Offset>,
    /// The log end when the log was last checked for idleness.
    seen_end: AtomicU64,
    compaction_failure: Mutex<Option<CompactionFailure>>,
    /// A swap that counts, and whose files have not all got their names.
    unfinished_swap: Mutex<Option<Swap>>,
    /// Reads of its files that may be under way at a time.
    pub(in crate::engine) reads: Arc<Semaphore>,
    /// When the log is next opened, or led, after that failed.
    pub(in crate::engine) retry: Mutex<Retry>,
    /// Why it is not led, though its log is open, if that has failed.
    pub(in crate::engine) not_led: Mutex<Option<String>>,
    /// Whether an epoch is being begun in it now.
    pub(in crate::engine) beginning: AtomicBool,
    /// Whether a new epoch is being proposed for it now.
    pub(in crate::engine) electing: AtomicBool,
    commits: CommitQueue,
}

pub(in crate::engine) struct ReplicaState {
    pub(in crate::engine) log: LogSlot,
    pub(in crate::engine) partition: Partition,
    waiting: HashMap<RequestId, oneshot::Sender<Result<Ack, Refusal>>>,
    next_request: u64,
    /// The memory that requests are charged for until their batches are written, by the batches' ends.
    charged: VecDeque<(Offset, Arc<OwnedSemaphorePermit>)>,
    actions: Vec<Action>,
}

impl ReplicaState {
    fn outcome_if_refused(&self, header: &BatchHeader) -> Outcome {
        let may_hold = match self.log.get() {
            Some(log) => log.may_hold(header),
            // A deleted topic holds nothing; a log that is offline or was closed cannot be asked.
            None => {
                let deleted = Err(corduroy_partition::Refusal::NotLeading(NotLeading::TopicDeleted));
                header.producer_id >= 0 && self.partition.check_produce(None) != deleted
            }
        };
        if may_hold { Outcome::Unknown } else { Outcome::NotWritten }
    }
}

impl Replica {
    /// A replica that is not led yet. Its log may be offline: see [`Replica::opened`].
    pub(in crate::engine) fn new(identity: ReplicaIdentity, log: LogSlot, commits: CommitQueue) -> Arc<Self> {
        let (readable, _) = watch::channel(Offset::ZERO);
        let own = identity.own;
        Arc::new(Self {
            identity,
            queued: AtomicBool::new(false),
            removals: Arc::default(),
            state: Mutex::new(ReplicaState {
                partition: Partition::new(own),
                log,
                waiting: HashMap::new(),
                next_request: 0,
                charged: VecDeque::new(),
                actions: Vec::new(),
            }),
            readable,
            seen_end: AtomicU64::new(u64::MAX),
            compaction_failure: Mutex::default(),
            unfinished_swap: Mutex::default(),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            retry: Mutex::default(),
            not_led: Mutex::default(),
            beginning: AtomicBool::new(false),
            electing: AtomicBool::new(false),
            commits,
        })
    }

    pub(crate) fn key(&self) -> PartitionKey {
        PartitionKey { topic_id: self.identity.topic_id, partition: self.identity.index }
    }

    pub(crate) fn topic(&self) -> &TopicName {
        &self.identity.topic
    }

    pub(crate) fn metrics(&self) -> Option<&TopicMetrics> {
        self.identity.metrics.as_deref()
    }

    pub(crate) fn identity(&self) -> &ReplicaIdentity {
        &self.identity
    }

    /// Why it is not compacted, if it should be and is not.
    pub(crate) fn compaction_failure(&self) -> Option<CompactionFailure> {
        self.compaction_failure.lock().clone()
    }

    pub(in crate::engine) fn set_compaction_failure(&self, failure: Option<CompactionFailure>) {
        *self.compaction_failure.lock() = failure;
    }

    pub(in crate::engine) fn set_unfinished_swap(&self, swap: Swap) {
        *self.unfinished_swap.lock() = Some(swap);
    }

    pub(in crate::engine) fn take_unfinished_swap(&self) -> Option<Swap> {
        self.unfinished_swap.lock().take()
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.identity.topic_id
    }

    pub(crate) fn index(&self) -> PartitionIndex {
        self.identity.index
    }

    /// The greatest epoch that this broker has led in; 0 before the first.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.state.lock().partition.last_epoch().unwrap_or_default()
    }

    /// Begins to lead in `epoch`, which has begun in the log.
    pub(crate) fn lead(&self, epoch: LeaderEpoch, clock: Clock) {
        let mut state = self.state.lock();
        let Some(log) = state.log.get() else { return };
        let cursors = log.cursors();
        let ends = LogEnds {
            log_start: cursors.log_start(),
            log_end: cursors.log_end(),
            counted_end: cursors.counted_end(),
            durable_end: cursors.durable_end(),
        };
        let log = LogState { ends, history: log.history().clone() };
        let event = Event::Lead { epoch, replicas: Arc::clone(&self.identity.replicas), log };
        self.step(&mut state, event, clock);
    }

    /// Takes a checked batch into memory and into the next commit round.
    ///
    /// One that the log has already waits for what the first one waits for.
    ///
    /// # Errors
    /// Not appended; the refusal's outcome says whether it may have been before.
    pub(crate) fn append(
        self: &Arc<Self>,
        clock: Clock,
        batch: Batch,
        request: AppendRequest,
    ) -> Result<PendingAck, Refusal> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let header = batch.header().clone();
        self.append_locked(state, clock, batch, request)
            .map_err(|refusal| refusal.with_outcome(state.outcome_if_refused(&header)))
    }

    fn append_locked(
        self: &Arc<Self>,
        state: &mut ReplicaState,
        clock: Clock,
        batch: Batch,
        request: AppendRequest,
    ) -> Result<PendingAck, Refusal> {
        let AppendRequest { acks, timeout, expected_offset, memory } = request;
        let was_led = state.partition.last_epoch().is_some();
        if state.log.offline().is_some() || state.log.get().is_some() && !was_led {
            return Err(state.log.absent(&self.identity));
        }
        let epoch =
            state.partition.check_produce(None).map_err(|e| refusals::not_leading(&self.identity, &e))?;
        let Some(log) = state.log.get_mut() else { return Err(state.log.absent(&self.identity)) };
        let appended = log
            .append_at(batch, epoch, expected_offset, clock.now())
            .map_err(|e| refusals::append(&self.identity, &e))?;
        let counted_end = log.cursors().counted_end();
        let durable_end = log.cursors().durable_end();
        let Appended { base_offset, next_offset, max_timestamp, duplicate } = appended;
        if !duplicate {
            state.charged.extend(memory.map(|memory| (next_offset, memory)));
        }
        let (sender, answer) = oneshot::channel();
        let request = RequestId(state.next_request);
        state.next_request += 1;
        state.waiting.insert(request, sender);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let (base, end) = (base_offset, next_offset);
        let deadline = MonotonicMs(clock.monotonic_ms().saturating_add(timeout_ms));
        let event = if duplicate {
            Event::Duplicate { request, epoch, base, end, acks, deadline }
        } else {
            Event::Appended { request, epoch, base, end, acks, deadline }
        };
        self.step(state, event, clock);
        // With durability `background` what is in memory counts at once.
        self.step(state, Event::Counted { epoch, counted_end, durable_end }, clock);
        self.commits.push(self);
        Ok(PendingAck { base_offset, max_timestamp, duplicate, answer })
    }

    /// What is known of a batch that is refused before it is appended: whether it may be there from an earlier request.
    pub(crate) fn outcome_if_refused(&self, header: &BatchHeader) -> Outcome {
        self.state.lock().outcome_if_refused(header)
    }

    /// What is to be written next, if anything, with the epoch in which it is taken.
    pub(in crate::engine) fn take_round(self: &Arc<Self>) -> Option<TakenRound> {
        let mut state = self.state.lock();
        let round = state.log.get_mut().and_then(Log::take_round)?;
        let epoch = state.partition.last_epoch().unwrap_or_default();
        Some(TakenRound { replica: Arc::clone(self), epoch, round })
    }

    /// Reports a round that was taken in `epoch`. Returns whether another one is wanted.
    pub(in crate::engine) fn round_done(
        &self,
        epoch: LeaderEpoch,
        result: RoundResult,
        clock: Clock,
    ) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(log) = state.log.get_mut() else { return false };
        match log.round_done(result) {
            Ok(cursors) => {
                let wants_round = log.wants_round();
                let written = state.charged.partition_point(|(end, _)| *end <= cursors.written_end());
                state.charged.drain(..written);
                let (counted_end, durable_end) = (cursors.counted_end(), cursors.durable_end());
                self.step(state, Event::Counted { epoch, counted_end, durable_end }, clock);
                let (log_start, log_end) = (cursors.log_start(), cursors.log_end());
                self.step(state, Event::LogSeen { epoch, log_start, log_end }, clock);
                wants_round
            }
            Err(error) => {
                tracing::error!(event = "B0201", topic = %self.identity.topic, partition = %self.identity.index, %error, "log stopped");
                let durable_end = log.cursors().durable_end();
                self.log_failed(state, durable_end, clock);
                false
            }
        }
    }

    /// Stops the log for a failure that no round of its own has met.
    pub(in crate::engine) fn stop_log(&self, clock: Clock, stop: impl FnOnce(&mut Log)) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(log) = state.log.get_mut().filter(|log| log.failure().is_none()) else { return };
        stop(log);
        let Some(failure) = log.failure().cloned() else { return };
        tracing::error!(event = "B0201", topic = %self.identity.topic, partition = %self.identity.index, error = %failure, "log stopped");
        let durable_end = log.cursors().durable_end();
        self.log_failed(state, durable_end, clock);
    }

    /// The log takes no more appends. The present leadership ends, also where a round of an earlier one has failed.
    fn log_failed(&self, state: &mut ReplicaState, durable_end: Offset, clock: Clock) {
        state.charged.clear();
        if let Some(epoch) = state.partition.epoch() {
            self.step(state, Event::LogFailed { epoch, durable_end }, clock);
        }
    }

    /// Ends what has waited too long.
    pub(in crate::engine) fn tick(&self, clock: Clock) {
        let mut state = self.state.lock();
        let now = MonotonicMs(clock.monotonic_ms());
        if state.partition.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.step(&mut state, Event::Tick, clock);
        }
    }

    /// Follows the high watermark until the replica is dropped.
    pub(crate) fn watch_high_watermark(&self) -> watch::Receiver<Offset> {
        self.readable.subscribe()
    }

    /// Raises the log start to one that is durable; returns the files that the log gave up.
    ///
    /// # Errors
    /// The removal is not of this log.
    pub(in crate::engine) fn apply_removal(
        &self,
        removal: &Removal,
        clock: Clock,
    ) -> Option<Result<ObsoleteFiles, LogError>> {
        let mut state = self.state.lock();
        let obsolete = state.log.get_mut()?.apply_removal(removal);
        if obsolete.is_ok() {
            self.step(&mut state, Event::LogStartRaised { log_start: removal.log_start() }, clock);
        }
        Some(obsolete)
    }

    /// Asks for a commit round, for what retention or a new config left to write.
    pub(in crate::engine) fn ask_for_round(self: &Arc<Self>) {
        if self.with_log(|log, _| log.wants_round()).unwrap_or(false) {
            self.commits.push(self);
        }
    }

    /// Gives back the files and memory of a log to which nothing was appended since the last call.
    pub(in crate::engine) fn release_if_idle(&self) {
        self.with_log(|log, _| {
            let end = log.cursors().log_end().get();
            if self.seen_end.swap(end, Ordering::Relaxed) == end {
                log.release_idle();
            }
        });
    }

    /// How many idempotent producers the log remembers, and the last `max` to write, the newest first.
    pub(crate) fn producers(&self, max: usize) -> (usize, Vec<(i64, Producer)>) {
        let listed = self.with_log(|log, _| {
            let producers = log.producers();
            let newest = producers.newest().take(max).map(|(id, producer)| (id, *producer));
            (producers.len(), newest.collect())
        });
        listed.unwrap_or_default()
    }

    pub(in crate::engine) fn set_log_config(self: &Arc<Self>, config: LogConfig) {
        self.with_log(|log, _| log.set_config(config));
        self.ask_for_round();
    }

    /// Ends its leadership, if it has one; what is stored stays.
    pub(in crate::engine) fn resign(&self, reason: NotLeading, clock: Clock) {
        let mut state = self.state.lock();
        if state.partition.epoch().is_some() {
            self.step(&mut state, Event::Stop { reason }, clock);
        }
    }

    /// Takes the log away: every waiting append ends unknown, and nothing more is appended or read.
    pub(in crate::engine) fn retire(&self, why: WhyClosed, clock: Clock) -> Option<Log> {
        let reason = match why {
            WhyClosed::TopicDeleted => NotLeading::TopicDeleted,
            WhyClosed::ShuttingDown => NotLeading::ShuttingDown,
        };
        let mut state = self.state.lock();
        self.step(&mut state, Event::Stop { reason }, clock);
        let log = state.log.close(why);
        state.charged.clear();
        // Wakes those who wait for records: their next read says why there are none.
        self.readable.send_modify(|_| ());
        log
    }
}

#[cfg(test)]
mod tests;
