//! A specification model of the replication protocol: small enough that a model checker goes through every state of it.
//!
//! The rules are those of `docs/replication.md`; `docs/proof.md` says what was checked, and what the model leaves out.
//! Every rule can be removed ([`Rules::without`]): then the checker must find a trace to a violation ([`counterexample`]),
//! or the model would not see what the rule is for.
//!
//! - There are no messages. What was said in an epoch only grows (the leader's history and log, the greatest
//!   acknowledgement, the reports, the votes), and a replica may act on any part of it at any time. That covers loss,
//!   delay, duplication and reordering.
//! - Steps are as small as a loss of power can tell apart: append, sync, cut, drop, adopt (R4, R7).
//! - Replicas are never down: one that does nothing is down.
//!
//! Two models share all of this and differ in the way to an epoch ([`Election`]): the controller appoints the leader of a
//! partition, and voters elect the leader of the metadata log.
//!
//! Never: clock, file, socket, await, randomness. The program reads a clock to say how long a run took.
#![allow(
    clippy::indexing_slicing,
    reason = "an index is a replica or an epoch of the model, below its bounds: a model that is wrong has to stop"
)]

mod action;
mod bounds;
mod check;
mod election;
mod follower;
mod invariant;
mod leader;
mod log;
mod model;
mod reassign;
mod rules;
mod state;
mod symmetry;

pub use action::Action;
pub use bounds::{Bounds, Election, Removal, removal};
pub use check::{Outcome, counterexample, exhaust, refute, replay};
pub use invariant::Invariant;
pub use log::{Entry, History, List, Log, Packed, Record};
pub use rules::{Rule, Rules};
pub use state::{
    CommittedIn, EPOCHS_MAX, Epoch, REPLICAS_MAX, Replica, Role, State, Waiter, end_of, position,
};

/// A model: its bounds, the rules in force, and what is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// How much may happen.
    pub bounds: Bounds,
    /// The rules in force.
    pub rules: Rules,
    /// The invariant that is checked; all of them when it is `None`.
    pub aim: Option<Invariant>,
    /// Whether what no replica can use any more is forgotten. That makes states fewer, and must change no verdict.
    pub forgets: bool,
}

impl Spec {
    /// All rules, all invariants.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, rules: Rules::all(), aim: None, forgets: true }
    }
}

#[cfg(test)]
mod tests;
