//! What has to happen now and then: time-outs, free space, retention, reopening stopped logs.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use corduroy_log::journal::Rewrite;

use super::{Engine, Replica, reserve::RESERVE_BYTES, slow_disk::Pace};

const TIMEOUTS_EVERY: Duration = Duration::from_millis(100);
const SPACE_EVERY: Duration = Duration::from_secs(1);
const REOPEN_EVERY: Duration = Duration::from_secs(1);
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// Ends waits that are over, and notices a disk that hangs. Apart from the rest, because it must go on while the disk hangs.
pub(super) async fn expire(engine: Weak<Engine>) {
    let mut timeouts = ticks(TIMEOUTS_EVERY);
    let mut pace = Pace::default();
    loop {
        timeouts.tick().await;
        let Some(engine) = engine.upgrade() else { return };
        pace = engine.watch_pace(pace);
        engine.for_each_replica(|replica| replica.tick(engine.clock));
    }
}

/// Runs until the broker stops.
pub(super) async fn run(engine: Weak<Engine>) {
    let mut space = ticks(SPACE_EVERY);
    let mut reopen = ticks(REOPEN_EVERY);
    let mut retention = ticks(RETENTION_EVERY);
    let Some(mut stopping) = engine.upgrade().map(|engine| engine.stopping()) else { return };
    loop {
        let due = tokio::select! {
            _ = space.tick() => Due::Space,
            _ = reopen.tick() => Due::Reopen,
            _ = retention.tick() => Due::Retention,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Some(engine) = engine.upgrade() else { return };
        // The disk is fenced off then: each of these would only fail, and say so each time.
        if engine.health.data_dir_lost().is_some() {
            engine.note_stopped_logs();
            continue;
        }
        match due {
            Due::Space => engine.check_space().await,
            Due::Reopen => {
                engine.reopen_stopped().await;
                engine.open_all_missing().await;
            }
            Due::Retention => engine.retain_all().await,
        }
    }
}

enum Due {
    Space,
    Reopen,
    Retention,
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Engine {
    pub(super) fn for_each_replica(&self, mut visit: impl FnMut(&Arc<Replica>)) {
        for topic in self.topics().iter() {
            topic.replicas().iter().for_each(&mut visit);
        }
        visit(&self.metadata);
    }

    /// Refuses appends below the reserve, warns above it, and lets them in again when there is room.
    pub(super) async fn check_space(self: &Arc<Self>) {
        let reserve = Arc::clone(&self.reserve);
        let Ok(Some(space)) = self.off_network(move || reserve.look()).await else { return };
        let block = self.config.storage.disk_block_watermark.bytes(space.total_bytes);
        let low = self.config.storage.disk_low_watermark.bytes(space.total_bytes);
        let (blocked, is_low) = (space.free_bytes < block, space.free_bytes < low);
        let was_blocked = self.disk_blocked.swap(blocked, Ordering::Relaxed);
        let was_low = self.disk_low.swap(is_low, Ordering::Relaxed);
        self.health.set_disk_blocked(blocked);
        let free_bytes = space.free_bytes;
        if free_bytes >= block.saturating_add(2 * RESERVE_BYTES) {
            let reserve = Arc::clone(&self.reserve);
            let _stopping = self.off_network(move || reserve.take()).await;
        }
        if blocked && !was_blocked {
            tracing::error!(
                event = "B0203",
                free_bytes,
                needed_bytes = block,
                "disk is full: appends are refused"
            );
        } else if was_blocked && !blocked {
            tracing::info!(event = "B0204", free_bytes, "disk has room again");
        } else if is_low && !was_low && !blocked {
            tracing::warn!(event = "B0205", free_bytes, "disk is getting full");
        }
    }

    async fn retain_all(&self) {
        let mut replicas = Vec::new();
        self.for_each_replica(|replica| replicas.push(Arc::clone(replica)));
        for replica in replicas {
            replica.release_if_idle();
            if let Err(refusal) = self.apply_retention(&replica).await {
                tracing::warn!(topic = %replica.topic(), partition = %replica.index(), %refusal, "retention failed");
            }
        }
    }

    /// Cuts stopped logs at what is durable and opens them afresh, in a new leader epoch.
    ///
    /// Where the commit journal has failed that is all of them, and the journal begins anew after that.
    async fn reopen_stopped(&self) {
        let journal_failure = self.journal.lock().failure().map(ToOwned::to_owned);
        if let Some(reason) = &journal_failure {
            self.for_each_replica(|replica| {
                replica.stop_log(self.clock, |log| log.journal_failed(reason));
            });
        }
        let mut stopped = Vec::new();
        self.for_each_replica(|replica| {
            if let Some(Some(reopen)) = replica.with_log(|log, _| log.plan_reopen()) {
                stopped.push((Arc::clone(replica), reopen));
            }
        });
        self.note_stopped_logs();
        if stopped.is_empty() && journal_failure.is_none() {
            return;
        }
        // What stopped them may have been a full disk, and leading on is written down.
        let reserve = Arc::clone(&self.reserve);
        let _stopping = self.off_network(move || reserve.make_room()).await;
        let (disk, data_dir) = (Arc::clone(&self.disk), self.data_dir.clone());
        let keys: Vec<_> = stopped.iter().map(|(replica, _)| replica.key()).collect();
        // What was carried over since an earlier try is in memory.
        let kept = self.journal.lock().carried(&keys);
        let read = move || kept.map_or_else(|| Rewrite::read(&*disk, &data_dir), Ok);
        let rewrite = match self.off_network(read).await {
            Ok(Ok(rewrite)) => Arc::new(rewrite),
            Ok(Err(error)) => return tracing::warn!(%error, "logs stay stopped: the journal cannot be read"),
            Err(refusal) => return tracing::error!(%refusal, "reopening failed"),
        };
        let mut reopened = Vec::new();
        for (replica, reopen) in stopped {
            // Nothing may move the log start between the old log and the new one.
            let removals = Arc::clone(&replica.removals).lock_owned().await;
            let (disk, now, data) = (Arc::clone(&self.disk), self.clock.now(), Arc::clone(&rewrite));
            let durable_end = reopen.durable_end();
            match self.off_network(move || reopen.perform_with(&disk, &data, now)).await {
                Ok(Ok((log, _))) => {
                    self.journal.lock().reopened(replica.key());
                    reopened.push((replica, log, removals));
                }
                Ok(Err(error)) => {
                    self.journal.lock().carry(replica.key(), &rewrite, durable_end);
                    tracing::warn!(topic = %replica.topic(), partition = %replica.index(), %error, "log stays stopped");
                }
                Err(refusal) => tracing::error!(%refusal, "reopening failed"),
            }
        }
        if self.restart_journal().await {
            // A broker that stops answers nobody any more, and waits for who holds the logs' files.
            let mut stopping = self.stopping();
            tokio::select! {
                () = self.lead_reopened(reopened) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
        let (_, carried_bytes) = self.journal.lock().carried_bytes();
        self.metrics.storage.journal_carried_bytes.set(i64::try_from(carried_bytes).unwrap_or(i64::MAX));
        self.note_stopped_logs();
    }

    /// Counts the logs that take no appends, for `/readyz` and `status`.
    fn note_stopped_logs(&self) {
        let (mut stopped, mut all) = (0, 0);
        self.for_each_replica(|replica| {
            all += 1;
            stopped += u64::from(replica.failure().is_some());
        });
        self.health.set_partitions_down(stopped, all);
    }

    /// Begins the journal anew if it has failed. Returns whether it can be used.
    async fn restart_journal(&self) -> bool {
        let journal = Arc::clone(&self.journal);
        match self.off_network(move || journal.lock().restart()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "logs stay stopped: the commit journal cannot begin anew");
                false
            }
            Err(refusal) => {
                tracing::error!(%refusal, "restarting the commit journal failed");
                false
            }
        }
    }
}
