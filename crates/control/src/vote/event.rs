//! What happens to a voter, and what it wants done.

use std::collections::BTreeSet;

use corduroy_types::{Incarnation, LeaderEpoch, Offset};

use super::{Ballot, ChangeRefused, Message, VoteInvariant, VoterChange, VoterId, Voters};

/// Something that happened. Those that name an epoch are dropped once another is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing but time passed.
    Tick,
    /// A message has come.
    Received {
        /// From which voter or observer.
        from: VoterId,
        /// What it says.
        message: Message,
    },
    /// [`Action::Persist`] is done: the log was durable up to its end, and then the ballot.
    Persisted {
        /// Which ballot.
        ballot: Ballot,
    },
    /// [`Action::BeginEpoch`] is done: the epoch's entry is durable, and the partition leads.
    Begun {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// A quorum of the voters holds the epoch's entry: the partition's own `Activated`.
    Activated {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// The partition does not lead in this epoch, or no more.
    Ended {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// The partition's high watermark was raised.
    Committed {
        /// To here.
        high_watermark: Offset,
    },
    /// The partition has received this epoch from a stream before the voter has, and asks for its promise.
    PromiseNeeded {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// A record of voters was appended, by this leader or by the one that is followed. Comes together with the append, before anything is
    /// said of it (rule V6).
    VotersAppended {
        /// Where it lies.
        offset: Offset,
        /// The set in force from here on.
        voters: Voters,
    },
    /// The log was cut.
    LogCut {
        /// Where it ends now.
        log_end: Offset,
    },
    /// The log takes no more appends: this voter neither votes nor stands until it is opened again.
    LogFailed,
    /// The log was opened again after a failure. A cut that this made was reported before.
    Reopened {
        /// Which run of it this is: an earlier one's candidature is void (rule V3).
        incarnation: Incarnation,
    },
    /// The brokers that follow without a vote: a leader says to them too that it leads.
    Observers(BTreeSet<VoterId>),
    /// Leader: change the voters.
    ChangeVoters(VoterChange),
    /// Leader: the broker stops; the voter that is furthest along is to stand at once (rule V5). The shell has refused new proposals.
    Drain,
}

/// Why a leader steps down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepDownReason {
    /// A quorum has not answered for one time-out (rule V4; KAFKA-15489).
    #[error("no quorum of the voters has answered for one time-out")]
    NoQuorum,
    /// It votes no more, and that is committed (rule V6).
    #[error("this broker votes no more")]
    Removed,
    /// A rule was found broken.
    #[error("a rule was found broken")]
    Contradiction,
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fence the partition in `ballot.promised` before anything else is done. Then make the log durable up to its end, and then the
    /// ballot, and step with [`Event::Persisted`]. What the ballot says is sent to no one before that (rules R1 and V2).
    Persist {
        /// The ballot. A later one replaces an earlier one that is not durable yet.
        ballot: Ballot,
    },
    /// Send a message. It may be lost.
    Send {
        /// To which voter or observer. Another directory of the same broker must not receive it.
        to: VoterId,
        /// What to say.
        message: Message,
    },
    /// The epoch is won. Where the partition may lead in it for this incarnation: make the epoch's entry durable behind the log,
    /// let the partition lead with these voters as its replica set, and step with [`Event::Begun`]; otherwise step with [`Event::Ended`]
    /// (rules R3 and V3).
    BeginEpoch {
        /// The epoch.
        epoch: LeaderEpoch,
        /// The run that has won it.
        incarnation: Incarnation,
        /// The set in force.
        voters: Voters,
    },
    /// Let the partition follow.
    Follow {
        /// The epoch, which is promised durably.
        epoch: LeaderEpoch,
        /// Its leader.
        leader: VoterId,
    },
    /// Stop the partition's leadership: what waits ends as unknown, and reads that must be fresh are refused.
    StepDown {
        /// The epoch that was led in.
        epoch: LeaderEpoch,
        /// Why.
        reason: StepDownReason,
    },
    /// Append a record of voters, and step with [`Event::VotersAppended`].
    AppendVoters {
        /// The epoch in which it may be appended.
        epoch: LeaderEpoch,
        /// The set.
        voters: Voters,
    },
    /// Give the leading partition another replica set: its event `ReplicaSet` (rule V6).
    SetReplicas {
        /// The epoch that is led in.
        epoch: LeaderEpoch,
        /// The set in force.
        voters: Voters,
    },
    /// Answer [`Event::ChangeVoters`]: nothing was appended.
    RefuseChange(ChangeRefused),
    /// A rule is broken. Report it: it is a fault of the broker, or of another one.
    Contradiction(VoteInvariant),
}
