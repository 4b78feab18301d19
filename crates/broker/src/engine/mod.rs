//! The engine: the metadata that says which partitions there are, the replicas of this broker with the thread that commits them, and
//! their maintenance. Each part knows only those before it.

mod clock;
mod context;
mod maintenance;
mod metadata;
mod open_error;
mod refusals;
mod replica;
mod replicas;
mod space;
mod start;
mod workers;

use std::sync::Arc;

use corduroy_log::Disk;
use tokio::sync::watch;

use self::workers::Workers;
pub(crate) use self::{
    clock::Clock,
    context::Context,
    maintenance::Maintenance,
    metadata::{ApplierError, Draft, MetadataPlane},
    open_error::OpenError,
    refusals::{out_of_range, partition_not_found},
    replica::{AppendRequest, PendingAck, Replica, ReplicaCursors},
    replicas::{Fetched, ReadHint, Replicas, Topic},
};
use crate::{config::BrokerConfig, health::Health, metrics::Metrics};

/// What the engine is made with.
pub(crate) struct EngineOptions {
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) cluster_id: uuid::Uuid,
    /// Whether the last stop was clean, so that logs need no check.
    pub(crate) clean: bool,
}

/// All that serves records on this broker.
pub(crate) struct Engine {
    context: Arc<Context>,
    metadata: Arc<MetadataPlane>,
    replicas: Arc<Replicas>,
    maintenance: Arc<Maintenance>,
}

impl Engine {
    /// The metadata of the cluster.
    pub(crate) fn metadata(&self) -> &MetadataPlane {
        &self.metadata
    }

    /// What this broker holds.
    pub(crate) fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    /// Retention, compaction, and all else that is done to logs except appends and reads.
    pub(crate) fn maintenance(&self) -> &Arc<Maintenance> {
        &self.maintenance
    }

    /// What all parts work with.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn clock(&self) -> Clock {
        self.context.clock
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.context.config
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.context.metrics
    }

    pub(crate) fn health(&self) -> &Health {
        &self.context.health
    }

    /// The pools for blocking work.
    pub(crate) fn workers(&self) -> &Workers {
        &self.context.workers
    }

    /// Becomes true when the broker begins to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.context.stopping()
    }

    /// Ends what waits for records.
    pub(crate) fn begin_stop(&self) {
        self.context.begin_stop();
    }

    /// Ends without writing anything more: for tests of power cuts.
    pub(crate) fn abandon(&self) {
        self.begin_stop();
        self.replicas.abandon();
    }

    /// Performs what is left to write, ends every waiting append, and closes all logs.
    ///
    /// Blocks on the disk. Returns whether everything was closed well, so that the next start need not check.
    pub(crate) fn close(&self) -> bool {
        self.begin_stop();
        self.replicas.close()
    }
}
