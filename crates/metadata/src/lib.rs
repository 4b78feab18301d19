//! The cluster's metadata as a pure state machine: brokers, topics, partitions, leaders and topic configs.
//!
//! A [`Command`] is decided against an [`Image`] ([`Image::decide`]): everything is checked, nothing is
//! changed, and what is to happen comes back as [`Record`]s. Once those are durable in the metadata log, each
//! is applied ([`Image::apply`]) and yields the [`Delta`]s that the broker acts on. Replaying the log from
//! its beginning gives the same image, bit for bit: records say what happened, never what to do. To validate
//! only, decide and drop the records.
//!
//! Time, ids and everything else that is not in the image come in with the command. Never: clock, file,
//! socket, await.
//!
//! ```
//! use corduroy_metadata::{CreateTopic, Image, RegisterBroker, RegistrationId};
//! use corduroy_types::{BrokerId, TimestampMs, TopicId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut image = Image::default();
//! let decision = image.decide(&RegisterBroker {
//!     broker: BrokerId(1),
//!     registration: RegistrationId([7; 16]),
//!     address: None,
//!     version: "0.1.0".into(),
//!     now: TimestampMs(1_000),
//! })?;
//! image.apply_all(&decision.records)?;
//!
//! let decision = image.decide(&CreateTopic {
//!     name: "orders".parse()?,
//!     topic_id: TopicId::from_bytes([1; 16]),
//!     partition_count: 3,
//!     replication: None,
//!     defaults: vec![],
//!     configs: vec![("retention.ms".into(), "30d".into())],
//!     if_not_exists: false,
//!     now: TimestampMs(2_000),
//! })?;
//! image.apply_all(&decision.records)?;
//! assert_eq!(image.topic("orders").map(|topic| topic.partitions().len()), Some(3));
//! # Ok(())
//! # }
//! ```

mod apply;
mod assign;
mod command;
mod conflict;
mod decide;
mod delta;
mod error;
mod image;
mod record;
mod repair;
mod stored;
mod topic;

pub use command::{
    AddPartitions, AlterTopicConfigs, AlteredConfigs, Command, ConfigChange, CreateInternalTopic,
    CreateTopic, CreatedTopic, Decision, DeleteTopic, ElectLeaders, Election, NameCluster, PartitionCounts,
    RegisterBroker, ReserveProducerIds,
};
pub use conflict::Conflict;
pub use corduroy_types::Incarnation;
pub use delta::Delta;
pub use error::{ApplyError, DecodeError, MetadataError};
pub use image::{Broker, Cluster, Image, RegistrationId};
pub use record::{Assignment, Record};
pub use repair::{LeftOut, RepairFacts, Repaired, repair};
pub use topic::{ConfigSource, DescribedConfig, Partition, Topic};

/// The greatest number of partitions a topic can have.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;
/// The greatest number of partitions all topics of a cluster can have together.
pub const PARTITIONS_MAX: u32 = 100_000;
/// How many replicas `replication = auto` asks for where there are enough brokers.
pub const AUTO_REPLICATION_MAX: u32 = 3;
/// The most producer ids that a broker can reserve at once.
pub const PRODUCER_IDS_RESERVED_MAX: u32 = 1_000_000;
/// The greatest producer id: a batch stores it as a signed number of 64 bits.
const PRODUCER_ID_MAX: u64 = i64::MAX.unsigned_abs();

#[cfg(test)]
mod tests;
