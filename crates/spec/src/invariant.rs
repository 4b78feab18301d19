//! What must hold in every state: the numbered list of `docs/replication.md`, as far as the model can express it.

use std::fmt;

use crate::{
    Spec,
    log::Log,
    state::{Replica, Role, State},
};

/// What must always be true, by its number in `docs/replication.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// 1: one epoch has one leader, in one incarnation.
    OneLeader,
    /// 2: (epoch, offset) names one record.
    OneRecord,
    /// 3: two logs that have a record of the same epoch at an offset are the same up to there.
    LogsMatch,
    /// 4: the leader of an epoch holds every record that was committed in an earlier one.
    LeaderIsComplete,
    /// 5: a committed record never changes, and a quorum holds it durably.
    CommittedStays,
    /// 6: what counts of a replica is durable and agrees with the leader's log.
    CountedIsHeld,
    /// 7: nothing is from an epoch above the promise, and a leader leads what it promised.
    PromiseHolds,
    /// 9: what was acknowledged is committed.
    AcknowledgedIsCommitted,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OneLeader,
        Self::OneRecord,
        Self::LogsMatch,
        Self::LeaderIsComplete,
        Self::CommittedStays,
        Self::CountedIsHeld,
        Self::PromiseHolds,
        Self::AcknowledgedIsCommitted,
    ];

    /// Its name, as a checker wants it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneLeader => "OneLeader",
            Self::OneRecord => "OneRecord",
            Self::LogsMatch => "LogsMatch",
            Self::LeaderIsComplete => "LeaderIsComplete",
            Self::CommittedStays => "CommittedStays",
            Self::CountedIsHeld => "CountedIsHeld",
            Self::PromiseHolds => "PromiseHolds",
            Self::AcknowledgedIsCommitted => "AcknowledgedIsCommitted",
        }
    }

    /// Whether it holds in a state.
    #[must_use]
    pub fn holds(self, spec: &Spec, state: &State) -> bool {
        match self {
            Self::OneLeader => !state.led_twice,
            Self::OneRecord => all_pairs(state, spec, |a, b| {
                a.iter().zip(b.iter()).all(|(a, b)| a.epoch != b.epoch || a == b)
            }),
            Self::LogsMatch => all_pairs(state, spec, |a, b| {
                let common = a.common(b);
                let mut beyond = a.iter().zip(b.iter()).skip(usize::from(common));
                beyond.all(|(a, b)| a.epoch != b.epoch)
            }),
            Self::LeaderIsComplete => leaders_are_complete(state, spec),
            Self::CommittedStays => !state.committed_twice && committed_is_held(state, spec),
            Self::CountedIsHeld => counted_is_held(state, spec),
            Self::PromiseHolds => state.replicas.iter().all(promise_holds),
            Self::AcknowledgedIsCommitted => state.acknowledged.is_none_or(|waiter| {
                let committed = state.committed.get(waiter.offset);
                committed.is_some_and(|it| it.epoch == waiter.epoch && it.value == waiter.value)
            }),
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether something holds of each two logs: of the replicas, and as leaders sent them.
fn all_pairs(state: &State, spec: &Spec, holds: impl Fn(Log, Log) -> bool) -> bool {
    let replicas = state.replicas.iter().take(spec.bounds.replicas).map(|replica| replica.log);
    let epochs = state.epochs.iter().take(usize::from(spec.bounds.epochs)).map(|said| said.log);
    let mut logs = replicas.chain(epochs).filter(|log| !log.is_empty());
    while let Some(log) = logs.next() {
        if !logs.clone().all(|other| log == other || holds(log, other)) {
            return false;
        }
    }
    true
}

fn leaders_are_complete(state: &State, spec: &Spec) -> bool {
    (1..=spec.bounds.epochs).filter(|epoch| state.epoch(*epoch).history.last_epoch() == *epoch).all(|epoch| {
        let log = state.epoch(epoch).log;
        let mut earlier = state.committed().filter(|(_, _, committed_in)| *committed_in < epoch);
        earlier.all(|(offset, record, _)| log.get(offset) == Some(record))
    })
}

/// Where voters or replica sets change, it is those in force at the commit that hold it, which the model does not remember.
fn committed_is_held(state: &State, spec: &Spec) -> bool {
    if spec.bounds.changes > 0 || spec.bounds.sets.is_some() {
        return true;
    }
    let quorum = spec.bounds.replicas / 2 + 1;
    state.committed.iter().zip(1..).all(|(_, end)| {
        let holders = state.replicas.iter().take(spec.bounds.replicas).filter(|replica| {
            replica.durable_end >= end && replica.log.prefix(end) == state.committed.prefix(end)
        });
        holders.count() >= quorum
    })
}

fn counted_is_held(state: &State, spec: &Spec) -> bool {
    let members = || state.replicas.iter().take(spec.bounds.replicas);
    let mut leaders = members().filter(|replica| replica.role == Role::Leads);
    leaders.all(|leader| {
        let acks = state.epoch(leader.promised).acks;
        members().zip(acks).filter(|(replica, _)| replica.promised == leader.promised).all(
            |(replica, ack)| {
                let end = ack.saturating_sub(1);
                replica.durable_end >= end && replica.log.prefix(end) == leader.log.prefix(end)
            },
        )
    })
}

fn promise_holds(replica: &Replica) -> bool {
    let newest = replica.log.iter().map(|record| record.epoch).max().unwrap_or(0);
    let last = replica.history.last_epoch();
    newest <= replica.promised
        && last <= replica.promised
        && (replica.role != Role::Leads || last == replica.promised)
}
