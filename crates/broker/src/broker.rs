//! A broker from its start to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use corduroy_log::Disk;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    config::BrokerConfig,
    data_dir::{DataDir, DataDirError, DirLock, Watch},
    engine::{Engine, EngineOptions, OpenError},
    health::Health,
    http,
    log_levels::LogLevels,
    metrics::{CorruptionAction, Metrics, ReloadResult},
    sampling, server,
    services::{Shared, StartFacts},
};

/// Why a broker did not start. Nothing was served and nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on. Stop what listens there, or choose another address or port.
    #[error("cannot listen on {key} {address}: {source}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data directory cannot be used. The message says why and what to do.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The system gives no thread. Raise the limit on processes.
    #[error("no thread for the data directory: {0}")]
    Thread(std::io::Error),
    /// What is stored cannot be opened. The message names the log.
    #[error("{0}")]
    Open(String),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Open(error.to_string())
    }
}

/// What recovery found at the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recovery {
    /// Partitions opened.
    pub partitions: usize,
    /// Bytes read to check their logs; 0 after a clean stop.
    pub scanned_bytes: u64,
    /// Bytes of unacknowledged tails that were cut.
    pub cut_bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// What a process that is all for one broker gives it.
#[derive(Clone, Debug)]
pub struct HostProcess {
    /// The lock of the data directory; the disk is from its [`DirLock::guard`].
    pub lock: Arc<DirLock>,
    /// The process's log.
    pub log_levels: Arc<LogLevels>,
    /// Follows the broker from before recovery to its end.
    pub health: Arc<Health>,
}

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Starts a broker on `disk` with its listeners, inside the calling tokio runtime.
    ///
    /// Returns when it is ready: recovery is done and requests are served.
    ///
    /// # Errors
    /// [`StartError`] names what is wrong; nothing was served.
    pub async fn start(config: BrokerConfig, disk: Arc<dyn Disk>) -> Result<RunningBroker, StartError> {
        Self::start_on(config, disk, None).await
    }

    /// As [`Broker::start`], in a process that is all for it, on a disk from [`DirLock::guard`]. Within a second after that directory was
    /// removed or replaced, the broker writes and acknowledges nothing more, and says why.
    ///
    /// # Errors
    /// [`StartError`] names what is wrong; nothing was served.
    pub async fn start_locked(
        config: BrokerConfig,
        disk: Arc<dyn Disk>,
        process: HostProcess,
    ) -> Result<RunningBroker, StartError> {
        Self::start_on(config, disk, Some(process)).await
    }

    async fn start_on(
        config: BrokerConfig,
        disk: Arc<dyn Disk>,
        process: Option<HostProcess>,
    ) -> Result<RunningBroker, StartError> {
        let config = Arc::new(config);
        let grpc = listen("listen.grpc", config.listen.grpc).await?;
        let http_listener = listen("listen.http", config.listen.http).await?;
        let addresses = (address(&grpc, config.listen.grpc), address(&http_listener, config.listen.http));
        let metrics = Arc::new(Metrics::new());
        let health = process.as_ref().map(|process| Arc::clone(&process.health)).unwrap_or_default();
        let levels = process.as_ref().map(|process| Arc::clone(&process.log_levels));
        let watch = process.map(|process| Watch::start(process.lock, Arc::clone(&health)));
        let watch = watch.transpose().map_err(StartError::Thread)?;
        let data_dir = DataDir::open(Arc::clone(&disk), &config)?;
        // Before recovery, which may refuse the start.
        report_faults(&metrics, data_dir.faults());
        let shared = Shared::new(Arc::clone(&config), Arc::clone(&metrics), Arc::clone(&health));
        shared.set_log_levels(levels);
        let (stop, stopped) = watch::channel(false);
        let http_task = tokio::spawn(http::serve(
            http_listener,
            Arc::clone(&metrics),
            Arc::clone(&health),
            until(stopped.clone()),
        ));
        // Served during recovery too, so that clients get a retriable refusal instead of hanging.
        let grpc_task = tokio::spawn(server::serve(Arc::clone(&shared), grpc, until(stopped)));
        let context = EngineOptions {
            config: Arc::clone(&config),
            disk,
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            cluster_id: data_dir.identity().cluster_id,
            clean: data_dir.was_clean(),
        };
        let (engine, recovered) = Engine::open(context).await?;
        report_faults(&metrics, &recovered.faults);
        sampling::install(&metrics, &engine, &shared);
        shared.set_start_facts(StartFacts {
            started_at_ms: engine.clock().now().0,
            recovery: recovered.took,
            listening: addresses.0.to_string(),
            faults: data_dir.faults().iter().chain(&recovered.faults).cloned().collect(),
        });
        shared.set_engine(Arc::clone(&engine));
        health.set_recovered();
        let recovery = Recovery {
            partitions: recovered.partitions,
            scanned_bytes: recovered.scanned_bytes,
            cut_bytes: recovered.cut_bytes,
            took: recovered.took,
        };
        Ok(RunningBroker {
            config,
            addresses,
            recovery,
            data_dir,
            _watch: watch,
            shared,
            engine,
            stop,
            grpc_task,
            http_task,
        })
    }
}

/// Says which small files were not as they should be.
fn report_faults(metrics: &Metrics, faults: &[String]) {
    for fault in faults {
        metrics.storage.corruption(CorruptionAction::Repaired).inc();
        tracing::warn!(event = "B0230", fault, "a small file was not as it should be");
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}

fn address(listener: &TcpListener, wanted: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(wanted)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the broker is gone, which is a reason to stop too.
    let _gone = stopped.wait_for(|stopped| *stopped).await;
}

/// A broker that serves. Dropping it without [`RunningBroker::shutdown`] is a crash: what was not acknowledged may
/// be lost, and the next start checks the logs.
#[must_use = "a broker that is dropped stops as if it crashed"]
pub struct RunningBroker {
    config: Arc<BrokerConfig>,
    addresses: (SocketAddr, SocketAddr),
    recovery: Recovery,
    data_dir: DataDir,
    _watch: Option<Watch>,
    shared: Arc<Shared>,
    pub(crate) engine: Arc<Engine>,
    stop: watch::Sender<bool>,
    grpc_task: JoinHandle<Result<(), tonic::transport::Error>>,
    http_task: JoinHandle<std::io::Result<()>>,
}

impl RunningBroker {
    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where metrics and health are served.
    pub fn http_addr(&self) -> SocketAddr {
        self.addresses.1
    }

    /// What recovery found at the start.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Counts that the process has loaded its configuration again.
    pub fn count_config_reload(&self, result: ReloadResult) {
        self.shared.metrics.config_reloads.of(result).inc();
    }

    /// Connections of clients that are open now.
    pub fn connection_count(&self) -> usize {
        usize::try_from(self.shared.metrics.connections.open.get()).unwrap_or(0)
    }

    /// Compacts now what is due to be, as happens in the background every 15 seconds; returns how many partitions
    /// were. For tests, which do not wait.
    pub async fn compact(&self) -> usize {
        self.engine.maintenance().compact_due().await
    }

    /// Measures the lag of all consumer groups now, as happens in the background every 5 seconds, for `status` and the
    /// metrics. For tests, which do not wait.
    pub async fn refresh_group_lag(&self) {
        if let Ok((_, groups)) = self.shared.groups() {
            groups.refresh_lag_snapshot().await;
        }
    }

    /// Stops cleanly: refuses new work, lets requests end (at most `node.drain_timeout`), writes what is left,
    /// closes the logs and leaves the mark that says so. Returns whether all of that succeeded.
    pub async fn shutdown(self) -> bool {
        self.shared.health.set_draining();
        self.shared.begin_stop();
        self.engine.begin_stop();
        self.stop.send_replace(true);
        let mut grpc_task = self.grpc_task;
        if tokio::time::timeout(self.config.node.drain_timeout, &mut grpc_task).await.is_err() {
            grpc_task.abort();
        }
        self.shared.limits.close_all();
        let engine = Arc::clone(&self.engine);
        // Another process may own what is at its paths now.
        let lost = self.shared.health.data_dir_lost().is_some();
        let close = move || {
            if lost {
                engine.abandon();
            }
            !lost && engine.close()
        };
        let closed = tokio::task::spawn_blocking(close).await.unwrap_or(false);
        self.http_task.abort();
        closed && self.data_dir.close()
    }

    /// Ends as a crash does: nothing more is written, no mark is left. For tests that cut the power; blocks until no
    /// thread of the broker's own touches the disk any more.
    pub fn crash(self) {
        self.shared.begin_stop();
        self.grpc_task.abort();
        self.shared.limits.close_all();
        self.http_task.abort();
        self.engine.abandon();
    }
}

impl std::fmt::Debug for RunningBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningBroker").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod placed_elsewhere_tests;
