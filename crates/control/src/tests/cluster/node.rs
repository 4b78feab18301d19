//! One node: the voter, the partition that is its metadata log, a log that forgets what was not synced, and the operations that the
//! shell is asked for.

use std::collections::VecDeque;

use corduroy_partition::{Agreement, LogEnds, LogState, Partition};
use corduroy_types::{BrokerId, EpochEntry, EpochHistory, Incarnation, LeaderEpoch, MonotonicMs, Offset};

use super::history::Rec;
use crate::{
    Ballot, DirectoryId, Generator, LogPosition, Start, Timing, Voter, VoterId, VoterSets, Voters,
    vote::rules::Rules,
};

pub(super) fn at(n: usize) -> Offset {
    Offset::new(n as u64).unwrap()
}

pub(super) const fn broker(id: usize) -> BrokerId {
    BrokerId(id as u32)
}

pub(super) const fn voter_id(id: usize) -> VoterId {
    VoterId { broker: broker(id), directory: DirectoryId([id as u8; 16]) }
}

/// What the shell was asked to do to log and journal, in order.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Persist(Ballot),
    Promise(LeaderEpoch),
    Reconcile(LeaderEpoch, Agreement),
    Adopt(LeaderEpoch, EpochEntry),
    Lead(LeaderEpoch, Incarnation, Voters),
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
    /// Until when the process does nothing.
    pub(super) paused_until: u64,
    /// Until when its disk does nothing.
    pub(super) stalled_until: u64,
    pub(super) rules: Rules,
    pub(super) voter: Voter,
    pub(super) partition: Partition,
    pub(super) incarnation: Incarnation,
    pub(super) log: Vec<Rec>,
    /// What a crash keeps for certain.
    pub(super) durable: usize,
    /// Durable, as is the ballot, as soon as the operation that changes it has ended.
    pub(super) history: EpochHistory,
    pub(super) ballot: Ballot,
    /// The set that a first start wrote into its directory.
    pub(super) founded: Option<Voters>,
    pub(super) ops: VecDeque<Op>,
    pub(super) round: Option<Round>,
}

impl Node {
    pub(super) fn new(id: usize, founded: Option<Voters>, rules: Rules, seed: u64) -> Self {
        let incarnation = Incarnation(id as u64 + 1);
        let start = Start {
            own: voter_id(id),
            incarnation,
            ballot: Ballot::default(),
            sets: founded.clone().map_or_else(VoterSets::unknown, VoterSets::founded),
            timing: Timing::default(),
        };
        Self {
            id,
            is_up: true,
            paused_until: 0,
            stalled_until: 0,
            rules,
            voter: Voter::with_rules(MonotonicMs(0), start, Generator::seeded(seed), rules),
            partition: Partition::restored(broker(id), incarnation, None, false),
            incarnation,
            log: Vec::new(),
            durable: 0,
            history: EpochHistory::default(),
            ballot: Ballot::default(),
            founded,
            ops: VecDeque::new(),
            round: None,
        }
    }

    /// The sets of voters that the log holds, as a start finds them.
    pub(super) fn sets(&self) -> VoterSets {
        let mut sets = self.founded.clone().map_or_else(VoterSets::unknown, VoterSets::founded);
        for (offset, rec) in self.log.iter().enumerate() {
            if let Some(voters) = &rec.voters {
                // Without a rule the log may hold what must not be.
                let _checked_elsewhere = sets.append(at(offset), voters.clone());
            }
        }
        sets
    }

    pub(super) fn position(&self) -> LogPosition {
        LogPosition { last_epoch: self.history.last().map(|entry| entry.epoch), log_end: at(self.log.len()) }
    }

    pub(super) fn log_state(&self) -> LogState {
        let (end, durable) = (at(self.log.len()), at(self.durable));
        let ends = LogEnds { log_start: at(0), log_end: end, counted_end: durable, durable_end: durable };
        LogState { ends, history: self.history.clone() }
    }

    /// The process ends; of what was not synced `kept` records survive.
    pub(super) fn crash(&mut self, kept: usize) {
        self.is_up = false;
        self.paused_until = 0;
        self.log.truncate(self.durable.saturating_add(kept));
        self.ops.clear();
        self.round = None;
    }

    pub(super) fn restart(&mut self, now: u64, incarnation: Incarnation, seed: u64) {
        self.is_up = true;
        self.stalled_until = 0;
        self.incarnation = incarnation;
        // What is found counts once it was synced, which recovery does.
        self.durable = self.log.len();
        let (own, ballot, sets) = (voter_id(self.id), self.ballot, self.sets());
        let start = Start { own, incarnation, ballot, sets, timing: Timing::default() };
        self.voter = Voter::with_rules(MonotonicMs(now), start, Generator::seeded(seed), self.rules);
        self.partition = Partition::restored(broker(self.id), incarnation, ballot.promised, false);
    }
}
