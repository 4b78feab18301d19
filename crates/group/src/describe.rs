//! Groups as people see them.

use std::{collections::BTreeSet, fmt};

use corduroy_types::TimestampMs;

use crate::{
    Assignor, Coordinator, GroupEpoch, GroupError, GroupName, MemberEpoch, MemberId, MemberSpec, Now,
    RebalanceCause, Record, TopicPartition,
    state::{Group, Member},
};

/// What a group is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupActivity {
    /// It has no members.
    Empty,
    /// Everyone has what it should have.
    Stable,
    /// Partitions are on their way between members.
    Rebalancing,
}

impl GroupActivity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Empty, Self::Stable, Self::Rebalancing];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Stable => "stable",
            Self::Rebalancing => "rebalancing",
        }
    }
}

impl fmt::Display for GroupActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A group, without its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub group: GroupName,
    /// What it is up to.
    pub activity: GroupActivity,
    /// How often the assignment was computed.
    pub epoch: GroupEpoch,
    /// How partitions are shared out.
    pub assignor: Assignor,
    /// Since when it has no members.
    pub empty_since: Option<TimestampMs>,
    /// Its members, by id.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member: MemberId,
    /// As it introduced itself.
    pub spec: MemberSpec,
    /// How often its share changed.
    pub epoch: MemberEpoch,
    /// What it has.
    pub assigned: BTreeSet<TopicPartition>,
    /// What it has been asked to release, and still has.
    pub revoking: BTreeSet<TopicPartition>,
    /// What it is to have.
    pub target: BTreeSet<TopicPartition>,
}

impl Coordinator {
    /// The names of all groups here, with what they are up to and how many members they have.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupName, GroupActivity, usize)> {
        self.groups.iter().map(|(name, group)| (name, group.activity(), group.members.len()))
    }

    /// The members of a group that have something else than they are to have: for them anything that changes in the
    /// group may be news.
    pub fn unsettled(&self, name: &GroupName) -> impl Iterator<Item = &MemberId> {
        let members = self.groups.get(name).into_iter().flat_map(|group| &group.members);
        members.filter(|(_, known)| !known.is_settled()).map(|(member, _)| member)
    }

    /// One group.
    ///
    /// # Errors
    /// [`GroupError::GroupNotFound`].
    pub fn describe(&self, name: &GroupName) -> Result<GroupDescription, GroupError> {
        let group = self.group(name)?;
        let state = group.state.clone().unwrap_or_default();
        Ok(GroupDescription {
            group: name.clone(),
            activity: group.activity(),
            epoch: state.epoch,
            assignor: state.assignor,
            empty_since: state.empty_since,
            members: group.members.iter().filter_map(|(member, known)| known.describe(member)).collect(),
        })
    }

    /// Puts a member out of its group, as an operator may. It may join again.
    ///
    /// # Errors
    /// [`GroupError::GroupNotFound`] and [`GroupError::UnknownMember`].
    pub fn kick(
        &mut self,
        now: Now,
        group: &GroupName,
        member: &MemberId,
        out: &mut Vec<Record>,
    ) -> Result<(), GroupError> {
        if !self.group(group)?.members.contains_key(member) {
            return Err(GroupError::UnknownMember { group: group.clone(), member: member.clone() });
        }
        self.remove_member(now, group, member, RebalanceCause::Removed, out);
        Ok(())
    }
}

impl Group {
    fn activity(&self) -> GroupActivity {
        match self.members.values().all(Member::is_settled) {
            true if self.members.is_empty() => GroupActivity::Empty,
            true => GroupActivity::Stable,
            false => GroupActivity::Rebalancing,
        }
    }
}

impl Member {
    fn describe(&self, member: &MemberId) -> Option<MemberDescription> {
        let current = self.current.clone().unwrap_or_default();
        Some(MemberDescription {
            member: member.clone(),
            spec: self.spec.clone()?,
            epoch: current.epoch,
            assigned: current.assigned.into_keys().collect(),
            revoking: current.revoking.into_keys().collect(),
            target: self.target.clone().unwrap_or_default(),
        })
    }
}
