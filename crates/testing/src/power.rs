//! The broker's own runtime, so that its power can be cut: every task, connection and disk call ends at once.

use std::sync::{Arc, Mutex, PoisonError};

use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::{Disk, SimDisk};
use tokio::runtime::{Builder, Runtime};

use crate::BrokerError;

/// Cuts a broker's power.
#[derive(Clone, Debug)]
pub struct PowerSwitch {
    runtime: Arc<Mutex<Option<Runtime>>>,
    disk: SimDisk,
    config: Arc<BrokerConfig>,
}

/// Starts a broker on a runtime of its own.
pub(crate) async fn start(
    disk: &SimDisk,
    config: BrokerConfig,
) -> Result<(PowerSwitch, RunningBroker), BrokerError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("broker").enable_all().build()?;
    let on_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let starting = runtime.spawn(Broker::start(config.clone(), on_disk));
    let power = PowerSwitch {
        runtime: Arc::new(Mutex::new(Some(runtime))),
        disk: disk.clone(),
        config: Arc::new(config),
    };
    let failed = match starting.await {
        Ok(Ok(running)) => return Ok((power, running)),
        Ok(Err(error)) => Ok(error.into()),
        Err(error) => Err(error.into_panic()),
    };
    // A runtime must not be dropped within an asynchronous context.
    power.cut();
    failed.map_or_else(|panic| std::panic::resume_unwind(panic), Err)
}

impl PowerSwitch {
    /// Cuts the power: connections break, nothing more reaches the disk. Doing it twice is doing it once.
    pub fn cut(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            self.disk.stop_after(0);
            runtime.shutdown_background();
        }
    }

    /// Waits until nothing of a broker whose power was cut can touch the disk any more.
    pub(crate) async fn wait(&self, running: RunningBroker) {
        let waited = tokio::task::spawn_blocking(move || running.crash()).await;
        if let Err(error) = waited {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Stops cleanly; returns whether everything was written and closed.
    pub(crate) async fn stop(&self, running: RunningBroker) -> bool {
        let handle =
            self.runtime.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|r| r.handle().clone());
        let Some(handle) = handle else { return false };
        let clean = handle.spawn(running.shutdown()).await.unwrap_or(false);
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
        clean
    }

    pub(crate) fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }
}
