//! Beginning leader epochs: durable in the commit journal first, then led in.

use std::sync::Arc;

use corduroy_log::{EpochEntry, LogError, journal::JournalRequest};
use corduroy_types::LeaderEpoch;

use super::{Clock, CommitQueue, Replica};

/// Why an epoch did not begin. Nothing was appended in it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EpochError {
    /// It does not follow the log's last one.
    #[error("leader epoch {epoch} cannot begin: {reason}")]
    Refused { epoch: LeaderEpoch, reason: String },
    /// The log has stopped, or holds what is not durable yet. The same epoch can begin later.
    #[error("leader epoch {epoch} cannot begin yet: {reason}")]
    NotYet { epoch: LeaderEpoch, reason: String },
    /// No epoch was handed out.
    #[error("no new leader epoch: {0}")]
    NotElected(String),
    /// The journal has failed.
    #[error("leader epochs cannot be made durable: {0}")]
    Journal(String),
}

impl EpochError {
    pub(super) fn elect(error: &impl ToString) -> Self {
        Self::NotElected(error.to_string())
    }

    fn of(epoch: LeaderEpoch, error: &LogError) -> Self {
        let reason = error.to_string();
        match error {
            LogError::Epoch(_) => Self::Refused { epoch, reason },
            _ => Self::NotYet { epoch, reason },
        }
    }
}

/// Begins an epoch in each of these replicas, with one sync for all of them, and leads in it. Returns those in which
/// it did not begin; they hold up none of the others.
pub(super) async fn begin_and_lead(
    commits: &CommitQueue,
    clock: Clock,
    replicas: Vec<(Arc<Replica>, LeaderEpoch)>,
) -> Vec<(Arc<Replica>, EpochError)> {
    let mut failed = Vec::new();
    let mut begun: Vec<(Arc<Replica>, EpochEntry)> = Vec::with_capacity(replicas.len());
    for (replica, epoch) in replicas {
        // A log that is gone meanwhile leads nothing.
        match replica.with_log(|log, _| log.plan_epoch(epoch)) {
            Some(Ok(entry)) => begun.push((replica, entry)),
            Some(Err(error)) => failed.push((replica, EpochError::of(epoch, &error))),
            None => {}
        }
    }
    if begun.is_empty() {
        return failed;
    }
    let requests = begun.iter().map(|(replica, entry)| JournalRequest::BeginEpoch(replica.key(), *entry));
    let durable = commits.ask(requests.collect()).await;
    if let Err(reason) = durable.unwrap_or_else(|_| Err("the broker stops".to_owned())) {
        failed.extend(begun.into_iter().map(|(replica, _)| (replica, EpochError::Journal(reason.clone()))));
        return failed;
    }
    for (replica, entry) in begun {
        match replica.with_log(|log, _| log.begin_epoch(entry)) {
            Some(Ok(())) => replica.lead(entry.epoch, clock),
            Some(Err(error)) => failed.push((replica, EpochError::of(entry.epoch, &error))),
            None => {}
        }
    }
    failed
}
