//! Looking after consumer groups: members, committed offsets, lag.

mod alter;
mod describe;
mod offsets;

use std::{fmt, future::Future};

use corduroy_api::{Refusal, topic_id_from_wire, v1};
use corduroy_types::{
    BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicName, nearest,
};
use tokio::time::Instant;
use tonic::{Response, Status, transport::Channel};
use v1::groups_client::GroupsClient;

pub use alter::{DeleteGroups, DeletedGroup, ForgetOffsets, RemoveMember, RemovedMember};
pub use offsets::{CommitGroupOffsets, OffsetToCommit};

use crate::{
    ClientError,
    backoff::Backoff,
    client::{Repeat, Shared},
    topics::topic_name,
};

/// What a group is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Every member has what it should have.
    Stable,
    /// Partitions are on their way between members.
    Rebalancing,
    /// One that this build does not know.
    Unknown,
}

impl GroupState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Stable => "stable",
            Self::Rebalancing => "rebalancing",
            Self::Unknown => "unknown",
        }
    }

    const fn from_wire(state: v1::GroupState) -> Self {
        match state {
            v1::GroupState::Empty => Self::Empty,
            v1::GroupState::Stable => Self::Stable,
            v1::GroupState::Rebalancing => Self::Rebalancing,
            v1::GroupState::Unspecified => Self::Unknown,
        }
    }

    const fn to_wire(self) -> v1::GroupState {
        match self {
            Self::Empty => v1::GroupState::Empty,
            Self::Stable => v1::GroupState::Stable,
            Self::Rebalancing => v1::GroupState::Rebalancing,
            Self::Unknown => v1::GroupState::Unspecified,
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of a list of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub name: String,
    /// What it is up to.
    pub state: GroupState,
    /// How many members it has.
    pub member_count: u32,
    /// How many topics it has committed offsets in, or members that read them.
    pub topic_count: u32,
    /// Records that it has not read yet, over all partitions where that is known.
    pub lag_records: u64,
    /// For how long the oldest of them has been there, in milliseconds.
    pub lag_ms: u64,
    /// Partitions whose committed offset lies below the log start, so that records are gone that it had not read.
    pub lost_partition_count: u32,
}

/// All about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub name: String,
    /// What it is up to.
    pub state: GroupState,
    /// How often the assignment was computed.
    pub group_epoch: u32,
    /// How partitions are shared out: `uniform` or `range`.
    pub assignor: String,
    /// The broker that answers for it.
    pub coordinator: BrokerId,
    /// Since when it has no members.
    pub empty_since: Option<TimestampMs>,
    /// Its members, by id.
    pub members: Vec<GroupMember>,
    /// Every partition with a committed offset or an owner, by topic and partition.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// How often its own share changed.
    pub member_epoch: u32,
    /// The instance id of a static member.
    pub instance: Option<String>,
    /// What the program calls itself; may be empty.
    pub client_id: String,
    /// Where it connected from.
    pub client_address: String,
    /// The topics that it wants to read, by name.
    pub topics: Vec<String>,
    /// The pattern of further ones.
    pub pattern: Option<String>,
    /// After how long without a heartbeat it counts as gone, in milliseconds.
    pub session_timeout_ms: u32,
    /// How long it may take to release partitions, in milliseconds.
    pub rebalance_timeout_ms: u32,
    /// When it joined.
    pub joined_at: TimestampMs,
    /// What it has.
    pub assigned: Vec<(TopicName, PartitionIndex)>,
    /// What it has been asked to release, and still has.
    pub revoking: Vec<(TopicName, PartitionIndex)>,
    /// What it is to have.
    pub target: Vec<(TopicName, PartitionIndex)>,
}

/// A partition as a group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPartition {
    /// How far the group has come.
    pub offset: GroupOffset,
    /// The member that has it.
    pub owner: Option<String>,
    /// Records between the committed offset and the high watermark that a consumer can still receive; `None` where
    /// nothing was committed, unless the partition is empty.
    pub lag_records: Option<u64>,
    /// For how long the first of them has been there, in milliseconds; 0 where there is none.
    pub lag_ms: Option<u64>,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// Which topic.
    pub topic: TopicName,
    /// Its id.
    pub topic_id: Option<TopicId>,
    /// Which partition.
    pub partition: PartitionIndex,
    /// What was committed, if anything was.
    pub committed: Option<CommittedOffset>,
    /// The first offset that can be read now.
    pub log_start: Offset,
    /// The end of what can be read now, exclusive.
    pub high_watermark: Offset,
    /// Offsets between the committed one and the log start: what was deleted before the group had read it.
    pub lost_offset_count: u64,
    /// Why nothing is known of it, if so; then only the names are true.
    pub error: Option<ClientError>,
}

/// An offset as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, if it was known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the program wrote next to it; may be empty.
    pub metadata: String,
    /// When.
    pub committed_at: TimestampMs,
}

impl Shared {
    /// As [`Shared::control`], asking again while the coordinator loads: such a refusal changes nothing, and passes
    /// soon after a broker has started.
    async fn coordinator<T, F, C>(&self, repeat: Repeat, call: C) -> Result<T, ClientError>
    where
        C: Fn(Channel) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (begun, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            match self.control(repeat, &call).await {
                Err(error) if error.code() == ErrorCode::CoordinatorLoading => {
                    let wait = backoff.next();
                    if begun.elapsed() + wait >= self.request_timeout {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
                answer => return answer,
            }
        }
    }

    /// Adds the nearest existing name to the hint of an unknown group.
    async fn with_group_suggestion(&self, group: &str, error: ClientError) -> ClientError {
        if error.code() != ErrorCode::GroupNotFound || error.hint().contains("did you mean") {
            return error;
        }
        let list = self.control(Repeat::Reads, |channel| async move {
            GroupsClient::new(channel).list_groups(v1::ListGroupsRequest { states: Vec::new() }).await
        });
        // The call has failed already; without the list it fails with a plainer hint.
        let groups = list.await.map(|answer| answer.groups).unwrap_or_default();
        match nearest(group, groups.iter().map(|known| known.group.as_str())) {
            Some(near) => {
                let hint = format!("did you mean {near:?}? {}", error.hint());
                error.with_hint(hint)
            }
            None => error,
        }
    }
}

/// Partitions as requests carry them: those of one topic together, in the order given.
fn topic_partitions<T: AsRef<str>>(
    partitions: impl IntoIterator<Item = (T, PartitionIndex)>,
) -> Vec<v1::TopicPartitions> {
    let mut topics: Vec<v1::TopicPartitions> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut() {
            Some(last) if last.topic == topic.as_ref() => last.partitions.push(partition.0),
            _ => topics.push(v1::TopicPartitions {
                topic: topic.as_ref().to_owned(),
                partitions: vec![partition.0],
                ..v1::TopicPartitions::default()
            }),
        }
    }
    topics
}

fn read_partitions(
    topics: Vec<v1::TopicPartitions>,
) -> Result<Vec<(TopicName, PartitionIndex)>, ClientError> {
    let mut pairs = Vec::new();
    for v1::TopicPartitions { topic, topic_id: _, partitions } in topics {
        let topic = topic_name(&topic)?;
        pairs.extend(partitions.into_iter().map(|partition| (topic.clone(), PartitionIndex(partition))));
    }
    Ok(pairs)
}

fn read_offset(wire: v1::GroupOffset) -> Result<GroupOffset, ClientError> {
    let v1::GroupOffset {
        topic,
        topic_id,
        partition,
        error,
        offset,
        leader_epoch,
        metadata,
        committed_at_ms,
        log_start,
        high_watermark,
        lost_offset_count,
    } = wire;
    let committed = match offset {
        None => None,
        Some(offset) => Some(CommittedOffset {
            offset: super::offset("committed offset", offset)?,
            leader_epoch: leader_epoch.map(super::leader_epoch).transpose()?,
            metadata,
            committed_at: TimestampMs(committed_at_ms),
        }),
    };
    Ok(GroupOffset {
        topic: topic_name(&topic)?,
        topic_id: topic_id_from_wire(&topic_id).map_err(Refusal::from)?,
        partition: PartitionIndex(partition),
        committed,
        log_start: super::offset("log start", log_start)?,
        high_watermark: super::offset("high watermark", high_watermark)?,
        lost_offset_count,
        error: error.map(|error| Refusal::from(error).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_keep_their_order_and_share_a_topic_where_they_can() {
        let pairs = [("a", 1), ("a", 0), ("b", 0), ("a", 2)].map(|(t, p)| (t, PartitionIndex(p)));
        let wire = topic_partitions(pairs);
        let shape: Vec<_> = wire.iter().map(|topic| (topic.topic.as_str(), &topic.partitions[..])).collect();
        assert_eq!(shape, [("a", &[1, 0][..]), ("b", &[0]), ("a", &[2])]);
        let read = read_partitions(wire).unwrap();
        assert_eq!(read.iter().map(|(t, p)| (t.as_str(), *p)).collect::<Vec<_>>(), pairs);
    }
}
