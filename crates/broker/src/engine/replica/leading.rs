//! Beginning leader epochs: each is durable in the commit journal before anything is appended in it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use corduroy_log::{
    EpochEntry, LogError,
    journal::{JournalFailed, JournalRequest},
};
use corduroy_types::LeaderEpoch;

use super::{CommitQueue, Replica};
use crate::engine::Clock;

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
    Journal(#[from] JournalFailed),
    /// No epoch begins any more.
    #[error("the broker stops")]
    Stopping,
}

impl EpochError {
    pub(in crate::engine) fn elect(error: &impl ToString) -> Self {
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

/// One thing that only one call at a time does with a replica.
pub(in crate::engine) struct Claim {
    pub(in crate::engine) replica: Arc<Replica>,
    flag: fn(&Replica) -> &AtomicBool,
}

impl Claim {
    pub(in crate::engine) fn of(replica: &Arc<Replica>, flag: fn(&Replica) -> &AtomicBool) -> Option<Self> {
        let is_free = !flag(replica).swap(true, Ordering::AcqRel);
        is_free.then(|| Self { replica: Arc::clone(replica), flag })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        (self.flag)(&self.replica).store(false, Ordering::Release);
    }
}

/// Begins an epoch in each of these replicas, with one sync for all of them, and leads in it. Returns those in which
/// it did not begin; the others begin all the same. Where another call begins an epoch already, this one leaves it to that one.
pub(in crate::engine) async fn begin_and_lead(
    commits: &CommitQueue,
    clock: Clock,
    replicas: Vec<(Arc<Replica>, LeaderEpoch)>,
) -> Vec<(Arc<Replica>, EpochError)> {
    let mut failed = Vec::new();
    let mut begun: Vec<(Arc<Replica>, EpochEntry)> = Vec::with_capacity(replicas.len());
    let mut claimed = Vec::with_capacity(replicas.len());
    for (replica, epoch) in replicas {
        let Some(claim) = Claim::of(&replica, |replica| &replica.beginning) else { continue };
        claimed.push(claim);
        if replica.leader_epoch() >= epoch && replica.is_led() {
            continue;
        }
        // A log that was closed leads nothing.
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
    if let Err(error) = durable.map_err(|_| EpochError::Stopping).and_then(|done| Ok(done?)) {
        failed.extend(begun.into_iter().map(|(replica, _)| (replica, error.clone())));
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

impl Replica {
    /// Its next epoch did not begin.
    pub(in crate::engine) fn leading_failed(&self, error: &EpochError, clock: Clock) {
        let (topic, partition) = (self.topic(), self.index());
        match error {
            // The metadata is older than the log: what was acknowledged since must not be written over.
            EpochError::Refused { .. } => {
                if self.take_offline(&error.to_string()) {
                    tracing::error!(event = "B0220", %topic, %partition, %error, "a partition is offline");
                }
            }
            EpochError::NotYet { .. }
            | EpochError::NotElected(_)
            | EpochError::Journal(_)
            | EpochError::Stopping => {
                tracing::warn!(%topic, %partition, %error, "a partition is open, but not led");
                *self.not_led.lock() = Some(error.to_string());
            }
        }
        self.retry.lock().failed(clock.monotonic_ms());
    }

    /// Its earlier failures count no more, since it is led. Returns whether there were any.
    pub(in crate::engine) fn forget_failures(&self) -> bool {
        *self.not_led.lock() = None;
        self.retry.lock().succeeded()
    }
}
