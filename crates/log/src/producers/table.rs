//! All producers of a partition.

use std::collections::BTreeMap;

use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};

use super::{Producer, ProducerBatch, Sequence};

/// How many producers a partition remembers at most. Beyond it the one is forgotten that was quiet longest, as if it
/// had expired. Each costs about 200 bytes of memory, and up to 145 in a snapshot.
pub const PRODUCERS_MAX: usize = 10_000;

/// Why a producer's batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A batch before it is not in the log as far as the producer is remembered: send what is missing first.
    #[error(
        "producer {producer_id} epoch {epoch}: the next sequence is {expected}, but the batch begins at {got}; \
         what lies between is not in the partition{}",
        if *.may_be_written { ", but the producer was forgotten before, and may have written it then" } else { "" }
    )]
    OutOfSequence {
        /// The producer.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The sequence that comes next.
        expected: Sequence,
        /// The batch's first one.
        got: Sequence,
        /// The producer was forgotten once and has begun again at 0 in the same epoch, or that may be so: then it may have written
        /// the batch before, and the outcome is *unknown*. Otherwise it is certainly not written.
        may_be_written: bool,
    },
    /// A later epoch of the producer has begun, so it is not written now and never will be. What was written in
    /// earlier epochs is not remembered: the outcome is *unknown*.
    #[error(
        "producer {producer_id}: the batch is of epoch {epoch}, and epoch {current} has begun; it may have been \
         written before that"
    )]
    Fenced {
        /// The producer.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The newest epoch.
        current: i16,
    },
    /// It lies behind the batches that are remembered, or is not one of them exactly. It may have been written before:
    /// the outcome is *unknown*.
    #[error(
        "producer {producer_id} epoch {epoch}: a batch that begins at sequence {got} lies behind the last {} batches, \
         which are remembered, or overlaps them; it may have been written before",
        super::WINDOW_BATCHES
    )]
    BehindWindow {
        /// The producer.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The batch's first sequence.
        got: Sequence,
    },
    /// The producer is not remembered, and the batch is not its first. It may have been written before: the outcome is
    /// *unknown*.
    #[error(
        "producer {producer_id} epoch {epoch} is not known in the partition (any more), and the batch begins at \
         sequence {got}, not 0; it may have been written before"
    )]
    UnknownProducer {
        /// The producer.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The batch's first sequence.
        got: Sequence,
    },
}

impl SequenceError {
    /// Whether the batch may be in the log from an earlier time.
    pub const fn may_be_written(&self) -> bool {
        match self {
            Self::OutOfSequence { may_be_written, .. } => *may_be_written,
            Self::Fenced { .. } | Self::BehindWindow { .. } | Self::UnknownProducer { .. } => true,
        }
    }
}

/// The producers of a partition, as of an offset of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    expiration_ms: u64,
    /// The greatest timestamp of any batch.
    log_time: TimestampMs,
    by_id: BTreeMap<i64, Producer>,
    /// The greatest id of a producer that was forgotten. One with a greater id never was.
    forgotten_id_max: Option<i64>,
    /// By the base offset of their last batch. Log time never goes back, so this is also the order in which they
    /// expire.
    by_last_batch: BTreeMap<Offset, i64>,
}

impl Producers {
    /// None yet: the state at the beginning of a log. A producer is forgotten after more than `expiration_ms` of log
    /// time without a batch.
    pub fn new(expiration_ms: u64) -> Self {
        let log_time = TimestampMs(i64::MIN);
        let (by_id, by_last_batch) = (BTreeMap::new(), BTreeMap::new());
        Self { expiration_ms, log_time, by_id, forgotten_id_max: None, by_last_batch }
    }

    /// Whether a batch is to be appended: `None` when it comes next (or has no producer), the batch in the log when it
    /// is a duplicate of that.
    ///
    /// # Errors
    /// [`SequenceError`]: do not append it.
    pub fn check(&self, header: &BatchHeader) -> Result<Option<ProducerBatch>, SequenceError> {
        let BatchHeader { producer_id, producer_epoch: epoch, last_offset_delta, .. } = *header;
        let Some(got) = Sequence::new(header.base_sequence).filter(|_| producer_id >= 0) else {
            return Ok(None);
        };
        let Some(known) = self.by_id.get(&producer_id) else {
            return match got {
                Sequence::ZERO => Ok(None),
                _ => Err(SequenceError::UnknownProducer { producer_id, epoch, got }),
            };
        };
        if epoch < known.epoch() {
            return Err(SequenceError::Fenced { producer_id, epoch, current: known.epoch() });
        }
        let expected = match known.last_batch() {
            Some(last) if epoch == known.epoch() => last.next_sequence(),
            _ => Sequence::ZERO,
        };
        if got == expected {
            return Ok(None);
        }
        if epoch > known.epoch() || got.is_after(expected) {
            let may_be_written = !known.is_whole();
            return Err(SequenceError::OutOfSequence { producer_id, epoch, expected, got, may_be_written });
        }
        let original = known.find(got, last_offset_delta).copied();
        original.map(Some).ok_or(SequenceError::BehindWindow { producer_id, epoch, got })
    }

    /// Takes in a batch of the log; each one in the order of their offsets, those without a producer too.
    pub fn note(&mut self, header: &BatchHeader) {
        self.log_time = self.log_time.max(header.max_timestamp);
        if header.producer_id >= 0
            && !header.is_control()
            && let Some(batch) = ProducerBatch::of(header)
        {
            self.remember(header.producer_id, header.producer_epoch, batch);
        }
        self.forget();
    }

    fn remember(&mut self, id: i64, epoch: i16, batch: ProducerBatch) {
        let is_first = batch.first_sequence == Sequence::ZERO;
        let never_forgotten = self.forgotten_id_max.is_none_or(|max| id > max);
        let new = || Producer::new(epoch, is_first && never_forgotten);
        let producer = self.by_id.entry(id).or_insert_with(new);
        if epoch < producer.epoch() {
            return; // no log has this: it would have been fenced
        }
        if let Some(last) = producer.last_batch() {
            self.by_last_batch.remove(&last.base_offset);
        }
        if producer.epoch() != epoch {
            *producer = Producer::new(epoch, is_first && producer.is_whole());
        }
        producer.push(batch, self.log_time);
        self.by_last_batch.insert(batch.base_offset, id);
    }

    /// Forgets who has expired, and who was quiet longest while there are too many.
    fn forget(&mut self) {
        let expired_before = self.log_time.minus_ms(self.expiration_ms);
        while let Some(oldest) = self.by_last_batch.first_entry() {
            let expired =
                self.by_id.get(oldest.get()).is_none_or(|producer| producer.quiet_since() < expired_before);
            if !expired && self.by_id.len() <= PRODUCERS_MAX {
                break;
            }
            let id = oldest.remove();
            self.by_id.remove(&id);
            self.forgotten_id_max = self.forgotten_id_max.max(Some(id));
        }
    }

    /// Forgets all of them: what is remembered from before damage proves nothing about what it hit. Nor is it known what a log
    /// held whose beginning is gone.
    pub(super) fn forget_all(&mut self) {
        self.forgotten_id_max = Some(i64::MAX);
        self.by_id.clear();
        self.by_last_batch.clear();
    }

    /// Changes after how much log time without a batch a producer is forgotten; those already forgotten stay so.
    pub(crate) fn set_expiration(&mut self, expiration_ms: u64) {
        self.expiration_ms = expiration_ms;
    }

    /// Each producer with its id, the one that was quiet longest first.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_last_batch.values().filter_map(|id| Some((*id, self.by_id.get(id)?)))
    }

    /// The producer with this id.
    pub fn get(&self, id: i64) -> Option<&Producer> {
        self.by_id.get(&id)
    }

    /// The base offsets of the producers' last batches, in order. Compaction keeps a batch at each of them, if need be
    /// without records: it is what a log without a snapshot knows the producer by.
    pub fn last_batch_offsets(&self) -> impl Iterator<Item = Offset> {
        self.by_last_batch.keys().copied()
    }

    /// The producers, the last to write first.
    pub fn newest(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_last_batch.values().rev().filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn log_time(&self) -> TimestampMs {
        self.log_time
    }

    pub(super) fn forgotten_id_max(&self) -> Option<i64> {
        self.forgotten_id_max
    }

    /// As stored: producers in the order of [`Producers::iter`]. `None` if they cannot have been such a state.
    pub(super) fn restore(
        expiration_ms: u64,
        log_time: TimestampMs,
        forgotten_id_max: Option<i64>,
        producers: impl IntoIterator<Item = (i64, Producer)>,
    ) -> Option<Self> {
        let mut restored = Self { log_time, forgotten_id_max, ..Self::new(expiration_ms) };
        for (id, producer) in producers {
            let last = producer.last_batch()?.base_offset;
            let new = restored.by_last_batch.insert(last, id).is_none();
            let new_id = restored.by_id.insert(id, producer).is_none();
            (new && new_id && restored.by_last_batch.last_key_value()?.0 == &last).then_some(())?;
        }
        restored.forget();
        Some(restored)
    }
}
