//! What voters say to each other. All of it may be lost, delayed, repeated and out of order.

use corduroy_types::{Incarnation, LeaderEpoch, MonotonicMs};

use super::LogPosition;

/// What a candidate asks a vote for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidacy {
    /// The epoch that it would lead in.
    pub epoch: LeaderEpoch,
    /// Which run of it asks: only that one may lead in the epoch (rule V3).
    pub incarnation: Incarnation,
    /// How far its log goes.
    pub position: LogPosition,
}

/// A message from one voter to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would I get your vote? Asking changes nothing (rule V1; Raft thesis, section 9.6; KIP-996).
    AskPreVote {
        /// The number of the attempt, which the answer repeats.
        attempt: u64,
        /// What the vote would be for.
        candidacy: Candidacy,
    },
    /// The answer to [`Message::AskPreVote`].
    PreVoteAnswer {
        /// The attempt that was asked for.
        attempt: u64,
        /// The run of the candidate that asked.
        incarnation: Incarnation,
        /// Yes, or no.
        is_yes: bool,
        /// What the voter has promised.
        promised: Option<LeaderEpoch>,
    },
    /// A candidate that has promised the epoch to itself asks for a vote (rule V2).
    AskVote(Candidacy),
    /// The answer to [`Message::AskVote`]: promise and vote are durable.
    VoteAnswer {
        /// The epoch that was asked for.
        epoch: LeaderEpoch,
        /// The run of the candidate that asked.
        incarnation: Incarnation,
        /// Yes, or no.
        is_yes: bool,
        /// What the voter has promised.
        promised: Option<LeaderEpoch>,
    },
    /// A leader says that it leads.
    Heartbeat {
        /// The epoch that it leads in.
        epoch: LeaderEpoch,
        /// Which run of it.
        incarnation: Incarnation,
        /// When it was sent, on the leader's clock; the answer repeats it.
        sent_at: MonotonicMs,
        /// Whether a quorum has answered it lately: only then its word holds up an election (rule V1; openraft issue 2080).
        has_quorum: bool,
    },
    /// The answer to [`Message::Heartbeat`].
    HeartbeatAnswer {
        /// The epoch that the leader named.
        epoch: LeaderEpoch,
        /// The run of the leader that sent it.
        incarnation: Incarnation,
        /// When the leader sent it.
        sent_at: MonotonicMs,
        /// What the voter has promised: where it is greater than `epoch`, the voter does not follow.
        promised: Option<LeaderEpoch>,
        /// How far its log goes.
        position: LogPosition,
    },
    /// A leader that stops asks for a candidature at once, without a pre-vote (rule V5; Raft thesis, section 3.10).
    StandNow {
        /// The epoch that it leads in.
        epoch: LeaderEpoch,
    },
}
