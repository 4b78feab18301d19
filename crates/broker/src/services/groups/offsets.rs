//! `CommitOffsets`, `FetchOffsets` and `ForgetOffsets`: how far groups have come.

use std::sync::Arc;

use corduroy_api::{Refusal, offset_from_wire, v1};
use corduroy_group::{Commit, CommitOffset, Committed, GroupError, MemberEpoch, TopicPartition};
use corduroy_types::LeaderEpoch;

use super::{
    super::{Shared, lookup},
    wire,
};
use crate::{
    engine::{Engine, ReplicaCursors},
    groups::Groups,
    metrics::CommitResult,
};

/// Offsets in one request.
const OFFSETS_MAX: usize = 10_000;

/// Answers `CommitOffsets`.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    request: v1::CommitOffsetsRequest,
) -> Result<v1::CommitOffsetsResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    let (name, count, counts) = (request.group.clone(), request.offsets.len(), !request.validate_only);
    let answer = commit_offsets(&engine, &groups, request).await;
    let refused = answer
        .as_ref()
        .map_or(count, |answer| answer.offsets.iter().filter(|result| result.error.is_some()).count());
    if counts && wire::group_name(&name).is_ok() {
        let metrics = &engine.metrics().groups;
        metrics.commits(&name, CommitResult::Ok, (count - refused) as u64);
        metrics.commits(&name, CommitResult::Refused, refused as u64);
    }
    answer
}

async fn commit_offsets(
    engine: &Arc<Engine>,
    groups: &Groups,
    request: v1::CommitOffsetsRequest,
) -> Result<v1::CommitOffsetsResponse, Refusal> {
    let v1::CommitOffsetsRequest { group, member, offsets, validate_only } = request;
    check_count(offsets.len())?;
    engine.context().check_groups_writable().await?;
    let group = wire::group_name(&group)?;
    let member = member.map(|v1::MemberIdentity { member, member_epoch }| {
        Ok::<_, Refusal>((wire::member_id(&member)?, MemberEpoch(member_epoch)))
    });
    let member = member.transpose()?;
    // A place for each in the answer; what names no partition does not come to the coordinator.
    let mut results = Vec::with_capacity(offsets.len());
    let mut valid = Vec::with_capacity(offsets.len());
    for one in offsets {
        let (topic, partition) = (one.topic.clone(), one.partition);
        let error = match to_commit(engine, one) {
            Ok(offset) => {
                valid.push((results.len(), offset));
                None
            }
            Err(refusal) => Some(refusal.into()),
        };
        results.push(v1::CommittedResult { topic, partition, error });
    }
    let shard = groups.find_or_create(&group).await?;
    let (places, offsets): (Vec<usize>, Vec<CommitOffset>) = valid.into_iter().unzip();
    let commit = Commit { group, member, offsets };
    let committed = match validate_only {
        true => shard.check(&commit.group, |coordinator, now, out| coordinator.commit(now, &commit, out))?,
        false => shard.decide(|coordinator, now, out| coordinator.commit(now, &commit, out)).await?,
    };
    for (place, result) in places.into_iter().zip(committed) {
        if let (Some(at), Err(error)) = (results.get_mut(place), result) {
            at.error = Some(Refusal::new(error.code(), error.to_string()).into());
        }
    }
    Ok(v1::CommitOffsetsResponse { offsets: results })
}

pub(super) fn check_count(count: usize) -> Result<(), Refusal> {
    match count {
        0..=OFFSETS_MAX => Ok(()),
        _ => Err(wire::invalid(format!("offsets: {count} given, at most {OFFSETS_MAX} at a time"))),
    }
}

pub(super) fn to_commit(engine: &Engine, offset: v1::OffsetToCommit) -> Result<CommitOffset, Refusal> {
    let v1::OffsetToCommit { topic, topic_id, partition, offset, leader_epoch, metadata } = offset;
    let epoch = leader_epoch.map(|epoch| {
        LeaderEpoch::new(epoch).ok_or_else(|| wire::invalid(format!("leader_epoch: {epoch} is out of range")))
    });
    Ok(CommitOffset {
        partition: wire::partition(engine, &topic, &topic_id, partition)?,
        offset: offset_from_wire("offset", offset)?,
        leader_epoch: epoch.transpose()?,
        metadata: wire::metadata(metadata),
    })
}

/// Answers `FetchOffsets`.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    request: v1::FetchOffsetsRequest,
) -> Result<v1::FetchOffsetsResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    let v1::FetchOffsetsRequest { group, topics } = request;
    let group = wire::group_name(&group)?;
    check_count(topics.iter().map(|topic| topic.partitions.len()).sum())?;
    let committed = match groups.find(&group)? {
        None => Default::default(),
        Some(shard) => {
            let all = shard.read(|coordinator| {
                let committed = coordinator.committed(&group);
                committed
                    .map(|(at, committed)| (at, committed.clone()))
                    .collect::<std::collections::BTreeMap<_, _>>()
            });
            all.await?
        }
    };
    let mut offsets = Vec::new();
    if topics.is_empty() {
        for (at, committed) in &committed {
            offsets.extend(position(&engine, *at, Some(committed)));
        }
        offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    }
    for v1::TopicPartitions { topic, topic_id, partitions } in topics {
        for index in partitions {
            let found = wire::partition(&engine, &topic, &topic_id, index);
            let offset = found.and_then(|at| {
                position(&engine, at, committed.get(&at)).ok_or_else(|| lookup::not_found(&engine, &topic))
            });
            offsets.push(offset.unwrap_or_else(|refusal| v1::GroupOffset {
                topic: topic.clone(),
                topic_id: topic_id.clone(),
                partition: index,
                error: Some(refusal.into()),
                ..Default::default()
            }));
        }
    }
    Ok(v1::FetchOffsetsResponse { offsets })
}

/// How far a group has come in a partition, next to what can be read of it; `None` when its topic is gone.
pub(super) fn position(
    engine: &Engine,
    at: TopicPartition,
    committed: Option<&Committed>,
) -> Option<v1::GroupOffset> {
    let topic = engine.replicas().topics().by_id(at.topic_id)?;
    let replica = engine.replicas().leading_replica(&topic, at.partition);
    let (cursors, error) = match replica.and_then(|replica| replica.cursors()) {
        Ok(cursors) => (cursors, None),
        // What was committed is known all the same.
        Err(refusal) => (ReplicaCursors::default(), Some(refusal.into())),
    };
    let lost = committed.map(|committed| {
        if committed.offset < cursors.log_start {
            cursors.log_start.distance_from(committed.offset)
        } else {
            0
        }
    });
    Some(v1::GroupOffset {
        topic: topic.name().to_string(),
        topic_id: wire::id_to_wire(at.topic_id),
        partition: at.partition.0,
        error,
        offset: committed.map(|committed| committed.offset.get()),
        leader_epoch: committed.and_then(|committed| committed.leader_epoch).map(LeaderEpoch::get),
        metadata: committed.map(|committed| committed.metadata.to_string()).unwrap_or_default(),
        committed_at_ms: committed.map_or(0, |committed| committed.committed_at.0),
        log_start: cursors.log_start.get(),
        high_watermark: cursors.high_watermark.get(),
        lost_offset_count: lost.unwrap_or(0),
    })
}

/// Answers `ForgetOffsets`.
pub(super) async fn forget(
    shared: &Arc<Shared>,
    request: v1::ForgetOffsetsRequest,
) -> Result<v1::ForgetOffsetsResponse, Refusal> {
    let (engine, groups) = shared.groups()?;
    let v1::ForgetOffsetsRequest { group, topics, validate_only } = request;
    let group = wire::group_name(&group)?;
    let partitions = wire::owned(&engine, topics)?;
    let shard = groups.find(&group)?.ok_or_else(|| super::group_not_found(&group))?;
    let forget = |coordinator: &mut corduroy_group::Coordinator, _now, out: &mut Vec<_>| {
        let known = partitions.iter().filter(|at| coordinator.committed_at(&group, **at).is_some()).count();
        coordinator.forget_offsets(&group, Some(&partitions), out)?;
        Ok::<_, GroupError>(known)
    };
    let count = if validate_only { shard.check(&group, forget)? } else { shard.decide(forget).await? };
    Ok(v1::ForgetOffsetsResponse { offset_count: u32::try_from(count).unwrap_or(u32::MAX) })
}
