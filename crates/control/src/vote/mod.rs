//! One voter of the metadata log: rules V1 to V6 and V8.

mod ballot;
mod election;
mod event;
mod generator;
mod invariant;
mod leadership;
mod message;
pub(crate) mod rules;
mod voter;
mod voter_sets;
mod voters;

pub use ballot::{Ballot, LogPosition, Vote};
pub use event::{Action, Event, StepDownReason};
pub use generator::Generator;
pub use invariant::VoteInvariant;
pub use message::{Candidacy, Message};
pub use voter::{Start, Timing, Voter};
pub use voter_sets::VoterSets;
pub use voters::{ChangeRefused, DirectoryId, VOTERS_MAX, VoterChange, VoterId, Voters, VotersError};
