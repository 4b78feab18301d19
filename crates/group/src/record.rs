//! What happened to groups: the facts that `__groups` keeps, each under the key that the next one replaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::{
    Assignor, GroupEpoch, GroupName, InstanceId, MemberEpoch, MemberId, Subscription, TopicPartition,
};

/// A fact about a group. `None` as value: it holds no more, and compaction may drop what was known under the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The group itself.
    Group {
        /// Which.
        group: GroupName,
        /// What holds.
        value: Option<GroupState>,
    },
    /// Who a member is and what it wants.
    Member {
        /// Which group.
        group: GroupName,
        /// Which member.
        member: MemberId,
        /// What holds.
        value: Option<MemberSpec>,
    },
    /// What a member is to have.
    Target {
        /// Which group.
        group: GroupName,
        /// Which member.
        member: MemberId,
        /// What holds.
        value: Option<BTreeSet<TopicPartition>>,
    },
    /// What a member has.
    Current {
        /// Which group.
        group: GroupName,
        /// Which member.
        member: MemberId,
        /// What holds.
        value: Option<Current>,
    },
    /// How far the group has come in a partition.
    Committed {
        /// Which group.
        group: GroupName,
        /// Which partition.
        partition: TopicPartition,
        /// What holds.
        value: Option<Committed>,
    },
}

/// A group, without its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// How often the assignment was computed.
    pub epoch: GroupEpoch,
    /// How partitions are shared out.
    pub assignor: Assignor,
    /// Since when it has no members; `None` while it has some.
    pub empty_since: Option<TimestampMs>,
}

/// A member, as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// Of a static member: what it is called after each restart.
    pub instance: Option<InstanceId>,
    /// What the program calls itself.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_address: Arc<str>,
    /// What it wants to read.
    pub subscription: Subscription,
    /// After how long without a heartbeat it counts as gone.
    pub session_timeout_ms: u32,
    /// How long it may take to release partitions.
    pub rebalance_timeout_ms: u32,
    /// When it joined.
    pub joined_at: TimestampMs,
}

/// What a member has: its epoch, and the partitions that no one else may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// How often its share changed: a member names it to show which assignment it has received.
    pub epoch: MemberEpoch,
    /// What it may read and commit, and since which epoch.
    pub assigned: BTreeMap<TopicPartition, MemberEpoch>,
    /// What it has been asked to release and has not reported as released; it may still commit there.
    pub revoking: BTreeMap<TopicPartition, MemberEpoch>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset of the next record to read.
    pub offset: Offset,
    /// The leader epoch of the last record read, if the consumer knew it (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the consumer wants to find there again.
    pub metadata: Arc<str>,
    /// When.
    pub committed_at: TimestampMs,
}

impl Record {
    /// The group it is about.
    pub const fn group(&self) -> &GroupName {
        match self {
            Self::Group { group, .. }
            | Self::Member { group, .. }
            | Self::Target { group, .. }
            | Self::Current { group, .. }
            | Self::Committed { group, .. } => group,
        }
    }
}

impl Current {
    /// Whether the member holds this partition, be it on its way out.
    pub fn holds(&self, partition: TopicPartition) -> bool {
        self.since(partition).is_some()
    }

    /// Since which of its epochs the member holds the partition.
    pub(crate) fn since(&self, partition: TopicPartition) -> Option<MemberEpoch> {
        self.assigned.get(&partition).or_else(|| self.revoking.get(&partition)).copied()
    }

    /// All partitions that no one else may have.
    pub(crate) fn held(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.assigned.keys().chain(self.revoking.keys()).copied()
    }
}
