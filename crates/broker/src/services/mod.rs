//! The gRPC services: thin. They turn the wire into domain words, ask the engine, and turn its answers back.

mod accept;
mod admin;
mod audit;
mod check;
mod cluster;
mod configs;
mod consume;
mod describe_topics;
mod fetch;
mod fetch_service;
mod group_findings;
mod groups;
mod log_level;
mod lookup;
mod numbered;
mod offsets;
mod order;
mod plain;
mod plain_out;
mod produce;
mod producers;
mod push;

use std::sync::{Arc, OnceLock};

use corduroy_api::Refusal;
use corduroy_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(crate) use admin::AdminService;
pub(crate) use cluster::{ClusterService, StartFacts};
pub(crate) use fetch_service::FetchService;
pub(crate) use groups::GroupsService;
pub(crate) use produce::ProduceService;

use crate::{
    config::{BrokerConfig, MemoryBudgets},
    engine::Engine,
    groups::{GroupLagSnapshot, Groups},
    health::{Check, Health},
    limits::Limits,
    log_levels::LogLevels,
    metrics::Metrics,
};

/// Memory permits are counted in this many bytes, because a semaphore's counter is smaller than memory.
const PERMIT_BYTES: usize = 1024;

/// What all services share. They exist before the engine does, and refuse until it is open.
pub(crate) struct Shared {
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) limits: Arc<Limits>,
    engine: OnceLock<Arc<Engine>>,
    groups: OnceLock<Arc<Groups>>,
    start_facts: OnceLock<StartFacts>,
    produce_memory: Arc<Semaphore>,
    produce_permits: usize,
    log_levels: OnceLock<Arc<LogLevels>>,
    ready: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(config: Arc<BrokerConfig>, metrics: Arc<Metrics>, health: Arc<Health>) -> Arc<Self> {
        let bytes = usize::try_from(MemoryBudgets::of(&config).append_bytes).unwrap_or(usize::MAX);
        let produce_permits = (bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let limits = Limits::new(&config, Arc::clone(&metrics));
        Arc::new(Self {
            config,
            metrics,
            health,
            limits,
            engine: OnceLock::new(),
            groups: OnceLock::new(),
            start_facts: OnceLock::new(),
            produce_memory: Arc::new(Semaphore::new(produce_permits)),
            produce_permits,
            log_levels: OnceLock::new(),
            ready: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
        })
    }

    /// Opens the services. Called once, when the engine is ready.
    pub(crate) fn set_engine(&self, engine: Arc<Engine>) {
        self.limits.follow_largest_message(engine.replicas().max_message_bytes());
        let _set_once = self.groups.set(Groups::open(Arc::clone(&engine)));
        let _set_once = self.engine.set(engine);
        self.set_ready();
    }

    /// Lets those go on who wait for [`Self::ready`].
    pub(crate) fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Ends when requests are served: recovery is done.
    pub(crate) async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        // An error would mean that `self` is gone, and with it the caller.
        let _ends = ready.wait_for(|ready| *ready).await;
    }

    /// The log of the process, where this broker has it to itself. Called at most once.
    pub(crate) fn set_log_levels(&self, levels: Option<Arc<LogLevels>>) {
        let _set_once = levels.map(|levels| self.log_levels.set(levels));
    }

    pub(crate) fn log_levels(&self) -> Option<&Arc<LogLevels>> {
        self.log_levels.get()
    }

    /// Keeps what is known once the broker has started. Called once, before the engine is set.
    pub(crate) fn set_start_facts(&self, facts: StartFacts) {
        let _set_once = self.start_facts.set(facts);
    }

    pub(crate) fn start_facts(&self) -> StartFacts {
        self.start_facts.get().cloned().unwrap_or_default()
    }

    /// The engine, once recovery is done.
    ///
    /// # Errors
    /// `STARTING` or `SHUTTING_DOWN`: retry.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, Refusal> {
        if *self.stopping.borrow() {
            return Err(Refusal::new(ErrorCode::ShuttingDown, "the broker is stopping"));
        }
        self.engine.get().cloned().ok_or_else(|| {
            let progress = self.health.failure(Check::Recovery);
            let progress = progress.unwrap_or_else(|| "recovered, about to serve".to_owned());
            Refusal::new(ErrorCode::Starting, format!("the broker is starting: {progress}"))
        })
    }

    /// The engine as far as it can still be asked, while the broker stops too; `None` before it is open.
    pub(crate) fn engine_to_ask(&self) -> Option<&Arc<Engine>> {
        self.engine.get()
    }

    /// The engine and the groups, once recovery is done.
    ///
    /// # Errors
    /// `STARTING`: retry.
    pub(crate) fn groups(&self) -> Result<(Arc<Engine>, Arc<Groups>), Refusal> {
        let engine = self.engine()?;
        // Set before the engine is.
        let groups = self.groups.get().cloned();
        let groups = groups.ok_or_else(|| Refusal::new(ErrorCode::Starting, "the broker is starting"))?;
        Ok((engine, groups))
    }

    /// All groups as of the last look at them; none before the broker has started.
    pub(crate) fn lag_snapshot(&self) -> Arc<GroupLagSnapshot> {
        self.groups.get().map(|groups| groups.lag_snapshot()).unwrap_or_default()
    }

    /// Refuses new work and ends what waits for records.
    pub(crate) fn begin_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends when the broker begins to stop.
    pub(crate) async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // An error would mean that `self` is gone, and with it the caller.
        let _ends = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Waits for room for `bytes` of a produce request; it is held until the request is answered.
    ///
    /// # Errors
    /// `SHUTTING_DOWN`.
    pub(crate) async fn produce_memory(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, self.produce_permits);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let acquired = Arc::clone(&self.produce_memory).acquire_many_owned(permits).await;
        acquired.map_err(|_| Refusal::new(ErrorCode::ShuttingDown, "the broker is stopping"))
    }

    pub(crate) fn fetch_max_bytes(&self) -> u32 {
        u32::try_from(self.config.limits.fetch_max_bytes).unwrap_or(u32::MAX)
    }
}

/// A damaged range, as it is sent.
fn damaged_range(
    replica: &crate::engine::Replica,
    range: &corduroy_log::DamagedRange,
) -> corduroy_api::v1::DamagedRange {
    corduroy_api::v1::DamagedRange {
        topic: replica.topic().to_string(),
        partition: replica.index().0,
        file: range.damage.file.display().to_string(),
        position: range.damage.position,
        start: range.damage.offset.get(),
        end: range.next_good.get(),
    }
}
