//! The rules, each of which can be taken away to see that the simulation finds what then goes wrong.

/// Which rules are in force. Outside tests: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// V1: a candidate first asks whether it would be voted for.
    pub(crate) asks_before: bool,
    /// V1: a voter that hears a leader with a quorum says no.
    pub(crate) keeps_to_leader: bool,
    /// V2: promise and vote are durable before they are answered.
    pub(crate) persists_first: bool,
    /// V2: a voter has one vote in an epoch.
    pub(crate) votes_once: bool,
    /// V2: a candidate's log is not behind the voter's.
    pub(crate) compares_logs: bool,
    /// V3: a vote is for one run of the candidate.
    pub(crate) counts_own_incarnation: bool,
    /// V4: a leader without a quorum steps down.
    pub(crate) checks_quorum: bool,
    /// V5: time-outs are drawn.
    pub(crate) draws_time_outs: bool,
    /// V6: a set is in force from the moment it is appended.
    pub(crate) in_force_when_appended: bool,
    /// V6: a set that is cut off is in force no more.
    pub(crate) restores_on_cut: bool,
    /// V6: a change waits until a quorum holds the leader's entry.
    pub(crate) changes_once_activated: bool,
    /// V6: a change waits until the one before it is committed.
    pub(crate) changes_one_at_a_time: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        asks_before: true,
        keeps_to_leader: true,
        persists_first: true,
        votes_once: true,
        compares_logs: true,
        counts_own_incarnation: true,
        checks_quorum: true,
        draws_time_outs: true,
        in_force_when_appended: true,
        restores_on_cut: true,
        changes_once_activated: true,
        changes_one_at_a_time: true,
    };
}
