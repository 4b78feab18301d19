//! Start: replay the metadata, register this broker, open every log it leads.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use corduroy_log::{Disk, Journal, Known, Log, LogConfig, LogError, PartitionKey, RecoveryReport};
use corduroy_metadata::{NameCluster, RegisterBroker, RegistrationId};
use corduroy_types::{LeaderEpoch, PartitionIndex};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    ApplierError, Clock, Engine, EngineContext, Replica,
    checkpoint::Checkpointer,
    commit::{self, CommitQueue, CommitThread},
    compaction,
    expiry::Expiry,
    housekeeping,
    identity::ReplicaIdentity,
    journal::{self, Unreplayed},
    journal_findings::JournalFindings,
    local_topics::LocalTopics,
    log_slot::LogSlot,
    metadata::{ImageListener, MetadataContext, MetadataPlane, OpenedMetadata},
    partition_dirs::{log_config, partition_dir},
    reconcile::{self, EpochError},
    recovering::note,
    reserve::Reserve,
    scrubbing,
    workers::Workers,
};
use crate::{
    config::{Advertise, BrokerConfig},
    metrics::Metrics,
};

/// Why the engine did not open. Nothing was served; nothing was lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The metadata log cannot be opened. Any other log that cannot be is offline, and the others are served.
    #[error("the metadata log cannot be opened: {0}")]
    OpenMetadata(LogError),
    /// The metadata log is damaged, cannot be read, or holds something else than records of this version.
    #[error("{0}{advice}", advice = .0.advice())]
    Metadata(ApplierError),
    /// This broker could not be registered.
    #[error("this broker cannot be registered: {0}")]
    Register(corduroy_api::Refusal),
    /// The commit journal cannot be read, replayed or begun.
    #[error("the commit journal cannot be opened: {0}")]
    Journal(LogError),
    /// The metadata log cannot be led.
    #[error("the metadata log cannot be led: {0}")]
    Epoch(EpochError),
    /// The system gives no thread.
    #[error("no thread for the disk: {0}")]
    Thread(std::io::Error),
}

/// What start-up found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovered {
    pub(crate) partitions: usize,
    pub(crate) scanned_bytes: u64,
    pub(crate) cut_bytes: u64,
    pub(crate) took: Duration,
    /// Small files that were not as they should be; what they held was taken from elsewhere.
    pub(crate) faults: Vec<String>,
}

/// Where logs are opened.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) clean: bool,
    /// Whether the logs' directories were made, durably: see [`partition_dirs::create`].
    pub(super) named: bool,
    pub(super) tail_bytes: u64,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Arc<Mutex<Journal>>,
    /// Logs that cannot be opened here: the journal has data for them that is not in their segments.
    pub(super) unreplayed: Arc<Unreplayed>,
}

/// One partition of this broker, as it was opened.
pub(super) struct OpenedReplica {
    /// Offline where its log cannot be opened.
    pub(super) replica: Arc<Replica>,
    /// The epoch in which it leads once that has begun; `None` where another broker leads.
    pub(super) epoch: Option<LeaderEpoch>,
    /// What was found; `None` where the log cannot be opened.
    pub(super) report: Option<RecoveryReport>,
}

/// Opens the log of one partition. Where that fails the replica is offline, and opening it is tried again later.
pub(super) fn open_replica(
    place: &Place,
    topic: &corduroy_metadata::Topic,
    index: PartitionIndex,
    commits: &CommitQueue,
    clock: Clock,
) -> OpenedReplica {
    let config = log_config(topic.config(), place.tail_bytes, &place.config);
    let partition = topic.partition(index);
    let identity = ReplicaIdentity {
        topic: topic.name().clone(),
        topic_id: topic.id(),
        index,
        own: place.config.node.id,
        replicas: partition
            .map_or_else(|| [place.config.node.id].into(), |partition| Arc::clone(&partition.replicas)),
        metrics: Some(place.metrics.data.topic(topic.name())),
    };
    let leads = partition.filter(|partition| partition.leader == place.config.node.id);
    let epoch = leads.map(|partition| partition.leader_epoch);
    match open_log(place, &identity, config, clock) {
        Ok((log, report)) => {
            let replica = Replica::new(identity, LogSlot::Open(Box::new(log)), commits.clone());
            OpenedReplica { replica, epoch, report: Some(report) }
        }
        Err(error) => {
            let slot = LogSlot::Offline(error.to_string().into());
            let replica = Replica::new(identity, slot, commits.clone());
            replica.opening_failed(&error.to_string(), clock);
            OpenedReplica { replica, epoch, report: None }
        }
    }
}

/// Opens a log and takes what it knows of itself into the journal.
pub(super) fn open_log(
    place: &Place,
    identity: &ReplicaIdentity,
    config: LogConfig,
    clock: Clock,
) -> Result<(Log, RecoveryReport), LogError> {
    let dir = partition_dir(&place.data_dir, identity.topic_id, identity.index);
    let key = PartitionKey { topic_id: identity.topic_id, partition: identity.index };
    if let Some(reason) = place.unreplayed.get(&key) {
        return Err(LogError::NotReplayed { reason: reason.clone() });
    }
    let known = Known { named: place.named, ..place.journal.lock().known(key, place.clean) };
    let (log, report) = Log::open(Arc::clone(&place.disk), dir, config, known, clock.now())?;
    place.journal.lock().opened(key, &log);
    Ok((log, report))
}

impl Engine {
    /// Opens everything. Blocks on the disk only on threads of its own.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was served.
    pub(crate) async fn open(context: EngineContext) -> Result<(Arc<Self>, Recovered), OpenError> {
        let began = Instant::now();
        let clock = Clock::new();
        let storage = Storage::open(&context, clock).await?;
        let EngineContext { config, disk, metrics, health, cluster_id, .. } = context;
        let Storage { place, reserve, journal_findings, commits, checkpointer, commit_thread } = storage;
        let (data_dir, journal) = (place.data_dir.clone(), Arc::clone(&place.journal));
        let workers = Arc::new(Workers::new(clock));
        let local = LocalTopics::new(config.topic_defaults.config.max_message_bytes, Arc::clone(&metrics));
        let opened = MetadataPlane::open(MetadataContext {
            place: place.clone(),
            commits: commits.clone(),
            workers: Arc::clone(&workers),
            listener: Arc::clone(&local) as Arc<dyn ImageListener>,
            clock,
        });
        let OpenedMetadata { plane: metadata, report } = opened.await?;
        let mut recovered = Recovered::default();
        note(&mut recovered, &metrics, metadata.replica(), &report);
        // Before it is registered again: when it was certainly alive.
        let alive_at = metadata.image().broker(config.node.id).map(|broker| broker.registered_at);
        let (on, dir) = (Arc::clone(&disk), data_dir.clone());
        let (expiry, fault) = blocking(move || Expiry::begin(&*on, &dir, alive_at, clock)).await;
        recovered.faults.extend(fault);
        register(&metadata, &config, cluster_id.to_string().into(), clock).await?;
        let engine = Arc::new(Self {
            config,
            disk,
            data_dir,
            clock,
            expiry: Mutex::new(expiry),
            metrics,
            health,
            local,
            metadata,
            producer_ids: tokio::sync::Mutex::default(),
            commits,
            commit_thread: Mutex::new(Some(commit_thread)),
            journal,
            journal_findings: Arc::new(journal_findings),
            checkpointer,
            checkpoint_thread: Mutex::new(None),
            not_erased: Mutex::default(),
            workers,
            compacting: tokio::sync::Mutex::default(),
            disk_blocked: AtomicBool::new(false),
            disk_low: AtomicBool::new(false),
            reserve,
            stopping: watch::Sender::new(false),
        });
        let partitions = engine.metadata.image().partition_count();
        let place = Place { tail_bytes: engine.tail_bytes(partitions + 1), ..place };
        engine.reconcile_all(place, &mut recovered).await;
        recovered.took = began.elapsed();
        engine.spawn_checkpoints().map_err(OpenError::Thread)?;
        engine.check_space().await;
        engine.spawn_tasks();
        Ok((engine, recovered))
    }

    fn spawn_tasks(self: &Arc<Self>) {
        tokio::spawn(housekeeping::run(Arc::downgrade(self)));
        tokio::spawn(housekeeping::expire(Arc::downgrade(self)));
        tokio::spawn(reconcile::run(Arc::downgrade(self)));
        tokio::spawn(reconcile::follow(Arc::downgrade(self)));
        tokio::spawn(scrubbing::run(Arc::downgrade(self)));
        tokio::spawn(compaction::run(Arc::downgrade(self)));
    }
}

/// What a data directory's logs are opened and written with.
struct Storage {
    place: Place,
    reserve: Arc<Reserve>,
    journal_findings: JournalFindings,
    commits: CommitQueue,
    checkpointer: Checkpointer,
    commit_thread: JoinHandle<()>,
}

impl Storage {
    /// Replays the commit journal and starts the commit thread.
    async fn open(context: &EngineContext, clock: Clock) -> Result<Self, OpenError> {
        let EngineContext { config, disk, metrics, clean, .. } = context;
        let data_dir = config.node.data_dir.clone();
        let reserve = Reserve::new(Arc::clone(disk), data_dir.clone());
        let (on, dir, counted) = (Arc::clone(disk), data_dir.clone(), Arc::clone(metrics));
        let room = Arc::clone(&reserve);
        let opened = blocking(move || journal::open(&on, &dir, &room, &counted)).await;
        let (journal, unreplayed, journal_findings) = opened.map_err(OpenError::Journal)?;
        let (commits, checkpointer) = (CommitQueue::new(), Checkpointer::default());
        let thread = commit::spawn(CommitThread {
            queue: commits.clone(),
            disk: Arc::clone(disk),
            journal: Arc::clone(&journal),
            checkpointer: checkpointer.clone(),
            clock,
            metrics: Arc::clone(metrics),
        });
        let commit_thread = thread.map_err(OpenError::Thread)?;
        let place = Place {
            disk: Arc::clone(disk),
            data_dir,
            clean: *clean,
            named: false,
            tail_bytes: 0,
            config: Arc::clone(config),
            metrics: Arc::clone(metrics),
            journal,
            unreplayed: Arc::new(unreplayed),
        };
        Ok(Self { place, reserve, journal_findings, commits, checkpointer, commit_thread })
    }
}

/// Runs blocking work of the start; a panic in it goes on here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn register(
    metadata: &MetadataPlane,
    config: &BrokerConfig,
    cluster_id: Arc<str>,
    clock: Clock,
) -> Result<(), OpenError> {
    let name = NameCluster { cluster_id, name: config.cluster.name.as_str().into() };
    metadata.propose(name).await.map_err(OpenError::Register)?;
    let registration = RegisterBroker {
        broker: config.node.id,
        registration: RegistrationId(uuid::Uuid::new_v4().into_bytes()),
        address: match &config.listen.advertise {
            Advertise::Auto => None,
            Advertise::Address(address) => Some(address.as_str().into()),
        },
        version: env!("CARGO_PKG_VERSION").into(),
        now: clock.now(),
    };
    metadata.propose(registration).await.map_err(OpenError::Register)?;
    Ok(())
}
