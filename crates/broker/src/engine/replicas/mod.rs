//! The partitions that this broker holds: their replicas, the thread that commits their rounds, and what brings them to where the
//! metadata says they are.

mod counting;
mod journal;
mod journal_findings;
mod local_topics;
mod lookup;
mod reads;
mod reconcile;
mod recovering;
mod storage;
mod topics;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use corduroy_api::Refusal;
use corduroy_log::{Journal, journal::Rewrite};
use corduroy_metadata::Command;
use corduroy_types::{ErrorCode, TopicId};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::{journal_findings::JournalFindings, storage::CommitThreadGuard};
pub(super) use self::{
    local_topics::LocalTopics,
    recovering::{Recovered, note},
    storage::Storage,
};
pub(crate) use self::{
    reads::{Fetched, ReadHint},
    topics::{Topic, Topics},
};
use super::{
    Context, MetadataPlane, Replica,
    metadata::Proposed,
    replica::{Checkpointer, CommitQueue, Retry, WhyClosed},
};
use crate::{
    config::{BrokerConfig, MemoryBudgets},
    parallel::run_parallel,
};

/// The replicas of this broker, with what commits them.
pub(crate) struct Replicas {
    context: Arc<Context>,
    metadata: Arc<MetadataPlane>,
    local: Arc<LocalTopics>,
    commits: CommitQueue,
    commit_thread: Mutex<CommitThreadGuard>,
    journal: Arc<Mutex<Journal>>,
    journal_findings: Arc<JournalFindings>,
    checkpointer: Checkpointer,
    checkpoint_thread: Mutex<Option<JoinHandle<()>>>,
    /// Deleted topics whose files are not removed yet, and when that is tried again.
    not_erased: Mutex<BTreeMap<TopicId, Retry>>,
}

impl Replicas {
    /// No replica is open yet, but that of the metadata.
    pub(super) fn new(
        context: Arc<Context>,
        metadata: Arc<MetadataPlane>,
        local: Arc<LocalTopics>,
        storage: Storage,
    ) -> Arc<Self> {
        let Storage { opening, commits, journal_findings, checkpointer, commit_thread } = storage;
        Arc::new(Self {
            context,
            metadata,
            local,
            commits,
            commit_thread: Mutex::new(commit_thread),
            journal: opening.journal,
            journal_findings: Arc::new(journal_findings),
            checkpointer,
            checkpoint_thread: Mutex::new(None),
            not_erased: Mutex::default(),
        })
    }

    /// Begins what runs until the broker stops.
    pub(super) fn spawn_tasks(self: &Arc<Self>) {
        tokio::spawn(reconcile::run(Arc::downgrade(self)));
        tokio::spawn(reconcile::follow(Arc::downgrade(self)));
    }

    /// All topics: as the image has them, with what this broker holds of them. Never waits.
    pub(crate) fn topics(&self) -> Topics {
        // In this order: a topic of the published image always has a local one.
        let image = self.metadata.image();
        Topics::new(image, self.local.all())
    }

    /// Visits every replica, that of the metadata last.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Arc<Replica>)) {
        for topic in self.local.all().values() {
            topic.replicas().iter().for_each(&mut visit);
        }
        visit(self.metadata.replica());
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
        let Proposed { answer, topics, end } = self.metadata.propose(command).await?;
        let mut stopping = self.context.stopping();
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
        let accepted = self.context.workers.control.run(move || findings.accept()).await?;
        accepted.map_err(|error| Refusal::new(ErrorCode::StorageFailed, error.to_string()))
    }

    /// For how long the oldest commit round has been on its way to disk; `None` while there is none.
    pub(crate) fn oldest_round_age(&self) -> Option<Duration> {
        self.commits.oldest_round_age(self.context.clock)
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
    pub(super) fn tail_bytes(&self, partitions: usize) -> u64 {
        tail_bytes(&self.context.config, partitions)
    }

    fn tail_bytes_now(&self) -> u64 {
        let partitions = self.local.all().values().map(|topic| topic.replicas().len()).sum::<usize>();
        self.tail_bytes(partitions + 1)
    }

    /// Counts the logs that take no appends, for `/readyz` and `status`.
    pub(super) fn note_stopped_logs(&self) {
        let (mut stopped, mut all) = (0, 0);
        self.for_each(|replica| {
            all += 1;
            stopped += u64::from(!replica.is_led());
        });
        self.context.health.set_partitions_down(stopped, all);
    }

    /// Ends without writing anything more: for tests of power cuts.
    pub(super) fn abandon(&self) {
        self.commits.abandon();
        let _ended_well = self.commit_thread.lock().join();
        self.stop_checkpoints();
        let clock = self.context.clock;
        self.for_each(|replica| drop(replica.retire(WhyClosed::ShuttingDown, clock)));
    }

    /// Performs what is left to write, ends every waiting append, and closes all logs.
    ///
    /// Blocks on the disk. Returns whether everything was closed well, so that the next start need not check.
    pub(super) fn close(&self) -> bool {
        self.commits.close();
        if !self.commit_thread.lock().join() {
            return false;
        }
        let checkpointed = self.stop_checkpoints() && self.checkpoint();
        let replicas: Vec<_> =
            self.local.all().values().flat_map(|topic| Vec::clone(&topic.replicas())).collect();
        let clean = AtomicBool::new(checkpointed);
        run_parallel(replicas.len(), self.context.config.storage.recovery_threads(), |index| {
            if let Some(replica) = replicas.get(index) {
                clean.fetch_and(self.close_log(replica), Ordering::Relaxed);
            }
        });
        let metadata_clean = self.close_log(self.metadata.replica());
        self.close_journal() && metadata_clean && clean.into_inner()
    }

    /// Closes one log; returns whether the next start need not check it.
    fn close_log(&self, replica: &Replica) -> bool {
        let Context { disk, data_dir, clock, .. } = &*self.context;
        // Waits until a removal has ended, or a step of a compaction; no other step begins.
        drop(replica.removals.blocking_lock());
        // What could not be opened was not closed either: the next start has to check it.
        let was_offline = replica.is_offline();
        let Some(log) = replica.retire(WhyClosed::ShuttingDown, *clock) else { return !was_offline };
        if let Some(reopen) = log.plan_reopen() {
            // Cut at what is durable: the next start must not find in the page cache what a sync has lost.
            let rewritten = Rewrite::read(&**disk, data_dir);
            let reopened = rewritten.and_then(|rewrite| reopen.perform_with(disk, &rewrite, clock.now()));
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

impl Drop for Replicas {
    /// Where they are dropped without being closed, no thread is left behind: the commit thread's guard ends the other one.
    fn drop(&mut self) {
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
