//! What moves a log start: retention and delete-records. Durable first, then seen, then removed.

use std::sync::Arc;

use corduroy_api::Refusal;
use corduroy_log::{DeleteRecordsError, LogError, Removal};
use corduroy_types::{ErrorCode, Offset};
use tokio::sync::OwnedMutexGuard;

use super::Maintenance;
use crate::engine::Replica;
use crate::metrics::DeletedReason;

/// What delete-records did, or would do.
pub(crate) struct Deleted {
    pub(crate) log_start: Offset,
    pub(crate) record_count: u64,
}

impl Maintenance {
    /// Raises a partition's log start to `before`.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` above the high watermark; a storage failure leaves everything as it was.
    pub(crate) async fn delete_records(
        &self,
        replica: &Arc<Replica>,
        before: Offset,
        validate_only: bool,
    ) -> Result<Deleted, Refusal> {
        let one_at_a_time = Arc::clone(&replica.removals).lock_owned().await;
        replica.check_writable()?;
        let planned = replica.plan(|log, high_watermark| {
            let (start, end) = (log.cursors().log_start(), high_watermark);
            log.plan_delete_records(before, end).map(|removal| (start, removal))
        })?;
        let (start, removal) = planned.map_err(|error| match error {
            DeleteRecordsError::AboveHighWatermark { high_watermark, .. } => {
                let refusal = Refusal::new(ErrorCode::OffsetOutOfRange, error.to_string());
                match replica.cursors() {
                    Ok(cursors) => refusal.with_range(cursors.log_start, high_watermark),
                    Err(_) => refusal,
                }
            }
            // Only a follower's log is cut.
            DeleteRecordsError::Cutting => Refusal::new(ErrorCode::NotLeader, error.to_string()),
        })?;
        let log_start = removal.as_ref().map_or(start, Removal::log_start);
        if let Some(removal) = removal.filter(|_| !validate_only) {
            self.remove(replica, removal, DeletedReason::DeleteRecords, one_at_a_time).await?;
        }
        Ok(Deleted { log_start, record_count: log_start.distance_from(start) })
    }

    /// Applies retention to one partition.
    ///
    /// # Errors
    /// The disk's; it is tried again at the next turn.
    pub(super) async fn apply_retention(&self, replica: &Arc<Replica>) -> Result<(), Refusal> {
        let one_at_a_time = Arc::clone(&replica.removals).lock_owned().await;
        let now = self.expiry_now();
        let planned = replica.with_log(|log, high_watermark| {
            let by_size = log.config().retention_bytes.is_some_and(|most| log.stats().bytes > most);
            (log.plan_retention(now, high_watermark), by_size)
        });
        // An expired active segment was rolled, which is left to a round.
        replica.ask_for_round();
        let Some((Some(removal), by_size)) = planned else { return Ok(()) };
        let reason = if by_size { DeletedReason::Size } else { DeletedReason::Time };
        self.remove(replica, removal, reason, one_at_a_time).await
    }

    async fn remove(
        &self,
        replica: &Arc<Replica>,
        removal: Removal,
        reason: DeletedReason,
        one_at_a_time: OwnedMutexGuard<()>,
    ) -> Result<(), Refusal> {
        let disk = Arc::clone(&self.context.disk);
        let (of, clock) = (Arc::clone(replica), self.context.clock);
        let reserve = self.context.check_writable().is_err().then(|| Arc::clone(&self.context.space.reserve));
        let removed = self.context.workers.maintenance.run(move || {
            // Kept until the work ends, which may be after its caller has gone.
            let _one_at_a_time = one_at_a_time;
            // The log start is written before anything is deleted, on a full disk too.
            reserve.inspect(|reserve| reserve.make_room());
            let persisted = removal.persist(disk.as_ref());
            if persisted.as_ref().is_err_and(LogError::is_disk_full) {
                removal.make_room(disk.as_ref())?;
                removal.persist(disk.as_ref())?;
            } else {
                persisted?;
            }
            let Some(obsolete) = of.apply_removal(&removal, clock) else { return Ok(None) };
            let obsolete = obsolete?;
            obsolete.remove(disk.as_ref())?;
            Ok::<_, LogError>(Some((obsolete.segments(), obsolete.bytes())))
        });
        let removed = removed.await?.map_err(|error| storage_failed(&error))?;
        if let Some((segments, bytes)) = removed.filter(|(segments, _)| *segments > 0) {
            self.context.metrics.storage.deleted_bytes(reason).inc_by(bytes);
            tracing::info!(
                event = "B0103", topic = %replica.topic(), partition = %replica.index(), segments, bytes, "segments removed"
            );
        }
        Ok(())
    }
}

fn storage_failed(error: &LogError) -> Refusal {
    Refusal::new(ErrorCode::StorageFailed, error.to_string())
}
