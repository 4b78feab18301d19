//! What the `Admin` service says of topics and partitions.

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, PartitionIndex};

use super::{configs, lookup};
use crate::{
    engine::{Engine, Replica, Topic},
    groups::Groups,
};

/// Bytes and records of a topic.
pub(super) async fn stored(groups: &Groups, topic: &Topic) -> (u64, u64) {
    let (mut bytes, mut records) = (0, 0);
    for replica in topic.replicas().iter() {
        bytes += replica.stats().bytes;
        records += groups.record_count(replica).await;
    }
    (bytes, records)
}

/// The topics there are, by name.
pub(super) async fn list_topics(
    engine: &Engine,
    groups: &Groups,
    include_internal: bool,
) -> Result<v1::ListTopicsResponse, Refusal> {
    let topics = engine.replicas().topics();
    let shown = topics.iter().filter(|topic| include_internal || !topic.name().is_internal());
    let mut listed = Vec::new();
    for topic in shown {
        let (stored_bytes, record_count) = stored(groups, &topic).await;
        listed.push(v1::TopicSummary {
            name: topic.name().to_string(),
            topic_id: topic.id().to_bytes().to_vec().into(),
            partition_count: topic.partition_count(),
            replication: topic.described().replication(),
            internal: topic.name().is_internal(),
            stored_bytes,
            record_count,
        });
    }
    Ok(v1::ListTopicsResponse { topics: listed })
}

/// What is known of each topic named; one that is not there has its error in its place.
pub(super) async fn describe_topics(
    engine: &Engine,
    groups: &Groups,
    names: Vec<String>,
) -> Result<v1::DescribeTopicsResponse, Refusal> {
    let describe = async |name: &String| -> Result<v1::DescribedTopic, Refusal> {
        let topic = lookup::topic(engine, name, &bytes::Bytes::new())?;
        let described = topic.described();
        let mut partitions = Vec::with_capacity(described.partitions().len());
        for (index, described) in (0..).map(PartitionIndex).zip(described.partitions()) {
            let replica = match engine.replicas().leading_replica(&topic, index) {
                Ok(replica) => replica,
                Err(refusal) => {
                    let error = Some(refusal.into());
                    partitions.push(v1::DescribedPartition { error, ..assigned(index, described) });
                    continue;
                }
            };
            let replica = &replica;
            let record_count = groups.record_count(replica).await;
            let retention_block =
                engine.maintenance().retention_block(replica).map(|block| v1::RetentionBlock {
                    segment_start: block.segment.get(),
                    timestamp_ms: block.newest.0,
                    until_ms: block.until.0,
                });
            let partition = describe_partition((described, replica));
            partitions.push(v1::DescribedPartition { record_count, retention_block, ..partition });
        }
        Ok(v1::DescribedTopic {
            error: None,
            name: topic.name().to_string(),
            topic_id: topic.id().to_bytes().to_vec().into(),
            internal: topic.name().is_internal(),
            replication: described.replication(),
            created_at_ms: described.created_at().0,
            partitions,
            configs: configs::described(described),
        })
    };
    let mut topics = Vec::with_capacity(names.len());
    for name in &names {
        topics.push(describe(name).await.unwrap_or_else(|refusal| v1::DescribedTopic {
            error: Some(refusal.into()),
            name: name.clone(),
            ..Default::default()
        }));
    }
    Ok(v1::DescribeTopicsResponse { topics })
}

fn describe_partition(
    (described, replica): (&corduroy_metadata::Partition, &Arc<Replica>),
) -> v1::DescribedPartition {
    let (cursors, stats) = (replica.cursors().unwrap_or_default(), replica.stats());
    v1::DescribedPartition {
        leader_epoch: replica.leader_epoch().get(),
        log_start: cursors.log_start.get(),
        high_watermark: cursors.high_watermark.get(),
        log_end: cursors.log_end.get(),
        segment_count: u32::try_from(stats.segments).unwrap_or(u32::MAX),
        stored_bytes: stats.bytes,
        error: trouble(replica).map(Into::into),
        ..assigned(replica.index(), described)
    }
}

/// What the image says of a partition.
fn assigned(index: PartitionIndex, described: &corduroy_metadata::Partition) -> v1::DescribedPartition {
    let replicas: Vec<_> = described.replicas.iter().map(|broker| broker.0).collect();
    v1::DescribedPartition {
        partition: index.0,
        leader: described.leader.0,
        leader_epoch: described.leader_epoch.get(),
        // With one replica, the in-sync set is that replica.
        in_sync_replicas: replicas.clone(),
        replicas,
        ..Default::default()
    }
}

/// What is wrong with a partition: writes fail, or reads do where stored bytes are damaged.
fn trouble(replica: &Replica) -> Option<Refusal> {
    if let Err(refusal) = replica.check_writable() {
        return Some(refusal);
    }
    let damages = replica.damages();
    let first = damages.first()?;
    let text = match damages.len() {
        1 => first.to_string(),
        count => format!("{first}; {} more damaged ranges are known", count - 1),
    };
    let cursors = replica.cursors().ok()?;
    let mut refusal = Refusal::new(ErrorCode::Corrupt, text);
    refusal = refusal.with_range(cursors.log_start, cursors.high_watermark);
    refusal.next_good_offset = Some(first.next_good);
    Some(refusal)
}
