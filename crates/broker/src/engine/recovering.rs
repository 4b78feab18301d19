//! Opening all logs at the start, several at a time, and saying what was found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use corduroy_log::RecoveryReport;
use corduroy_metadata::Image;
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

pub(super) type Opened = Vec<(Arc<corduroy_metadata::Topic>, Vec<OpenedReplica>)>;

/// How often a recovery that takes long says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Opens every log, `threads` at a time. Those that cannot be opened are offline.
pub(super) fn open_all(
    place: &Place,
    image: &Image,
    threads: usize,
    health: &Health,
    commits: &CommitQueue,
    clock: Clock,
) -> Opened {
    let topics: Vec<_> = image.topics().cloned().collect();
    let work: Vec<_> = topics
        .iter()
        .enumerate()
        .flat_map(|(at, topic)| (0..topic.partition_count()).map(move |index| (at, PartitionIndex(index))))
        .collect();
    let done: Mutex<Vec<_>> = Mutex::new(Vec::with_capacity(work.len()));
    let reported = Mutex::new(Instant::now());
    run_parallel(work.len(), threads, |at| {
        let Some((at, index)) = work.get(at) else { return };
        let Some(topic) = topics.get(*at) else { return };
        let opened = open_replica(place, topic, *index, commits, clock);
        let mut done = done.lock();
        done.push((*at, *index, opened));
        health.set_recovery_progress(done.len() as u64, work.len() as u64);
        let mut reported = reported.lock();
        if reported.elapsed() >= PROGRESS_EVERY {
            *reported = Instant::now();
            tracing::info!(event = "B0105", open = done.len(), total = work.len(), "recovering partitions");
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(at, index, _)| (*at, *index));
    let mut opened: Opened = topics.into_iter().map(|topic| (topic, Vec::new())).collect();
    for (at, _, replica) in done {
        if let Some((_, replicas)) = opened.get_mut(at) {
            replicas.push(replica);
        }
    }
    opened
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
