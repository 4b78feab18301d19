//! One entry of the journal, as bytes.
//!
//! Big-endian: length u32 (of the whole entry) · CRC-32 u32 (ISO-HDLC, over length and all that follows) ·
//! tag u64 · commit u64 · kind u8 · topic id 16 bytes · partition u32 · body. The tag is the one of the generation, and
//! `commit` the position at which the commit begins that the entry is part of. In version 1 the tag is the generation's
//! number, and there is no `commit`; before version 3 a mark has no checksum of the first batch, and before version 4 there are
//! neither promises, suspicions nor resets.

use bytes::Bytes;
use corduroy_types::{
    BrokerId, EpochEntry, EpochHistory, Incarnation, LeaderEpoch, Offset, PartitionIndex, TimestampMs,
    TopicId,
};

use super::file::ENTRIES_AT;
use super::{PartitionKey, Promise, Vote};
use crate::mark::DurableMark;

/// Bytes before an entry's body.
pub(super) const HEAD_BYTES: usize = 4 + 4 + 8 + 8 + 1 + 16 + 4;
/// The same in version 1.
const HEAD_BYTES_1: usize = HEAD_BYTES - 8;
const MARK_BYTES: usize = 8 + 8 + 8 + 4 + 1 + 8 + 8 + 4;
const PROMISE_BYTES: usize = 4 + 1 + 4 + 8;
/// Flags of a mark: there is a greatest timestamp, and the checksum of the first batch is known.
const MAX_TIMESTAMP: u8 = 1;
const FIRST_CRC: u8 = 2;

/// What the journal says, about one partition if not about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Batches as they were written to a segment, which was not synced; and the mark behind them.
    Data { position: u64, base_offset: Offset, epoch: Option<LeaderEpoch>, mark: DurableMark, bytes: Bytes },
    /// Everything up to the mark is on stable storage.
    Mark(DurableMark),
    /// An epoch begins.
    EpochBegun(EpochEntry),
    /// The whole history, in the state that a generation begins with.
    History(EpochHistory),
    /// The log is being cut at `to`, and `history` holds afterwards. No mark holds any more.
    CutBegun { to: Offset, history: EpochHistory },
    /// The log is being emptied, to begin at `start` with this history. No mark holds any more.
    ResetBegun { start: Offset, history: EpochHistory },
    /// The cut, or the reset, is done and durable.
    CutDone,
    /// Segments whose base is below this are synced as they are: earlier data for them is of no use any more.
    Settled { below: Offset },
    /// The partition is gone.
    Dropped,
    /// A copy of the state of all partitions is complete: the generation counts from here on. The copy begins at
    /// `from`; what is carried over from older generations lies before `carried_end`.
    StateEnd { from: u64, carried_end: u64 },
    /// Data before this place in the journal is in the segments, synced.
    Checkpointed { generation: u64, position: u64 },
    /// Nothing: it fills the rest of a sector, so that copies of the same evidence do not share one.
    Filler { bytes: u32 },
    /// Batches of a log that has stopped, from an older generation, in the beginning of a newer one.
    Carried { segment_base: Offset, position: u64, end: Offset, bytes: Bytes },
    /// Nothing of an earlier epoch is accepted.
    Promised(Promise),
    /// Whether the replica may have lost what it once acknowledged.
    Suspect(bool),
}

/// Where an entry belongs: the tag of its generation, and the position at which its commit begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Of {
    pub(super) tag: u64,
    pub(super) commit: u64,
}

/// An entry as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) of: Of,
    pub(super) key: PartitionKey,
    pub(super) entry: Entry,
    pub(super) bytes: u64,
}

/// The key of entries that are about the journal itself.
pub(super) const NO_PARTITION: PartitionKey =
    PartitionKey { topic_id: TopicId::from_bytes([0; 16]), partition: PartitionIndex(0) };

impl Entry {
    fn kind(&self) -> u8 {
        match self {
            Self::Data { .. } => 1,
            Self::Mark(_) => 2,
            Self::EpochBegun(_) => 3,
            Self::History(_) => 4,
            Self::CutBegun { .. } => 5,
            Self::CutDone => 6,
            Self::Settled { .. } => 7,
            Self::Dropped => 8,
            Self::StateEnd { .. } => 9,
            Self::Checkpointed { .. } => 10,
            Self::Filler { .. } => 11,
            Self::Carried { .. } => 12,
            Self::Promised(_) => 13,
            Self::Suspect(_) => 14,
            Self::ResetBegun { .. } => 15,
        }
    }
}

impl Entry {
    /// Bytes that it takes in the journal.
    pub(super) fn encoded_bytes(&self) -> u64 {
        const EPOCH_BYTES: usize = 4 + 8;
        let history = |history: &EpochHistory| 4 + EPOCH_BYTES * history.entries().len();
        let body = match self {
            Self::Data { bytes, .. } => 8 + 8 + 4 + MARK_BYTES + bytes.len(),
            Self::Mark(_) => MARK_BYTES,
            Self::EpochBegun(_) => EPOCH_BYTES,
            Self::History(entries) => history(entries),
            Self::CutBegun { history: entries, .. } | Self::ResetBegun { history: entries, .. } => {
                8 + history(entries)
            }
            Self::Settled { .. } => 8,
            Self::Checkpointed { .. } | Self::StateEnd { .. } => 16,
            Self::Filler { bytes } => *bytes as usize,
            Self::Carried { bytes, .. } => 8 + 8 + 8 + bytes.len(),
            Self::Promised(_) => PROMISE_BYTES,
            Self::Suspect(_) => 1,
            Self::CutDone | Self::Dropped => 0,
        };
        (HEAD_BYTES + body) as u64
    }
}

/// Appends an entry to `out`.
pub(super) fn encode(out: &mut Vec<u8>, of: Of, key: PartitionKey, entry: &Entry) {
    let bytes: &[Bytes] =
        if let Entry::Data { bytes, .. } = entry { std::slice::from_ref(bytes) } else { &[] };
    encode_parts(out, of, key, entry, bytes);
}

/// Appends filler, so that what follows begins in another sector than what is before it. `at` is the place of `out` in
/// the file.
pub(super) fn fill_sector(out: &mut Vec<u8>, of: Of, at: u64, sector_bytes: u64) {
    let bytes = filler_bytes(at + out.len() as u64, sector_bytes);
    if let Some(body) = bytes.checked_sub(HEAD_BYTES as u64) {
        let bytes = u32::try_from(body).unwrap_or(0);
        encode(out, of, NO_PARTITION, &Entry::Filler { bytes });
    }
}

/// Bytes of filler from `position` to the beginning of a sector; 0 where one begins.
pub(super) fn filler_bytes(position: u64, sector_bytes: u64) -> u64 {
    let mut bytes = position.next_multiple_of(sector_bytes) - position;
    while bytes != 0 && bytes < HEAD_BYTES as u64 {
        bytes += sector_bytes;
    }
    bytes
}

/// Appends an entry whose batches, if it has any, are in `parts`.
pub(super) fn encode_parts(out: &mut Vec<u8>, of: Of, key: PartitionKey, entry: &Entry, parts: &[Bytes]) {
    let begin = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&of.tag.to_be_bytes());
    out.extend_from_slice(&of.commit.to_be_bytes());
    out.push(entry.kind());
    out.extend_from_slice(&key.topic_id.to_bytes());
    out.extend_from_slice(&key.partition.0.to_be_bytes());
    match entry {
        Entry::Data { position, base_offset, epoch, mark, .. } => {
            out.extend_from_slice(&position.to_be_bytes());
            out.extend_from_slice(&base_offset.get().to_be_bytes());
            out.extend_from_slice(&epoch.map_or(-1, LeaderEpoch::as_i32).to_be_bytes());
            put_mark(out, mark);
            parts.iter().for_each(|part| out.extend_from_slice(part));
        }
        Entry::Mark(mark) => put_mark(out, mark),
        Entry::EpochBegun(entry) => put_epoch(out, *entry),
        Entry::History(history) => put_history(out, history),
        Entry::CutBegun { to: at, history } | Entry::ResetBegun { start: at, history } => {
            out.extend_from_slice(&at.get().to_be_bytes());
            put_history(out, history);
        }
        Entry::Promised(promise) => put_promise(out, *promise),
        Entry::Suspect(is_suspect) => out.push(u8::from(*is_suspect)),
        Entry::Settled { below } => out.extend_from_slice(&below.get().to_be_bytes()),
        Entry::Checkpointed { generation, position } => {
            out.extend_from_slice(&generation.to_be_bytes());
            out.extend_from_slice(&position.to_be_bytes());
        }
        Entry::StateEnd { from, carried_end } => {
            out.extend_from_slice(&from.to_be_bytes());
            out.extend_from_slice(&carried_end.to_be_bytes());
        }
        Entry::Filler { bytes } => out.resize(out.len() + *bytes as usize, 0),
        Entry::Carried { segment_base, position, end, bytes } => {
            out.extend_from_slice(&segment_base.get().to_be_bytes());
            out.extend_from_slice(&position.to_be_bytes());
            out.extend_from_slice(&end.get().to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Entry::CutDone | Entry::Dropped => {}
    }
    seal(out, begin);
}

/// Sets length and checksum of the entry that begins at `begin`.
fn seal(out: &mut [u8], begin: usize) {
    let Some(entry) = out.get_mut(begin..) else { return };
    // Rounds and histories are bounded far below this; a length that did not fit would fail its checksum.
    let length = u32::try_from(entry.len()).unwrap_or(u32::MAX).to_be_bytes();
    let Some((head, rest)) = entry.split_first_chunk_mut::<8>() else { return };
    let crc = checksum(length, rest).to_be_bytes();
    let (length_field, crc_field) = head.split_at_mut(4);
    length_field.copy_from_slice(&length);
    crc_field.copy_from_slice(&crc);
}

fn checksum(length: [u8; 4], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(rest);
    hasher.finalize()
}

fn put_mark(out: &mut Vec<u8>, mark: &DurableMark) {
    out.extend_from_slice(&mark.segment_base.get().to_be_bytes());
    out.extend_from_slice(&mark.position.to_be_bytes());
    out.extend_from_slice(&mark.offset.get().to_be_bytes());
    out.extend_from_slice(&mark.checksum.to_be_bytes());
    let (timestamp, offset) = mark.max_timestamp.unwrap_or((TimestampMs(0), Offset::ZERO));
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    out.push(flag(mark.max_timestamp.is_some(), MAX_TIMESTAMP) | flag(mark.first_crc.is_some(), FIRST_CRC));
    out.extend_from_slice(&timestamp.0.to_be_bytes());
    out.extend_from_slice(&offset.get().to_be_bytes());
    out.extend_from_slice(&mark.first_crc.unwrap_or(0).to_be_bytes());
}

fn put_promise(out: &mut Vec<u8>, promise: Promise) {
    out.extend_from_slice(&promise.epoch.get().to_be_bytes());
    out.push(u8::from(promise.vote.is_some()));
    let (candidate, incarnation) = promise.vote.map_or((0, 0), |vote| (vote.candidate.0, vote.incarnation.0));
    out.extend_from_slice(&candidate.to_be_bytes());
    out.extend_from_slice(&incarnation.to_be_bytes());
}

fn put_epoch(out: &mut Vec<u8>, entry: EpochEntry) {
    out.extend_from_slice(&entry.epoch.get().to_be_bytes());
    out.extend_from_slice(&entry.start.get().to_be_bytes());
}

fn put_history(out: &mut Vec<u8>, history: &EpochHistory) {
    let count = u32::try_from(history.entries().len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    history.entries().iter().for_each(|entry| put_epoch(out, *entry));
}

/// Reads the entry at the front of `bytes`, of whatever generation, if it is whole.
pub(super) fn read(bytes: &Bytes, version: u16) -> Option<Read> {
    let mut fields = Fields(bytes);
    let length_field = fields.array::<4>()?;
    let crc = u32::from_be_bytes(fields.array()?);
    let length = usize::try_from(u32::from_be_bytes(length_field)).ok()?;
    let rest = bytes.get(8..length)?;
    let head_bytes = if version == 1 { HEAD_BYTES_1 } else { HEAD_BYTES };
    if length < head_bytes || checksum(length_field, rest) != crc {
        return None;
    }
    let whole = bytes.slice(..length);
    let mut fields = Fields(&whole);
    fields.array::<8>()?;
    let tag = fields.u64()?;
    let commit = if version == 1 { 0 } else { fields.u64()? };
    let [kind] = fields.array()?;
    let topic_id = TopicId::from_bytes(fields.array()?);
    let partition = PartitionIndex(u32::from_be_bytes(fields.array()?));
    let entry = fields.body(version, kind, &whole)?;
    let (of, key) = (Of { tag, commit }, PartitionKey { topic_id, partition });
    Some(Read { of, key, entry, bytes: length as u64 })
}

/// Where the tag is, in an entry.
pub(super) const TAG_AT: usize = 8;

/// Reads fields off the front; a missing byte is `None`.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn offset(&mut self) -> Option<Offset> {
        self.u64().and_then(Offset::new)
    }

    fn mark(&mut self, version: u16) -> Option<DurableMark> {
        let (segment_base, position, offset) = (self.offset()?, self.u64()?, self.offset()?);
        let checksum = u32::from_be_bytes(self.array()?);
        let [flags] = self.array()?;
        let max = (TimestampMs(i64::from_be_bytes(self.array()?)), self.offset()?);
        let max_timestamp = (flags & MAX_TIMESTAMP != 0).then_some(max);
        let crc = if version < 3 { 0 } else { u32::from_be_bytes(self.array()?) };
        let first_crc = (flags & FIRST_CRC != 0).then_some(crc);
        Some(DurableMark { segment_base, position, offset, checksum, max_timestamp, first_crc })
    }

    fn epoch(&mut self) -> Option<EpochEntry> {
        let epoch = LeaderEpoch::new(u32::from_be_bytes(self.array()?))?;
        Some(EpochEntry { epoch, start: self.offset()? })
    }

    fn history(&mut self) -> Option<EpochHistory> {
        let count = u32::from_be_bytes(self.array()?);
        let mut history = EpochHistory::default();
        for _ in 0..count {
            history.push(self.epoch()?).ok()?;
        }
        Some(history)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn promise(&mut self) -> Option<Promise> {
        let epoch = LeaderEpoch::new(u32::from_be_bytes(self.array()?))?;
        let has_vote = self.flag()?;
        let candidate = BrokerId(u32::from_be_bytes(self.array()?));
        let vote = Vote { candidate, incarnation: Incarnation(self.u64()?) };
        Some(Promise { epoch, vote: has_vote.then_some(vote) })
    }

    fn data(&mut self, version: u16, whole: &Bytes) -> Option<Entry> {
        let (position, base_offset) = (self.u64()?, self.offset()?);
        let epoch = u32::try_from(i32::from_be_bytes(self.array()?)).ok().and_then(LeaderEpoch::new);
        let mark = self.mark(version)?;
        let bytes = whole.slice_ref(std::mem::take(&mut self.0));
        let fits = mark.position.checked_sub(position) == Some(bytes.len() as u64);
        fits.then_some(Entry::Data { position, base_offset, epoch, mark, bytes })
    }

    fn carried(&mut self, whole: &Bytes) -> Option<Entry> {
        let (segment_base, position, end) = (self.offset()?, self.u64()?, self.offset()?);
        let bytes = whole.slice_ref(std::mem::take(&mut self.0));
        Some(Entry::Carried { segment_base, position, end, bytes })
    }

    fn filler(&mut self) -> Option<Entry> {
        let bytes = u32::try_from(std::mem::take(&mut self.0).len()).ok()?;
        Some(Entry::Filler { bytes })
    }

    fn body(&mut self, version: u16, kind: u8, whole: &Bytes) -> Option<Entry> {
        let entry = match kind {
            1 => self.data(version, whole)?,
            2 => Entry::Mark(self.mark(version)?),
            3 => Entry::EpochBegun(self.epoch()?),
            4 => Entry::History(self.history()?),
            5 => Entry::CutBegun { to: self.offset()?, history: self.history()? },
            6 => Entry::CutDone,
            7 => Entry::Settled { below: self.offset()? },
            8 => Entry::Dropped,
            9 if version == 1 => Entry::StateEnd { from: ENTRIES_AT, carried_end: ENTRIES_AT },
            9 => Entry::StateEnd { from: self.u64()?, carried_end: self.u64()? },
            10 => Entry::Checkpointed { generation: self.u64()?, position: self.u64()? },
            11 if version > 1 => self.filler()?,
            12 if version > 1 => self.carried(whole)?,
            13 if version > 3 => Entry::Promised(self.promise()?),
            14 if version > 3 => Entry::Suspect(self.flag()?),
            15 if version > 3 => Entry::ResetBegun { start: self.offset()?, history: self.history()? },
            _ => return None,
        };
        self.0.is_empty().then_some(entry)
    }
}

/// Bytes that an entry with `data_bytes` of batches takes.
pub(super) fn data_entry_bytes(data_bytes: u64) -> u64 {
    (HEAD_BYTES + 8 + 8 + 4 + MARK_BYTES) as u64 + data_bytes
}

/// Bytes that an entry takes with `data_bytes` of batches carried over.
pub(super) fn carried_entry_bytes(data_bytes: usize) -> u64 {
    (HEAD_BYTES + 8 + 8 + 8 + data_bytes) as u64
}

/// A mark as version 2 wrote it, for tests.
#[cfg(test)]
pub(super) fn mark_of_version_2(of: Of, key: PartitionKey, mark: DurableMark) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, of, key, &Entry::Mark(mark));
    out.truncate(out.len() - 4);
    seal(&mut out, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::file::VERSION;

    fn at(offset: u64) -> Offset {
        Offset::new(offset).unwrap()
    }

    fn key() -> PartitionKey {
        PartitionKey { topic_id: TopicId::from_bytes([7; 16]), partition: PartitionIndex(3) }
    }

    fn every_kind() -> Vec<Entry> {
        let mark = |position, max_timestamp| DurableMark {
            segment_base: at(5),
            position,
            offset: at(99),
            checksum: 0xdead_beef,
            max_timestamp,
            first_crc: max_timestamp.map(|_| 0x0102_0304),
        };
        let epoch = |epoch, start| EpochEntry { epoch: LeaderEpoch::new(epoch).unwrap(), start: at(start) };
        let history = EpochHistory::from_entries([epoch(1, 0), epoch(2, 40)]).unwrap();
        vec![
            Entry::Data {
                position: 61,
                base_offset: at(90),
                epoch: LeaderEpoch::new(2),
                mark: mark(66, None),
                bytes: Bytes::from_static(b"batch"),
            },
            Entry::Mark(mark(66, Some((TimestampMs(-5), at(7))))),
            Entry::EpochBegun(epoch(2, 40)),
            Entry::History(history.clone()),
            Entry::History(EpochHistory::default()),
            Entry::CutBegun { to: at(41), history: history.clone() },
            Entry::ResetBegun { start: at(70), history },
            Entry::Promised(Promise::of_epoch(LeaderEpoch::new(7).unwrap())),
            Entry::Promised(Promise {
                epoch: LeaderEpoch::new(8).unwrap(),
                vote: Some(Vote { candidate: BrokerId(3), incarnation: Incarnation(99) }),
            }),
            Entry::Suspect(true),
            Entry::CutDone,
            Entry::Settled { below: at(5) },
            Entry::Dropped,
            Entry::StateEnd { from: 4096, carried_end: 700 },
            Entry::Checkpointed { generation: 8, position: 4096 },
            Entry::Filler { bytes: 12 },
            Entry::Carried {
                segment_base: at(5),
                position: 61,
                end: at(99),
                bytes: Bytes::from_static(b"batch"),
            },
        ]
    }

    const OF: Of = Of { tag: 9, commit: 4711 };

    #[test]
    fn entries_come_back_as_they_went() {
        let mut out = Vec::new();
        for entry in every_kind() {
            encode(&mut out, OF, key(), &entry);
        }
        let mut bytes = Bytes::from(out);
        for entry in every_kind() {
            let found = read(&bytes, VERSION).unwrap();
            assert_eq!((found.of, found.key, &found.entry), (OF, key(), &entry));
            assert_eq!(entry.encoded_bytes(), found.bytes);
            if let Entry::Data { bytes, .. } = &found.entry {
                assert_eq!(data_entry_bytes(bytes.len() as u64), found.bytes);
            }
            bytes::Buf::advance(&mut bytes, usize::try_from(found.bytes).unwrap());
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_mark_of_version_2_has_no_checksum_of_the_first_batch() {
        let mark = DurableMark {
            segment_base: at(5),
            position: 66,
            offset: at(99),
            checksum: 0xdead_beef,
            max_timestamp: Some((TimestampMs(-5), at(7))),
            first_crc: None,
        };
        let bytes = Bytes::from(mark_of_version_2(OF, key(), mark));
        assert_eq!(read(&bytes, 2).map(|found| found.entry), Some(Entry::Mark(mark)));
        assert_eq!(read(&bytes, 3), None);
    }

    #[test]
    fn a_changed_or_short_entry_is_none() {
        for entry in every_kind() {
            let mut out = Vec::new();
            encode(&mut out, OF, key(), &entry);
            for at in 0..out.len() {
                let mut changed = out.clone();
                changed[at] ^= 1;
                assert_eq!(read(&Bytes::from(changed), VERSION), None, "{entry:?}, byte {at}");
                assert_eq!(
                    read(&Bytes::copy_from_slice(&out[..at]), VERSION),
                    None,
                    "{entry:?}, cut at {at}"
                );
            }
        }
    }

    #[test]
    fn what_follows_filler_begins_in_another_sector() {
        for at in 0..1_200_u64 {
            let mut out = vec![7; usize::try_from(at % 300).unwrap()];
            let begin = at - at % 300;
            fill_sector(&mut out, OF, begin, 512);
            let end = begin + out.len() as u64;
            assert!(end.is_multiple_of(512) && end >= at && end < at + 1024, "{at}: {end}");
        }
    }
}
