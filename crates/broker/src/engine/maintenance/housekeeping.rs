//! What is done periodically: time-outs, free space, retention.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Maintenance, expiry, slow_disk::DiskHealth};

const TIMEOUTS_EVERY: Duration = Duration::from_millis(100);
const SPACE_EVERY: Duration = Duration::from_secs(1);
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// Ends waits that are over, and notices a disk that hangs. Apart from the rest, because it must go on while the disk hangs.
pub(super) async fn expire(maintenance: Weak<Maintenance>) {
    let mut timeouts = ticks(TIMEOUTS_EVERY);
    let mut disk_health = DiskHealth::default();
    loop {
        timeouts.tick().await;
        let Some(maintenance) = maintenance.upgrade() else { return };
        disk_health = maintenance.watch_disk_health(disk_health);
        maintenance.context.workers.sweep();
        maintenance.replicas.for_each(|replica| replica.tick(maintenance.context.clock));
    }
}

/// Runs until the broker stops.
pub(super) async fn run(maintenance: Weak<Maintenance>) {
    let mut space = ticks(SPACE_EVERY);
    let mut retention = ticks(RETENTION_EVERY);
    let Some(mut stopping) = maintenance.upgrade().map(|maintenance| maintenance.context.stopping()) else {
        return;
    };
    loop {
        let due = tokio::select! {
            _ = space.tick() => Due::Space,
            _ = retention.tick() => Due::Retention,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Some(maintenance) = maintenance.upgrade() else { return };
        // The disk is fenced off then: each of these would only fail, and say so each time.
        if maintenance.context.health.data_dir_lost().is_some() {
            maintenance.replicas.note_stopped_logs();
            continue;
        }
        match due {
            Due::Space => maintenance.context.check_space().await,
            Due::Retention => maintenance.retain_all().await,
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

impl Maintenance {
    /// Advances the time by which records expire, reports a jump of the wall clock, and stores the time every few minutes.
    async fn advance_expiry(&self) {
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
        let (disk, data_dir) = (Arc::clone(&self.context.disk), self.context.data_dir.clone());
        if let Ok(Err(error)) =
            self.context.workers.control.run(move || expiry::store(&*disk, &data_dir, time)).await
        {
            tracing::warn!(%error, "the time by which records expire cannot be stored");
        }
    }

    async fn retain_all(&self) {
        self.advance_expiry().await;
        let mut replicas = Vec::new();
        self.replicas.for_each(|replica| replicas.push(Arc::clone(replica)));
        for replica in replicas {
            replica.release_if_idle();
            if let Err(refusal) = self.apply_retention(&replica).await {
                tracing::warn!(topic = %replica.topic(), partition = %replica.index(), %refusal, "retention failed");
            }
        }
    }
}

#[cfg(test)]
#[path = "clock_jump_tests.rs"]
mod tests;
