//! Opening all logs at the start, several at a time, and saying what was found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use corduroy_log::RecoveryReport;
use corduroy_types::PartitionIndex;
use parking_lot::Mutex;

use super::{
    Clock, Replica,
    commit::CommitQueue,
    opening::{OpenedReplica, Place, Recovered, open_replica},
};
use crate::{
    health::Health,
    metrics::{CorruptionAction, Metrics},
    parallel::run_parallel,
};

/// How often a recovery that takes long says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Logs to open.
pub(super) struct Opening<'a> {
    pub(super) place: &'a Place,
    /// By topic and partition.
    pub(super) logs: Vec<(Arc<corduroy_metadata::Topic>, PartitionIndex)>,
    /// How many are opened at a time.
    pub(super) threads: usize,
    pub(super) commits: &'a CommitQueue,
    pub(super) clock: Clock,
}

/// Opens logs, some at a time, and reports to `progress` how many are open. Those that cannot be opened are offline.
/// Returns them in the order given.
pub(super) fn open_parallel(opening: Opening<'_>, progress: impl Fn(usize) + Sync) -> Vec<OpenedReplica> {
    let Opening { place, logs, threads, commits, clock } = opening;
    let done: Mutex<Vec<_>> = Mutex::new(Vec::with_capacity(logs.len()));
    run_parallel(logs.len(), threads, |at| {
        let Some((topic, index)) = logs.get(at) else { return };
        let opened = open_replica(place, topic, *index, commits, clock);
        let mut done = done.lock();
        done.push((at, opened));
        progress(done.len());
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, opened)| opened).collect()
}

/// Says now and then how far a recovery of `total` logs is.
pub(super) fn recovery_progress(health: &Health, total: usize) -> impl Fn(usize) + Sync {
    let said = Mutex::new(Instant::now());
    move |open| {
        health.set_recovery_progress(open as u64, total as u64);
        let mut said = said.lock();
        if said.elapsed() >= PROGRESS_EVERY {
            *said = Instant::now();
            tracing::info!(event = "B0105", open, total, "recovering partitions");
        }
    }
}

/// Says what recovery found in one log.
pub(super) fn note(recovered: &mut Recovered, metrics: &Metrics, replica: &Replica, report: &RecoveryReport) {
    recovered.scanned_bytes += report.scanned_bytes;
    recovered.cut_bytes += report.cut.as_ref().map_or(0, |cut| cut.bytes);
    report_findings(metrics, replica, report);
}

/// Reports what was found in a log that was opened.
pub(super) fn report_findings(metrics: &Metrics, replica: &Replica, report: &RecoveryReport) {
    if let Some(cut) = &report.cut {
        metrics.storage.corruption(CorruptionAction::Cut).inc();
        tracing::warn!(
            event = "B0101", topic = %replica.topic(), partition = %replica.index(),
            bytes = cut.bytes, found = %cut.damage,
            "an unacknowledged tail was cut"
        );
    }
    for damage in &report.damages {
        metrics.storage.corruption(CorruptionAction::Fenced).inc();
        tracing::error!(event = "B0206", topic = %replica.topic(), partition = %replica.index(), %damage, "damaged bytes");
    }
    for fault in &report.faults {
        metrics.storage.corruption(CorruptionAction::Repaired).inc();
        tracing::warn!(event = "B0230", topic = %replica.topic(), partition = %replica.index(), %fault, "a small file was not as it should be");
    }
    for name in &report.unknown_files {
        tracing::warn!(event = "B0102", topic = %replica.topic(), partition = %replica.index(), %name, "a file that belongs to nothing is left alone");
    }
}
