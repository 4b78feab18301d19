//! Brings the partitions of this broker to where the image says they are: open, led, or erased. Whatever fails is tried
//! again by itself, each partition for itself.
//!
//! Topics that have changed are acted on at once, each in a task of its own ([`topics`]). A pass each second finds the
//! partitions that are not there: not open yet, or stopped by a failed write or sync ([`opening`]), or not led
//! ([`leading`]). One that hangs or fails keeps no other one waiting.

mod leading;
mod opening;
mod start;
mod topics;

use std::{sync::Weak, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::Replicas;

const EVERY: Duration = Duration::from_secs(1);
/// Logs that were opened and wait to be led.
const READY_MAX: usize = 1_024;

/// Runs until the broker stops.
pub(in crate::engine) async fn run(replicas: Weak<Replicas>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (sender, mut opened) = mpsc::channel(READY_MAX);
    let Some(mut stopping) = replicas.upgrade().map(|replicas| replicas.context.stopping()) else { return };
    let mut ready = Vec::new();
    loop {
        let first = tokio::select! {
            _ = ticks.tick() => None,
            first = opened.recv() => first,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Some(replicas) = replicas.upgrade() else { return };
        let is_pass = first.is_none();
        ready.extend(first);
        while let Ok(more) = opened.try_recv() {
            ready.push(more);
        }
        // A broker that stops sends no more answers, and waits until the logs' files are closed.
        tokio::select! {
            () = async {
                // The disk is fenced off then: whatever is tried would only fail.
                if replicas.context.health.data_dir_lost().is_some() {
                    return;
                }
                let mut quiet = false;
                if is_pass {
                    replicas.find_missing();
                    quiet = replicas.begin_opening(&sender).await == 0;
                }
                replicas.lead_ready(&mut ready, quiet).await;
            } => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Acts on topics as they change, until the broker stops.
pub(in crate::engine) async fn follow(replicas: Weak<Replicas>) {
    let Some((local, mut stopping)) = replicas
        .upgrade()
        .map(|replicas| (std::sync::Arc::clone(&replicas.local), replicas.context.stopping()))
    else {
        return;
    };
    loop {
        let Some(replicas) = replicas.upgrade() else { return };
        replicas.begin_changed();
        drop(replicas);
        tokio::select! {
            () = local.wanted() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}
