//! Consumer groups: the shell around [`corduroy_group::Coordinator`].
//!
//! The groups of one partition of `__groups` have one coordinator. It is here when this broker leads that
//! partition. It is loaded from the partition's records and decides under a lock. A request is answered only
//! after the records of its decision are committed in the partition.

mod coordinator_shard;
mod forecast;
mod internal_topic;
mod lag;
mod lag_snapshot;
mod loading;
mod maintenance;
mod streams;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use corduroy_api::Refusal;
use corduroy_batch::partition_for_key;
use corduroy_group::{GroupConfig, GroupName, Topics};
use corduroy_types::ErrorCode;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub(crate) use self::{
    coordinator_shard::CoordinatorShard,
    lag::Lag,
    lag_snapshot::{GroupLag, GroupLagSnapshot, TopicLag, Trouble, TroubleKind},
    streams::StreamLease,
};
use self::{lag::LagCache, lag_snapshot::LagMonitor, streams::Streams};
use crate::{config::GroupsConfig, engine::Engine};

/// All groups that this broker coordinates.
pub(crate) struct Groups {
    engine: Arc<Engine>,
    config: GroupConfig,
    /// One for each partition of `__groups`, by index; none before the first group is created.
    shards: RwLock<Arc<[Arc<CoordinatorShard>]>>,
    /// Held while `__groups` is created.
    creating: tokio::sync::Mutex<()>,
    /// Asks the maintenance task to load coordinators now.
    load_wanted: Arc<Notify>,
    /// What was read to compute lag.
    lag_cache: Mutex<LagCache>,
    lag_snapshot: ArcSwap<GroupLagSnapshot>,
    lag_monitor: tokio::sync::Mutex<LagMonitor>,
    streams: Streams,
}

impl Groups {
    /// Starts to coordinate. The existing groups are loaded in the background.
    pub(crate) fn open(engine: Arc<Engine>) -> Arc<Self> {
        let config = group_config(&engine.config().groups);
        let groups = Arc::new(Self {
            engine,
            config,
            shards: RwLock::new(Arc::new([])),
            creating: tokio::sync::Mutex::default(),
            load_wanted: Arc::default(),
            lag_cache: Mutex::default(),
            lag_snapshot: ArcSwap::default(),
            lag_monitor: tokio::sync::Mutex::default(),
            streams: Streams::default(),
        });
        groups.adopt();
        tokio::spawn(maintenance::run(Arc::downgrade(&groups)));
        tokio::spawn(lag_snapshot::run(Arc::downgrade(&groups)));
        groups
    }

    /// All groups as of the last snapshot, a few seconds ago.
    pub(crate) fn lag_snapshot(&self) -> Arc<GroupLagSnapshot> {
        self.lag_snapshot.load_full()
    }

    /// The coordinators, by partition; none before the first group is created.
    pub(crate) fn shards(&self) -> Arc<[Arc<CoordinatorShard>]> {
        Arc::clone(&self.shards.read())
    }

    /// The coordinator of a group; `None` before the first group is created.
    ///
    /// # Errors
    /// `NOT_LEADER` where another broker leads the group's partition of `__groups`.
    pub(crate) fn find(&self, group: &GroupName) -> Result<Option<Arc<CoordinatorShard>>, Refusal> {
        let Some(topic) = self.engine.replicas().topics().get(&internal_topic::name()) else {
            return Ok(None);
        };
        let index = partition_for_key(group.as_str().as_bytes(), topic.partition_count());
        // One that is not open yet is waited for by the request that creates it.
        if let Err(refusal) = self.engine.replicas().leading_replica(&topic, index)
            && refusal.code == ErrorCode::NotLeader
        {
            return Err(refusal);
        }
        Ok(self.shards().iter().find(|shard| shard.index() == index).cloned())
    }

    /// The coordinator of a group. The first call creates `__groups`.
    ///
    /// # Errors
    /// `__groups` cannot be created.
    pub(crate) async fn find_or_create(&self, group: &GroupName) -> Result<Arc<CoordinatorShard>, Refusal> {
        if let Some(shard) = self.find(group)? {
            return Ok(shard);
        }
        {
            let _creating = self.creating.lock().await;
            if self.shards().is_empty() {
                internal_topic::create(&self.engine).await?;
                self.adopt();
                self.load_wanted.notify_one();
            }
        }
        let not_open =
            || Refusal::new(ErrorCode::CoordinatorLoading, "the topic of the groups is not open yet");
        let shard = self.find(group)?.ok_or_else(not_open)?;
        // It is empty, so that takes no time.
        let mut stopping = self.engine.stopping();
        tokio::select! {
            () = shard.first_loaded() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        Ok(shard)
    }

    /// The streams that act for members.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Makes a coordinator for each partition of `__groups` that is open here.
    fn adopt(&self) {
        let Some(topic) = self.engine.replicas().topics().get(&internal_topic::name()) else { return };
        let shard = |replica: &Arc<_>| {
            let load_wanted = Arc::clone(&self.load_wanted);
            let metrics = Arc::clone(self.engine.metrics());
            Arc::new(CoordinatorShard::new(
                Arc::clone(replica),
                self.config,
                self.engine.clock(),
                (load_wanted, metrics),
            ))
        };
        *self.shards.write() = topic.replicas().iter().map(shard).collect();
    }

    /// The topics that can be subscribed to now.
    fn topics(&self) -> Arc<Topics> {
        let topics = self.engine.replicas().topics();
        let of_users = topics.of_users();
        Arc::new(Topics::new(
            of_users.map(|topic| (topic.name().clone(), topic.id(), topic.partition_count())),
        ))
    }
}

fn group_config(config: &GroupsConfig) -> GroupConfig {
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    GroupConfig {
        session_timeout_ms: ms(config.session_timeout),
        rebalance_timeout_ms: ms(config.rebalance_timeout),
        members_max: usize::try_from(config.members_max).unwrap_or(usize::MAX),
        offsets_retention_ms: u64::try_from(config.offsets_retention.as_millis()).unwrap_or(u64::MAX),
        ..GroupConfig::default()
    }
}
