//! Appending: a batch goes into memory and gets its offsets. No I/O, no waiting.

use std::sync::Arc;

use corduroy_batch::{Batch, BatchHeader};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::config::BATCH_BYTES_MAX;
use crate::error::AppendError;
use crate::log::Log;
use crate::round::{Pending, Seal};
use crate::segment::Active;

/// The offsets that a batch got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last: the new log end, unless it is a duplicate.
    pub next_offset: Offset,
    /// Its greatest timestamp; of a duplicate, as it was stored the first time.
    pub max_timestamp: TimestampMs,
    /// Whether the batch was in the log before, at these offsets, and was not appended again.
    pub duplicate: bool,
}

impl Log {
    /// Appends a batch that the leader has validated; its bytes are shared, not copied, unless it is small.
    ///
    /// A batch of an idempotent producer that is in the log already is not appended again: the answer has its offsets
    /// there and `duplicate`. It counts when they do.
    ///
    /// It is in memory then, and in the next round; it counts when `counted_end` reaches `next_offset`. `now`
    /// only serves to roll segments whose records have no timestamp.
    ///
    /// # Errors
    /// Certainly nothing was written by this call; see [`AppendError`] for what to do, and [`Log::may_hold`] for
    /// whether an earlier one may have.
    pub fn append(
        &mut self,
        batch: Batch,
        epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Result<Appended, AppendError> {
        self.append_at(batch, epoch, None, now)
    }

    /// Whether a batch may be in the log from an earlier append, as far as the log remembers its producer. `false`: it
    /// is certainly not there, or it has no producer by which it could be known again.
    ///
    /// After a failed write that counts for what was appended and never became durable, too: it may still be on the
    /// disk.
    pub fn may_hold(&self, header: &BatchHeader) -> bool {
        match self.producers.check(header) {
            Ok(original) => original.is_some(),
            Err(error) => error.may_be_written(),
        }
    }

    /// As [`Log::append`], but only where the next offset is `expected_offset`, if one is given. A duplicate is found
    /// before that is looked at, so that a repeated append that had succeeded learns its offset.
    ///
    /// # Errors
    /// As [`Log::append`]; [`AppendError::OffsetMismatch`] where the next offset is another one.
    pub fn append_at(
        &mut self,
        batch: Batch,
        epoch: LeaderEpoch,
        expected_offset: Option<Offset>,
        now: TimestampMs,
    ) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        if let Some(original) = self.producers.check(batch.header())? {
            let (base_offset, next_offset) = (original.base_offset, original.next_offset());
            let max_timestamp = original.max_timestamp;
            return Ok(Appended { base_offset, next_offset, max_timestamp, duplicate: true });
        }
        if let Some(current) =
            self.history.last().map(|entry| entry.epoch).filter(|current| *current != epoch)
        {
            return Err(AppendError::WrongEpoch { epoch, current });
        }
        let log_end = self.cursors.log_end();
        if let Some(expected_offset) = expected_offset.filter(|expected| *expected != log_end) {
            return Err(AppendError::OffsetMismatch { expected_offset, next_offset: log_end });
        }
        self.push(batch, epoch, now)
    }

    /// Appends a batch as a leader has it: at the offset and in the epoch that it carries. For a follower whose log agrees with
    /// the leader's up to there; see [`Log::append`] for when it counts.
    ///
    /// Its producer is noted and not checked: that was the leader's to decide, and producers are remembered alike on every
    /// replica (invariant I10).
    ///
    /// # Errors
    /// Certainly nothing was written. [`AppendError::OffsetMismatch`] where it does not begin at the log end,
    /// [`AppendError::WrongEpoch`], [`AppendError::EpochNotBegun`] and [`AppendError::WithoutEpoch`] where its epoch is not the
    /// last one of the history: the leader's entry has to be adopted before ([`Log::begin_epoch`]).
    pub fn append_replicated(&mut self, batch: Batch, now: TimestampMs) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        let BatchHeader { base_offset, leader_epoch, .. } = *batch.header();
        let epoch = leader_epoch.ok_or(AppendError::WithoutEpoch)?;
        match self.history.last().map(|entry| entry.epoch) {
            Some(current) if current == epoch => {}
            Some(current) => return Err(AppendError::WrongEpoch { epoch, current }),
            None => return Err(AppendError::EpochNotBegun { epoch }),
        }
        let log_end = self.cursors.log_end();
        if base_offset != log_end {
            return Err(AppendError::OffsetMismatch { expected_offset: base_offset, next_offset: log_end });
        }
        self.push(batch, epoch, now)
    }

    fn check_appendable(&self) -> Result<(), AppendError> {
        match (&self.failure, self.cutting) {
            (Some(failure), _) => Err(AppendError::StorageFailed(failure.clone())),
            (None, Some(_)) => Err(AppendError::Cutting),
            (None, None) => Ok(()),
        }
    }

    /// Appends a batch at the log end.
    fn push(&mut self, batch: Batch, epoch: LeaderEpoch, now: TimestampMs) -> Result<Appended, AppendError> {
        let bytes = batch.total_bytes();
        if bytes > BATCH_BYTES_MAX {
            return Err(AppendError::BatchTooLarge { bytes });
        }
        let log_end = self.cursors.log_end();
        let count = u64::from(batch.header().last_offset_delta) + 1;
        let exhausted = AppendError::OffsetsExhausted { log_end, count };
        let next_offset = log_end.checked_add(count).ok_or(exhausted.clone())?;
        if self.active.must_roll(batch.header(), next_offset.saturating_sub(1), &self.config, now) {
            self.roll();
        }
        self.cursors.append(next_offset, self.config.durability).map_err(|_| exhausted)?;
        if !self.active.created {
            self.active.created = true;
            self.pending.push_back(Pending::Create(Arc::clone(&self.active.file)));
        }
        let stamped = batch.stamp(log_end, epoch);
        self.active.note(stamped.header(), now);
        self.producers.note(stamped.header());
        let max_timestamp = stamped.header().max_timestamp;
        let entry = self.tail.push(stamped, self.active.end_point(next_offset));
        self.active.checksum = entry.end.checksum;
        self.upkeep.appended(&self.shared.dir, &self.producers, bytes.into(), entry.end);
        self.pending.push_back(Pending::Write { file: Arc::clone(&self.active.file), entry });
        self.tail.shrink(self.config.tail_bytes, self.cursors.written_end());
        Ok(Appended { base_offset: log_end, next_offset, max_timestamp, duplicate: false })
    }

    /// Seals the active segment, if it holds anything, and begins another at the log end. The new one's file is
    /// made by the round that first writes to it.
    pub(crate) fn roll(&mut self) {
        if self.active.bytes == 0 {
            return;
        }
        let log_end = self.cursors.log_end();
        // An index that lacks the front of its segment is not worth keeping: it is built again when needed.
        let indexes = self.active.unscanned.is_none().then(|| self.active.index.finish());
        let index_checksum = indexes.as_ref().map(|(offsets, times)| crate::index::checksum(offsets, times));
        let end = self.active.end_point(log_end);
        let file = Arc::clone(&self.active.file);
        let producers = self.upkeep.rolled(&self.shared.dir, &self.producers, log_end);
        let seal = Seal { file, end, indexes, index_checksum, producers };
        self.pending.push_back(Pending::Seal(Box::new(seal)));
        Arc::make_mut(&mut self.sealed).push(Arc::new(self.active.seal(log_end, index_checksum)));
        self.active = Active::new(&self.shared.dir, log_end, &self.config);
    }
}
