//! What has to happen now and then for groups: loading, sessions, expiry, new topics.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_group::Removed;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Groups;

const TICK_EVERY: Duration = Duration::from_millis(500);
/// A tick that comes this late means that the process stood still, and could hear nobody.
const STOOD_STILL: Duration = Duration::from_secs(3);
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Runs until the broker stops.
pub(super) async fn run(groups: Weak<Groups>) {
    let Some((look, mut stopping, mut topics)) = groups
        .upgrade()
        .map(|groups| (Arc::clone(&groups.look), groups.engine.stopping(), groups.engine.follow_topics()))
    else {
        return;
    };
    let mut ticks = interval(TICK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_tick = Instant::now();
    loop {
        let due = tokio::select! {
            _ = ticks.tick() => Due::Tick,
            () = look.notified() => Due::Load,
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
    /// Loads what is not loaded, each shard in a task of its own.
    fn load_all(self: &Arc<Self>) {
        for shard in self.shards().iter().filter(|shard| shard.begin_loading()) {
            let (groups, shard) = (Arc::clone(self), Arc::clone(shard));
            tokio::spawn(async move {
                let Err(refusal) = groups.load(&shard).await else { return };
                if shard.loading_failed(refusal.message.clone(), LOAD_AGAIN_AFTER) {
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
        for shard in self.shards().iter() {
            shard.tidy();
            let ticked = shard.decide_unasked(|coordinator, now, out| {
                if late {
                    coordinator.renew_sessions(now);
                }
                coordinator.tick(now, out)
            });
            // While it is loading nobody's session runs.
            for Removed { group, member, reason } in ticked.unwrap_or_default() {
                tracing::warn!(event = "B0401", %group, %member, %reason, "member put out of its group");
            }
        }
        self.load_all();
    }

    /// Tells the coordinators which topics there are.
    fn take_topics(&self) {
        for shard in self.shards().iter() {
            // What is not loaded now takes the topics in when it is. Those of this moment: one that was loaded just now
            // may know newer ones than a moment ago.
            let _unless_ready =
                shard.decide_unasked(|coordinator, now, out| coordinator.set_topics(now, self.topics(), out));
        }
    }
}
