//! The start offsets of partitions: where the group had come to. A new one is committed before the first record is
//! sent, so that nothing is skipped unseen.

use std::{collections::BTreeMap, sync::Arc};

use corduroy_api::{Refusal, v1::OnPositionLost};
use corduroy_group::{CommitOffset, GroupError, MemberEpoch, TopicPartition};
use corduroy_types::{ErrorCode, Offset};

use super::{
    assignment::{Beginning, Missing},
    membership::Membership,
};
use crate::{engine::Replica, services::offsets};

/// Finds the start offsets of some partitions. One with an offset was read up to there, and the log now starts
/// behind it. A partition that is not in the answer is not the member's any more, is deleted, or is not open yet.
///
/// # Errors
/// The coordinator's, for all of them together.
pub(super) async fn find(
    membership: &Membership,
    epoch: MemberEpoch,
    wanted: &BTreeMap<TopicPartition, Option<Offset>>,
) -> Result<Vec<(TopicPartition, Beginning)>, Refusal> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut to_commit = Vec::new();
    for (at, committed) in membership.committed(wanted.keys().copied()).await? {
        let Some(topic) = membership.engine.replicas().topics().by_id(at.topic_id) else { continue };
        let replica = match membership.engine.replicas().leading_replica(&topic, at.partition) {
            Ok(replica) => replica,
            Err(refusal) => {
                // One that is not open yet is looked for again.
                if refusal.code == ErrorCode::NotLeader {
                    found.push((at, Beginning::Unreadable(refusal)));
                }
                continue;
            }
        };
        let reached = wanted.get(&at).copied().flatten().or(committed.map(|committed| committed.offset));
        let beginning = begin(membership, &replica, reached).await;
        match &beginning {
            Beginning::At(offset) if reached.is_none() => to_commit.push((at, *offset, beginning)),
            Beginning::Behind(Missing { resumed_at, .. }) => to_commit.push((at, *resumed_at, beginning)),
            Beginning::At(_) | Beginning::Unreadable(_) => found.push((at, beginning)),
        }
    }
    found.extend(commit(membership, epoch, to_commit).await?);
    Ok(found)
}

async fn begin(membership: &Membership, replica: &Arc<Replica>, reached: Option<Offset>) -> Beginning {
    let cursors = match replica.cursors() {
        Ok(cursors) => cursors,
        Err(refusal) => return Beginning::Unreadable(refusal),
    };
    let (log_start, high_watermark) = (cursors.log_start, cursors.high_watermark);
    let Some(position) = reached else {
        return match offsets::resolve(&membership.engine, replica, Some(membership.start)).await {
            Ok(resolved) => Beginning::At(resolved.offset),
            Err(refusal) => Beginning::Unreadable(refusal),
        };
    };
    if position >= log_start {
        return Beginning::At(position);
    }
    let (group, topic, partition) = (&membership.group, replica.topic(), replica.index());
    let gone = log_start.distance_from(position);
    tracing::warn!(
        event = "B0404",
        %group, %topic, %partition, %position, %log_start, gone,
        "records were deleted before the group had read them"
    );
    let resumed_at = match membership.on_position_lost {
        OnPositionLost::Start => log_start,
        OnPositionLost::End => high_watermark,
        OnPositionLost::Unspecified | OnPositionLost::Fail => {
            let text = format!(
                "group {group} is at offset {position} of topic {topic}, partition {partition}, whose log begins \
                 at {log_start}: {gone} offsets are gone that it has not read"
            );
            let refusal = Refusal::new(ErrorCode::PositionLost, text);
            return Beginning::Unreadable(refusal.with_range(log_start, high_watermark));
        }
    };
    Beginning::Behind(Missing { position, log_start, resumed_at })
}

/// Commits where reading begins.
async fn commit(
    membership: &Membership,
    epoch: MemberEpoch,
    to_commit: Vec<(TopicPartition, Offset, Beginning)>,
) -> Result<Vec<(TopicPartition, Beginning)>, Refusal> {
    if to_commit.is_empty() {
        return Ok(Vec::new());
    }
    let offset = |(partition, offset, _): &(TopicPartition, Offset, Beginning)| CommitOffset {
        partition: *partition,
        offset: *offset,
        leader_epoch: None,
        metadata: "".into(),
    };
    let results = membership.commit(epoch, to_commit.iter().map(offset).collect()).await?;
    let begun = to_commit.into_iter().zip(results);
    Ok(begun
        .filter_map(|((at, _, beginning), result)| match result {
            Ok(()) => Some((at, beginning)),
            // The next heartbeat says so too.
            Err(GroupError::NotAssigned { .. } | GroupError::NoPartition { .. }) => None,
            Err(error) => Some((at, Beginning::Unreadable(Refusal::new(error.code(), error.to_string())))),
        })
        .collect())
}
