//! Opening one log.

use std::{collections::BTreeMap, sync::Arc};

use corduroy_log::{Journal, Known, Log, LogConfig, LogError, PartitionKey, RecoveryReport};
use parking_lot::Mutex;

use super::{identity::ReplicaIdentity, partition_dirs::partition_dir};
use crate::engine::Context;

/// The logs whose data could not be written from the journal to their segments, and why. They must not be opened before
/// it was.
pub(in crate::engine) type Unreplayed = BTreeMap<PartitionKey, String>;

/// How logs are opened.
#[derive(Clone)]
pub(in crate::engine) struct Opening {
    pub(in crate::engine) context: Arc<Context>,
    pub(in crate::engine) journal: Arc<Mutex<Journal>>,
    /// Whether the last stop was clean, so that logs need no check.
    pub(in crate::engine) clean: bool,
    /// Whether the logs' directories were made, durably: see [`super::partition_dirs::create`].
    pub(in crate::engine) named: bool,
    pub(in crate::engine) tail_bytes: u64,
    /// Logs that cannot be opened: the journal has data for them that is not in their segments.
    pub(in crate::engine) unreplayed: Arc<Unreplayed>,
}

/// Opens a log and takes what it knows of itself into the journal.
pub(in crate::engine) fn open_log(
    opening: &Opening,
    identity: &ReplicaIdentity,
    config: LogConfig,
) -> Result<(Log, RecoveryReport), LogError> {
    let dir = partition_dir(&opening.context.data_dir, identity.topic_id, identity.index);
    let key = PartitionKey { topic_id: identity.topic_id, partition: identity.index };
    if let Some(reason) = opening.unreplayed.get(&key) {
        return Err(LogError::NotReplayed { reason: reason.clone() });
    }
    let known = Known { named: opening.named, ..opening.journal.lock().known(key, opening.clean) };
    let (log, report) =
        Log::open(Arc::clone(&opening.context.disk), dir, config, known, opening.context.clock.now())?;
    opening.journal.lock().opened(key, &log);
    Ok((log, report))
}

/// Runs blocking work of the start; a panic in it goes on here.
pub(in crate::engine) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
