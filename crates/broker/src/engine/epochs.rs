//! Beginning leader epochs: durable in the commit journal first, then led in.

use std::sync::Arc;

use corduroy_log::{EpochEntry, LogError, journal::JournalRequest};
use corduroy_types::LeaderEpoch;

use super::{Clock, CommitQueue, Replica};

/// Why an epoch did not begin. Nothing was appended in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EpochError {
    /// It does not follow the log's last one, or the log has stopped.
    #[error("leader epoch {epoch} cannot begin in {partition}: {source}")]
    Log { partition: String, epoch: LeaderEpoch, source: LogError },
    /// The journal has failed.
    #[error("leader epochs cannot be made durable: {0}")]
    Journal(String),
}

/// Begins an epoch in each of these replicas, with one sync for all of them, and leads in it.
///
/// # Errors
/// [`EpochError`]; none of them leads then.
pub(super) async fn begin_and_lead(
    commits: &CommitQueue,
    clock: Clock,
    replicas: Vec<(Arc<Replica>, LeaderEpoch)>,
) -> Result<(), EpochError> {
    let mut begun: Vec<(Arc<Replica>, EpochEntry)> = Vec::with_capacity(replicas.len());
    for (replica, epoch) in replicas {
        // A log that is gone meanwhile leads nothing.
        let Some(planned) = replica.with_log(|log, _| log.plan_epoch(epoch)) else { continue };
        begun.push((Arc::clone(&replica), planned.map_err(|source| failed(&replica, epoch, source))?));
    }
    if begun.is_empty() {
        return Ok(());
    }
    let requests = begun.iter().map(|(replica, entry)| JournalRequest::BeginEpoch(replica.key(), *entry));
    let durable = commits.ask(requests.collect()).await;
    durable.unwrap_or_else(|_| Err("the broker stops".to_owned())).map_err(EpochError::Journal)?;
    for (replica, entry) in begun {
        if let Some(begun) = replica.with_log(|log, _| log.begin_epoch(entry)) {
            begun.map_err(|source| failed(&replica, entry.epoch, source))?;
            replica.lead(entry.epoch, clock);
        }
    }
    Ok(())
}

fn failed(replica: &Replica, epoch: LeaderEpoch, source: LogError) -> EpochError {
    EpochError::Log { partition: replica.identity().to_string(), epoch, source }
}
