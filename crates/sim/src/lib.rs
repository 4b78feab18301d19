//! Clusters in one thread and one seed: the real state machine of a partition, the real log and commit journal on simulated
//! disks, a simulated network, clients, and faults that a seed draws. What clients see goes through the checker, and what
//! replicas must never take back is asserted as it happens (I1, I3, I4, I5, I9).
//!
//! The same seed gives the same run. The controller is idealised: what it decides is committed at once, while what it says takes
//! time and may be lost. Messages are passed as values, not as bytes.
//!
//! | module | what it is about |
//! |---|---|
//! | `world` | what happens next, and to whom |
//! | `broker`, `replica` | a disk with its journal; a partition's state machine with its log |
//! | `actions` | what a state machine asks for |
//! | `net`, `streams` | messages between brokers |
//! | `controller`, `clients` | what is around the brokers |
//! | `faults` | what goes wrong |
//! | `history`, `outcome` | what was seen, and whether it may have been |
//! | `rule` | what can be broken on purpose |
//!
//! Never: a clock, a thread, a socket, chance that does not come from the seed.

mod actions;
mod broker;
mod clients;
mod controller;
mod faults;
mod history;
mod net;
mod outcome;
mod random;
mod records;
mod replica;
mod rule;
mod streams;
mod world;

pub use outcome::{Coverage, Outcome, Settings, run};
pub use rule::Rule;
