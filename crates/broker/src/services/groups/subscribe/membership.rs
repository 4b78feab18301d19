//! A stream's member, as the coordinator sees it: every question is asked again until it is answered.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use corduroy_api::{Refusal, v1};
use corduroy_group::{
    Commit, CommitOffset, Committed, Coordinator, GroupError, GroupName, Heartbeat, HeartbeatAnswer,
    HeartbeatKind, Join, MemberEpoch, MemberId, Now, Record, TopicPartition,
};
use corduroy_types::ErrorCode;

use super::super::{super::Shared, members, wire};
use crate::{
    engine::Engine,
    groups::{CoordinatorShard, StreamLease},
    limits::Connection,
    services::push,
};

/// While the coordinator is being loaded it is asked this often.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a stream was opened with, and for whom.
pub(super) struct Membership {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Arc<Engine>,
    pub(super) caller: Option<Arc<Connection>>,
    pub(super) group: GroupName,
    pub(super) member: MemberId,
    join: Join,
    pub(super) start: v1::OffsetSpec,
    pub(super) on_position_lost: v1::OnPositionLost,
    pub(super) max_message_bytes: u32,
    shard: Arc<CoordinatorShard>,
    lease: StreamLease,
}

impl Membership {
    /// Checks what a stream begins with. The member has yet to join.
    ///
    /// # Errors
    /// The request is not one, or the broker is starting or stopping.
    pub(super) async fn new(
        shared: &Arc<Shared>,
        caller: Option<Arc<Connection>>,
        request: v1::SubscribeJoin,
    ) -> Result<Self, Refusal> {
        let (engine, groups) = shared.groups()?;
        let v1::SubscribeJoin { group, member, member_spec, start, on_position_lost, max_message_bytes } =
            request;
        let group = wire::group_name(&group)?;
        let drawn = member.is_empty().then(|| uuid::Uuid::new_v4().to_string());
        let member = wire::member_id(drawn.as_ref().unwrap_or(&member))?;
        let address = caller.as_ref().map(|caller| caller.peer().to_string()).unwrap_or_default();
        let join = wire::join(member_spec.unwrap_or_default(), &address)?;
        let start = start.unwrap_or(v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Start(true)) });
        if start.spec.is_none() {
            return Err(wire::invalid("start: set one of OffsetSpec, or leave it out"));
        }
        let on_position_lost = v1::OnPositionLost::try_from(on_position_lost).map_err(|_| {
            wire::invalid(format!("on_position_lost: {on_position_lost} is not an OnPositionLost"))
        })?;
        let max_message_bytes = push::message_bytes(max_message_bytes)?;
        let shard = asked(|| groups.find_or_create(&group)).await?;
        let lease = groups.streams().acquire(group.clone(), member.clone());
        Ok(Self {
            shared: Arc::clone(shared),
            engine,
            caller,
            group,
            member,
            join,
            start,
            on_position_lost,
            max_message_bytes,
            shard,
            lease,
        })
    }

    /// Whether this stream is still the one for the member.
    pub(super) fn is_present(&self) -> bool {
        self.lease.is_present()
    }

    /// Ends when another stream has taken the member over.
    pub(super) async fn displaced(&self) {
        self.lease.displaced().await;
    }

    /// Joins; `again` after the member was removed from the group.
    ///
    /// # Errors
    /// The coordinator's; `FENCED_INSTANCE` when it was removed because another process has its instance id.
    pub(super) async fn join(&self, again: bool) -> Result<HeartbeatAnswer, Refusal> {
        let heartbeat = self.heartbeat(HeartbeatKind::Join(Join { again, ..self.join.clone() }), None);
        self.decide(|coordinator, now, out| {
            self.check_lease(coordinator)?;
            coordinator.heartbeat(now, &heartbeat, out)
        })
        .await
    }

    /// Stays in the group. The answer comes when something changes, and after `wait_ms`; `owned` is what the member has, if the
    /// coordinator may not know.
    ///
    /// # Errors
    /// The coordinator's.
    pub(super) async fn stay(
        &self,
        epoch: MemberEpoch,
        owned: Option<BTreeSet<TopicPartition>>,
        wait_ms: u64,
    ) -> Result<HeartbeatAnswer, Refusal> {
        let heartbeat = self.heartbeat(HeartbeatKind::Stay { epoch, subscription: None }, owned);
        let wait_ms = u32::try_from(wait_ms).unwrap_or(u32::MAX);
        asked(|| members::answer(&self.shard, &heartbeat, wait_ms)).await
    }

    /// Leaves, unless another stream has taken the member over. A static one is expected back.
    ///
    /// # Errors
    /// It is not in the group.
    pub(super) async fn leave(&self) -> Result<HeartbeatAnswer, Refusal> {
        let kind = match self.join.instance {
            Some(_) => HeartbeatKind::LeaveForRestart,
            None => HeartbeatKind::Leave,
        };
        let heartbeat = self.heartbeat(kind, None);
        let left = self.decide(|coordinator, now, out| {
            self.check_lease(coordinator)?;
            coordinator.heartbeat(now, &heartbeat, out)
        });
        left.await
    }

    /// Commits as the member; says for each, in order, whether it was.
    ///
    /// # Errors
    /// The coordinator's, for all of them together.
    pub(super) async fn commit(
        &self,
        epoch: MemberEpoch,
        offsets: Vec<CommitOffset>,
    ) -> Result<Vec<Result<(), GroupError>>, Refusal> {
        let member = Some((self.member.clone(), epoch));
        let commit = Commit { group: self.group.clone(), member, offsets };
        self.decide(|coordinator, now, out| {
            self.check_lease(coordinator)?;
            coordinator.commit(now, &commit, out)
        })
        .await
    }

    /// What the group has committed in some partitions.
    ///
    /// # Errors
    /// The broker is stopping.
    pub(super) async fn committed(
        &self,
        partitions: impl Iterator<Item = TopicPartition> + Clone,
    ) -> Result<Vec<(TopicPartition, Option<Committed>)>, Refusal> {
        let committed = self.decide(|coordinator, _, _| {
            let committed = |at| (at, coordinator.committed_at(&self.group, at).cloned());
            Ok(partitions.clone().map(committed).collect())
        });
        committed.await
    }

    fn heartbeat(&self, kind: HeartbeatKind, owned: Option<BTreeSet<TopicPartition>>) -> Heartbeat {
        Heartbeat { group: self.group.clone(), member: self.member.clone(), kind, owned }
    }

    async fn decide<T>(
        &self,
        decide: impl Fn(&mut Coordinator, Now, &mut Vec<Record>) -> Result<T, GroupError>,
    ) -> Result<T, Refusal> {
        asked(|| self.shard.decide(|coordinator, now, out| decide(coordinator, now, out))).await
    }

    /// To be asked under the coordinator's lock by whatever would change the member.
    fn check_lease(&self, coordinator: &Coordinator) -> Result<(), GroupError> {
        if self.is_present() {
            return Ok(());
        }
        let (group, member) = (self.group.clone(), self.member.clone());
        let members = coordinator.describe(&group).map(|group| group.members).unwrap_or_default();
        let present = members.iter().find(|known| known.member == member).map(|known| known.epoch);
        let present = present.unwrap_or_default();
        Err(GroupError::FencedMember { group, member, got: MemberEpoch(0), present })
    }
}

/// Asks until there is a coordinator.
async fn asked<T, F: Future<Output = Result<T, Refusal>>>(ask: impl Fn() -> F) -> Result<T, Refusal> {
    loop {
        match ask().await {
            Err(refusal) if refusal.code == ErrorCode::CoordinatorLoading => {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            answered => return answered,
        }
    }
}
