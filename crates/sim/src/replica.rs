//! One replica of a partition: the state machine, its log, and the operations on that log which the state machine asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use corduroy_log::journal::{JournalRequest, Promise};
use corduroy_log::{Journal, Log, PartitionKey, Truncation};
use corduroy_partition::{Agreement, Event, LogEnds, LogState, Partition};
use corduroy_types::{BrokerId, EpochEntry, Incarnation, LeaderEpoch};

use crate::outcome::Settings;
use crate::rule::Rule;

/// What is to be done to the log, in order.
#[derive(Debug)]
pub(crate) enum Op {
    Promise(LeaderEpoch),
    Reconcile(LeaderEpoch, Agreement),
    Adopt(LeaderEpoch, EpochEntry),
    Lead(LeaderEpoch, Incarnation, Arc<[BrokerId]>),
    /// A cut that was planned, and has to be durable in the journal before it is performed.
    BeginCut(LeaderEpoch, Truncation),
    /// A cut that was performed: the log takes the place of the present one once that is durable in the journal.
    EndCut(LeaderEpoch, Truncation, Box<Log>),
}

/// What the commit in flight makes durable.
#[derive(Debug)]
pub(crate) enum Asked {
    Promise(LeaderEpoch),
    Adopt(LeaderEpoch, EpochEntry),
    Lead(LeaderEpoch, EpochEntry, Arc<[BrokerId]>),
    BeginCut(LeaderEpoch, Truncation),
    EndCut(LeaderEpoch, Truncation, Box<Log>),
}

/// What a commit is to make durable in the journal.
#[derive(Debug)]
pub(crate) struct Request {
    /// `None` where the rule that asks for it is broken.
    pub(crate) journal: Option<JournalRequest>,
}

impl Request {
    fn new(request: JournalRequest, is_made: bool) -> Self {
        Self { journal: is_made.then_some(request) }
    }
}

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) key: PartitionKey,
    pub(crate) partition: Partition,
    pub(crate) log: Log,
    pub(crate) incarnation: Incarnation,
    pub(crate) ops: VecDeque<Op>,
    pub(crate) asked: Option<Asked>,
    /// In which epoch the round in flight was taken.
    pub(crate) round_epoch: Option<LeaderEpoch>,
    /// The log has stopped, and is not opened again yet.
    pub(crate) stopped: bool,
    /// A cut that has to be performed again, since the disk or the journal failed in it.
    pub(crate) redo: Option<(LeaderEpoch, Truncation)>,
    /// Up to where what is committed here was compared.
    pub(crate) compared_end: u64,
}

impl Replica {
    pub(crate) fn new(key: PartitionKey, partition: Partition, log: Log, incarnation: Incarnation) -> Self {
        let (ops, asked, round_epoch, redo) = (VecDeque::new(), None, None, None);
        Self {
            key,
            partition,
            log,
            incarnation,
            ops,
            asked,
            round_epoch,
            stopped: false,
            redo,
            compared_end: 0,
        }
    }

    pub(crate) fn state(&self) -> LogState {
        state_of(&self.log)
    }

    fn is_at_rest(&self) -> bool {
        !self.log.wants_round()
            && !self.log.round_in_flight()
            && self.log.failure().is_none()
            && !self.log.is_cutting()
    }

    /// The next thing to make durable in the journal. An operation that another epoch has made useless is dropped.
    pub(crate) fn next_request(&mut self, settings: &Settings, journal: &mut Journal) -> Option<Request> {
        let key = self.key;
        while self.asked.is_none() {
            let waits = match self.ops.front()? {
                Op::BeginCut(..) | Op::EndCut(..) => false,
                _ => !self.is_at_rest(),
            };
            if waits {
                return None;
            }
            match self.ops.pop_front()? {
                Op::Promise(epoch) => {
                    self.asked = Some(Asked::Promise(epoch));
                    let request = JournalRequest::Promise(key, Promise::of_epoch(epoch));
                    return Some(Request::new(request, settings.keeps(Rule::PromiseIsDurable)));
                }
                Op::Reconcile(epoch, agreement) => {
                    if let Some(truncation) = self.plan_cut(epoch, &agreement) {
                        self.ops.push_front(Op::BeginCut(epoch, truncation));
                    }
                }
                Op::Adopt(epoch, entry) => {
                    let is_due = self.partition.current_epoch() == Some(epoch);
                    if is_due && self.log.plan_epoch(entry.epoch).ok() == Some(entry) {
                        self.asked = Some(Asked::Adopt(epoch, entry));
                        let request = JournalRequest::BeginEpoch(key, entry);
                        return Some(Request::new(request, settings.keeps(Rule::EntryIsDurable)));
                    }
                }
                Op::Lead(epoch, incarnation, replicas) => {
                    let entry = self.log.plan_epoch(epoch).ok();
                    if let Some(entry) = entry.filter(|_| self.partition.may_lead(epoch, incarnation)) {
                        self.asked = Some(Asked::Lead(epoch, entry, replicas));
                        return Some(Request::new(JournalRequest::BeginEpoch(key, entry), true));
                    }
                }
                Op::BeginCut(epoch, truncation) => {
                    let request = truncation.begin(key);
                    self.asked = Some(Asked::BeginCut(epoch, truncation));
                    return Some(Request::new(request, settings.keeps(Rule::CutIsDurable)));
                }
                Op::EndCut(epoch, truncation, log) => {
                    let request = journal.end_cut(key, &log);
                    self.asked = Some(Asked::EndCut(epoch, truncation, log));
                    return Some(Request::new(request, settings.keeps(Rule::CutIsDurable)));
                }
            }
        }
        None
    }

    fn plan_cut(&mut self, epoch: LeaderEpoch, agreement: &Agreement) -> Option<Truncation> {
        if self.partition.current_epoch() != Some(epoch) {
            return None;
        }
        let history = agreement.history.clone();
        let planned = match agreement.empties {
            true => self.log.plan_reset(agreement.log_start, history),
            false => self.log.plan_truncation(agreement.log_end, history),
        };
        planned.ok()
    }

    /// What the journal was asked for is durable, and changes nothing but the state machine and the history.
    pub(crate) fn begun(&mut self, asked: Asked) -> Option<Event> {
        match asked {
            Asked::Promise(epoch) => Some(Event::Promised { epoch, log: self.state() }),
            Asked::Adopt(epoch, entry) => {
                self.log.begin_epoch(entry).ok()?;
                Some(Event::Adopted { epoch, entry })
            }
            Asked::Lead(epoch, entry, replicas) => {
                self.log.begin_epoch(entry).ok()?;
                Some(Event::Lead { epoch, replicas, log: self.state() })
            }
            Asked::EndCut(epoch, _, log) => {
                self.log = *log;
                Some(Event::Reconciled { epoch, log: self.state() })
            }
            Asked::BeginCut(..) => None,
        }
    }

    /// The journal has failed: a cut goes on where it was, everything else is asked for again by another epoch.
    pub(crate) fn give_up_asked(&mut self) {
        match self.asked.take() {
            Some(Asked::BeginCut(epoch, truncation)) => self.ops.push_front(Op::BeginCut(epoch, truncation)),
            Some(Asked::EndCut(epoch, truncation, _)) => self.redo = Some((epoch, truncation)),
            _ => {}
        }
    }

    /// The log has stopped: of what was to be done only a cut that has begun stays.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        for op in std::mem::take(&mut self.ops) {
            match op {
                Op::BeginCut(..) => self.ops.push_back(op),
                Op::EndCut(epoch, truncation, _) => self.redo = Some((epoch, truncation)),
                _ => {}
            }
        }
    }
}

pub(crate) fn state_of(log: &Log) -> LogState {
    let cursors = log.cursors();
    let ends = LogEnds {
        log_start: cursors.log_start(),
        log_end: cursors.log_end(),
        counted_end: cursors.counted_end(),
        durable_end: cursors.durable_end(),
    };
    LogState { ends, history: log.history().clone() }
}
