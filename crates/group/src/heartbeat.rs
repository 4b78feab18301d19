//! The one call by which a member joins, stays, changes and leaves (KIP-848).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
};

use crate::{
    Assignor, Coordinator, Current, GroupError, GroupName, GroupState, InstanceId, MemberEpoch, MemberId,
    MemberSpec, Now, RebalanceCause, Record, Subscription, TopicPartition, reconcile::Report, state::Member,
};

/// Session time-outs that members may choose, in milliseconds.
pub const SESSION_TIMEOUT_MS: RangeInclusive<u32> = 1_000..=3_600_000;
/// Rebalance time-outs that members may choose, in milliseconds.
pub const REBALANCE_TIMEOUT_MS: RangeInclusive<u32> = 1_000..=3_600_000;
/// How soon a member is to come back while the group has something to settle with it.
const UNSETTLED_INTERVAL_MS: u32 = 200;

/// What a member says of itself. Once a member is in, only what changed needs to be said again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupName,
    /// The member: an id that each consumer draws when it is built.
    pub member: MemberId,
    /// Whether it joins, stays or leaves.
    pub kind: HeartbeatKind,
    /// What it has. To be said when it has changed, and whenever the last answer did not arrive.
    pub owned: Option<BTreeSet<TopicPartition>>,
}

/// What a heartbeat is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatKind {
    /// To come in, without any partition; also after having been fenced.
    Join(Join),
    /// To stay in.
    Stay {
        /// The epoch from the last answer.
        epoch: MemberEpoch,
        /// What it wants to read, if that changed.
        subscription: Option<Subscription>,
    },
    /// To go, giving back all partitions at once.
    Leave,
    /// To go and come back as the same instance: the partitions are kept for it until its session ends.
    LeaveForRestart,
}

/// What a member introduces itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Of a static member: the same after each restart.
    pub instance: Option<InstanceId>,
    /// It was in the group before, and was removed. As an instance, it does not take the place of the one that may have
    /// come meanwhile.
    pub again: bool,
    /// What the program calls itself.
    pub client_id: Arc<str>,
    /// Where it connected from.
    pub client_address: Arc<str>,
    /// What it wants to read.
    pub subscription: Subscription,
    /// How partitions should be shared out. The member that founds the group decides; later ones only where
    /// they ask for another.
    pub assignor: Option<Assignor>,
    /// After how long without a heartbeat it counts as gone; `None`: the broker's default.
    pub session_timeout_ms: Option<u32>,
    /// How long it may take to release partitions; `None`: the broker's default.
    pub rebalance_timeout_ms: Option<u32>,
}

/// The answer to a member's heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The epoch to name from now on.
    pub epoch: MemberEpoch,
    /// By when the next heartbeat has to arrive.
    pub interval_ms: u32,
    /// How long this answer may be held back to wait for news without putting the session at risk.
    pub hold_ms_max: u32,
    /// All that the member may have now, where it has something else or this is news. What is not in it has
    /// to be released and reported so; what is new may be read at once.
    pub assignment: Option<BTreeSet<TopicPartition>>,
}

impl HeartbeatAnswer {
    /// To a member that has left.
    const fn gone() -> Self {
        Self { epoch: MemberEpoch(0), interval_ms: 0, hold_ms_max: 0, assignment: None }
    }
}

impl Coordinator {
    /// Takes in a heartbeat.
    ///
    /// # Errors
    /// [`GroupError`]; nothing was changed. After `UnknownMember` and `FencedMember` the member has lost all its
    /// partitions and joins again; after `FencedInstance` it stops.
    pub fn heartbeat(
        &mut self,
        now: Now,
        heartbeat: &Heartbeat,
        out: &mut Vec<Record>,
    ) -> Result<HeartbeatAnswer, GroupError> {
        let Heartbeat { group, member, .. } = heartbeat;
        match &heartbeat.kind {
            HeartbeatKind::Join(join) => self.join(now, group, member, join, out),
            HeartbeatKind::Stay { epoch, subscription } => {
                self.check_member(group, member, *epoch)?;
                self.resubscribe(now, group, member, subscription.as_ref(), out)?;
                if let Some(known) = self.member_mut(group, member) {
                    known.touch(now.monotonic);
                }
                Ok(self.stay(now, heartbeat, *epoch, out))
            }
            HeartbeatKind::Leave => {
                self.known_member(group, member)?;
                self.remove_member(now, group, member, RebalanceCause::Left, out);
                Ok(HeartbeatAnswer::gone())
            }
            HeartbeatKind::LeaveForRestart => {
                self.known_member(group, member)?;
                if let Some(known) = self.member_mut(group, member) {
                    known.touch(now.monotonic);
                }
                Ok(HeartbeatAnswer::gone())
            }
        }
    }

    /// Looks whether there is news for a member that waits with a heartbeat it sent before. Its session goes
    /// on from when it sent it.
    ///
    /// # Errors
    /// As [`Coordinator::heartbeat`].
    pub fn look_again(
        &mut self,
        now: Now,
        heartbeat: &Heartbeat,
        out: &mut Vec<Record>,
    ) -> Result<HeartbeatAnswer, GroupError> {
        let Heartbeat { group, member, kind, .. } = heartbeat;
        let epoch = match kind {
            HeartbeatKind::Stay { epoch, .. } => *epoch,
            _ => self.known_member(group, member)?.epoch,
        };
        self.check_member(group, member, epoch)?;
        Ok(self.stay(now, heartbeat, epoch, out))
    }

    fn stay(
        &mut self,
        now: Now,
        heartbeat: &Heartbeat,
        named: MemberEpoch,
        out: &mut Vec<Record>,
    ) -> HeartbeatAnswer {
        let Heartbeat { group, member, owned, .. } = heartbeat;
        let report = owned.as_ref().map(|owned| Report { epoch: named, owned });
        let changed = self.reconcile(now, group, member, report, out);
        let mut answer = self.answer(group, member);
        let current = self.known_member(group, member).ok();
        let differs = |assigned: &BTreeSet<_>| owned.as_ref().is_some_and(|owned| owned != assigned);
        let revoking = current.is_some_and(|current| !current.revoking.is_empty());
        let news = changed || revoking || named != answer.epoch;
        answer.assignment = answer.assignment.filter(|assigned| news || differs(assigned));
        answer
    }

    fn join(
        &mut self,
        now: Now,
        group: &GroupName,
        member: &MemberId,
        join: &Join,
        out: &mut Vec<Record>,
    ) -> Result<HeartbeatAnswer, GroupError> {
        let spec = self.checked_spec(now, group, member, join)?;
        // A member that joins again has no partition, and goes on counting, also where it was removed meanwhile: what it
        // sent before is still recognised.
        let known = self.groups.get(group);
        let before = known.and_then(|known| known.members.get(member)).map_or(MemberEpoch(0), Member::epoch);
        let of_gone = known.and_then(|known| known.state.as_ref()).map_or(0, |state| state.epoch.0);
        let epoch = before.max(MemberEpoch(of_gone)).next();
        let taken_over = self.groups.get(group).and_then(|known| {
            let instance = join.instance.as_ref()?;
            let before = known.by_instance(instance)?;
            (before != member).then(|| (before.clone(), instance.clone()))
        });
        match taken_over {
            // Else the two would go on putting each other out.
            Some((_, instance)) if join.again => {
                return Err(GroupError::FencedInstance { group: group.clone(), instance });
            }
            Some((before, _)) => self.take_over(group, &before, member, out),
            // Who joins has nothing: what it may have held before, it has dropped.
            None => {
                self.forget_member(group, member, out);
                let value = Some(Current { epoch, ..Current::default() });
                self.put(Record::Current { group: group.clone(), member: member.clone(), value }, out);
            }
        }
        self.put(Record::Member { group: group.clone(), member: member.clone(), value: Some(spec) }, out);
        if let Some(assignor) = join.assignor {
            self.choose_assignor(group, assignor, out);
        }
        self.rebalance(now, group, RebalanceCause::Joined, out);
        self.reconcile(now, group, member, None, out);
        if let Some(known) = self.member_mut(group, member) {
            known.touch(now.monotonic);
        }
        Ok(self.answer(group, member))
    }

    /// A restarted instance gets what it had: no one else notices. The process before it, if it still runs, is
    /// fenced, since it is known by a member id that is no more.
    fn take_over(&mut self, group: &GroupName, before: &MemberId, member: &MemberId, out: &mut Vec<Record>) {
        let Some(known) = self.groups.get(group).and_then(|known| known.members.get(before)).cloned() else {
            return;
        };
        self.forget_member(group, before, out);
        let (group, member) = (|| group.clone(), || member.clone());
        if known.target.is_some() {
            self.put(Record::Target { group: group(), member: member(), value: known.target }, out);
        }
        if let Some(current) = known.current {
            // What was on its way out is out: the process that had it is fenced.
            let current = Current {
                epoch: current.epoch.next(),
                revoking: BTreeMap::new(),
                assigned: current.assigned,
            };
            self.put(Record::Current { group: group(), member: member(), value: Some(current) }, out);
        }
    }

    fn choose_assignor(&mut self, group: &GroupName, assignor: Assignor, out: &mut Vec<Record>) {
        let state = self.groups.get(group).and_then(|known| known.state.clone()).unwrap_or_default();
        if state.assignor != assignor {
            let value = Some(GroupState { assignor, ..state });
            self.put(Record::Group { group: group.clone(), value }, out);
        }
    }

    fn checked_spec(
        &self,
        now: Now,
        group: &GroupName,
        member: &MemberId,
        join: &Join,
    ) -> Result<MemberSpec, GroupError> {
        check_subscription(&join.subscription)?;
        let session_timeout_ms = join.session_timeout_ms.unwrap_or(self.config.session_timeout_ms);
        let rebalance_timeout_ms = join.rebalance_timeout_ms.unwrap_or(self.config.rebalance_timeout_ms);
        check_timeout("session time-out", session_timeout_ms, SESSION_TIMEOUT_MS)?;
        check_timeout("rebalance time-out", rebalance_timeout_ms, REBALANCE_TIMEOUT_MS)?;
        if let Some(known) = self.groups.get(group) {
            let members = known.members.len();
            let is_new = !known.members.contains_key(member)
                && join.instance.as_ref().and_then(|instance| known.by_instance(instance)).is_none();
            if is_new && members >= self.config.members_max {
                return Err(GroupError::Full { group: group.clone(), members });
            }
        }
        Ok(MemberSpec {
            instance: join.instance.clone(),
            client_id: Arc::clone(&join.client_id),
            client_address: Arc::clone(&join.client_address),
            subscription: join.subscription.clone(),
            session_timeout_ms,
            rebalance_timeout_ms,
            joined_at: now.wall,
        })
    }

    fn resubscribe(
        &mut self,
        now: Now,
        group: &GroupName,
        member: &MemberId,
        subscription: Option<&Subscription>,
        out: &mut Vec<Record>,
    ) -> Result<(), GroupError> {
        let Some(subscription) = subscription else { return Ok(()) };
        check_subscription(subscription)?;
        let Some(spec) = self.member_mut(group, member).and_then(|known| known.spec.clone()) else {
            return Ok(());
        };
        if spec.subscription != *subscription {
            let value = Some(MemberSpec { subscription: subscription.clone(), ..spec });
            self.put(Record::Member { group: group.clone(), member: member.clone(), value }, out);
            self.rebalance(now, group, RebalanceCause::Subscription, out);
        }
        Ok(())
    }

    /// What a member has, if it is in the group.
    fn known_member(&self, group: &GroupName, member: &MemberId) -> Result<&Current, GroupError> {
        let known = self.groups.get(group).and_then(|known| known.members.get(member));
        known
            .filter(|known| known.spec.is_some())
            .and_then(|known| known.current.as_ref())
            .ok_or_else(|| GroupError::UnknownMember { group: group.clone(), member: member.clone() })
    }

    /// Whether a member is in the group and was at this epoch: an older one means that answers were lost.
    fn check_member(&self, group: &GroupName, member: &MemberId, got: MemberEpoch) -> Result<(), GroupError> {
        let current = self.known_member(group, member)?;
        if got <= current.epoch {
            return Ok(());
        }
        let (group, member) = (group.clone(), member.clone());
        Err(GroupError::FencedMember { group, member, got, present: current.epoch })
    }

    fn answer(&self, group: &GroupName, member: &MemberId) -> HeartbeatAnswer {
        let known = self.groups.get(group).and_then(|known| known.members.get(member));
        let current = known.and_then(|known| known.current.as_ref());
        let settled = known.is_none_or(Member::is_settled);
        let session_timeout_ms =
            known.and_then(|known| known.spec.as_ref()).map(|spec| spec.session_timeout_ms);
        // Three in a session: one may get lost.
        let most_ms = session_timeout_ms.unwrap_or(self.config.session_timeout_ms) / 3;
        let interval_ms = self.config.heartbeat_interval_ms.min(most_ms);
        HeartbeatAnswer {
            epoch: current.map_or(MemberEpoch(0), |current| current.epoch),
            interval_ms: if settled { interval_ms } else { interval_ms.min(UNSETTLED_INTERVAL_MS) },
            hold_ms_max: interval_ms,
            assignment: current.map(|current| current.assigned.keys().copied().collect()),
        }
    }
}

fn check_subscription(subscription: &Subscription) -> Result<(), GroupError> {
    if subscription.topics.is_empty() && subscription.pattern.is_none() {
        return Err(GroupError::NoSubscription);
    }
    Ok(())
}

fn check_timeout(what: &'static str, got_ms: u32, allowed: RangeInclusive<u32>) -> Result<(), GroupError> {
    if allowed.contains(&got_ms) {
        return Ok(());
    }
    Err(GroupError::TimeOut { what, got_ms, least_ms: *allowed.start(), most_ms: *allowed.end() })
}
