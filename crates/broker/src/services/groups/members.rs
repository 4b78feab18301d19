//! `Heartbeat` and `RemoveMember`: who is in a group.

use std::{pin::pin, sync::Arc, time::Duration};

use corduroy_api::{Refusal, v1};
use corduroy_group::{GroupError, Heartbeat, HeartbeatAnswer, HeartbeatKind, MemberEpoch, MemberId};
use corduroy_types::ErrorCode;
use tokio::time::Instant;
use v1::heartbeat_request::Kind;

use super::{super::Shared, wire};
use crate::{engine::Engine, groups::CoordinatorShard};

/// The longest that an answer is held back for news.
const HOLD_MS_MAX: u32 = 30_000;

/// Answers `Heartbeat` of a client at `client_address`.
pub(super) async fn heartbeat(
    shared: &Arc<Shared>,
    request: v1::HeartbeatRequest,
    client_address: &str,
) -> Result<v1::HeartbeatResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    let v1::HeartbeatRequest { group, member, kind, owned, wait_ms } = request;
    if wait_ms > HOLD_MS_MAX {
        return Err(wire::invalid(format!("wait_ms: {wait_ms} is above {HOLD_MS_MAX}")));
    }
    let heartbeat = Heartbeat {
        group: wire::group_name(&group)?,
        member: wire::member_id(&member)?,
        kind: heartbeat_kind(kind, client_address)?,
        owned: owned.map(|owned| wire::owned(&engine, owned.topics)).transpose()?,
    };
    let shard = match &heartbeat.kind {
        HeartbeatKind::Join(_) => {
            engine.context().check_groups_writable().await?;
            groups.find_or_create(&heartbeat.group).await?
        }
        _ => groups.find(&heartbeat.group)?.ok_or_else(|| unknown_member(&heartbeat))?,
    };
    let answer = tokio::select! {
        answer = answer(&shard, &heartbeat, wait_ms) => answer?,
        () = shared.stopping() => {
            return Err(Refusal::new(ErrorCode::ShuttingDown, "the broker is stopping"));
        }
    };
    Ok(response(&engine, &answer))
}

fn heartbeat_kind(kind: Option<Kind>, client_address: &str) -> Result<HeartbeatKind, Refusal> {
    Ok(match kind {
        None => return Err(wire::invalid("kind: set one of join, stay and leave")),
        Some(Kind::Join(join)) => HeartbeatKind::Join(wire::join(join, client_address)?),
        Some(Kind::Stay(v1::StayInGroup { member_epoch, subscription })) => HeartbeatKind::Stay {
            epoch: MemberEpoch(member_epoch),
            subscription: subscription.map(wire::subscription).transpose()?,
        },
        Some(Kind::Leave(v1::LeaveGroup { for_restart: false })) => HeartbeatKind::Leave,
        Some(Kind::Leave(v1::LeaveGroup { for_restart: true })) => HeartbeatKind::LeaveForRestart,
    })
}

/// Takes a heartbeat in, and holds the answer back until there is news or `wait_ms` are over.
pub(super) async fn answer(
    shard: &CoordinatorShard,
    heartbeat: &Heartbeat,
    wait_ms: u32,
) -> Result<HeartbeatAnswer, Refusal> {
    let news = shard.news_for(&heartbeat.group, &heartbeat.member)?;
    let mut notified = pin!(news.notified());
    // Listening before looking: nothing slips between.
    notified.as_mut().enable();
    let first = shard.decide(|coordinator, now, out| coordinator.heartbeat(now, heartbeat, out));
    let mut answer = first.await?;
    let HeartbeatKind::Stay { epoch: named, .. } = heartbeat.kind else { return Ok(answer) };
    let deadline = Instant::now() + Duration::from_millis(wait_ms.min(answer.hold_ms_max).into());
    // A member that names its present epoch has received its whole assignment, also where it has not yet released something.
    while answer.epoch == named && Instant::now() < deadline {
        tokio::select! {
            () = &mut notified => {}
            () = tokio::time::sleep_until(deadline) => break,
        }
        notified.set(news.notified());
        notified.as_mut().enable();
        let again = shard.decide(|coordinator, now, out| coordinator.look_again(now, heartbeat, out));
        answer = again.await?;
    }
    Ok(answer)
}

fn response(engine: &Engine, answer: &HeartbeatAnswer) -> v1::HeartbeatResponse {
    let assignment = answer.assignment.as_ref();
    v1::HeartbeatResponse {
        member_epoch: answer.epoch.0,
        interval_ms: answer.interval_ms,
        assignment: assignment
            .map(|assigned| v1::OwnedPartitions { topics: wire::topic_partitions(engine, assigned) }),
    }
}

fn unknown_member(heartbeat: &Heartbeat) -> Refusal {
    let Heartbeat { group, member, .. } = heartbeat;
    let error = GroupError::UnknownMember { group: group.clone(), member: member.clone() };
    Refusal::new(error.code(), error.to_string())
}

/// Answers `RemoveMember`.
pub(super) async fn remove(
    shared: &Arc<Shared>,
    request: v1::RemoveMemberRequest,
) -> Result<v1::RemoveMemberResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    let v1::RemoveMemberRequest { group, member, validate_only } = request;
    let (group, named) = (wire::group_name(&group)?, wire::member_id(&member)?);
    let shard = groups.find(&group)?.ok_or_else(|| super::group_not_found(&group))?;
    let remove = |coordinator: &mut corduroy_group::Coordinator, now, out: &mut Vec<_>| {
        let members = coordinator.describe(&group)?.members;
        let is_named = |id: &MemberId| *id == named;
        let by_id = members.iter().find(|member| is_named(&member.member));
        let by_instance = || {
            let instance = |member: &&corduroy_group::MemberDescription| {
                member.spec.instance.as_ref().is_some_and(|instance| instance.as_str() == named.as_str())
            };
            members.iter().find(instance)
        };
        let found = by_id
            .or_else(by_instance)
            .ok_or_else(|| GroupError::UnknownMember { group: group.clone(), member: named.clone() })?;
        coordinator.kick(now, &group, &found.member, out)?;
        Ok(found.clone())
    };
    let removed = if validate_only { shard.check(&group, remove)? } else { shard.decide(remove).await? };
    Ok(v1::RemoveMemberResponse {
        member: removed.member.to_string(),
        assigned: wire::topic_partitions(&engine, &removed.assigned),
    })
}
