//! The commit journal's beginning and end: replayed into the segments before any log is opened, checkpointed and
//! closed after the last.

use std::sync::Arc;

use corduroy_log::{
    Journal, JournalConfig, LogError,
    journal::{CheckpointFailure, JournalRequest, Replay, ReplayReport},
};
use corduroy_metadata::Image;
use corduroy_types::TopicId;
use parking_lot::Mutex;

use super::{Replicas, journal_findings::JournalFindings};
use crate::engine::{
    Context,
    replica::{CheckpointThread, CommitQueue, Unreplayed, spawn_checkpoints},
};
use crate::{
    metrics::CorruptionAction,
    parallel::{SYNCS_AT_ONCE, run_parallel},
};

/// Replays the journal of a data directory and begins a new generation of it, which keeps what could not be replayed.
///
/// # Errors
/// The journal itself cannot be read, or begun; nothing was lost.
pub(super) fn open(
    context: &Context,
) -> Result<(Arc<Mutex<Journal>>, Unreplayed, JournalFindings), LogError> {
    let Context { disk, data_dir, metrics, space, .. } = context;
    // On a full disk the start itself has to write a little.
    space.reserve.make_room();
    let replay = Replay::read(&**disk, data_dir)?;
    let unreplayed = Mutex::new(Unreplayed::new());
    run_parallel(replay.tasks(), SYNCS_AT_ONCE, |index| {
        if let (Err(error), Some(key)) = (replay.perform_task(index, &**disk), replay.task_key(index)) {
            unreplayed.lock().insert(key, error.to_string());
        }
    });
    let unreplayed = unreplayed.into_inner();
    let report = replay.report();
    if report.data_bytes > 0 || report.cuts > 0 {
        tracing::info!(
            event = "B0101",
            segments = report.segments,
            bytes = report.data_bytes,
            cuts = report.cuts,
            "the commit journal was replayed"
        );
    }
    let found = findings(&report);
    for damage in &found {
        metrics.storage.corruption(CorruptionAction::Journal).inc();
        tracing::error!(event = "B0212", %damage, "the commit journal is damaged");
    }
    let findings = JournalFindings::record(disk, data_dir, found);
    let keys = unreplayed.keys().copied().collect();
    let mut journal = Journal::begin_without(disk, &replay, &keys, JournalConfig::default())?;
    if !space.reserve.has_room() {
        journal.give_up_room();
    }
    Ok((Arc::new(Mutex::new(journal)), unreplayed, findings))
}

fn findings(report: &ReplayReport) -> Vec<String> {
    let lost = "there are logs, and no commit journal that can be read";
    let damages = report.damages.iter().map(ToString::to_string);
    damages.chain(report.unreadable.then(|| lost.to_owned())).collect()
}

/// Lets the journal forget partitions of topics that were deleted. Nothing waits for it.
pub(super) fn forget_deleted(
    journal: &Mutex<Journal>,
    commits: &CommitQueue,
    deleted: &[TopicId],
    image: &Image,
) {
    let journal = journal.lock();
    let gone = journal
        .partitions()
        .filter(|key| deleted.contains(&key.topic_id) && image.topic_by_id(key.topic_id).is_none());
    let requests: Vec<_> = gone.map(JournalRequest::Drop).collect();
    drop(journal);
    if !requests.is_empty() {
        drop(commits.ask(requests));
    }
}

impl Replicas {
    /// Starts the checkpoint thread.
    pub(in crate::engine) fn spawn_checkpoints(self: &Arc<Self>) -> std::io::Result<()> {
        let replicas = Arc::downgrade(self);
        let stop_log = move |failure: &CheckpointFailure| {
            let Some(replicas) = replicas.upgrade() else { return };
            replicas.for_each(|replica| {
                if replica.key() == failure.key {
                    replica.stop_log(replicas.context.clock, |log| log.checkpoint_failed(failure));
                }
            });
        };
        let thread = spawn_checkpoints(CheckpointThread {
            checkpointer: self.checkpointer.clone(),
            stop_log: Box::new(stop_log),
            journal: Arc::clone(&self.journal),
            commits: self.commits.clone(),
            disk: Arc::clone(&self.context.disk),
            metrics: Arc::clone(&self.context.metrics),
        })?;
        *self.checkpoint_thread.lock() = Some(thread);
        Ok(())
    }

    pub(super) fn stop_checkpoints(&self) -> bool {
        self.checkpointer.stop();
        let thread = self.checkpoint_thread.lock().take();
        thread.is_none_or(|thread| thread.join().is_ok())
    }

    /// Syncs every segment that the journal holds data for. Returns whether all went well.
    pub(super) fn checkpoint(&self) -> bool {
        let planned = self.journal.lock().plan_checkpoint();
        let Some(checkpoint) = planned else { return true };
        run_parallel(checkpoint.segments(), SYNCS_AT_ONCE, |index| {
            checkpoint.perform_step(index, self.context.disk.as_ref())
        });
        let failures = self.journal.lock().checkpointed(checkpoint);
        for failure in &failures {
            tracing::error!(file = %failure.file, error = %failure.error, "segment not synced");
        }
        failures.is_empty()
    }

    /// Says in the journal that nothing of it need be replayed.
    pub(super) fn close_journal(&self) -> bool {
        let mut journal = self.journal.lock();
        let mut commit = journal.plan(Vec::new(), Vec::new(), true);
        commit.perform(self.context.disk.as_ref());
        journal.finish(commit).requests.is_ok()
    }
}
