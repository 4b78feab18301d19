//! Figures that are read when someone scrapes.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_types::TopicName;

use crate::{
    config::PartitionLevel,
    engine::Engine,
    groups::{GroupLag, TopicLag},
    limits::Limits,
    metrics::{
        DiskSample, DiskState, GroupSample, GroupTopicSample, Metrics, PartitionSample, ScrapeSample,
        TopicSample,
    },
    services::Shared,
};

/// Lets each scrape ask the engine.
pub(crate) fn install(metrics: &Metrics, engine: &Arc<Engine>, shared: &Arc<Shared>) {
    let (engine, shared): (Weak<Engine>, Weak<Shared>) = (Arc::downgrade(engine), Arc::downgrade(shared));
    metrics.set_sampler(move || match (engine.upgrade(), shared.upgrade()) {
        (Some(engine), Some(shared)) => {
            let groups = shared.lag_snapshot().groups.iter().map(group_sample).collect();
            ScrapeSample { groups, ..sample(&engine, &shared.limits) }
        }
        _ => ScrapeSample::default(),
    });
}

fn group_sample(group: &GroupLag) -> GroupSample {
    let topic = |(name, lag): (&TopicName, &TopicLag)| GroupTopicSample {
        topic: name.to_string(),
        lag_records: lag.lag_records,
        lag_ms: lag.lag_ms,
    };
    GroupSample {
        group: group.group.to_string(),
        state: group.activity.as_str(),
        member_count: group.member_count as u64,
        topics: group.topics.iter().map(topic).collect(),
    }
}

fn sample(engine: &Engine, limits: &Limits) -> ScrapeSample {
    let topics = engine.replicas().topics();
    let each_partition = engine.config().metrics.partition_level == PartitionLevel::All;
    let mut sample = ScrapeSample::default();
    let mut tail_bytes = 0;
    for topic in topics.iter() {
        let mut bytes = 0;
        for replica in topic.replicas().iter() {
            let stats = replica.stats();
            bytes += stats.bytes;
            tail_bytes += stats.tail_bytes;
            if let Some(need) = engine.maintenance().compaction_need(replica) {
                sample.compaction_dirty_bytes += need.dirty_bytes;
                let ratio = need.dirty_ratio().max(sample.compaction_dirty_ratio_max);
                sample.compaction_dirty_ratio_max = ratio;
            }
            sample.retention_blocked_partitions +=
                u64::from(engine.maintenance().retention_block(replica).is_some());
            sample.compaction_failed_partitions += u64::from(replica.compaction_failure().is_some());
            sample.segments += stats.segments;
            sample.partitions_led += u64::from(replica.is_led());
            sample.partitions_offline += u64::from(replica.is_offline());
            if each_partition && let Ok(cursors) = replica.cursors() {
                sample.partitions.push(PartitionSample {
                    topic: topic.name().clone(),
                    partition: replica.index().0,
                    log_start: cursors.log_start.as_i64(),
                    high_watermark: cursors.high_watermark.as_i64(),
                });
            }
        }
        sample.topics.push(TopicSample { name: topic.name().clone(), bytes });
    }
    sample.expiry_held = Duration::from_millis(engine.maintenance().expiry_held_ms().unwrap_or(0));
    sample.oldest_round = engine.replicas().oldest_round_age().unwrap_or_default();
    sample.memory.push(("tail_cache", tail_bytes));
    sample.memory.push(("receive", limits.receiving_bytes()));
    sample.memory.push(("fetch", limits.answering_bytes()));
    let lost = engine.health().data_dir_lost().is_some();
    sample.disks.push(DiskSample {
        dir: engine.config().node.data_dir.display().to_string(),
        space: engine.context().space_seen().filter(|_| !lost),
        state: match (lost, engine.context().check_writable().is_err(), engine.context().disk_is_low()) {
            (true, ..) => DiskState::Lost,
            (false, true, _) => DiskState::Blocked,
            (false, false, true) => DiskState::Low,
            (false, false, false) => DiskState::Ok,
        },
    });
    sample
}
