//! What all parts of the engine work with.

use std::{path::PathBuf, sync::Arc};

use corduroy_log::Disk;
use tokio::sync::watch;

use super::{Clock, EngineOptions, space::DiskSpace, workers::Workers};
use crate::{config::BrokerConfig, health::Health, metrics::Metrics};

/// The configuration, the disk, the clock, the worker pools and the reports of one broker.
pub(crate) struct Context {
    pub(super) config: Arc<BrokerConfig>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) workers: Workers,
    pub(super) space: DiskSpace,
    stopping: watch::Sender<bool>,
}

impl Context {
    pub(super) fn new(options: &EngineOptions) -> Arc<Self> {
        let EngineOptions { config, disk, metrics, health, .. } = options;
        let (data_dir, clock) = (config.node.data_dir.clone(), Clock::new());
        Arc::new(Self {
            config: Arc::clone(config),
            disk: Arc::clone(disk),
            space: DiskSpace::new(Arc::clone(disk), data_dir.clone()),
            data_dir,
            clock,
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            workers: Workers::new(clock),
            stopping: watch::Sender::new(false),
        })
    }

    /// Becomes true when the broker begins to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ends what waits for records or for time, in every part.
    pub(super) fn begin_stop(&self) {
        self.stopping.send_replace(true);
    }
}
