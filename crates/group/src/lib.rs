//! The coordinator of consumer groups as a pure state machine: members, assignment, committed offsets.
//!
//! Partitions are shared out on the broker, in steps (the model of KIP-848): a [`Coordinator`] takes a
//! [`Heartbeat`] from each member, answers with what it may have, takes partitions back from one before it gives
//! them to another, and stops no member that keeps what it has. What is to be remembered comes out as [`Record`]s;
//! its owner appends them to the partition of `__groups` that it is for, answers when they are committed, and
//! after a change of leader replays them into a new one.
//!
//! | module | what it holds |
//! |---|---|
//! | `coordinator` | the machine: groups, topics, sessions, sharing out |
//! | `heartbeat` | joining, staying, leaving; static members |
//! | `commit` | committed offsets: who may, and how long they are kept |
//! | `reconcile` | one member's next step towards its target |
//! | `assign` | the assignors `uniform` and `range` |
//! | `state`, `record`, `stored` | a group as its records say; the records; their bytes |
//! | `describe` | groups as people see them |
//!
//! Where it differs from KIP-848: a member's epoch counts the changes of its own share, so that one joining does
//! not cost a record for everyone, and each partition remembers since which of them it is held, which is what
//! fences late commits and late reports. And a static member that comes back takes over at once from the process before it, which
//! is fenced, since after a crash no one is there to leave.
//!
//! Never: clock, file, socket, await.

mod assign;
mod commit;
mod coordinator;
mod describe;
mod error;
mod heartbeat;
mod ids;
mod reconcile;
mod record;
mod state;
mod stored;
mod subscription;
mod topics;

pub use assign::{Assignor, UnknownAssignor};
pub use commit::{COMMIT_METADATA_BYTES_MAX, Commit, CommitOffset};
pub use coordinator::{Coordinator, GroupConfig, Now, RebalanceCause, Removed, RemovedReason};
pub use describe::{GroupActivity, GroupDescription, MemberDescription};
pub use error::GroupError;
pub use heartbeat::{
    Heartbeat, HeartbeatAnswer, HeartbeatKind, Join, REBALANCE_TIMEOUT_MS, SESSION_TIMEOUT_MS,
};
pub use ids::{
    GroupEpoch, GroupName, InstanceId, InvalidName, MemberEpoch, MemberId, NAME_BYTES_MAX, TopicPartition,
};
pub use record::{Committed, Current, GroupState, MemberSpec, Record};
pub use stored::DecodeError;
pub use subscription::{InvalidPattern, PATTERN_BYTES_MAX, Pattern, Subscription};
pub use topics::Topics;
