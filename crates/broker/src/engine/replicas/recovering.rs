//! Opening all logs at the start, several at a time, and saying what was found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use corduroy_log::RecoveryReport;
use corduroy_types::{LeaderEpoch, PartitionIndex};
use parking_lot::Mutex;

use super::super::{
    Replica,
    replica::{CommitQueue, LogSlot, Opening, ReplicaIdentity, open_log, partition_dirs::log_config},
};
use crate::{
    health::Health,
    metrics::{CorruptionAction, Metrics},
    parallel::run_parallel,
};

/// How often a recovery that takes long says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What start-up found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovered {
    pub(crate) partitions: usize,
    pub(crate) scanned_bytes: u64,
    pub(crate) cut_bytes: u64,
    pub(crate) took: Duration,
    /// Small files that were not as they should be; what they held was taken from elsewhere.
    pub(crate) faults: Vec<String>,
}

/// One partition of this broker, as it was opened.
pub(in crate::engine) struct OpenedReplica {
    /// Offline where its log cannot be opened.
    pub(in crate::engine) replica: Arc<Replica>,
    /// The epoch in which it leads once that has begun; `None` where another broker leads.
    pub(in crate::engine) epoch: Option<LeaderEpoch>,
    /// What was found; `None` where the log cannot be opened.
    pub(in crate::engine) report: Option<RecoveryReport>,
}

/// Opens the log of one partition. Where that fails the replica is offline, and opening it is tried again later.
pub(in crate::engine) fn open_replica(
    opening: &Opening,
    topic: &corduroy_metadata::Topic,
    index: PartitionIndex,
    commits: &CommitQueue,
) -> OpenedReplica {
    let config = log_config(topic.config(), opening.tail_bytes, &opening.context.config);
    let partition = topic.partition(index);
    let identity = ReplicaIdentity {
        topic: topic.name().clone(),
        topic_id: topic.id(),
        index,
        own: opening.context.config.node.id,
        replicas: partition.map_or_else(
            || [opening.context.config.node.id].into(),
            |partition| Arc::clone(&partition.replicas),
        ),
        metrics: Some(opening.context.metrics.data.topic(topic.name())),
    };
    let leads = partition.filter(|partition| partition.leader == opening.context.config.node.id);
    let epoch = leads.map(|partition| partition.leader_epoch);
    match open_log(opening, &identity, config) {
        Ok((log, report)) => {
            let replica = Replica::new(identity, LogSlot::Open(Box::new(log)), commits.clone());
            OpenedReplica { replica, epoch, report: Some(report) }
        }
        Err(error) => {
            let slot = LogSlot::Offline(error.to_string().into());
            let replica = Replica::new(identity, slot, commits.clone());
            replica.opening_failed(&error.to_string(), opening.context.clock);
            OpenedReplica { replica, epoch, report: None }
        }
    }
}

/// Logs to open.
pub(in crate::engine) struct LogsToOpen<'a> {
    pub(in crate::engine) opening: &'a Opening,
    /// By topic and partition.
    pub(in crate::engine) logs: Vec<(Arc<corduroy_metadata::Topic>, PartitionIndex)>,
    /// How many are opened at a time.
    pub(in crate::engine) threads: usize,
    pub(in crate::engine) commits: &'a CommitQueue,
}

/// Opens logs, some at a time, and reports to `progress` how many are open. Those that cannot be opened are offline.
/// Returns them in the order given.
pub(in crate::engine) fn open_parallel(
    logs: LogsToOpen<'_>,
    progress: impl Fn(usize) + Sync,
) -> Vec<OpenedReplica> {
    let LogsToOpen { opening, logs, threads, commits } = logs;
    let done: Mutex<Vec<_>> = Mutex::new(Vec::with_capacity(logs.len()));
    run_parallel(logs.len(), threads, |at| {
        let Some((topic, index)) = logs.get(at) else { return };
        let opened = open_replica(opening, topic, *index, commits);
        let mut done = done.lock();
        done.push((at, opened));
        progress(done.len());
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, opened)| opened).collect()
}

/// Says now and then how far a recovery of `total` logs is.
pub(in crate::engine) fn recovery_progress(health: &Health, total: usize) -> impl Fn(usize) + Sync {
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
pub(in crate::engine) fn note(
    recovered: &mut Recovered,
    metrics: &Metrics,
    replica: &Replica,
    report: &RecoveryReport,
) {
    recovered.scanned_bytes += report.scanned_bytes;
    recovered.cut_bytes += report.cut.as_ref().map_or(0, |cut| cut.bytes);
    report_findings(metrics, replica, report);
}

/// Reports what was found in a log that was opened.
pub(in crate::engine) fn report_findings(metrics: &Metrics, replica: &Replica, report: &RecoveryReport) {
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
