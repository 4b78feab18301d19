//! Consumer groups: the shell around [`corduroy_group::Coordinator`].
//!
//! The groups of one partition of `__groups` have one coordinator, which is here when this broker leads that
//! partition. It is loaded from the partition's records, decides under a lock, and nobody is answered before the
//! records that a decision made are committed in the partition.

mod forecast;
mod internal_topic;
mod keeper;
mod lag;
mod loading;
mod shard;
mod streams;
mod survey;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use corduroy_api::Refusal;
use corduroy_batch::partition_for_key;
use corduroy_group::{GroupConfig, GroupName, Topics};
use corduroy_types::ErrorCode;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub(crate) use self::{
    lag::Lag,
    shard::Shard,
    streams::Speaker,
    survey::{Survey, SurveyedGroup, SurveyedTopic, Trouble, TroubleKind},
};
use self::{lag::Looks, streams::Streams, survey::Surveyor};
use crate::{config::GroupsConfig, engine::Engine};

/// All groups that this broker coordinates.
pub(crate) struct Groups {
    engine: Arc<Engine>,
    config: GroupConfig,
    /// One for each partition of `__groups`, by index; none before the first group comes.
    shards: RwLock<Arc<[Arc<Shard>]>>,
    /// Held while `__groups` is created.
    creating: tokio::sync::Mutex<()>,
    /// Asks the keeper to look at the shards now.
    look: Arc<Notify>,
    /// What was read to compute lag.
    looks: Mutex<Looks>,
    survey: ArcSwap<Survey>,
    surveyor: tokio::sync::Mutex<Surveyor>,
    streams: Streams,
}

impl Groups {
    /// Begins to coordinate: what there is of groups is loaded in the background.
    pub(crate) fn open(engine: Arc<Engine>) -> Arc<Self> {
        let config = group_config(&engine.config().groups);
        let groups = Arc::new(Self {
            engine,
            config,
            shards: RwLock::new(Arc::new([])),
            creating: tokio::sync::Mutex::default(),
            look: Arc::default(),
            looks: Mutex::default(),
            survey: ArcSwap::default(),
            surveyor: tokio::sync::Mutex::default(),
            streams: Streams::default(),
        });
        groups.adopt();
        tokio::spawn(keeper::run(Arc::downgrade(&groups)));
        tokio::spawn(survey::run(Arc::downgrade(&groups)));
        groups
    }

    /// All groups as of the last look, a few seconds ago.
    pub(crate) fn survey(&self) -> Arc<Survey> {
        self.survey.load_full()
    }

    /// The coordinators, by partition; none while no group was ever made.
    pub(crate) fn shards(&self) -> Arc<[Arc<Shard>]> {
        Arc::clone(&self.shards.read())
    }

    /// The coordinator of a group, if any group was ever made.
    pub(crate) fn find(&self, group: &GroupName) -> Option<Arc<Shard>> {
        let shards = self.shards();
        let count = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        let index = partition_for_key(group.as_str().as_bytes(), count);
        shards.get(usize::try_from(index.0).ok()?).cloned()
    }

    /// The coordinator of a group. `__groups` is created for the first one.
    ///
    /// # Errors
    /// `__groups` cannot be created.
    pub(crate) async fn find_or_create(&self, group: &GroupName) -> Result<Arc<Shard>, Refusal> {
        if let Some(shard) = self.find(group) {
            return Ok(shard);
        }
        {
            let _creating = self.creating.lock().await;
            if self.shards().is_empty() {
                internal_topic::create(&self.engine).await?;
                self.adopt();
                self.look.notify_one();
            }
        }
        let not_open =
            || Refusal::new(ErrorCode::CoordinatorLoading, "the topic of the groups is not open yet");
        let shard = self.find(group).ok_or_else(not_open)?;
        // There is nothing in it yet, so that takes no time.
        let mut stopping = self.engine.stopping();
        tokio::select! {
            () = shard.first_loaded() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        Ok(shard)
    }

    /// The streams that speak for members.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Takes over the partitions of `__groups` that are open here.
    fn adopt(&self) {
        let Some(topic) = self.engine.topics().get(&internal_topic::name()) else { return };
        let shard = |replica: &Arc<_>| {
            let look = Arc::clone(&self.look);
            let metrics = self.engine.metrics_handle();
            Arc::new(Shard::new(Arc::clone(replica), self.config, self.engine.clock(), (look, metrics)))
        };
        *self.shards.write() = topic.replicas().iter().map(shard).collect();
    }

    /// The topics that can be subscribed to now.
    fn topics(&self) -> Arc<Topics> {
        let topics = self.engine.topics();
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
