//! Opening what is offline, and reopening what has stopped.
//!
//! Logs are opened in parallel. Those that are ready are led together: one record of the metadata for all new epochs, one
//! sync of the commit journal for all that begin.

use std::{path::Path, sync::Arc};

use corduroy_log::{
    Disk, Journal, Log, LogConfig, LogError, PartitionKey, RecoveryReport,
    journal::{JournalRequest, Replay, Rewrite},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::engine::{
    Clock, Replica, Replicas,
    replica::{Opening, open_log, partition_dirs::log_config},
    replicas::recovering::report_findings,
};

/// A log that was opened, or reopened, and is not in its place yet.
pub(super) struct OpenedLog {
    replica: Arc<Replica>,
    log: Log,
    report: RecoveryReport,
    /// The config of a log that was offline.
    config: Option<LogConfig>,
    /// Nothing may move the log start between the old log and the new one.
    _removals: OwnedMutexGuard<()>,
}

/// What the journal holds for logs that are to be opened.
struct JournalContents {
    /// For those that have stopped.
    rewrite: Rewrite,
    /// For those that were offline since the start, where it holds anything for them.
    replay: Option<Replay>,
}

impl JournalContents {
    fn read(
        disk: &dyn Disk,
        data_dir: &Path,
        journal: &Mutex<Journal>,
        keys: Vec<PartitionKey>,
    ) -> Result<Self, LogError> {
        // What was carried over since an earlier try is in memory.
        let kept = journal.lock().carried(&keys);
        let rewrite = kept.map_or_else(|| Rewrite::read(disk, data_dir), Ok)?;
        let holds = keys.into_iter().any(|key| journal.lock().holds(key));
        let replay = holds.then(|| Replay::read(disk, data_dir)).transpose()?;
        Ok(Self { rewrite, replay })
    }
}

impl Replicas {
    /// How logs are opened now. What was not closed well is checked.
    pub(super) fn opening(&self) -> Opening {
        Opening {
            context: Arc::clone(&self.context),
            journal: Arc::clone(&self.journal),
            clean: false,
            named: false,
            tail_bytes: self.tail_bytes_now(),
            unreplayed: Arc::default(),
        }
    }

    /// How many logs are being opened, or were and wait to be led.
    fn logs_opening(&self) -> usize {
        let mut opening = 0;
        self.for_each(|replica| opening += usize::from(replica.is_being_opened()));
        opening
    }

    /// Begins to open what is not open and due to be tried, each partition in a task of its own. Returns how many.
    pub(super) async fn begin_opening(self: &Arc<Self>, ready: &mpsc::Sender<OpenedLog>) -> usize {
        let reason = self.journal.lock().failure().map(ToOwned::to_owned);
        if let Some(reason) = reason {
            self.for_each(|replica| {
                // A log that was reopened since is neither: what it has is in its files, synced.
                if replica.is_led() || self.journal.lock().holds(replica.key()) {
                    replica.stop_log(self.context.clock, |log| log.journal_failed(&reason));
                }
            });
        }
        self.note_stopped_logs();
        let now_ms = self.context.clock.monotonic_ms();
        let mut due = Vec::new();
        self.for_each(|replica| {
            if replica.retry.lock().is_due(now_ms) && replica.begin_opening() {
                due.push(Arc::clone(replica));
            }
        });
        if due.is_empty() {
            return 0;
        }
        // What stopped them may have been a full disk, and leading on is written down.
        self.context.try_make_room().await;
        let (disk, data_dir) = (Arc::clone(&self.context.disk), self.context.data_dir.clone());
        let (journal, keys) = (Arc::clone(&self.journal), due.iter().map(|replica| replica.key()).collect());
        let read = self
            .context
            .workers
            .control
            .run(move || JournalContents::read(&*disk, &data_dir, &journal, keys));
        let held = match read.await {
            Ok(Ok(held)) => Arc::new(held),
            failed => {
                let error = match failed {
                    Ok(read) => read.err().map(|error| error.to_string()).unwrap_or_default(),
                    Err(refusal) => refusal.message,
                };
                tracing::warn!(%error, "logs stay stopped: the journal cannot be read");
                due.iter().for_each(|replica| replica.not_opened(self.context.clock));
                return 0;
            }
        };
        let opening = Arc::new(self.opening());
        let begun = due.len();
        for replica in due {
            let (replicas, opening, held) = (Arc::clone(self), Arc::clone(&opening), Arc::clone(&held));
            let ready = ready.clone();
            tokio::spawn(async move {
                if let Some(opened) = replicas.open_one(&replica, opening, held).await {
                    // The broker stops otherwise.
                    let _sent = ready.send(opened).await;
                }
            });
        }
        begun
    }

    /// Opens or reopens one log.
    async fn open_one(
        &self,
        replica: &Arc<Replica>,
        opening: Arc<Opening>,
        held: Arc<JournalContents>,
    ) -> Option<OpenedLog> {
        let removals = Arc::clone(&replica.removals).lock_owned().await;
        let config = self.topics().by_id(replica.topic_id()).map(|topic| topic.config().clone());
        let config = config.map(|config| log_config(&config, opening.tail_bytes, &self.context.config));
        let (of, clock, disk) = (Arc::clone(replica), self.context.clock, Arc::clone(&self.context.disk));
        let opened =
            self.context.workers.opening.run(move || match of.with_log(|log, _| log.plan_reopen()) {
                Some(Some(reopen)) => {
                    let reopened = reopen.perform_with(&disk, &held.rewrite, clock.now());
                    let mut journal = opening.journal.lock();
                    match reopened {
                        Ok(reopened) => {
                            journal.reopened(of.key());
                            Ok(Some(reopened))
                        }
                        Err(error) => {
                            journal.carry(of.key(), &held.rewrite, reopen.durable_end());
                            Err(error)
                        }
                    }
                }
                // A round of it has yet to be reported.
                Some(None) => Ok(None),
                None => match config.filter(|_| of.is_offline()) {
                    Some(config) => open_offline(&opening, &of, &held, config).map(Some),
                    None => Ok(None),
                },
            });
        match opened.await {
            Ok(Ok(Some((log, report)))) => {
                let replica = Arc::clone(replica);
                return Some(OpenedLog { replica, log, report, config, _removals: removals });
            }
            Ok(Ok(None)) => replica.end_opening(),
            Ok(Err(error)) => replica.opening_failed(&error.to_string(), self.context.clock),
            Err(refusal) => replica.opening_failed(&refusal.message, self.context.clock),
        }
        None
    }

    /// Puts logs that were opened in their places, and leads in all partitions that are open and not led.
    pub(super) async fn lead_ready(self: &Arc<Self>, ready: &mut Vec<OpenedLog>, quiet: bool) {
        let journal_failed = self.journal.lock().failure().is_some();
        // What is not reopened before is carried from the failed journal to the new one: the less the better.
        if journal_failed && !quiet && self.logs_opening() > ready.len() {
            return;
        }
        if journal_failed {
            self.context.try_make_room().await;
            if !self.restart_journal().await {
                return;
            }
        }
        // What the journal still holds for them is in their files, synced. It must never be written there again: the
        // files may be replaced from now on.
        let superseded: Vec<_> =
            ready.iter().map(|opened| JournalRequest::EndCut(opened.replica.key())).collect();
        if !superseded.is_empty() {
            let failed = match self.commits.ask(superseded).await {
                Ok(superseded) => superseded.err(),
                Err(_) => return,
            };
            if let Some(error) = failed {
                tracing::warn!(%error, "logs stay stopped: the commit journal failed");
                ready.drain(..).for_each(|opened| opened.replica.not_opened(self.context.clock));
                return;
            }
        }
        for OpenedLog { replica, log, report, config, .. } in ready.drain(..) {
            report_findings(&self.context.metrics, &replica, &report);
            self.journal.lock().opened(replica.key(), &log);
            replica.opened(log, config);
        }
        self.lead_open().await;
        let (_, carried_bytes) = self.journal.lock().carried_bytes();
        self.context
            .metrics
            .storage
            .journal_carried_bytes
            .set(i64::try_from(carried_bytes).unwrap_or(i64::MAX));
        self.note_stopped_logs();
    }

    /// Begins the journal again if it has failed. Returns whether it can be used.
    async fn restart_journal(&self) -> bool {
        let journal = Arc::clone(&self.journal);
        match self.context.workers.control.run(move || journal.lock().restart()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "logs stay stopped: the commit journal cannot begin again");
                false
            }
            Err(refusal) => {
                tracing::error!(%refusal, "restarting the commit journal failed");
                false
            }
        }
    }
}

/// Opens a log that was offline, after what the journal holds for it was written to its segments.
fn open_offline(
    opening: &Opening,
    replica: &Replica,
    held: &JournalContents,
    config: LogConfig,
) -> Result<(Log, RecoveryReport), LogError> {
    let key = replica.key();
    if let Some(replay) = &held.replay {
        let replayed = replay.perform_of(key, &*opening.context.disk);
        replayed.map_err(|error| LogError::NotReplayed { reason: error.to_string() })?;
    }
    let opened = open_log(opening, replica.identity(), config)?;
    opening.journal.lock().reopened(key);
    Ok(opened)
}

impl Replica {
    /// Its log could not be opened or reopened. A log that has stopped is read from until it is reopened; one that was
    /// never open is offline.
    pub(in crate::engine) fn opening_failed(&self, reason: &str, clock: Clock) {
        let (topic, partition) = (self.topic(), self.index());
        if self.is_open() {
            tracing::warn!(%topic, %partition, error = reason, "log stays stopped");
        } else if self.take_offline(reason) {
            tracing::error!(event = "B0220", %topic, %partition, error = reason, "a partition is offline");
        }
        self.not_opened(clock);
    }

    /// It is tried again later.
    fn not_opened(&self, clock: Clock) {
        self.retry.lock().failed(clock.monotonic_ms());
        self.end_opening();
    }
}
