//! What the cluster says of itself.

use std::fmt;

use corduroy_api::v1;
use corduroy_types::{BrokerId, Offset, PartitionIndex, TimestampMs};
use v1::cluster_client::ClusterClient;

use super::{Admin, change};
use crate::{ClientError, client::Repeat};

/// How well it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Healthy,
    /// It works, and something is not as it should be.
    Degraded,
    /// Something that was asked of it cannot be done.
    Unhealthy,
}

impl Health {
    fn from_wire(state: v1::HealthState) -> Self {
        match state {
            v1::HealthState::Healthy => Self::Healthy,
            v1::HealthState::Degraded => Self::Degraded,
            // A state that this build does not know is no reason to call it healthy.
            v1::HealthState::Unhealthy | v1::HealthState::Unspecified => Self::Unhealthy,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unhealthy => "UNHEALTHY",
        })
    }
}

/// The cluster and its brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Made when the cluster was, and never changed.
    pub cluster_id: String,
    /// The name that its operator gave it; may be empty.
    pub cluster_name: String,
    /// The broker that answered.
    pub answered_by: BrokerId,
    /// How well it goes.
    pub health: Health,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Every broker.
    pub brokers: Vec<BrokerDescription>,
    /// How many topics, without the broker's own.
    pub topic_count: u32,
    /// How many partitions they have.
    pub partition_count: u32,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Health,
    /// What it is.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The records that cannot be read, where stored bytes are damaged.
    pub damage: Option<DamagedRange>,
}

/// A part of a partition that cannot be read. Appends go on, and so do reads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// The topic, by name.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The segment file, on the broker that has it.
    pub file: String,
    /// The position in the file from which it is damaged.
    pub position: u64,
    /// The first offset that cannot be read.
    pub start: Offset,
    /// The next one that can.
    pub end: Offset,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Its id.
    pub id: BrokerId,
    /// Where clients reach it, as `host:port`.
    pub address: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: TimestampMs,
    /// How long recovery took at the last start, in milliseconds.
    pub recovery_ms: u64,
    /// Size of the file system that holds its data.
    pub disk_total_bytes: u64,
    /// What is free of it.
    pub disk_free_bytes: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Open client connections.
    pub connection_count: u32,
}

impl Admin {
    /// Describes the cluster: brokers, health, and what is not as it should be.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `TIMED_OUT`, `STARTING`: retry later. `UNSUPPORTED`, `UNEXPECTED_ANSWER`: what listens there
    /// is no Corduroy broker.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let answer = self
            .client
            .shared
            .control(Repeat::Reads, |channel| async move {
                ClusterClient::new(channel).describe_cluster(v1::DescribeClusterRequest {}).await
            })
            .await?;
        Ok(read_cluster(answer))
    }

    /// Changes what a running broker logs, above its configured `log.level`: `filter` is levels, each after a target and
    /// `=` or for all others (`corduroy_log=debug`); empty, it forgets what was set before. Gives back what is logged then.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: the filter has another form, or there is no such broker. `UNSUPPORTED`: it runs inside another
    /// program, which decides what is logged.
    pub fn set_log_level(&self, broker: BrokerId, filter: impl Into<String>) -> SetLogLevel {
        let request = v1::SetLogLevelRequest {
            broker: broker.0,
            filter: filter.into(),
            for_ms: 0,
            validate_only: false,
        };
        SetLogLevel { client: self.client.clone(), request }
    }

    /// Accepts damage of a broker's commit journal that was found when it started, so that it is named no more. Returns
    /// it in words; with [`AcceptJournalDamage::validate_only`] what would be accepted.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: there is no such broker. `STORAGE_FAILED`: check the disk, then try again.
    pub fn accept_journal_damage(&self, broker: BrokerId) -> AcceptJournalDamage {
        let request = v1::AcceptJournalDamageRequest { broker: broker.0, validate_only: false };
        AcceptJournalDamage { client: self.client.clone(), request }
    }
}

change! {
    /// The acceptance of damage of a commit journal; awaiting it sends it. Made by [`Admin::accept_journal_damage`].
    AcceptJournalDamage, v1::AcceptJournalDamageRequest, control: ClusterClient::accept_journal_damage -> v1::AcceptJournalDamageResponse,
    Result<Vec<String>, ClientError>
}

impl AcceptJournalDamage {
    async fn send(self) -> Result<Vec<String>, ClientError> {
        Ok(self.call().await?.accepted)
    }
}

change! {
    /// Another level for a broker's log; awaiting it sends it. Made by [`Admin::set_log_level`].
    SetLogLevel, v1::SetLogLevelRequest, control: ClusterClient::set_log_level -> v1::SetLogLevelResponse,
    Result<String, ClientError>
}

impl SetLogLevel {
    /// Lets the level revert by itself after that; at most 30 days. Otherwise it stays until the process ends.
    pub fn keep_for(mut self, keep: std::time::Duration) -> Self {
        self.request.for_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        self
    }

    async fn send(self) -> Result<String, ClientError> {
        Ok(self.call().await?.filter)
    }
}

fn read_cluster(answer: v1::DescribeClusterResponse) -> ClusterDescription {
    let health = Health::from_wire(answer.health());
    let finding = |finding: v1::Finding| {
        let severity = Health::from_wire(finding.severity());
        let v1::Finding { severity: _, message, hint, damage } = finding;
        Finding { severity, message, hint, damage: damage.map(damaged_range) }
    };
    let v1::DescribeClusterResponse {
        cluster_id,
        cluster_name,
        answered_by,
        health: _,
        findings,
        brokers,
        topic_count,
        partition_count,
    } = answer;
    ClusterDescription {
        cluster_id,
        cluster_name,
        answered_by: BrokerId(answered_by),
        health,
        findings: findings.into_iter().map(finding).collect(),
        brokers: brokers.into_iter().map(read_broker).collect(),
        topic_count,
        partition_count,
    }
}

fn read_broker(broker: v1::DescribedBroker) -> BrokerDescription {
    let v1::DescribedBroker {
        id,
        address,
        version,
        started_at_ms,
        recovery_ms,
        disk_total_bytes,
        disk_free_bytes,
        stored_bytes,
        memory_bytes,
        connection_count,
    } = broker;
    BrokerDescription {
        id: BrokerId(id),
        address,
        version,
        started_at: TimestampMs(started_at_ms),
        recovery_ms,
        disk_total_bytes,
        disk_free_bytes,
        stored_bytes,
        memory_bytes,
        connection_count,
    }
}

pub(super) fn damaged_range(damage: v1::DamagedRange) -> DamagedRange {
    let v1::DamagedRange { topic, partition, file, position, start, end } = damage;
    let offset = |number| Offset::new(number).unwrap_or(Offset::MAX);
    DamagedRange {
        topic,
        partition: PartitionIndex(partition),
        file,
        position,
        start: offset(start),
        end: offset(end),
    }
}
