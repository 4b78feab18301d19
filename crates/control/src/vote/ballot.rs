//! What a voter has promised, for whom it voted, and how far its log goes.

use corduroy_types::{Incarnation, LeaderEpoch, Offset};

use super::VoterId;

/// A vote for a candidate. It is for one run of it: another run of the same voter is another candidate (rule V3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The candidate.
    pub candidate: VoterId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// What a voter must never forget: one durable value of its commit journal (rules R1 and V2).
///
/// It only grows: a vote is given together with the promise of its epoch, never after it. Two votes in one term after a restart are what
/// NATS published as pull 7698.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ballot {
    /// Nothing of an older epoch is accepted; `None` before the first promise.
    pub promised: Option<LeaderEpoch>,
    /// The vote in that epoch; `None`: it has none to give any more.
    pub vote: Option<Vote>,
}

/// How far a log goes. The greater one, compared in the order of the fields, is not behind (rule R2; Raft, section 5.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The last epoch in the durable epoch history; `None` before the first.
    pub last_epoch: Option<LeaderEpoch>,
    /// The log end.
    pub log_end: Offset,
}
