//! From what was appended to the next round.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use corduroy_types::Durability;
use parking_lot::Mutex;

use super::step::Kind;
use super::{Round, RoundEnd, Step};
use crate::Log;
use crate::catalogue::CatalogueEntry;
use crate::mark::Point;
use crate::segment::{INDEX_SUFFIX, SNAPSHOT_SUFFIX, SegmentFile, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;
use crate::tail::TailEntry;

/// What waits to be put into a round.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A new segment's file.
    Create(Arc<SegmentFile>),
    /// A batch, at its position.
    Write { file: Arc<SegmentFile>, entry: TailEntry },
    /// The end of a segment: its last sync, its indexes, and its entry in the catalogue.
    Seal(Box<Seal>),
}

/// A segment that is to be sealed.
#[derive(Debug)]
pub(crate) struct Seal {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) end: Point,
    /// The contents of both index files; without them, older ones are removed.
    pub(crate) indexes: Option<(Bytes, Bytes)>,
    /// CRC-32 over both.
    pub(crate) index_checksum: Option<u32>,
    /// The snapshot of producers at its end.
    pub(crate) producers: Bytes,
}

impl Seal {
    fn entry(&self) -> CatalogueEntry {
        CatalogueEntry {
            base: self.end.segment_base,
            end: self.end.offset,
            bytes: self.end.position,
            checksum: self.end.checksum,
            max_timestamp: self.end.max_timestamp.map(|(timestamp, _)| timestamp),
            gaps: false,
            records: Some(self.end.offset.distance_from(self.end.segment_base)),
            first_crc: self.end.first_crc,
            index_checksum: self.index_checksum,
            suspect: false,
        }
    }
}

impl Pending {
    fn bytes(&self) -> u64 {
        match self {
            Self::Write { entry, .. } => entry.bytes() as u64,
            Self::Create(_) | Self::Seal(_) => 0,
        }
    }
}

/// Turns what is pending into steps, merging neighbouring batches into one write.
struct RoundBuilder {
    steps: Vec<Step>,
    bytes: u64,
    end: RoundEnd,
}

impl RoundBuilder {
    fn add(&mut self, pending: Pending, shared: &Arc<Shared>) {
        match pending {
            Pending::Create(file) => {
                self.steps.push(Step(Kind::Create { file }));
                self.steps.push(Step(Kind::SyncDir { dir: Arc::clone(&shared.dir) }));
            }
            Pending::Write { file, entry } => self.add_write(file, entry),
            Pending::Seal(seal) => self.add_seal(*seal, shared),
        }
    }

    fn add_seal(&mut self, seal: Seal, shared: &Arc<Shared>) {
        let entry = seal.entry();
        let Seal { file, end, indexes, producers, .. } = seal;
        self.steps.push(Step(Kind::Sync { file }));
        let (offsets, times) = indexes.unzip();
        for (base, suffix, contents) in [
            (entry.base, INDEX_SUFFIX, offsets),
            (entry.base, TIME_INDEX_SUFFIX, times),
            (entry.end, SNAPSHOT_SUFFIX, Some(producers)),
        ] {
            let path = file_path(&shared.dir, base, suffix);
            self.steps.push(Step(match contents {
                Some(contents) => Kind::WriteIndex { path, contents },
                None => Kind::RemoveIndex { path },
            }));
        }
        self.steps.push(Step(Kind::Catalogue { shared: Arc::clone(shared), entry }));
        self.end.durable = Some(end);
        self.end.settled = Some(end.offset);
    }

    fn add_write(&mut self, file: Arc<SegmentFile>, entry: TailEntry) {
        let added = entry.bytes() as u64;
        self.bytes += added;
        self.end.written = entry.end;
        let new_parts = [entry.front, entry.back].into_iter().filter(|part| !part.is_empty());
        if let Some(Step(Kind::Write { parts, bytes, .. })) = self.steps.last_mut() {
            parts.extend(new_parts);
            *bytes += added;
            return;
        }
        let parts = new_parts.collect();
        self.steps.push(Step(Kind::Write { file, position: entry.position, parts, bytes: added }));
    }
}

impl Log {
    /// Takes what was appended as the next round; `None` while one is in flight, when there is nothing to do,
    /// and when the log has stopped.
    ///
    /// It carries at most [`crate::LogConfig::round_bytes`] (or one larger batch), so more may be left for the
    /// round after it. With durability `background` it writes, and syncs only segments that are sealed.
    pub fn take_round(&mut self) -> Option<Round> {
        if self.in_flight.is_some() || self.failure.is_some() {
            return None;
        }
        let sync = self.config.durability == Durability::Sync;
        let unsynced = sync && self.durable.offset < self.written.offset;
        if self.pending.is_empty() && !unsynced {
            return None;
        }
        self.build_round(sync)
    }

    /// The next round, and with `sync` the sync that makes all of it durable.
    pub(crate) fn build_round(&mut self, sync: bool) -> Option<Round> {
        let end = RoundEnd { written: self.written, durable: None, settled: None };
        let mut builder = RoundBuilder { steps: Vec::new(), bytes: 0, end };
        if !self.dir_durable {
            let log_start = self.cursors.log_start();
            builder.steps.push(Step(Kind::CreateDir {
                shared: Arc::clone(&self.shared),
                log_start,
                named: self.named,
            }));
        }
        if let Some(snapshot) = self.upkeep.due(self.durable.offset, &self.shared.dir) {
            builder.steps.push(Step(Kind::Snapshot(snapshot)));
        }
        let mut last_file = self.written_file.clone();
        while let Some(next) = self.pending.pop_front() {
            if builder.bytes > 0 && builder.bytes + next.bytes() > self.config.round_bytes {
                self.pending.push_front(next);
                break;
            }
            if let Pending::Write { file, .. } = &next {
                last_file = Some(Arc::clone(file));
            }
            builder.add(next, &self.shared);
        }
        let syncs_from = builder.steps.len();
        let unsynced = builder.end.durable.unwrap_or(self.durable).offset < builder.end.written.offset;
        if let Some(file) = last_file.clone().filter(|_| sync && unsynced) {
            builder.steps.push(Step(Kind::Sync { file }));
            builder.end.durable = Some(builder.end.written);
        }
        if builder.steps.is_empty() {
            return None;
        }
        self.round_file = last_file;
        let id = self.next_round;
        self.next_round += 1;
        self.in_flight = Some(id);
        let RoundBuilder { steps, bytes, end } = builder;
        let follows_durable = self.durable == self.written;
        Some(Round {
            id,
            steps,
            done: AtomicUsize::new(0),
            failure: Mutex::new(None),
            syncs_from,
            bytes,
            end,
            follows_durable,
        })
    }
}
