//! One producer: its newest epoch, and the last batches of it.

use corduroy_batch::BatchHeader;
use corduroy_types::{Offset, TimestampMs};

use super::Sequence;

/// How many batches of a producer are remembered: as many as a client may have in flight (Kafka's limit).
pub const WINDOW_BATCHES: usize = 5;

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The sequence of its first record.
    pub first_sequence: Sequence,
    /// Its last sequence less its first, and its last offset less its base offset.
    pub last_delta: u32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// Its greatest timestamp.
    pub max_timestamp: TimestampMs,
}

impl ProducerBatch {
    /// What is remembered of a batch; `None` for one without a sequence.
    pub(super) fn of(header: &BatchHeader) -> Option<Self> {
        Some(Self {
            first_sequence: Sequence::new(header.base_sequence)?,
            last_delta: header.last_offset_delta,
            base_offset: header.base_offset,
            max_timestamp: header.max_timestamp,
        })
    }

    /// The offset after its last record.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.last_delta) + 1)
    }

    /// The sequence after its last record's.
    pub fn next_sequence(&self) -> Sequence {
        self.first_sequence.plus(self.last_delta).plus(1)
    }
}

/// A producer as a partition remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    epoch: i16,
    count: u8,
    /// Oldest first; those from `count` on mean nothing and are the default.
    batches: [ProducerBatch; WINDOW_BATCHES],
    quiet_since: TimestampMs,
    is_whole: bool,
}

impl Producer {
    /// `is_whole`: see [`Producer::is_whole`].
    pub(super) fn new(epoch: i16, is_whole: bool) -> Self {
        let batches = [ProducerBatch::default(); WINDOW_BATCHES];
        Self { epoch, count: 0, batches, quiet_since: TimestampMs(i64::MIN), is_whole }
    }

    /// Whether it was remembered from its first batch in this epoch on, and never forgotten before: every sequence beyond its last
    /// one is then certainly not in the log.
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Its newest epoch.
    pub const fn epoch(&self) -> i16 {
        self.epoch
    }

    /// Its last batches in that epoch, oldest first: 1 to [`WINDOW_BATCHES`].
    pub fn batches(&self) -> &[ProducerBatch] {
        self.batches.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The last one.
    pub fn last_batch(&self) -> Option<&ProducerBatch> {
        self.batches().last()
    }

    /// The log's time when the last one was appended.
    pub const fn quiet_since(&self) -> TimestampMs {
        self.quiet_since
    }

    /// The remembered batch of exactly these sequences.
    pub(super) fn find(&self, first: Sequence, last_delta: u32) -> Option<&ProducerBatch> {
        self.batches().iter().rev().find(|one| (one.first_sequence, one.last_delta) == (first, last_delta))
    }

    /// Remembers a batch, at the log's time `log_time`, and forgets the oldest for it.
    pub(super) fn push(&mut self, batch: ProducerBatch, log_time: TimestampMs) {
        self.quiet_since = log_time;
        if usize::from(self.count) == WINDOW_BATCHES {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        if let Some(free) = self.batches.get_mut(usize::from(self.count)) {
            *free = batch;
            self.count += 1;
        }
    }
}
