//! The Corduroy client: produce and consume records, and administer topics.
//!
//! | to | use |
//! |---|---|
//! | connect | [`Client::builder`] |
//! | send records | [`Client::producer`], [`Producer`] |
//! | read records | [`Client::consumer`], [`Consumer`] |
//! | read records in a group | [`ConsumerBuilder::group`], [`GroupConsumer`] |
//! | create, describe, change and delete topics, find offsets, look after consumer groups, see the cluster | [`Client::admin`], [`Admin`] |
//! | handle the records of a group with workers | [`GroupConsumer::run`], [`Workers`] |
//! | be notified of lost connections, and of what happens in groups | [`ClientBuilder::on_event`], [`Event`] |
//!
//! Each use has a program in `examples/`: `produce`, `consume`, `group`, `admin` and `testing`.
//!
//! What holds everywhere: nothing blocks in `Drop`; dropping a future never loses or duplicates a record, only the
//! notification; every buffer is bounded in bytes; after `close` every call answers `CLOSED`; a failed produce
//! says whether the record was certainly not written or may have been; connections reconnect for ever.
//!
//! Features: `zstd` adds that codec; without it the crate is pure Rust.
//!
//! Never: broker internals.

mod admin;
mod backoff;
mod builder;
mod client;
mod connection;
mod consumer;
mod error;
mod event;
mod foreign;
mod group;
mod producer;
mod record;
mod run;
mod topics;
mod urls;

pub use admin::{
    AcceptJournalDamage, AddPartitions, AddedPartitions, Admin, AlterTopicConfigs, BrokerDescription,
    ClusterDescription, CommitGroupOffsets, CommittedOffset, ConfigChange, ConfigSource, CreateTopics,
    CreatedTopic, DamagedRange, DeleteGroups, DeleteRecords, DeleteTopics, DeletedGroup, DeletedRecords,
    DeletedTopic, Finding, ForgetOffsets, GroupDescription, GroupMember, GroupOffset, GroupPartition,
    GroupState, GroupSummary, Health, ListedOffset, NewTopic, OffsetSpec, OffsetToCommit,
    PartitionDescription, PartitionProducers, RecoverPartition, RememberedProducer, RemoveMember,
    RemovedMember, RetentionBlock, SetLogLevel, TopicConfig, TopicDescription, TopicSummary,
};
pub use builder::ClientBuilder;
pub use client::Client;
pub use consumer::{
    AssignedPartition, ConsumeError, Consumer, ConsumerBuilder, Message, PartitionStatus, RecordBatch,
    RecordBatchIter,
};
pub use corduroy_api::Refusal;
pub use corduroy_batch::{Batch, Compression, Headers, RecordRef as StoredRecord, Records, TimestampType};
pub use corduroy_types::{
    Acks, BrokerId, ErrorCode, LeaderEpoch, Offset, Outcome, PartitionIndex, TimestampMs, TopicId, TopicName,
};
pub use error::ClientError;
pub use event::{ConnectionRole, Event};
pub use group::{
    Assignor, CloseError, Commit, CommitError, GroupConsumeError, GroupConsumer, GroupConsumerBuilder,
    HookError, Offsets, OnPositionLost, PositionLost, Rebalance, RebalanceHook, TopicPartition,
};
pub use producer::{
    BatchReport, Delivery, FlushError, Partitioner, Producer, ProducerBuilder, RecordMeta, SendError,
    SendErrorKind, Undelivered,
};
pub use record::{Record, RecordRef};
pub use run::{
    FailedRecord, HandlerError, HandlerPanic, OnFailure, Retry, RunError, RunSummary, Workers, dead_letter,
};
pub use urls::BrokerUrls;

/// The examples of the page on outcomes, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/outcomes.md")]
struct Outcomes;

/// The examples of the page on groups, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/groups.md")]
struct Groups;
