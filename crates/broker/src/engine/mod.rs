//! The engine: the open logs, the thread that commits them, and the metadata that says which they are.

mod append;
mod checkpoint;
mod clock;
mod commit;
mod compaction;
mod counting;
mod expiry;
mod housekeeping;
mod identity;
mod journal;
mod journal_findings;
mod local_topics;
mod log_slot;
mod lookup;
mod metadata;
mod opening;
mod partition_dirs;
mod preparing;
mod producer_ids;
mod reads;
mod reconcile;
mod recovering;
mod refusals;
mod removals;
mod replica;
mod replica_log;
mod reserve;
mod retry;
mod salvage;
mod scrubbing;
mod slow_disk;
mod topics;
mod workers;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
};

use corduroy_api::Refusal;
use corduroy_log::{Disk, Journal, RetentionBlock, disk::Space, journal::Rewrite};
use corduroy_metadata::Command;
use corduroy_types::{ErrorCode, TimestampMs, TopicId};
use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) use append::{AppendRequest, PendingAck};
pub(crate) use clock::Clock;
pub(crate) use identity::ReplicaCursors;
pub(crate) use metadata::{ApplierError, Draft, MetadataPlane};
pub(crate) use opening::OpenError;
pub(crate) use reads::{Fetched, ReadHint};
pub(crate) use refusals::{out_of_range, partition_not_found};
pub(crate) use replica::Replica;
pub(crate) use topics::{Topic, Topics};

use self::{
    checkpoint::Checkpointer, commit::CommitQueue, expiry::Expiry, journal_findings::JournalFindings,
    local_topics::LocalTopics, log_slot::WhyClosed, metadata::Proposed, producer_ids::ProducerIds,
    reserve::Reserve, retry::Retry, workers::Workers,
};
use crate::{
    config::{BrokerConfig, MemoryBudgets},
    health::Health,
    metrics::Metrics,
    parallel::run_parallel,
};

/// What the engine is made with.
pub(crate) struct EngineContext {
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
    config: Arc<BrokerConfig>,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    clock: Clock,
    expiry: Mutex<Expiry>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    local: Arc<LocalTopics>,
    metadata: Arc<MetadataPlane>,
    /// What is left of the producer ids that were reserved for this broker.
    producer_ids: tokio::sync::Mutex<ProducerIds>,
    commits: CommitQueue,
    commit_thread: Mutex<Option<JoinHandle<()>>>,
    journal: Arc<Mutex<Journal>>,
    journal_findings: Arc<JournalFindings>,
    checkpointer: Checkpointer,
    checkpoint_thread: Mutex<Option<JoinHandle<()>>>,
    /// Deleted topics whose files are not removed yet, and when that is tried again.
    not_erased: Mutex<BTreeMap<TopicId, Retry>>,
    workers: Arc<Workers>,
    /// Held while logs are compacted: one at a time.
    compacting: tokio::sync::Mutex<()>,
    disk_blocked: AtomicBool,
    disk_low: AtomicBool,
    reserve: Arc<Reserve>,
    stopping: watch::Sender<bool>,
}

impl Engine {
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// The time by which records expire: the wall clock, but for its jumps.
    pub(crate) fn expiry_now(&self) -> TimestampMs {
        self.expiry.lock().look(self.clock.now(), self.clock.monotonic_ms())
    }

    /// How far the wall clock has jumped ahead of the time by which records expire, if it has.
    pub(crate) fn expiry_held_ms(&self) -> Option<u64> {
        self.expiry.lock().held_ms()
    }

    /// What keeps retention by time from going on in a partition, if a record of the future does.
    pub(crate) fn retention_block(&self, replica: &Replica) -> Option<RetentionBlock> {
        let now = self.clock.now();
        replica.with_log(|log, _| log.retention_block(now)).flatten()
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// All topics: as the image has them, with what this broker holds of them. Never waits.
    pub(crate) fn topics(&self) -> Topics {
        // In this order: a topic of the published image always has a local one.
        let image = self.metadata.image();
        Topics::new(image, self.local.all())
    }

    /// Carries a change of the metadata out, and waits until this broker has acted on it: new partitions are open and led
    /// then, or offline, and deleted ones erased.
    ///
    /// # Errors
    /// As [`MetadataPlane::propose`].
    pub(crate) async fn change<C>(&self, command: C) -> Result<C::Answer, Refusal>
    where
        C: Command + Send + Sync + 'static,
        C::Answer: Send + 'static,
    {
        let Proposed { answer, topics, end } = self.propose(command).await?;
        let mut stopping = self.stopping();
        let settled = async {
            for id in topics {
                self.local.settled(id, end).await;
            }
        };
        tokio::select! {
            () = settled => {}
            // The change is made; the next start acts on it.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        Ok(answer)
    }

    /// Carries a change of the metadata out.
    async fn propose<C>(&self, command: C) -> Result<Proposed<C::Answer>, Refusal>
    where
        C: Command + Send + Sync + 'static,
        C::Answer: Send + 'static,
    {
        if self.check_writable().is_err() {
            let reserve = Arc::clone(&self.reserve);
            self.workers.control.run(move || reserve.make_room()).await?;
        }
        self.metadata.propose(command).await
    }

    /// The pools for blocking work.
    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    pub(crate) fn metadata(&self) -> &MetadataPlane {
        &self.metadata
    }

    /// Refuses appends while the disk is below its reserve, or the data directory is lost.
    ///
    /// # Errors
    /// `DISK_FULL` or `STORAGE_FAILED`.
    pub(crate) fn check_writable(&self) -> Result<(), Refusal> {
        if let Some(reason) = self.health.data_dir_lost() {
            return Err(Refusal::new(ErrorCode::StorageFailed, reason.as_str()));
        }
        if self.disk_blocked.load(Ordering::Relaxed) {
            let text = format!(
                "{} has less free space than storage.disk_block_watermark ({})",
                self.data_dir.display(),
                self.config.storage.disk_block_watermark
            );
            return Err(Refusal::new(ErrorCode::DiskFull, text));
        }
        Ok(())
    }

    /// Makes sure that offsets of groups can be written, on a full disk out of the reserve: groups go on there.
    ///
    /// # Errors
    /// `DISK_FULL` where no more is left than deletions need; whatever else keeps logs from being written.
    pub(crate) async fn check_groups_writable(&self) -> Result<(), Refusal> {
        let Err(refusal) = self.check_writable() else { return Ok(()) };
        if refusal.code != ErrorCode::DiskFull {
            return Err(refusal);
        }
        // Below the watermark, but not really full.
        if self.space_seen().is_some_and(|space| space.free_bytes >= 2 * reserve::RESERVE_BYTES) {
            return Ok(());
        }
        let reserve = Arc::clone(&self.reserve);
        let has_room = self.workers.control.run(move || reserve.make_room_for_groups()).await?;
        if has_room { Ok(()) } else { Err(refusal) }
    }

    /// Free and total space of the data directory's disk as last looked at. Never waits for the disk.
    pub(crate) fn space_seen(&self) -> Option<Space> {
        self.reserve.seen()
    }

    /// What was found wrong with the commit journal and is not accepted.
    pub(crate) fn journal_findings(&self) -> Vec<String> {
        self.journal_findings.list()
    }

    /// Accepts what was found wrong with the commit journal; returns it.
    ///
    /// # Errors
    /// `STORAGE_FAILED`: it stays.
    pub(crate) async fn accept_journal_damage(&self) -> Result<Vec<String>, Refusal> {
        let findings = Arc::clone(&self.journal_findings);
        let accepted = self.workers.control.run(move || findings.accept()).await?;
        accepted.map_err(|error| Refusal::new(ErrorCode::StorageFailed, error.to_string()))
    }

    /// The log of the metadata.
    pub(crate) fn metadata_replica(&self) -> &Replica {
        self.metadata.replica()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn metrics_handle(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Why the metadata log takes no appends, if it does not.
    pub(crate) fn metadata_failure(&self) -> Option<String> {
        self.metadata.failure()
    }

    /// Whether free space is below the watermark that is warned about.
    pub(crate) fn disk_is_low(&self) -> bool {
        self.disk_low.load(Ordering::Relaxed)
    }

    /// Bytes of all logs.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let of = |topic: Topic| topic.replicas().iter().map(|replica| replica.stats().bytes).sum::<u64>();
        self.topics().iter().map(of).sum()
    }

    /// The largest `max.message.bytes` of any topic, kept up to date.
    pub(crate) fn max_message_bytes(&self) -> Arc<AtomicU32> {
        self.local.max_message_bytes()
    }

    /// Changes whenever topics or partitions come or go.
    pub(crate) fn follow_topics(&self) -> watch::Receiver<u64> {
        self.local.subscribe()
    }

    /// Bytes of the newest batches that each log may keep in memory: a share of a quarter of the memory limit.
    fn tail_bytes(&self, partitions: usize) -> u64 {
        tail_bytes(&self.config, partitions)
    }

    fn tail_bytes_now(&self) -> u64 {
        let partitions = self.local.all().values().map(|topic| topic.replicas().len()).sum::<usize>();
        self.tail_bytes(partitions + 1)
    }

    /// Becomes true when the broker begins to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Lets whoever waits for records go.
    pub(crate) fn begin_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends without writing anything more: for tests of power cuts.
    pub(crate) fn abandon(&self) {
        self.begin_stop();
        self.commits.abandon();
        if let Some(thread) = self.commit_thread.lock().take() {
            let _ended = thread.join();
        }
        self.stop_checkpoints();
        self.for_each_replica(|replica| drop(replica.retire(WhyClosed::ShuttingDown, self.clock)));
    }

    /// Performs what is left to write, ends every waiting append, and closes all logs.
    ///
    /// Blocks on the disk. Returns whether everything was closed well, so that the next start need not check.
    pub(crate) fn close(&self) -> bool {
        self.begin_stop();
        self.commits.close();
        if let Some(thread) = self.commit_thread.lock().take()
            && thread.join().is_err()
        {
            return false;
        }
        let checkpointed = self.stop_checkpoints() && self.checkpoint();
        let replicas: Vec<_> =
            self.local.all().values().flat_map(|topic| Vec::clone(&topic.replicas())).collect();
        let clean = AtomicBool::new(checkpointed);
        run_parallel(replicas.len(), self.config.storage.recovery_threads(), |index| {
            if let Some(replica) = replicas.get(index) {
                clean.fetch_and(self.close_log(replica), Ordering::Relaxed);
            }
        });
        let metadata_clean = self.close_log(self.metadata.replica());
        self.close_journal() && metadata_clean && clean.into_inner()
    }

    /// Closes one log; returns whether the next start need not check it.
    fn close_log(&self, replica: &Replica) -> bool {
        // A removal or compaction under way comes to its end, or to its next step, which is not begun.
        drop(replica.removals.blocking_lock());
        // What could not be opened was not closed either: the next start has to check it.
        let was_offline = replica.is_offline();
        let Some(log) = replica.retire(WhyClosed::ShuttingDown, self.clock) else { return !was_offline };
        if let Some(reopen) = log.plan_reopen() {
            // Cut at what is durable: the next start must not find in the page cache what a sync has lost.
            let rewritten = Rewrite::read(&*self.disk, &self.data_dir);
            let reopened =
                rewritten.and_then(|rewrite| reopen.perform_with(&self.disk, &rewrite, self.clock.now()));
            if let Err(error) = reopened {
                tracing::error!(topic = %replica.topic(), partition = %replica.index(), %error, "stopped log not cut");
            }
            return false;
        }
        if let Err(error) = log.close() {
            tracing::error!(topic = %replica.topic(), partition = %replica.index(), %error, "log not closed");
            return false;
        }
        true
    }
}

impl Drop for Engine {
    /// A broker that is dropped without being closed leaves no thread behind.
    fn drop(&mut self) {
        self.commits.abandon();
        self.checkpointer.stop();
    }
}

fn tail_bytes(config: &BrokerConfig, partitions: usize) -> u64 {
    const LEAST: u64 = 64 * corduroy_types::KIB;
    const MOST: u64 = 16 * corduroy_types::MIB;
    let all = MemoryBudgets::of(config).tail_cache_bytes;
    let share = all / u64::try_from(partitions.max(1)).unwrap_or(u64::MAX);
    share.clamp(LEAST, MOST)
}
