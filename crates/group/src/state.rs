//! One group, as its records say.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_types::MonotonicMs;

use crate::{
    Committed, Current, GroupName, GroupState, InstanceId, MemberEpoch, MemberId, MemberSpec, Record,
    TopicPartition,
};

/// A group: what its records say, what follows from them, and what only the running coordinator knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) state: Option<GroupState>,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) committed: BTreeMap<TopicPartition, Committed>,
    /// Who holds a partition, be it on its way out: derived from the members.
    owners: BTreeMap<TopicPartition, MemberId>,
    /// Who is which instance: derived from the members.
    instances: BTreeMap<InstanceId, MemberId>,
}

/// A member. Compaction may bring its records back in any order, so each part may be missing for a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) spec: Option<MemberSpec>,
    pub(crate) target: Option<BTreeSet<TopicPartition>>,
    pub(crate) current: Option<Current>,
    /// When its session ends; not stored, so that a new coordinator gives everyone a whole session.
    pub(crate) session_ends: MonotonicMs,
    /// By when it has to have released what is being revoked.
    pub(crate) revoke_by: Option<MonotonicMs>,
}

impl Member {
    /// Whether it has exactly what it is to have.
    pub(crate) fn is_settled(&self) -> bool {
        match (&self.current, &self.target) {
            (Some(current), Some(target)) => {
                current.revoking.is_empty() && current.assigned.keys().eq(target.iter())
            }
            _ => false,
        }
    }

    pub(crate) fn epoch(&self) -> MemberEpoch {
        self.current.as_ref().map_or(MemberEpoch(0), |current| current.epoch)
    }
}

impl Group {
    /// Takes in a record. Never fails: each says what holds, whatever held before.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Group { value, .. } => self.state.clone_from(value),
            Record::Member { member, value, .. } => self.set_spec(member, value.clone()),
            Record::Target { member, value, .. } => {
                self.members.entry(member.clone()).or_default().target.clone_from(value);
                self.prune(member);
            }
            Record::Current { member, value, .. } => self.set_current(member, value.clone()),
            Record::Committed { partition, value, .. } => match value {
                Some(committed) => drop(self.committed.insert(*partition, committed.clone())),
                None => drop(self.committed.remove(partition)),
            },
        }
    }

    fn set_spec(&mut self, member: &MemberId, spec: Option<MemberSpec>) {
        let entry = self.members.entry(member.clone()).or_default();
        let was = entry.spec.take().and_then(|spec| spec.instance);
        if let Some(instance) = was
            && self.instances.get(&instance) == Some(member)
        {
            self.instances.remove(&instance);
        }
        if let Some(instance) = spec.as_ref().and_then(|spec| spec.instance.clone()) {
            self.instances.insert(instance, member.clone());
        }
        entry.spec = spec;
        self.prune(member);
    }

    fn set_current(&mut self, member: &MemberId, current: Option<Current>) {
        let entry = self.members.entry(member.clone()).or_default();
        for partition in entry.current.iter().flat_map(Current::held) {
            if self.owners.get(&partition) == Some(member) {
                self.owners.remove(&partition);
            }
        }
        for partition in current.iter().flat_map(Current::held) {
            self.owners.insert(partition, member.clone());
        }
        entry.current = current;
        self.prune(member);
    }

    fn prune(&mut self, member: &MemberId) {
        let gone = |known: &Member| known.spec.is_none() && known.target.is_none() && known.current.is_none();
        if self.members.get(member).is_some_and(gone) {
            self.members.remove(member);
        }
    }

    /// Who holds a partition.
    pub(crate) fn owner(&self, partition: TopicPartition) -> Option<&MemberId> {
        self.owners.get(&partition)
    }

    /// Who is in the group as this instance.
    pub(crate) fn by_instance(&self, instance: &InstanceId) -> Option<&MemberId> {
        self.instances.get(instance)
    }

    /// Whether nothing at all is known under this name.
    pub(crate) fn is_nothing(&self) -> bool {
        self.state.is_none() && self.members.is_empty() && self.committed.is_empty()
    }

    /// Everything that holds, as the records that would say so.
    pub(crate) fn facts(&self, name: &GroupName) -> Vec<Record> {
        let group = || name.clone();
        let mut facts = Vec::new();
        if let Some(state) = &self.state {
            facts.push(Record::Group { group: group(), value: Some(state.clone()) });
        }
        for (member, known) in &self.members {
            let member = || member.clone();
            let spec = known.spec.clone();
            facts.extend(spec.map(|spec| Record::Member {
                group: group(),
                member: member(),
                value: Some(spec),
            }));
            let target = known.target.clone();
            facts.extend(target.map(|target| Record::Target {
                group: group(),
                member: member(),
                value: Some(target),
            }));
            let current = known.current.clone();
            facts.extend(current.map(|current| Record::Current {
                group: group(),
                member: member(),
                value: Some(current),
            }));
        }
        facts.extend(self.committed.iter().map(|(partition, committed)| Record::Committed {
            group: group(),
            partition: *partition,
            value: Some(committed.clone()),
        }));
        facts
    }
}
