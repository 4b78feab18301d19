//! Loading a coordinator: its partition's records, from the log start to the end that this leadership found.

use std::sync::Arc;

use corduroy_api::Refusal;
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_group::{Coordinator, Record};
use corduroy_types::{ErrorCode, Offset};

use super::{CoordinatorShard, Groups};
use crate::engine::Engine;

/// Bytes of one read.
const READ_BYTES: u32 = 1024 * 1024;

impl Groups {
    /// Loads one coordinator. That takes time in proportion to the records of its partition, which compaction
    /// keeps few.
    ///
    /// # Errors
    /// The partition cannot be read, holds records of a newer version, or has stopped.
    pub(super) async fn load(&self, shard: &CoordinatorShard) -> Result<(), Refusal> {
        let replica = &shard.replica;
        let epoch = replica.leader_epoch();
        if let Some(failure) = replica.failure() {
            return Err(Refusal::new(ErrorCode::StorageFailed, failure));
        }
        let end = replica.cursors()?.log_end;
        let mut high_watermark = replica.watch_high_watermark();
        let mut stopping = self.engine.stopping();
        let waited = tokio::select! {
            reached = high_watermark.wait_for(|offset| *offset >= end) => reached.is_ok(),
            _ = stopping.wait_for(|stopping| *stopping) => false,
        };
        if !waited || !shard.leads_in(epoch) {
            return Err(Refusal::new(ErrorCode::CoordinatorLoading, "its leadership has ended"));
        }
        let coordinator = replay(&self.engine, shard, end).await?;
        shard
            .begin(coordinator, epoch, end, |coordinator, now, out| {
                // The topics of this moment. The maintenance task reports later changes.
                coordinator.loaded(now, self.topics(), out);
            })
            .await
    }
}

async fn replay(engine: &Arc<Engine>, shard: &CoordinatorShard, end: Offset) -> Result<Coordinator, Refusal> {
    let mut coordinator = Coordinator::new(shard.config);
    let mut next = shard.replica.cursors()?.log_start;
    let mut hint = None;
    while next < end {
        let fetched = engine.replicas().read(&shard.replica, next, READ_BYTES, false, hint.take()).await?;
        if fetched.next_offset <= next {
            return Err(unreadable(next, &"it ends before its end"));
        }
        apply(&mut coordinator, fetched.bytes)?;
        hint = fetched.hint;
        next = fetched.next_offset;
    }
    Ok(coordinator)
}

fn apply(coordinator: &mut Coordinator, mut batches: bytes::Bytes) -> Result<(), Refusal> {
    while let Some(batch) = Batch::parse_prefix(&mut batches).map_err(|e| unreadable(Offset::ZERO, &e))? {
        let base = batch.header().base_offset;
        let records = batch.records(DecompressLimits::default()).map_err(|e| unreadable(base, &e))?;
        for record in records.iter() {
            let record = record.map_err(|e| unreadable(base, &e))?;
            let decoded = Record::decode(record.key.unwrap_or_default(), record.value);
            coordinator.replay(&decoded.map_err(|e| unreadable(record.offset, &e))?);
        }
    }
    Ok(())
}

fn unreadable(offset: Offset, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::Corrupt, format!("at offset {offset}: {error}"))
}
