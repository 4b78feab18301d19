//! The newest batches, in memory: what reads are served from, and all that is not on disk yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use corduroy_batch::{BatchHeader, StampedBatch, crc32c_append};
use corduroy_types::{Offset, TimestampMs};

use crate::config::COPIED_BELOW_BYTES;
use crate::mark::Point;

/// Small batches are copied into shared pieces of this size.
const SHARED_BYTES: usize = 64 << 10;

/// One stamped batch, as it is in the file.
#[derive(Clone, Debug)]
pub(crate) struct TailEntry {
    pub(crate) base: Offset,
    pub(crate) position: u64,
    pub(crate) max_timestamp: TimestampMs,
    /// The place behind it: where the next batch of its segment begins.
    pub(crate) end: Point,
    /// The whole batch, or its first bytes.
    pub(crate) front: Bytes,
    /// The rest of the batch where it was not copied; empty if it was.
    pub(crate) back: Bytes,
}

impl TailEntry {
    pub(crate) fn bytes(&self) -> usize {
        self.front.len() + self.back.len()
    }

    /// The batch in one piece: shared when it is one already.
    pub(crate) fn contiguous(&self) -> Bytes {
        if self.back.is_empty() {
            return self.front.clone();
        }
        let mut whole = BytesMut::with_capacity(self.bytes());
        self.copy_to(&mut whole);
        whole.freeze()
    }

    pub(crate) fn copy_to(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.front);
        out.extend_from_slice(&self.back);
    }
}

/// The newest batches, oldest first, without a gap up to the log end.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<TailEntry>,
    bytes: u64,
    shared: BytesMut,
}

impl Tail {
    /// Keeps a batch and returns its entry, whose bytes are what the round writes. `end` is the place behind it,
    /// with the checksum of what is before it.
    pub(crate) fn push(&mut self, batch: StampedBatch, end: Point) -> TailEntry {
        let header: &BatchHeader = batch.header();
        let (base, max_timestamp) = (header.base_offset, header.max_timestamp);
        let position = end.position - u64::from(batch.total_bytes());
        let (front, back) = if batch.total_bytes() as usize <= COPIED_BELOW_BYTES {
            (self.copy(&batch), Bytes::new())
        } else {
            let (head, rest) = batch.into_parts();
            (Bytes::copy_from_slice(&head), rest)
        };
        let checksum = crc32c_append(crc32c_append(end.checksum, &front), &back);
        let entry = TailEntry { base, position, max_timestamp, end: Point { checksum, ..end }, front, back };
        self.bytes += entry.bytes() as u64;
        self.entries.push_back(entry.clone());
        entry
    }

    fn copy(&mut self, batch: &StampedBatch) -> Bytes {
        let total = batch.total_bytes() as usize;
        if self.shared.capacity() < total {
            // A log that appends little should hold little.
            let more = if self.bytes < SHARED_BYTES as u64 { total.max(4 << 10) } else { SHARED_BYTES };
            self.shared = BytesMut::with_capacity(more);
        }
        batch.write_to(&mut self.shared);
        self.shared.split().freeze()
    }

    /// Forgets the oldest batches below `written_end` until the rest fit in `budget_bytes`.
    pub(crate) fn shrink(&mut self, budget_bytes: u64, written_end: Offset) {
        while self.bytes > budget_bytes {
            match self.entries.front() {
                Some(entry) if entry.end.offset <= written_end => self.forget_front(),
                _ => break,
            }
        }
    }

    /// Forgets what lies below both offsets.
    pub(crate) fn forget_below(&mut self, log_start: Offset, written_end: Offset) {
        while self.entries.front().is_some_and(|entry| entry.end.offset <= log_start.min(written_end)) {
            self.forget_front();
        }
    }

    fn forget_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes() as u64;
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
            self.shared = BytesMut::new();
        }
    }

    /// The first offset in memory.
    pub(crate) fn start(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.base)
    }

    /// The entries from the one that holds `from` on. Only meaningful when [`Tail::start`] is at or below it.
    pub(crate) fn from(&self, from: Offset) -> impl Iterator<Item = &TailEntry> {
        let first = self.entries.partition_point(|entry| entry.end.offset <= from);
        self.entries.range(first..)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
