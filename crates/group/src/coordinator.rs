//! The coordinator of the groups in one partition of `__groups`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use corduroy_types::{MonotonicMs, TimestampMs};

use crate::{
    Assignor, Current, GroupEpoch, GroupError, GroupName, GroupState, MemberId, Pattern, Record,
    Subscription, TopicPartition, Topics,
    assign::{self, Candidate},
    reconcile::{self, Report},
    state::{Group, Member},
};

/// How coordinators behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// How often members have to send a heartbeat.
    pub heartbeat_interval_ms: u32,
    /// The session of a member that does not choose its own.
    pub session_timeout_ms: u32,
    /// How long a member that does not choose may take to release partitions.
    pub rebalance_timeout_ms: u32,
    /// How many members a group may have.
    pub members_max: usize,
    /// How long committed offsets are kept after the later of the last commit and the group becoming empty.
    pub offsets_retention_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 3_000,
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 60_000,
            members_max: 10_000,
            offsets_retention_ms: 30 * 24 * 3_600_000,
        }
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For sessions: never goes back.
    pub monotonic: MonotonicMs,
    /// For what is stored.
    pub wall: TimestampMs,
}

/// A member that was removed from its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The group.
    pub group: GroupName,
    /// The member.
    pub member: MemberId,
    /// Why.
    pub reason: RemovedReason,
}

/// Why a member was removed from its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedReason {
    /// No heartbeat for the whole session.
    SessionEnded,
    /// It did not release partitions within its rebalance time-out.
    RebalanceTimedOut,
}

/// Why the assignment was computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceCause {
    /// A member came in.
    Joined,
    /// A member left.
    Left,
    /// A member sent no heartbeat within its session time-out.
    SessionEnded,
    /// A member did not release partitions in time.
    RebalanceTimedOut,
    /// An operator put a member out.
    Removed,
    /// A member wants to read something else.
    Subscription,
    /// Topics or partitions have come or gone.
    Topics,
}

impl From<RemovedReason> for RebalanceCause {
    fn from(reason: RemovedReason) -> Self {
        match reason {
            RemovedReason::SessionEnded => Self::SessionEnded,
            RemovedReason::RebalanceTimedOut => Self::RebalanceTimedOut,
        }
    }
}

impl fmt::Display for RemovedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SessionEnded => "no heartbeat within its session time-out",
            Self::RebalanceTimedOut => "did not release partitions within its rebalance time-out",
        })
    }
}

/// The groups whose facts are in one partition of `__groups`.
///
/// Every call that changes something adds to `out` the records that say so, and has applied them already: they
/// must be appended to the partition as one batch, in the order of the calls, and no answer may be given
/// before they are committed there. If that fails, the coordinator is of no use any more and is loaded again.
#[derive(Clone, Debug, Default)]
pub struct Coordinator {
    pub(crate) config: GroupConfig,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: BTreeMap<GroupName, Group>,
    rebalances: Vec<(GroupName, RebalanceCause)>,
}

impl Coordinator {
    /// A coordinator that knows nothing yet. Give it every record of its partition with [`Coordinator::replay`],
    /// then [`Coordinator::loaded`].
    pub fn new(config: GroupConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Takes in a record of the partition, in the order of their offsets.
    pub fn replay(&mut self, record: &Record) {
        self.apply(record);
    }

    /// Begins to coordinate: everyone gets a whole session, and what changed among the topics meanwhile takes
    /// effect.
    pub fn loaded(&mut self, now: Now, topics: Arc<Topics>, out: &mut Vec<Record>) {
        self.renew_sessions(now);
        self.set_topics(now, topics, out);
    }

    /// Gives everyone a whole session again. For when the coordinator itself stood still, so that no one could be heard.
    pub fn renew_sessions(&mut self, now: Now) {
        for member in self.groups.values_mut().flat_map(|group| group.members.values_mut()) {
            member.begin_session(now.monotonic);
        }
    }

    /// Takes in the topics there are now: shares out new partitions, and forgets what belonged to deleted topics.
    pub fn set_topics(&mut self, now: Now, topics: Arc<Topics>, out: &mut Vec<Record>) {
        self.topics = topics;
        let names: Vec<GroupName> = self.groups.keys().cloned().collect();
        for name in names {
            let gone: Vec<TopicPartition> = self.groups.get(&name).map_or_else(Vec::new, |group| {
                let committed = group.committed.keys().copied();
                committed.filter(|partition| !self.topics.has_topic(partition.topic_id)).collect()
            });
            for partition in gone {
                self.put(Record::Committed { group: name.clone(), partition, value: None }, out);
            }
            self.rebalance(now, &name, RebalanceCause::Topics, out);
        }
    }

    /// Ends sessions that are over. Call it now and then.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Record>) -> Vec<Removed> {
        let mut removed = Vec::new();
        for (group, known) in &self.groups {
            let over = known.members.iter().filter_map(|(member, state)| {
                let reason = state.is_over(now.monotonic)?;
                Some(Removed { group: group.clone(), member: member.clone(), reason })
            });
            removed.extend(over);
        }
        for Removed { group, member, reason } in &removed {
            self.remove_member(now, group, member, (*reason).into(), out);
        }
        removed
    }

    /// A coordinator that knows one group only, to try something out on.
    #[must_use]
    pub fn only(&self, name: &GroupName) -> Self {
        let groups = self.groups.get_key_value(name).map(|(name, group)| (name.clone(), group.clone()));
        Self {
            config: self.config,
            topics: Arc::clone(&self.topics),
            groups: groups.into_iter().collect(),
            rebalances: Vec::new(),
        }
    }

    /// The rebalances since the last call, for a metric.
    pub fn take_rebalances(&mut self) -> Vec<(GroupName, RebalanceCause)> {
        std::mem::take(&mut self.rebalances)
    }

    /// Everything that holds, as records that say so: replayed into a new coordinator, they give the same.
    pub fn facts(&self) -> Vec<Record> {
        self.groups.iter().flat_map(|(name, group)| group.facts(name)).collect()
    }

    /// Applies a record and hands it out.
    pub(crate) fn put(&mut self, record: Record, out: &mut Vec<Record>) {
        self.apply(&record);
        out.push(record);
    }

    fn apply(&mut self, record: &Record) {
        let name = record.group();
        let group = self.groups.entry(name.clone()).or_default();
        group.apply(record);
        if group.is_nothing() {
            self.groups.remove(name);
        }
    }

    pub(crate) fn group(&self, name: &GroupName) -> Result<&Group, GroupError> {
        self.groups.get(name).ok_or_else(|| GroupError::GroupNotFound { group: name.clone() })
    }

    pub(crate) fn member_mut(&mut self, group: &GroupName, member: &MemberId) -> Option<&mut Member> {
        self.groups.get_mut(group)?.members.get_mut(member)
    }

    /// Takes a member and all it holds out of its group.
    pub(crate) fn remove_member(
        &mut self,
        now: Now,
        group: &GroupName,
        member: &MemberId,
        cause: RebalanceCause,
        out: &mut Vec<Record>,
    ) {
        let known = self.groups.get(group).and_then(|known| known.members.get(member));
        let epoch = known.map_or(0, |known| known.epoch().0);
        self.forget_member(group, member, out);
        self.keep_epoch(group, epoch, out);
        self.rebalance(now, group, cause, out);
    }

    /// Raises the group's epoch to that of a member who goes, so that it begins above it if it comes back.
    fn keep_epoch(&mut self, group: &GroupName, epoch: u32, out: &mut Vec<Record>) {
        let state = self.groups.get(group).and_then(|known| known.state.clone()).unwrap_or_default();
        if state.epoch.0 < epoch {
            let value = Some(GroupState { epoch: GroupEpoch(epoch), ..state });
            self.put(Record::Group { group: group.clone(), value }, out);
        }
    }

    pub(crate) fn forget_member(&mut self, group: &GroupName, member: &MemberId, out: &mut Vec<Record>) {
        let Some(known) = self.groups.get(group).and_then(|known| known.members.get(member)) else { return };
        let (has_spec, has_target, has_current) =
            (known.spec.is_some(), known.target.is_some(), known.current.is_some());
        let (group, member) = (|| group.clone(), || member.clone());
        if has_current {
            self.put(Record::Current { group: group(), member: member(), value: None }, out);
        }
        if has_target {
            self.put(Record::Target { group: group(), member: member(), value: None }, out);
        }
        if has_spec {
            self.put(Record::Member { group: group(), member: member(), value: None }, out);
        }
    }

    /// Decides again who should have what. The group's epoch rises only when that differs from before.
    pub(crate) fn rebalance(
        &mut self,
        now: Now,
        name: &GroupName,
        cause: RebalanceCause,
        out: &mut Vec<Record>,
    ) {
        let Some(group) = self.groups.get(name) else { return };
        let state = group.state.clone().unwrap_or_default();
        let targets = self.targets(group, state.assignor);
        let differs = |(member, target): &(MemberId, _)| {
            group.members.get(member).is_none_or(|known| known.target.as_ref() != Some(target))
        };
        let changed: Vec<_> = targets.into_iter().filter(differs).collect();
        let empty = group.members.values().all(|known| known.spec.is_none());
        let empty_since = if empty { state.empty_since.or(Some(now.wall)) } else { None };
        let epoch = if changed.is_empty() { state.epoch } else { state.epoch.next() };
        if !changed.is_empty() {
            self.rebalances.push((name.clone(), cause));
        }
        let next = GroupState { epoch, empty_since, ..state };
        if group.state.as_ref() != Some(&next) {
            self.put(Record::Group { group: name.clone(), value: Some(next) }, out);
        }
        for (member, target) in changed {
            self.put(Record::Target { group: name.clone(), member, value: Some(target) }, out);
        }
    }

    fn targets(&self, group: &Group, assignor: Assignor) -> BTreeMap<MemberId, BTreeSet<TopicPartition>> {
        let none = BTreeSet::new();
        // Members of a group mostly want the same: that is looked up once.
        let mut resolved: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let candidates = group.members.iter().filter_map(|(member, known)| {
            let spec = known.spec.as_ref()?;
            let Subscription { topics, pattern } = &spec.subscription;
            let wanted = (topics, pattern.as_ref().map(Pattern::as_str));
            let topics = resolved.entry(wanted).or_insert_with(|| self.topics.resolve(&spec.subscription));
            Some(Candidate {
                member,
                place: spec.instance.as_ref().map_or(member.as_str(), |instance| instance.as_str()),
                topics: topics.clone(),
                previous: known.target.as_ref().unwrap_or(&none),
            })
        });
        assign::assign(assignor, &mut candidates.collect::<Vec<_>>(), &self.topics)
    }

    /// Moves a member one step towards its target. Returns whether what it has changed.
    pub(crate) fn reconcile(
        &mut self,
        now: Now,
        name: &GroupName,
        member: &MemberId,
        report: Option<Report<'_>>,
        out: &mut Vec<Record>,
    ) -> bool {
        let Some(group) = self.groups.get(name) else { return false };
        let Some(known) = group.members.get(member) else { return false };
        let (none, nothing) = (BTreeSet::new(), Current::default());
        let current = known.current.as_ref().unwrap_or(&nothing);
        let target = known.target.as_ref().unwrap_or(&none);
        let free = |partition| group.owner(partition).is_none();
        let Some(next) = reconcile::next(current, target, report, free) else { return false };
        let revokes = !next.revoking.is_empty();
        let rebalance_timeout_ms = known.spec.as_ref().map_or(0, |spec| spec.rebalance_timeout_ms);
        self.put(Record::Current { group: name.clone(), member: member.clone(), value: Some(next) }, out);
        if let Some(known) = self.member_mut(name, member) {
            let by = MonotonicMs(now.monotonic.0.saturating_add(rebalance_timeout_ms.into()));
            known.revoke_by = revokes.then(|| known.revoke_by.unwrap_or(by));
        }
        true
    }
}

impl Member {
    /// Extends the session by a whole time-out, and starts the time to release partitions where the member has to release some.
    fn begin_session(&mut self, now: MonotonicMs) {
        self.touch(now);
        let revokes = self.current.as_ref().is_some_and(|current| !current.revoking.is_empty());
        let timeout_ms = self.spec.as_ref().map_or(0, |spec| spec.rebalance_timeout_ms);
        self.revoke_by = revokes.then(|| MonotonicMs(now.0.saturating_add(timeout_ms.into())));
    }

    /// A heartbeat has arrived.
    pub(crate) fn touch(&mut self, now: MonotonicMs) {
        let timeout_ms = self.spec.as_ref().map_or(0, |spec| spec.session_timeout_ms);
        self.session_ends = MonotonicMs(now.0.saturating_add(timeout_ms.into()));
    }

    fn is_over(&self, now: MonotonicMs) -> Option<RemovedReason> {
        if self.session_ends <= now {
            return Some(RemovedReason::SessionEnded);
        }
        self.revoke_by.is_some_and(|by| by <= now).then_some(RemovedReason::RebalanceTimedOut)
    }
}
