//! Committed offsets: who may commit, what is kept, and for how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::{
    Committed, Coordinator, GroupError, GroupName, GroupState, MemberEpoch, MemberId, Now, Record,
    TopicPartition, state::Group,
};

/// The greatest length of the metadata next to a committed offset, in bytes.
pub const COMMIT_METADATA_BYTES_MAX: usize = 4096;

/// Offsets to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: GroupName,
    /// The member that commits and the epoch it knows; `None`: an operator, or a consumer that chose its
    /// partitions itself, which needs a group without members.
    pub member: Option<(MemberId, MemberEpoch)>,
    /// What to commit.
    pub offsets: Vec<CommitOffset>,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    /// Where.
    pub partition: TopicPartition,
    /// The offset of the next record to read.
    pub offset: Offset,
    /// The leader epoch of the last record read, if known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// At most [`COMMIT_METADATA_BYTES_MAX`] bytes to find there again.
    pub metadata: Arc<str>,
}

impl Coordinator {
    /// Commits offsets; says for each, in order, whether it was.
    ///
    /// A member commits where it holds the partition, at any of its epochs since it got it: a commit that was
    /// delayed until the partition had gone elsewhere, even if it came back, is refused.
    ///
    /// # Errors
    /// [`GroupError`] for all of them together: the member is unknown or fenced, or the group has members.
    pub fn commit(
        &mut self,
        now: Now,
        commit: &Commit,
        out: &mut Vec<Record>,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.check_committer(commit)?;
        let checked: Vec<_> = commit.offsets.iter().map(|one| self.check_commit(commit, one)).collect();
        let is_new = self.groups.get(&commit.group).is_none_or(|group| group.state.is_none());
        if is_new && checked.iter().any(Result::is_ok) {
            let value = Some(GroupState { empty_since: Some(now.wall), ..GroupState::default() });
            self.put(Record::Group { group: commit.group.clone(), value }, out);
        }
        for (one, checked) in commit.offsets.iter().zip(&checked) {
            if checked.is_ok() {
                let committed = Committed {
                    offset: one.offset,
                    leader_epoch: one.leader_epoch,
                    metadata: Arc::clone(&one.metadata),
                    committed_at: now.wall,
                };
                let (group, partition) = (commit.group.clone(), one.partition);
                self.put(Record::Committed { group, partition, value: Some(committed) }, out);
            }
        }
        Ok(checked)
    }

    fn check_committer(&self, commit: &Commit) -> Result<(), GroupError> {
        let known = self.groups.get(&commit.group);
        let Some((member, got)) = &commit.member else {
            let members = known.map_or(0, |group| group.members.len());
            let not_empty = || GroupError::NotEmpty { group: commit.group.clone(), members };
            return if members == 0 { Ok(()) } else { Err(not_empty()) };
        };
        let state = known.and_then(|group| group.members.get(member)).filter(|known| known.spec.is_some());
        let (group, member) = (commit.group.clone(), member.clone());
        let Some(state) = state else { return Err(GroupError::UnknownMember { group, member }) };
        if *got > state.epoch() {
            return Err(GroupError::FencedMember { group, member, got: *got, present: state.epoch() });
        }
        Ok(())
    }

    fn check_commit(&self, commit: &Commit, one: &CommitOffset) -> Result<(), GroupError> {
        if one.metadata.len() > COMMIT_METADATA_BYTES_MAX {
            let (got, max) = (one.metadata.len(), COMMIT_METADATA_BYTES_MAX);
            return Err(GroupError::MetadataTooLong { got, max });
        }
        if !self.topics.has(one.partition) {
            return Err(GroupError::NoPartition { partition: one.partition });
        }
        let Some((member, epoch)) = &commit.member else { return Ok(()) };
        let current =
            self.groups.get(&commit.group).and_then(|group| group.members.get(member)?.current.as_ref());
        if current.and_then(|current| current.since(one.partition)).is_some_and(|since| since <= *epoch) {
            return Ok(());
        }
        let (group, member, partition) = (commit.group.clone(), member.clone(), one.partition);
        Err(GroupError::NotAssigned { group, member, partition })
    }

    /// The committed offsets of a group; empty where nothing was committed or no one knows the group.
    pub fn committed(&self, group: &GroupName) -> impl Iterator<Item = (TopicPartition, &Committed)> {
        let group = self.groups.get(group);
        group
            .into_iter()
            .flat_map(|group| &group.committed)
            .map(|(partition, committed)| (*partition, committed))
    }

    /// The committed offset of a group in one partition.
    pub fn committed_at(&self, group: &GroupName, partition: TopicPartition) -> Option<&Committed> {
        self.groups.get(group)?.committed.get(&partition)
    }

    /// Forgets committed offsets; all of the group's when `partitions` is `None`.
    ///
    /// # Errors
    /// [`GroupError::GroupNotFound`], and [`GroupError::NotEmpty`] while it has members.
    pub fn forget_offsets(
        &mut self,
        group: &GroupName,
        partitions: Option<&BTreeSet<TopicPartition>>,
        out: &mut Vec<Record>,
    ) -> Result<(), GroupError> {
        let known = self.empty_group(group)?;
        let wanted = |partition: &TopicPartition| partitions.is_none_or(|wanted| wanted.contains(partition));
        let gone: Vec<_> = known.committed.keys().copied().filter(wanted).collect();
        for partition in gone {
            self.put(Record::Committed { group: group.clone(), partition, value: None }, out);
        }
        Ok(())
    }

    /// Deletes a group with all it has committed.
    ///
    /// # Errors
    /// [`GroupError::GroupNotFound`], and [`GroupError::NotEmpty`] while it has members.
    pub fn delete_group(&mut self, group: &GroupName, out: &mut Vec<Record>) -> Result<(), GroupError> {
        self.forget_offsets(group, None, out)?;
        self.put(Record::Group { group: group.clone(), value: None }, out);
        Ok(())
    }

    fn empty_group(&self, group: &GroupName) -> Result<&Group, GroupError> {
        let known = self.group(group)?;
        match known.members.len() {
            0 => Ok(known),
            members => Err(GroupError::NotEmpty { group: group.clone(), members }),
        }
    }

    /// Forgets what empty groups committed too long ago, and groups of which nothing is left. Call it now and then.
    ///
    /// `expiry_time` is the time by which things expire. It need not be the wall clock of [`Now`], which may jump ahead
    /// and would make everything old at once.
    pub fn expire_offsets(&mut self, expiry_time: TimestampMs, out: &mut Vec<Record>) {
        let expired: BTreeMap<GroupName, Vec<TopicPartition>> = self
            .groups
            .iter()
            .filter(|(_, group)| self.has_expired(group, expiry_time))
            .map(|(name, group)| (name.clone(), group.committed.keys().copied().collect()))
            .collect();
        for (group, partitions) in expired {
            for partition in partitions {
                self.put(Record::Committed { group: group.clone(), partition, value: None }, out);
            }
            self.put(Record::Group { group, value: None }, out);
        }
    }

    /// Counted from the later of the group's last commit and of when it became empty: a group whose members
    /// chose their partitions themselves is always empty, and does not expire while it commits anywhere.
    fn has_expired(&self, group: &Group, now: TimestampMs) -> bool {
        if !group.members.is_empty() {
            return false;
        }
        let is_over = |since: TimestampMs| {
            let age_ms = now.0.saturating_sub(since.0);
            u64::try_from(age_ms).is_ok_and(|age_ms| age_ms >= self.config.offsets_retention_ms)
        };
        // Mostly that says it, without a look at every offset.
        if group.state.as_ref().and_then(|state| state.empty_since).is_some_and(|since| !is_over(since)) {
            return false;
        }
        let last_commit = group.committed.values().map(|committed| committed.committed_at).max();
        let empty_since = group.state.as_ref().and_then(|state| state.empty_since);
        last_commit.max(empty_since).is_some_and(is_over)
    }
}
