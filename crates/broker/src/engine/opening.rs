//! Start: replay the metadata, register this broker, open every log it leads.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use corduroy_log::{
    Disk, Journal, Known, Log, LogConfig, LogError, PartitionKey, ReadError, RecoveryReport,
    journal::JOURNAL_DIR,
};
use corduroy_metadata::{DecodeError, Delta, Image, NameCluster, Record, RegisterBroker, RegistrationId};
use corduroy_types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Clock, Controller, Engine, EngineContext, Replica, Topic, Topics,
    checkpoint::Checkpointer,
    commit::{self, CommitQueue, CommitThread},
    compaction,
    epochs::{EpochError, begin_and_lead},
    expiry::Expiry,
    housekeeping,
    identity::ReplicaIdentity,
    journal::{self, Unreplayed},
    log_slot::LogSlot,
    partition_dirs::{self, METADATA_TOPIC_ID, log_config, partition_dir},
    reconcile,
    recovering::{note, open_all},
    reserve::Reserve,
    scrubbing,
    workers::Workers,
};
use crate::{
    config::{Advertise, BrokerConfig},
    metrics::Metrics,
};

/// The name under which the metadata's own log is spoken of.
const METADATA_NAME: &str = "__metadata";

/// What to do about a metadata log that is damaged.
const REPAIR_METADATA: &str = "nothing was changed: restore the data directory from a backup, or see what a repair would \
                               lose with: logctl log metadata repair DIR";

/// Why the engine did not open. Nothing was served; nothing was lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The metadata log cannot be opened. Any other log that cannot be is offline, and the others are served.
    #[error("the metadata log cannot be opened: {0}")]
    OpenMetadata(LogError),
    /// The metadata log is damaged or cannot be read.
    #[error("the metadata log cannot be read: {0}; {REPAIR_METADATA}")]
    ReadMetadata(#[from] ReadError),
    /// The metadata log holds something else than records.
    #[error("the metadata log at offset {offset} is unreadable: {reason}; {REPAIR_METADATA}")]
    Metadata { offset: Offset, reason: String },
    /// A record is of a newer version.
    #[error("the metadata log at offset {offset}: {source}")]
    Decode { offset: Offset, source: DecodeError },
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
    /// The epoch in which it leads once that has begun.
    pub(super) epoch: LeaderEpoch,
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
    let epoch = partition.map_or(LeaderEpoch::ZERO, |partition| partition.leader_epoch);
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
        let EngineContext { config, disk, metrics, health, cluster_id, clean } = context;
        let data_dir = config.node.data_dir.clone();
        let threads = config.storage.recovery_threads();
        let reserve = Reserve::new(Arc::clone(&disk), data_dir.clone());
        let (on, dir, counted) = (Arc::clone(&disk), data_dir.clone(), Arc::clone(&metrics));
        let room = Arc::clone(&reserve);
        let opened = blocking(move || journal::open(&on, &dir, &room, &counted)).await;
        let (journal, unreplayed, journal_findings) = opened.map_err(OpenError::Journal)?;
        let place = Place {
            disk: Arc::clone(&disk),
            data_dir: data_dir.clone(),
            clean,
            named: false,
            tail_bytes: 0,
            config: Arc::clone(&config),
            metrics: Arc::clone(&metrics),
            journal: Arc::clone(&journal),
            unreplayed: Arc::new(unreplayed),
        };
        let (commits, checkpointer) = (CommitQueue::new(), Checkpointer::default());
        let commit_thread = commit::spawn(CommitThread {
            queue: commits.clone(),
            disk: Arc::clone(&disk),
            journal: Arc::clone(&journal),
            checkpointer: checkpointer.clone(),
            clock,
            metrics: Arc::clone(&metrics),
        })
        .map_err(OpenError::Thread)?;

        let opening = place.clone();
        let Replayed { log, report, image, next_epoch, deleted } =
            blocking(move || replay_metadata(&opening, clock)).await?;
        let slot = LogSlot::Open(Box::new(log));
        let metadata = Replica::new(metadata_identity(config.node.id), slot, commits.clone());
        let mut recovered = Recovered::default();
        note(&mut recovered, &metrics, &metadata, &report);
        let leading = vec![(Arc::clone(&metadata), next_epoch)];
        if let Some((_, error)) = begin_and_lead(&commits, clock, leading).await.pop() {
            return Err(OpenError::Epoch(error));
        }
        let mut controller = Controller { image, replica: Arc::clone(&metadata) };
        // Before it is registered again: when it was certainly alive.
        let alive_at = controller.image.broker(config.node.id).map(|broker| broker.registered_at);
        let (on, dir) = (Arc::clone(&disk), data_dir.clone());
        let expiry = blocking(move || Expiry::begin(&*on, &dir, alive_at, clock)).await;
        register(&mut controller, &config, cluster_id.to_string().into(), clock).await?;

        let partitions = controller.image.partition_count();
        let place = Place { tail_bytes: super::tail_bytes(&config, partitions + 1), ..place };
        let (image, queue, recovering) = (controller.image.clone(), commits.clone(), Arc::clone(&health));
        let opened = blocking(move || {
            erase_deleted(&place, &deleted, &image);
            journal::forget_deleted(&place.journal, &queue, &deleted, &image);
            report_orphan_dirs(&place, &image);
            open_all(&place, &image, threads, &recovering, &queue, clock)
        })
        .await;

        recovered.partitions = partitions;
        let (mut topics, mut leading) = (Topics::default(), Vec::with_capacity(partitions));
        for (described, replicas) in opened {
            let mut open = Vec::with_capacity(replicas.len());
            for OpenedReplica { replica, epoch, report } in replicas {
                if let Some(report) = report {
                    note(&mut recovered, &metrics, &replica, &report);
                    leading.push((Arc::clone(&replica), epoch));
                }
                open.push(replica);
            }
            let topic_metrics = metrics.data.topic(described.name());
            let topic_config = corduroy_types::TopicConfig::clone(described.config());
            let name = described.name().clone();
            topics.insert(Arc::new(Topic::new(name, described.id(), topic_config, open, topic_metrics)));
        }
        for (replica, error) in begin_and_lead(&commits, clock, leading).await {
            replica.leading_failed(&error, clock);
        }
        recovered.took = began.elapsed();
        let engine = Arc::new(Self {
            config,
            disk,
            data_dir,
            clock,
            expiry: Mutex::new(expiry),
            metrics,
            health,
            topics: ArcSwap::from_pointee(topics),
            topics_changed: watch::Sender::new(0),
            metadata,
            controller: tokio::sync::Mutex::new(controller),
            producer_ids: tokio::sync::Mutex::default(),
            commits,
            commit_thread: Mutex::new(Some(commit_thread)),
            journal,
            journal_findings,
            checkpointer,
            checkpoint_thread: Mutex::new(None),
            workers: Workers::new(clock),
            compacting: tokio::sync::Mutex::default(),
            disk_blocked: AtomicBool::new(false),
            disk_low: AtomicBool::new(false),
            reserve,
            max_message_bytes: Arc::new(AtomicU32::new(0)),
            stopping: watch::Sender::new(false),
        });
        engine.spawn_checkpoints().map_err(OpenError::Thread)?;
        engine.change_topics(|_| ());
        engine.check_space().await;
        tokio::spawn(housekeeping::run(Arc::downgrade(&engine)));
        tokio::spawn(housekeeping::expire(Arc::downgrade(&engine)));
        tokio::spawn(reconcile::run(Arc::downgrade(&engine)));
        tokio::spawn(scrubbing::run(Arc::downgrade(&engine)));
        tokio::spawn(compaction::run(Arc::downgrade(&engine)));
        Ok((engine, recovered))
    }
}

/// Runs blocking work of the start; a panic in it goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn metadata_identity(own: BrokerId) -> ReplicaIdentity {
    #[expect(clippy::expect_used, reason = "a constant that follows the rule for names")]
    let topic = TopicName::new(METADATA_NAME).expect("a valid name");
    ReplicaIdentity {
        topic,
        topic_id: METADATA_TOPIC_ID,
        index: PartitionIndex(0),
        own,
        replicas: [own].into(),
        metrics: None,
    }
}

fn unreadable(offset: Offset, error: &dyn std::fmt::Display) -> OpenError {
    OpenError::Metadata { offset, reason: error.to_string() }
}

struct Replayed {
    log: Log,
    report: RecoveryReport,
    image: Image,
    /// An epoch in which nobody has appended to the metadata log.
    next_epoch: LeaderEpoch,
    /// Topics that were deleted at some time; their files may be left.
    deleted: Vec<TopicId>,
}

/// Opens the metadata log and applies all of it.
fn replay_metadata(place: &Place, clock: Clock) -> Result<Replayed, OpenError> {
    // The metadata is never deleted by age or size.
    let config = LogConfig { retention_ms: None, retention_bytes: None, ..LogConfig::default() };
    let identity = metadata_identity(place.config.node.id);
    let (log, report) = open_log(place, &identity, config, clock).map_err(OpenError::OpenMetadata)?;
    // Before anything is read: damage ends the start.
    for damage in &report.damages {
        tracing::error!(event = "B0206", topic = METADATA_NAME, partition = 0, %damage, "damaged bytes");
    }
    let mut image = Image::default();
    let mut deleted = Vec::new();
    let mut last_epoch = LeaderEpoch::ZERO;
    let end = log.cursors().log_end();
    let mut next = log.cursors().log_start();
    while next < end {
        const READ_BYTES: u32 = 1024 * 1024;
        let mut batches = log.plan_read(next, READ_BYTES, end)?.perform()?;
        if batches.next_offset <= next {
            return Err(OpenError::Metadata { offset: next, reason: "it ends before its end".to_owned() });
        }
        while let Some(batch) =
            corduroy_batch::Batch::parse_prefix(&mut batches.bytes).map_err(|e| unreadable(next, &e))?
        {
            last_epoch = batch.header().leader_epoch.unwrap_or_default().max(last_epoch);
            let records = batch
                .records(corduroy_batch::DecompressLimits::default())
                .map_err(|e| unreadable(next, &e))?;
            for record in records.iter() {
                let record = record.map_err(|e| unreadable(next, &e))?;
                let value = records.buffer().slice_ref(record.value.unwrap_or_default());
                let decoded = Record::decode(&value)
                    .map_err(|source| OpenError::Decode { offset: record.offset, source })?;
                let deltas = image.apply(&decoded).map_err(|e| unreadable(record.offset, &e))?;
                deleted.extend(deltas.iter().filter_map(|delta| match delta {
                    Delta::TopicDeleted(topic) => Some(topic.id()),
                    _ => None,
                }));
            }
        }
        next = batches.next_offset;
    }
    // An epoch in which nothing was appended counts all the same.
    let last_epoch = log.history().last().map_or(last_epoch, |entry| entry.epoch.max(last_epoch));
    let next_epoch = last_epoch.next().unwrap_or(last_epoch);
    Ok(Replayed { log, report, image, next_epoch, deleted })
}

async fn register(
    controller: &mut Controller,
    config: &BrokerConfig,
    cluster_id: Arc<str>,
    clock: Clock,
) -> Result<(), OpenError> {
    let name = NameCluster { cluster_id, name: config.cluster.name.as_str().into() };
    controller.change(clock, &name).await.map_err(OpenError::Register)?;
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
    controller.change(clock, &registration).await.map_err(OpenError::Register)?;
    Ok(())
}

/// Removes what a crash left of topics that were deleted.
fn erase_deleted(place: &Place, deleted: &[TopicId], image: &Image) {
    for id in deleted.iter().filter(|id| image.topic_by_id(**id).is_none()) {
        if let Err(error) = partition_dirs::remove_topic_dir(place.disk.as_ref(), &place.data_dir, *id) {
            tracing::warn!(topic_id = %id, %error, "files of a deleted topic cannot be removed");
        }
    }
}

/// Names directories that no topic has. They are left alone: a topic is never deleted because the metadata seems
/// not to know it.
fn report_orphan_dirs(place: &Place, image: &Image) {
    let known: HashSet<TopicId> = image.topics().map(|topic| topic.id()).collect();
    let Ok(entries) = place.disk.list(&place.data_dir) else { return };
    for entry in entries.iter().filter(|entry| entry.is_dir && entry.name != JOURNAL_DIR) {
        let id = entry.name.parse::<TopicId>().ok();
        if !id.is_some_and(|id| id == METADATA_TOPIC_ID || known.contains(&id)) {
            tracing::warn!(event = "B0102", name = %entry.name, "a directory that belongs to no topic is left alone");
        }
    }
}
