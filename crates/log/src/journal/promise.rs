//! What a replica has promised: it accepts nothing of an earlier leader epoch (rule R1), and votes once in each (rule V2).

use corduroy_types::{BrokerId, Incarnation, LeaderEpoch};

/// The promise of one replica. Durable before it is reported or answered to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Nothing of an earlier epoch is accepted.
    pub epoch: LeaderEpoch,
    /// For whom it voted in that epoch, in a log whose epochs are won by votes.
    pub vote: Option<Vote>,
}

/// A vote is for one run of a candidate: one that has restarted never takes up its old candidature (rule V3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The broker.
    pub candidate: BrokerId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

impl Promise {
    /// That nothing of an epoch before this one is accepted.
    pub const fn of_epoch(epoch: LeaderEpoch) -> Self {
        Self { epoch, vote: None }
    }

    /// The promise that holds once `later` is made. Promises only grow, and what was said in an epoch stays: a second vote
    /// in it changes nothing.
    #[must_use]
    pub(super) fn then(self, later: Self) -> Self {
        if later.epoch > self.epoch { later } else { self }
    }
}
