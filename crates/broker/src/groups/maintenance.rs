//! The periodic work for groups: loading coordinators, ending sessions, expiring offsets, and following the set
//! of topics.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_group::Removed;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Groups;

const TICK_EVERY: Duration = Duration::from_millis(500);
/// A tick that is this late means that the process was suspended and could not receive heartbeats.
const STOOD_STILL: Duration = Duration::from_secs(3);
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Runs until the broker stops.
pub(super) async fn run(groups: Weak<Groups>) {
    let Some((load_wanted, mut stopping, mut topics)) = groups.upgrade().map(|groups| {
        (Arc::clone(&groups.load_wanted), groups.engine.stopping(), groups.engine.replicas().follow_topics())
    }) else {
        return;
    };
    let mut ticks = interval(TICK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_tick = Instant::now();
    loop {
        let due = tokio::select! {
            _ = ticks.tick() => Due::Tick,
            () = load_wanted.notified() => Due::Load,
            Ok(()) = topics.changed() => Due::Topics,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Some(groups) = groups.upgrade() else { return };
        match due {
            Due::Tick => {
                let late = last_tick.elapsed() >= STOOD_STILL;
                last_tick = Instant::now();
                groups.tick(late);
            }
            Due::Load => groups.load_all(),
            Due::Topics => groups.take_topics(),
        }
    }
}

enum Due {
    Tick,
    Load,
    Topics,
}

impl Groups {
    /// Loads the coordinators that are not loaded, each in a task of its own.
    fn load_all(self: &Arc<Self>) {
        for shard in self.shards().iter().filter(|shard| shard.begin_loading()) {
            let (groups, shard) = (Arc::clone(self), Arc::clone(shard));
            tokio::spawn(async move {
                let Err(refusal) = groups.load(&shard).await else { return };
                if shard.loading_failed(refusal.clone(), LOAD_AGAIN_AFTER) {
                    let partition = shard.replica.index();
                    tracing::warn!(event = "B0402", %partition, error = %refusal, "groups are not loaded");
                }
            });
        }
    }

    fn tick(self: &Arc<Self>, late: bool) {
        if late {
            tracing::warn!(event = "B0403", "the broker stood still: all members get a new session");
        }
        let expiry_time = self.engine.maintenance().expiry_now();
        for shard in self.shards().iter() {
            shard.tidy();
            let ticked = shard.decide_unasked(|coordinator, now, out| {
                if late {
                    coordinator.renew_sessions(now);
                }
                coordinator.expire_offsets(expiry_time, out);
                coordinator.tick(now, out)
            });
            // No session runs while its coordinator is loading.
            for Removed { group, member, reason } in ticked.unwrap_or_default() {
                tracing::warn!(event = "B0401", %group, %member, %reason, "member removed from its group");
            }
        }
        self.load_all();
    }

    /// Gives the coordinators the present set of topics.
    fn take_topics(&self) {
        for shard in self.shards().iter() {
            // A coordinator that is not loaded takes the topics in when it is. The set is read here, under its
            // lock: a coordinator that has just been loaded may know a newer set than the one that was announced.
            let _unless_ready =
                shard.decide_unasked(|coordinator, now, out| coordinator.set_topics(now, self.topics(), out));
        }
    }
}
