//! Reads: planned under the replica's lock, performed without it, off the network threads where a disk is asked.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_batch::BatchHeader;
use corduroy_log::{ReadCursor, ReadError};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use super::{Replica, Replicas};
use crate::engine::{ReplicaCursors, refusals};
use crate::metrics::{CacheResult, CorruptionAction};

/// Where the next read of the same consumer probably begins. Only a hint: it is checked.
pub(crate) type ReadHint = ReadCursor;

/// What was read.
pub(crate) struct Fetched {
    /// Whole batches; may be empty.
    pub(crate) bytes: Bytes,
    /// Where to go on.
    pub(crate) next_offset: Offset,
    pub(crate) hint: Option<ReadHint>,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
}

impl Replicas {
    /// Runs a read of a partition's files on a thread that may block. Only so many of one partition are under way at a
    /// time, whatever others ask of it.
    async fn read_files<T: Send + 'static>(
        &self,
        replica: &Replica,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let one_of_few = Arc::clone(&replica.reads).acquire_owned().await;
        let one_of_few = one_of_few.map_err(|_| refusals::stopping())?;
        let reading = self.context.workers.reads.run(move || {
            // Kept until the read ends, which may be after its caller has gone.
            let _one_of_few = one_of_few;
            read()
        });
        reading.await
    }

    /// Reads whole batches from `from` on, below the high watermark. What is sent of them is counted by the caller that sends
    /// it: [`Replica::count_sent`], [`Replica::count_batches_sent`].
    ///
    /// `max_bytes` is soft: the first batch comes even when it is larger (KIP-74), except with `strict`. 0 reads
    /// nothing and returns the cursors.
    ///
    /// # Errors
    /// Out of range, damaged, or the topic is gone.
    pub(crate) async fn read(
        &self,
        replica: &Arc<Replica>,
        from: Offset,
        max_bytes: u32,
        strict: bool,
        hint: Option<ReadHint>,
    ) -> Result<Fetched, Refusal> {
        let mut at = hint.filter(|hint| hint.offset == from).unwrap_or_else(|| from.into());
        loop {
            let fetched = self.read_at(replica, at, max_bytes, strict).await?;
            // Nothing is stored between the two any more: what was asked for comes later.
            if !fetched.bytes.is_empty() || fetched.next_offset <= at.offset {
                return Ok(fetched);
            }
            at = fetched.next_offset.into();
        }
    }

    async fn read_at(
        &self,
        replica: &Arc<Replica>,
        at: ReadCursor,
        max_bytes: u32,
        strict: bool,
    ) -> Result<Fetched, Refusal> {
        let (plan, cursors) = replica.plan_read(at, max_bytes.max(1))?;
        let mut fetched = Fetched {
            bytes: Bytes::new(),
            next_offset: at.offset,
            hint: None,
            log_start: cursors.log_start,
            high_watermark: cursors.high_watermark,
            leader_epoch: replica.leader_epoch(),
        };
        if plan.is_empty() || max_bytes == 0 {
            return Ok(fetched);
        }
        let batches = if plan.needs_disk() {
            self.context.metrics.storage.tail_cache(CacheResult::Miss).inc();
            self.read_files(replica, move || plan.perform()).await?
        } else {
            self.context.metrics.storage.tail_cache(CacheResult::Hit).inc();
            plan.perform()
        };
        let batches = batches.map_err(|error| self.refuse_read(replica, &error, cursors))?;
        if strict && batches.bytes.len() > max_bytes as usize {
            return Ok(fetched);
        }
        fetched.next_offset = batches.next_offset;
        fetched.hint = Some(batches.next);
        fetched.bytes = batches.bytes;
        Ok(fetched)
    }

    /// The first record at or after a time, below the high watermark.
    ///
    /// # Errors
    /// Damaged, or the topic is gone.
    pub(crate) async fn first_at_or_after(
        &self,
        replica: &Arc<Replica>,
        time: TimestampMs,
    ) -> Result<Option<(Offset, TimestampMs)>, Refusal> {
        let cursors = replica.cursors()?;
        let plan = replica.plan(|log, high_watermark| log.plan_time_lookup(time, high_watermark))?;
        let found = self.read_files(replica, move || plan.perform()).await?;
        let found = found.map_err(|error| self.refuse_read(replica, &error, cursors))?;
        Ok(found.map(|found| (found.offset, found.timestamp)))
    }

    /// The record with the greatest timestamp, below the high watermark.
    ///
    /// # Errors
    /// Damaged, or the topic is gone.
    pub(crate) async fn greatest_timestamp(
        &self,
        replica: &Arc<Replica>,
    ) -> Result<Option<(Offset, TimestampMs)>, Refusal> {
        let cursors = replica.cursors()?;
        let plan = replica.plan(|log, high_watermark| log.plan_max_timestamp_lookup(high_watermark))?;
        let found = self.read_files(replica, move || plan.perform()).await?;
        let found = found.map_err(|error| self.refuse_read(replica, &error, cursors))?;
        Ok(found.map(|found| (found.offset, found.timestamp)))
    }
}

impl Replicas {
    /// The refusal of a read that failed; damage is counted.
    fn refuse_read(&self, replica: &Replica, error: &ReadError, cursors: ReplicaCursors) -> Refusal {
        if let ReadError::Corrupt { .. } = error {
            self.context.metrics.storage.corruption(CorruptionAction::ReadRefused).inc();
        }
        refusals::read(replica.identity(), error, cursors)
    }
}

impl Replica {
    /// Counts what is sent to a consumer.
    pub(crate) fn count_sent(&self, bytes: usize, records: usize) {
        if let Some(metrics) = self.metrics().filter(|_| bytes > 0) {
            metrics.bytes_out.inc_by(bytes as u64);
            metrics.records_out.inc_by(records as u64);
        }
    }

    /// Counts whole batches that are sent to a consumer.
    pub(crate) fn count_batches_sent(&self, batches: &[u8]) {
        if self.metrics().is_some() {
            self.count_sent(batches.len(), usize::try_from(record_count(batches)).unwrap_or(usize::MAX));
        }
    }
}

/// Records in whole batches, by their headers.
fn record_count(mut batches: &[u8]) -> u64 {
    let mut records = 0;
    while let Ok(header) = BatchHeader::parse(batches) {
        records += u64::from(header.record_count);
        let bytes = usize::try_from(header.total_bytes()).unwrap_or(usize::MAX);
        batches = batches.get(bytes..).unwrap_or_default();
    }
    records
}
