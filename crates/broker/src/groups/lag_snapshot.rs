//! A snapshot of all groups' lag, taken every few seconds, for the metrics and `status`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_group::{Committed, GroupActivity, GroupName, TopicPartition};
use corduroy_types::{Offset, TopicName};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Groups, Lag,
    forecast::{self, Limits, Progress},
};
use crate::engine::{Replica, Topic};

const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
/// Rates are measured over this long, and up to twice as long.
const WINDOW_MS: u64 = 5 * 60_000;
/// A group that will be overtaken within this time gets a warning.
const WARN_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// All groups, as of the last snapshot.
#[derive(Default)]
pub(crate) struct GroupLagSnapshot {
    pub(crate) groups: Vec<GroupLag>,
}

/// One group.
pub(crate) struct GroupLag {
    pub(crate) group: GroupName,
    pub(crate) activity: GroupActivity,
    pub(crate) member_count: usize,
    pub(crate) topics: BTreeMap<TopicName, TopicLag>,
    pub(crate) troubles: Vec<Trouble>,
}

/// A group's lag in one topic.
#[derive(Clone, Copy, Default)]
pub(crate) struct TopicLag {
    pub(crate) lag_records: u64,
    /// The greatest of any partition.
    pub(crate) lag_ms: u64,
}

/// Something about a group that an operator should know.
pub(crate) struct Trouble {
    pub(crate) topic: TopicName,
    pub(crate) partition: u32,
    pub(crate) kind: TroubleKind,
}

pub(crate) enum TroubleKind {
    /// Records were deleted that it had not read.
    Lost { position: Offset, log_start: Offset },
    /// Its committed position lies beyond the end of the log, where nothing can be read.
    BeyondEnd { position: Offset, high_watermark: Offset },
    /// At the present rate, records will be deleted before it reads them.
    Overtaken { within: Duration },
}

/// What the monitor remembers of a group in a partition between two snapshots.
struct Past {
    /// Of the last window, and of the one before.
    recent: Progress,
    older: Progress,
    /// Records below this log start are counted as lost.
    counted_start: Offset,
    /// The last snapshot that contained it. Entries of earlier ones are dropped.
    round: u64,
}

/// Takes snapshots until the broker stops.
pub(super) async fn run(groups: Weak<Groups>) {
    let Some(mut stopping) = groups.upgrade().map(|groups| groups.engine.stopping()) else { return };
    let mut ticks = interval(SNAPSHOT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let Some(groups) = groups.upgrade() else { return };
        tokio::select! {
            () = groups.refresh_lag_snapshot() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

impl Groups {
    /// Takes a snapshot now.
    pub(crate) async fn refresh_lag_snapshot(&self) {
        let snapshot = self.lag_monitor.lock().await.snapshot(self).await;
        self.lag_snapshot.store(Arc::new(snapshot));
    }
}

/// What is remembered from one snapshot to the next.
#[derive(Default)]
pub(super) struct LagMonitor {
    past: HashMap<(GroupName, TopicPartition), Past>,
    round: u64,
}

/// A group as its coordinator knows it.
struct Known {
    group: GroupName,
    activity: GroupActivity,
    member_count: usize,
    committed: Vec<(TopicPartition, Offset)>,
}

impl LagMonitor {
    async fn snapshot(&mut self, groups: &Groups) -> GroupLagSnapshot {
        self.round += 1;
        groups.lag_cache.lock().age();
        let (mut measured, mut complete) = (Vec::new(), true);
        for shard in groups.shards().iter() {
            let known = shard.read(|coordinator| {
                let known = coordinator.groups().map(|(group, activity, member_count)| {
                    let offset = |(at, committed): (TopicPartition, &Committed)| (at, committed.offset);
                    let committed = coordinator.committed(group).map(offset).collect();
                    Known { group: group.clone(), activity, member_count, committed }
                });
                known.collect::<Vec<_>>()
            });
            let Ok(known) = known.await else {
                complete = false;
                continue;
            };
            for known in known {
                measured.push(self.measure(groups, known).await);
            }
        }
        // A group whose coordinator is not loaded is unknown, which does not mean deleted.
        if complete {
            self.past.retain(|_, past| past.round == self.round);
            groups
                .engine
                .metrics()
                .groups
                .retain(|group| measured.iter().any(|known| known.group.as_str() == group));
        }
        GroupLagSnapshot { groups: measured }
    }

    async fn measure(&mut self, groups: &Groups, known: Known) -> GroupLag {
        let Known { group, activity, member_count, committed } = known;
        let mut measured =
            GroupLag { group, activity, member_count, topics: BTreeMap::new(), troubles: Vec::new() };
        for (at, position) in committed {
            let Some(topic) = groups.engine.replicas().topics().by_id(at.topic_id) else { continue };
            let Some(replica) = topic.replica(at.partition) else { continue };
            let trouble = |kind| Trouble { topic: topic.name().clone(), partition: at.partition.0, kind };
            let Some(lag) = groups.lag(at, Some(position)).await else {
                let Ok(cursors) = replica.cursors() else { continue };
                let high_watermark = cursors.high_watermark;
                let beyond = (position > high_watermark)
                    .then_some(TroubleKind::BeyondEnd { position, high_watermark });
                measured.troubles.extend(beyond.map(trouble));
                continue;
            };
            let entry = measured.topics.entry(topic.name().clone()).or_default();
            entry.lag_records += lag.records;
            entry.lag_ms = entry.lag_ms.max(lag.age_ms.unwrap_or(0));
            let kind = self.trouble(groups, &measured.group, (at, position), (&topic, &replica), lag);
            measured.troubles.extend(kind.map(trouble));
        }
        measured
    }

    /// What is wrong with a group in a partition. Counts the records that it has lost.
    fn trouble(
        &mut self,
        groups: &Groups,
        group: &GroupName,
        (at, position): (TopicPartition, Offset),
        (topic, replica): (&Topic, &Replica),
        lag: Lag,
    ) -> Option<TroubleKind> {
        let now = progress(groups, replica, position, lag)?;
        let round = self.round;
        let past = self.past.entry((group.clone(), at)).or_insert_with(|| Past {
            recent: now,
            older: now,
            counted_start: Offset::ZERO,
            round,
        });
        past.round = round;
        if now.at_ms.saturating_sub(past.recent.at_ms) >= WINDOW_MS {
            (past.older, past.recent) = (past.recent, now);
        }
        if position < now.log_start {
            let counted = past.counted_start.max(position);
            let lost = now.log_start.distance_from(counted.min(now.log_start));
            groups.engine.metrics().groups.lost(group.as_str(), topic.name().as_str(), lost);
            past.counted_start = now.log_start;
            return Some(TroubleKind::Lost { position, log_start: now.log_start });
        }
        let config = topic.config();
        let limits = match config.cleanup_policy.deletes() {
            true => Limits { retention_ms: config.retention_ms, retention_bytes: config.retention_bytes },
            false => Limits::default(),
        };
        let within = forecast::overtaken_in(&past.older, &now, limits)?;
        (within < WARN_WITHIN).then_some(TroubleKind::Overtaken { within })
    }
}

fn progress(groups: &Groups, replica: &Replica, position: Offset, lag: Lag) -> Option<Progress> {
    let (cursors, clock) = (replica.cursors().ok()?, groups.engine.clock());
    let now = clock.now();
    Some(Progress {
        at_ms: clock.monotonic_ms(),
        now,
        frontier: lag.first_at.unwrap_or(now).min(now),
        position,
        log_start: cursors.log_start,
        log_end: cursors.high_watermark,
        bytes: replica.stats().bytes,
    })
}
