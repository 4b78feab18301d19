//! The scrub in the background: everything stored is read and checked periodically, at a bounded rate.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use corduroy_log::Scrub;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Maintenance;
use crate::engine::Replica;
use crate::metrics::CorruptionAction;

/// How often a part of the second's bytes is read.
const TICK: Duration = Duration::from_millis(250);
const TICKS_PER_SECOND: u64 = 4;
/// The most partitions that one tick visits.
const PARTITIONS_PER_TICK: usize = 256;

/// One pass over all partitions.
#[derive(Default)]
struct Pass {
    left: VecDeque<Arc<Replica>>,
    under_way: Option<(Arc<Replica>, Scrub)>,
}

/// Runs until the broker stops.
pub(super) async fn run(maintenance: Weak<Maintenance>) {
    let Some((rate, every, mut stopping)) = maintenance.upgrade().map(|maintenance| {
        let storage = &maintenance.context.config.storage;
        (storage.scrub_bytes_per_second, storage.scrub_every, maintenance.context.stopping())
    }) else {
        return;
    };
    if rate == 0 {
        return;
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_pass = Instant::now();
    let mut pass = Pass::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let Some(maintenance) = maintenance.upgrade() else { return };
        if pass.is_done() {
            if Instant::now() < next_pass {
                continue;
            }
            next_pass = Instant::now() + every;
            maintenance.replicas.for_each(|replica| pass.left.push_back(Arc::clone(replica)));
        }
        let performed = Arc::clone(&maintenance);
        let went_on = maintenance.context.workers.maintenance.run(move || {
            pass.go_on(&performed, (rate / TICKS_PER_SECOND).max(1));
            pass
        });
        match went_on.await {
            Ok(left) => pass = left,
            // Stopping, or a mistake that was logged where it happened.
            Err(_) => return,
        }
    }
}

impl Pass {
    fn is_done(&self) -> bool {
        self.left.is_empty() && self.under_way.is_none()
    }

    /// Reads about `bytes` more.
    fn go_on(&mut self, maintenance: &Maintenance, bytes: u64) {
        let (mut left, mut partitions) = (bytes, 0);
        while left > 0 && partitions < PARTITIONS_PER_TICK {
            let Some((replica, mut scrub)) = self.next() else { return };
            match scrub.step(left) {
                Ok(step) => {
                    left = left.saturating_sub(step.bytes);
                    for damage in &step.found {
                        maintenance.context.metrics.storage.corruption(CorruptionAction::Fenced).inc();
                        tracing::error!(event = "B0206", topic = %replica.topic(), partition = %replica.index(), %damage, "damaged bytes");
                    }
                    if !step.done {
                        self.under_way = Some((replica, scrub));
                    } else {
                        partitions += 1;
                    }
                }
                Err(error) => {
                    tracing::warn!(event = "B0217", topic = %replica.topic(), partition = %replica.index(), %error, "scrub passes over a file");
                    self.under_way = Some((replica, scrub));
                    return;
                }
            }
        }
    }

    fn next(&mut self) -> Option<(Arc<Replica>, Scrub)> {
        if self.under_way.is_some() {
            return self.under_way.take();
        }
        while let Some(replica) = self.left.pop_front() {
            if let Some(scrub) = replica.with_log(|log, _| log.plan_scrub()) {
                return Some((replica, scrub));
            }
        }
        None
    }
}
