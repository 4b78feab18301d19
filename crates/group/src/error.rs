//! Why the coordinator refuses.

use corduroy_types::ErrorCode;

use crate::{GroupName, InstanceId, MemberEpoch, MemberId, TopicPartition};

/// A refusal. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// No group of that name.
    #[error("there is no group {group}")]
    GroupNotFound {
        /// The name.
        group: GroupName,
    },
    /// The member is not, or no longer, in the group.
    #[error(
        "group {group} has no member {member}: it left, or its session ended; drop all partitions and join again"
    )]
    UnknownMember {
        /// The group.
        group: GroupName,
        /// The member.
        member: MemberId,
    },
    /// The member speaks of an epoch that is not its own.
    #[error(
        "member {member} of group {group} is at epoch {present}, not {got}: drop all partitions and join again"
    )]
    FencedMember {
        /// The group.
        group: GroupName,
        /// The member.
        member: MemberId,
        /// The epoch it named.
        got: MemberEpoch,
        /// The epoch it is at.
        present: MemberEpoch,
    },
    /// Another process has taken the instance's place.
    #[error(
        "another member of group {group} has joined as instance {instance}: two processes must not share an \
         instance id; stop this one or give it another"
    )]
    FencedInstance {
        /// The group.
        group: GroupName,
        /// The instance.
        instance: InstanceId,
    },
    /// Only the owner of a partition may commit there.
    #[error("partition {partition} is not assigned to member {member} of group {group}; it is not committed")]
    NotAssigned {
        /// The group.
        group: GroupName,
        /// The member.
        member: MemberId,
        /// The partition.
        partition: TopicPartition,
    },
    /// What was asked for needs a group without members.
    #[error("group {group} has {members} {}; stop {} first", if *members == 1 { "member" } else { "members" }, if *members == 1 { "it" } else { "them" })]
    NotEmpty {
        /// The group.
        group: GroupName,
        /// How many.
        members: usize,
    },
    /// No more members are taken.
    #[error("group {group} has {members} members already, which is the most it may have")]
    Full {
        /// The group.
        group: GroupName,
        /// How many.
        members: usize,
    },
    /// A number outside its range.
    #[error("{what} of {got_ms} ms is outside {least_ms} to {most_ms} ms")]
    TimeOut {
        /// Which one.
        what: &'static str,
        /// What was given.
        got_ms: u32,
        /// The least allowed.
        least_ms: u32,
        /// The most allowed.
        most_ms: u32,
    },
    /// A member that asks for nothing.
    #[error("a member subscribes to at least one topic or a pattern")]
    NoSubscription,
    /// The partition does not exist.
    #[error("there is no partition {partition}")]
    NoPartition {
        /// The partition.
        partition: TopicPartition,
    },
    /// Too long a text next to a committed offset.
    #[error("the metadata of a committed offset has at most {max} bytes, this one has {got}")]
    MetadataTooLong {
        /// Its length in bytes.
        got: usize,
        /// The most allowed.
        max: usize,
    },
}

impl GroupError {
    /// The code under which it reaches a client.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::GroupNotFound { .. } => ErrorCode::GroupNotFound,
            Self::UnknownMember { .. } => ErrorCode::UnknownMember,
            Self::FencedMember { .. } => ErrorCode::FencedMember,
            Self::FencedInstance { .. } => ErrorCode::FencedInstance,
            Self::NotAssigned { .. } => ErrorCode::PartitionNotAssigned,
            Self::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
            Self::Full { .. } => ErrorCode::GroupFull,
            Self::TimeOut { .. } | Self::NoSubscription | Self::MetadataTooLong { .. } => {
                ErrorCode::InvalidRequest
            }
            Self::NoPartition { .. } => ErrorCode::PartitionNotFound,
        }
    }
}
