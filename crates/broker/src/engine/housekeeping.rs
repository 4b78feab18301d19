//! What has to happen now and then: time-outs, free space, retention.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Engine, Replica, expiry, reserve::RESERVE_BYTES, slow_disk::DiskHealth};

const TIMEOUTS_EVERY: Duration = Duration::from_millis(100);
const SPACE_EVERY: Duration = Duration::from_secs(1);
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// Ends waits that are over, and notices a disk that hangs. Apart from the rest, because it must go on while the disk hangs.
pub(super) async fn expire(engine: Weak<Engine>) {
    let mut timeouts = ticks(TIMEOUTS_EVERY);
    let mut disk_health = DiskHealth::default();
    loop {
        timeouts.tick().await;
        let Some(engine) = engine.upgrade() else { return };
        disk_health = engine.watch_disk_health(disk_health);
        engine.workers.sweep();
        engine.for_each_replica(|replica| replica.tick(engine.clock));
    }
}

/// Runs until the broker stops.
pub(super) async fn run(engine: Weak<Engine>) {
    let mut space = ticks(SPACE_EVERY);
    let mut retention = ticks(RETENTION_EVERY);
    let Some(mut stopping) = engine.upgrade().map(|engine| engine.stopping()) else { return };
    loop {
        let due = tokio::select! {
            _ = space.tick() => Due::Space,
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
            Due::Retention => engine.retain_all().await,
        }
    }
}

enum Due {
    Space,
    Retention,
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Engine {
    pub(super) fn for_each_replica(&self, mut visit: impl FnMut(&Arc<Replica>)) {
        for topic in self.local.all().values() {
            topic.replicas().iter().for_each(&mut visit);
        }
        visit(self.metadata.replica());
    }

    /// Refuses appends below the reserve, warns above it, and lets them in again when there is room.
    pub(super) async fn check_space(self: &Arc<Self>) {
        let reserve = Arc::clone(&self.reserve);
        let Ok(Some(space)) = self.workers.control.run(move || reserve.look()).await else { return };
        let block = self.config.storage.disk_block_watermark.bytes(space.total_bytes);
        let low = self.config.storage.disk_low_watermark.bytes(space.total_bytes);
        let (blocked, is_low) = (space.free_bytes < block, space.free_bytes < low);
        let was_blocked = self.disk_blocked.swap(blocked, Ordering::Relaxed);
        let was_low = self.disk_low.swap(is_low, Ordering::Relaxed);
        self.health.set_disk_blocked(blocked);
        let free_bytes = space.free_bytes;
        if free_bytes >= block.saturating_add(2 * RESERVE_BYTES) {
            let reserve = Arc::clone(&self.reserve);
            let _stopping = self.workers.control.run(move || reserve.take()).await;
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

    /// Looks at the time by which records expire, tells of a jump, and stores it now and then.
    async fn look_at_expiry(&self) {
        let before = self.expiry_held_ms();
        let _now = self.expiry_now();
        if let Some(ahead_ms) = self.expiry_held_ms().filter(|_| before.is_none()) {
            tracing::warn!(
                event = "B0231",
                ahead_ms,
                "the wall clock is far ahead: records expire slowly until it is caught up with"
            );
        }
        let Some(time) = self.expiry.lock().take_due() else { return };
        let (disk, data_dir) = (Arc::clone(&self.disk), self.data_dir.clone());
        if let Ok(Err(error)) = self.workers.control.run(move || expiry::store(&*disk, &data_dir, time)).await
        {
            tracing::warn!(%error, "the time by which records expire cannot be stored");
        }
    }

    async fn retain_all(&self) {
        self.look_at_expiry().await;
        let mut replicas = Vec::new();
        self.for_each_replica(|replica| replicas.push(Arc::clone(replica)));
        for replica in replicas {
            replica.release_if_idle();
            if let Err(refusal) = self.apply_retention(&replica).await {
                tracing::warn!(topic = %replica.topic(), partition = %replica.index(), %refusal, "retention failed");
            }
        }
    }

    /// Counts the logs that take no appends, for `/readyz` and `status`.
    pub(super) fn note_stopped_logs(&self) {
        let (mut stopped, mut all) = (0, 0);
        self.for_each_replica(|replica| {
            all += 1;
            stopped += u64::from(!replica.is_led());
        });
        self.health.set_partitions_down(stopped, all);
    }
}
