//! Compacting logs in the background: one at a time, the dirtiest first.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_api::Refusal;
use corduroy_log::{
    Compaction, CompactionError, CompactionNeed, CompactionProgress, CompactionStep, CompactionTotals, Disk,
    LogError, Swap,
};
use tokio::time::{MissedTickBehavior, interval};

use super::Maintenance;
use crate::engine::{Replica, replica::CompactionFailure};

/// How often the logs are checked.
const COMPACTION_EVERY: Duration = Duration::from_secs(15);
/// Bytes of one step. Between steps other work gets the log and the worker.
const STEP: CompactionStep = CompactionStep { max_bytes: 8 << 20 };
/// After a failure of the disk, when a partition is tried again.
const RETRY_AFTER_MS: u64 = 60_000;

/// How a pass ended.
enum Ended {
    Done,
    /// The log is not the one it was: its topic was deleted, it was reopened, or records were deleted under it.
    Overtaken,
    Failed {
        error: String,
        retry: bool,
    },
}

/// Runs until the broker stops.
pub(super) async fn run(maintenance: Weak<Maintenance>) {
    let mut ticks = interval(COMPACTION_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Some(mut stopping) = maintenance.upgrade().map(|maintenance| maintenance.context.stopping()) else {
        return;
    };
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let Some(maintenance) = maintenance.upgrade() else { return };
        maintenance.compact_due().await;
    }
}

impl Maintenance {
    /// Compacts every log for which it is due, the dirtiest first. Returns how many passes ended well.
    pub(crate) async fn compact_due(self: &Arc<Self>) -> usize {
        let _one_at_a_time = self.compacting.lock().await;
        // A pass needs room before it gives any back.
        if self.context.check_writable().is_err() {
            return 0;
        }
        self.replicas.for_each(|replica| {
            replica.with_log(|log, _| log.roll_for_compaction(self.context.clock.now()));
            replica.ask_for_round();
        });
        let mut passes = 0;
        while let Some(replica) = self.next_to_compact() {
            match self.compact(&replica).await {
                Ok(Ended::Done) => passes += 1,
                Ok(Ended::Overtaken) => return passes,
                Ok(Ended::Failed { error, retry }) => self.compaction_failed(&replica, error, retry),
                Err(refusal) => self.compaction_failed(&replica, refusal.to_string(), true),
            }
        }
        passes
    }

    /// The log to compact now; none while the broker stops, or the disk is full.
    fn next_to_compact(&self) -> Option<Arc<Replica>> {
        let may_compact = !self.context.is_stopping() && self.context.check_writable().is_ok();
        may_compact.then(|| self.dirtiest()).flatten()
    }

    /// What there is to compact of a partition, if it is compacted.
    pub(crate) fn compaction_need(&self, replica: &Replica) -> Option<CompactionNeed> {
        let now = self.expiry_now();
        replica.with_log(|log, high_watermark| log.compaction_need(now, high_watermark)).flatten()
    }

    /// The log that most wants to be compacted, if any does.
    fn dirtiest(&self) -> Option<Arc<Replica>> {
        let clock_ms = self.context.clock.monotonic_ms();
        let mut found = None;
        self.replicas.for_each(|replica| {
            let failed = replica.compaction_failure();
            if failed.is_some_and(|failed| failed.retry_at_ms.is_none_or(|at| clock_ms < at)) {
                return;
            }
            let Some(need) = self.compaction_need(replica).filter(|need| need.is_due()) else { return };
            let rank = (need.overdue, need.dirty_ratio());
            if found.as_ref().is_none_or(|(best, _)| rank > *best) {
                found = Some((rank, Arc::clone(replica)));
            }
        });
        found.map(|(_, replica)| replica)
    }

    async fn compact(self: &Arc<Self>, replica: &Arc<Replica>) -> Result<Ended, Refusal> {
        let (now, buffer) = (self.expiry_now(), self.context.config.storage.compaction_buffer_bytes);
        let planned =
            replica.with_log(|log, high_watermark| log.plan_compaction(now, high_watermark, buffer));
        let Some(mut pass) = planned.flatten() else { return Ok(Ended::Overtaken) };
        loop {
            // Whatever else changes files of this log waits for one step at most.
            let exclusive = Arc::clone(&replica.removals).lock_owned().await;
            let (maintenance, of) = (Arc::clone(self), Arc::clone(replica));
            let stepped = self.context.workers.maintenance.run(move || {
                let _exclusive = exclusive;
                maintenance.compaction_step(&of, pass)
            });
            match stepped.await? {
                Ok(next) => pass = next,
                Err(ended) => return Ok(ended),
            }
        }
    }

    /// One step of a pass. Blocks on the disk.
    fn compaction_step(&self, replica: &Replica, mut pass: Compaction) -> Result<Compaction, Ended> {
        let disk = self.context.disk.as_ref();
        let same = replica.with_log(|log, _| pass.is_of(log)).unwrap_or(false);
        if !same || self.context.is_stopping() {
            pass.discard(disk);
            return Err(Ended::Overtaken);
        }
        if let Err(error) = finish_swap(disk, replica) {
            pass.discard(disk);
            return Err(Ended::Failed { error: error.to_string(), retry: true });
        }
        let before = pass.totals();
        let progress = pass.step(STEP);
        self.count(before, pass.totals());
        match progress {
            Ok(CompactionProgress::More) => Ok(pass),
            Ok(CompactionProgress::Swap(swap)) => match self.swap(replica, swap) {
                Ok(true) => Ok(pass),
                Ok(false) => Err(Ended::Overtaken),
                Err(error) => Err(Ended::Failed { error: error.to_string(), retry: true }),
            },
            Ok(CompactionProgress::Done(compacted)) => {
                let persisted = compacted.persist(disk);
                persisted.map_err(|error| Ended::Failed { error: error.to_string(), retry: true })?;
                replica.with_log(|log, _| log.apply_compacted(&compacted));
                let CompactionTotals { copied_bytes, removed_bytes, removed_records, .. } = pass.totals();
                tracing::info!(
                    event = "B0104", topic = %replica.topic(), partition = %replica.index(), end = %compacted.end(),
                    copied_bytes, removed_bytes, removed_records, "compacted"
                );
                Err(Ended::Done)
            }
            Err(error) => {
                pass.discard(disk);
                let retry = matches!(error, CompactionError::Disk(_));
                Err(Ended::Failed { error: error.to_string(), retry })
            }
        }
    }

    /// Puts a compacted segment in the place of others; `false` when that does not fit any more.
    fn swap(&self, replica: &Replica, swap: Swap) -> Result<bool, LogError> {
        let disk = self.context.disk.as_ref();
        if !replica.with_log(|log, _| log.may_swap(&swap)).unwrap_or(false) {
            swap.discard(disk);
            return Ok(false);
        }
        // The old segments count on where this fails, and the next pass does it again.
        swap.commit(disk)?;
        let applied = replica.with_log(|log, _| log.apply_swap(&swap)).unwrap_or(false);
        if !applied {
            return Ok(false);
        }
        replica.set_unfinished_swap(swap);
        finish_swap(disk, replica).map(|()| true)
    }

    fn count(&self, before: CompactionTotals, after: CompactionTotals) {
        let storage = &self.context.metrics.storage;
        storage.compaction_read_bytes.inc_by(after.read_bytes - before.read_bytes);
        storage.compaction_removed_bytes.inc_by(after.removed_bytes - before.removed_bytes);
    }

    fn compaction_failed(&self, replica: &Replica, text: String, retry: bool) {
        tracing::error!(
            event = "B0214", topic = %replica.topic(), partition = %replica.index(), error = text,
            "a partition cannot be compacted; the others are"
        );
        let retry_at_ms = retry.then(|| self.context.clock.monotonic_ms().saturating_add(RETRY_AFTER_MS));
        replica.set_compaction_failure(Some(CompactionFailure { text, retry_at_ms }));
    }
}

/// Gives the segment that was swapped in last its name. What fails is left for the next call.
pub(super) fn finish_swap(disk: &dyn Disk, replica: &Replica) -> Result<(), LogError> {
    let Some(swap) = replica.take_unfinished_swap() else { return Ok(()) };
    // A log that was opened again has finished it by itself.
    if !replica.with_log(|log, _| swap.is_of(log)).unwrap_or(false) {
        return Ok(());
    }
    swap.finish(disk).inspect_err(|_| replica.set_unfinished_swap(swap))
}
