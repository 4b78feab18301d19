//! The control plane's decisions, as pure state machines: who leads the metadata log ([`Voter`]), and
//! which brokers hold new partitions ([`place`]).
//!
//! [`Voter`] decides who may lead which epoch of the metadata log. What it decides about is an ordinary partition: the state machine of
//! crate `partition` replicates it. A shell drives both and performs what they ask for; [`Voter`] says how they meet.
//!
//! - Nothing is said of a promise or a vote before it is durable ([`Action::Persist`]; rules R1 and V2).
//! - A message may be lost, late, repeated and out of order: what it says is checked against the epoch, the incarnation and the attempt that
//!   it names.
//! - Time and the draws of time-outs come in as arguments (rule V5).
//!
//! Never: clock, file, socket, await, randomness but from a generator that is passed in.
//!
//! ```
//! use corduroy_control::{
//!     Action, Ballot, DirectoryId, Event, Generator, LogPosition, Start, Timing, Voter, VoterId, VoterSets, Voters,
//! };
//! use corduroy_types::{BrokerId, Incarnation, MonotonicMs};
//!
//! // The first start of a cluster makes a set of one (rule V8).
//! let own = VoterId { broker: BrokerId(1), directory: DirectoryId([7; 16]) };
//! let sets = VoterSets::founded(Voters::of_one(own));
//! let (incarnation, ballot, timing) = (Incarnation(1), Ballot::default(), Timing::default());
//! let (now, log, mut out) = (MonotonicMs(0), LogPosition::default(), Vec::new());
//! let mut voter = Voter::new(now, Start { own, incarnation, ballot, sets, timing }, Generator::seeded(42));
//!
//! voter.step(now, log, Event::Tick, &mut out);
//! let [Action::Persist { ballot }] = out[..] else { panic!("it promises the epoch to itself first") };
//! out.clear();
//! voter.step(now, log, Event::Persisted { ballot }, &mut out);
//! assert!(matches!(out[..], [Action::BeginEpoch { .. }]), "its own vote is a quorum");
//! ```

mod placement;
mod vote;

#[cfg(test)]
mod tests;

pub use placement::{BrokerLoad, PlacementError, Takes, place};
pub use vote::{
    Action, Ballot, Candidacy, ChangeRefused, DirectoryId, Event, Generator, LogPosition, Message, Start,
    StepDownReason, Timing, VOTERS_MAX, Vote, VoteInvariant, Voter, VoterChange, VoterId, VoterSets, Voters,
    VotersError,
};
