//! Replication of one partition as a pure state machine: promises and elections, leading, following, the high watermark,
//! and the appends that wait for their acknowledgement.
//!
//! The broker gives a [`Partition`] what happened ([`Event`]) and when, and performs what it returns
//! ([`Action`]). The log decides where records go; this crate decides when they count, and what is answered to whom.
//! A replica set of one is a leader with a quorum of one, and takes the same path.
//!
//! - A replica that promises an epoch accepts nothing of a smaller one, and reports its last epoch and log end for the election
//!   ([`Event::Fence`], rules R1 and R2).
//! - A follower sends its epoch history ([`Hello`]). Both sides compute where the two logs agree ([`agree`]): the follower cuts what
//!   lies behind, and adopts the leader's entries as its log reaches their starts (rules R4 to R7).
//! - An append is answered exactly once: acknowledged, or *unknown* with a reason. *Not written* exists only
//!   before the append ([`Partition::check_produce`]).
//! - An acknowledgement is given only while the partition is still led in the epoch of the append
//!   (replication rule R13); the end of a leadership ends every waiting append as unknown.
//! - The high watermark is the Q-th greatest counted end among the replicas that hold the epoch's entry, Q
//!   being the majority of the replica set.
//!
//! Never: clock, file, socket, await.
//!
//! ```
//! use corduroy_partition::{Action, Event, LogEnds, LogState, MonotonicMs, Partition, RequestId};
//! use corduroy_types::{Acks, BrokerId, EpochEntry, EpochHistory, LeaderEpoch, Offset};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (now, epoch) = (MonotonicMs(0), LeaderEpoch::new(1).unwrap_or_default());
//! let (start, end) = (Offset::ZERO, Offset::try_from(3_u64)?);
//! let mut partition = Partition::new(BrokerId(1));
//! let mut actions = Vec::new();
//!
//! let ends = LogEnds { log_start: start, log_end: start, counted_end: start, durable_end: start };
//! let log = LogState { ends, history: EpochHistory::from_entries([EpochEntry { epoch, start }])? };
//! partition.step(now, Event::Lead { epoch, replicas: [BrokerId(1)].into(), log }, &mut actions);
//! assert_eq!(actions, [Action::Activated { epoch }], "a replica set of one is its own quorum");
//! actions.clear();
//! let epoch = partition.check_produce(None)?;
//! let deadline = MonotonicMs(30_000);
//! let request = RequestId(9);
//! let appended = Event::Appended { request, epoch, base: start, end, acks: Acks::Quorum, deadline };
//! partition.step(now, appended, &mut actions);
//! assert!(actions.is_empty(), "nothing counts before its round ended");
//!
//! partition.step(now, Event::Counted { epoch, counted_end: end, durable_end: end }, &mut actions);
//! assert_eq!(actions.first(), Some(&Action::HighWatermark(end)));
//! assert!(matches!(actions.last(), Some(Action::Answer { request: RequestId(9), result: Ok(_) })));
//! # Ok(())
//! # }
//! ```

mod agree;
mod cursors;
mod event;
mod fencing;
mod follower;
mod invariant;
mod leader;
mod machine;
mod message;
mod outcome;
mod replicas;
mod sessions;
mod streams;
mod waiters;

pub use agree::{Agreement, LogView, agree};
pub use corduroy_types::MonotonicMs;
pub use cursors::PartitionCursors;
pub use event::{Action, Event, LogEnds, LogState, RequestId};
pub use invariant::Invariant;
pub use machine::Partition;
pub use message::{Ack, BatchSpan, FenceRefused, Hello, Push, Report, ResignReason, Welcome};
pub use outcome::{Acknowledged, NotLeading, Refusal, UnknownReason};
pub use replicas::REPLICA_LAG_MAX_MS;

#[cfg(test)]
mod tests;
