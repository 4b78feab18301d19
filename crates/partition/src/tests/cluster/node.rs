//! One replica: the state machine, a log that forgets what was not synced, and the operations that its shell is asked for.

use std::collections::VecDeque;

use corduroy_types::{BrokerId, EpochEntry, EpochHistory, Incarnation, LeaderEpoch};

use super::history::Rec;
use crate::{Action, Agreement, Event, LogEnds, LogState, MonotonicMs, Partition, tests::at};

/// What the shell was asked to do to the log, in order.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Promise(LeaderEpoch),
    Reconcile(LeaderEpoch, Agreement),
    Adopt(LeaderEpoch, EpochEntry),
    Lead(LeaderEpoch, Incarnation),
}

/// A round of writes and syncs under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) end: usize,
}

pub(super) struct Node {
    pub(super) id: usize,
    pub(super) is_up: bool,
    pub(super) partition: Partition,
    pub(super) incarnation: Incarnation,
    pub(super) log: Vec<Rec>,
    /// What a crash keeps for certain.
    pub(super) durable: usize,
    /// Durable as soon as the operation that changes it has ended.
    pub(super) history: EpochHistory,
    pub(super) promised: Option<LeaderEpoch>,
    pub(super) ops: VecDeque<Op>,
    pub(super) round: Option<Round>,
}

pub(super) const fn broker(id: usize) -> BrokerId {
    BrokerId(id as u32)
}

impl Node {
    pub(super) fn new(id: usize, incarnation: Incarnation) -> Self {
        Self {
            id,
            is_up: true,
            partition: Partition::restored(broker(id), incarnation, None, false),
            incarnation,
            log: Vec::new(),
            durable: 0,
            history: EpochHistory::default(),
            promised: None,
            ops: VecDeque::new(),
            round: None,
        }
    }

    pub(super) fn log_state(&self) -> LogState {
        let (end, durable) = (at(self.log.len() as u64), at(self.durable as u64));
        let ends = LogEnds { log_start: at(0), log_end: end, counted_end: durable, durable_end: durable };
        LogState { ends, history: self.history.clone() }
    }

    pub(super) fn step(&mut self, now: u64, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.partition.step(MonotonicMs(now), event, &mut out);
        out
    }

    /// The process ends; of what was not synced `kept` records survive.
    pub(super) fn crash(&mut self, kept: usize) {
        self.is_up = false;
        self.log.truncate((self.durable + kept).min(self.log.len()));
        self.ops.clear();
        self.round = None;
    }

    pub(super) fn restart(&mut self, incarnation: Incarnation) {
        self.is_up = true;
        self.incarnation = incarnation;
        // What is found counts once it was synced, which recovery does.
        self.durable = self.log.len();
        self.partition = Partition::restored(broker(self.id), incarnation, self.promised, false);
    }

    /// A write or sync has failed: the log is cut at what is durable and opened again, as another run.
    pub(super) fn fail(&mut self, now: u64, incarnation: Incarnation) -> Vec<Action> {
        let durable_end = at(self.durable as u64);
        let mut out = Vec::new();
        if let Some(epoch) = self.partition.current_epoch() {
            out.extend(self.step(now, Event::LogFailed { epoch, durable_end }));
        }
        self.log.truncate(self.durable);
        self.ops.clear();
        self.round = None;
        self.incarnation = incarnation;
        out.extend(self.step(now, Event::Reopened { incarnation, suspect: false }));
        out
    }
}
