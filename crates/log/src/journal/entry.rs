//! One entry of the journal, as bytes.
//!
//! Big-endian: length u32 (of the whole entry) · CRC-32 u32 (ISO-HDLC, over length and all that follows) ·
//! generation u64 · kind u8 · topic id 16 bytes · partition u32 · body.

use bytes::Bytes;
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

use super::PartitionKey;
use crate::epochs::{EpochEntry, EpochHistory};
use crate::mark::DurableMark;

/// Bytes before an entry's body.
pub(super) const HEAD_BYTES: usize = 4 + 4 + 8 + 1 + 16 + 4;
const MARK_BYTES: usize = 8 + 8 + 8 + 4 + 1 + 8 + 8;

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
    /// The cut is done, and durable.
    CutDone,
    /// Segments whose base is below this are synced as they are: earlier data for them is of no use any more.
    Settled { below: Offset },
    /// The partition is gone.
    Dropped,
    /// The state of all partitions is complete: the generation counts from here on.
    StateEnd,
    /// Data before this place in the journal is in the segments, synced.
    Checkpointed { generation: u64, position: u64 },
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
            Self::StateEnd => 9,
            Self::Checkpointed { .. } => 10,
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
            Self::CutBegun { history: entries, .. } => 8 + history(entries),
            Self::Settled { .. } => 8,
            Self::Checkpointed { .. } => 16,
            Self::CutDone | Self::Dropped | Self::StateEnd => 0,
        };
        (HEAD_BYTES + body) as u64
    }
}

/// Appends an entry to `out`.
pub(super) fn encode(out: &mut Vec<u8>, generation: u64, key: PartitionKey, entry: &Entry) {
    let bytes: &[Bytes] =
        if let Entry::Data { bytes, .. } = entry { std::slice::from_ref(bytes) } else { &[] };
    encode_parts(out, generation, key, entry, bytes);
}

/// Appends an entry whose batches, if it has any, are in `parts`.
pub(super) fn encode_parts(
    out: &mut Vec<u8>,
    generation: u64,
    key: PartitionKey,
    entry: &Entry,
    parts: &[Bytes],
) {
    let begin = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&generation.to_be_bytes());
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
        Entry::CutBegun { to, history } => {
            out.extend_from_slice(&to.get().to_be_bytes());
            put_history(out, history);
        }
        Entry::Settled { below } => out.extend_from_slice(&below.get().to_be_bytes()),
        Entry::Checkpointed { generation, position } => {
            out.extend_from_slice(&generation.to_be_bytes());
            out.extend_from_slice(&position.to_be_bytes());
        }
        Entry::CutDone | Entry::Dropped | Entry::StateEnd => {}
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
    out.push(u8::from(mark.max_timestamp.is_some()));
    out.extend_from_slice(&timestamp.0.to_be_bytes());
    out.extend_from_slice(&offset.get().to_be_bytes());
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

/// Takes the first entry off `bytes`, if it is whole and of this generation. What follows one that is not, is not
/// of this generation either.
pub(super) fn take(bytes: &mut Bytes, generation: u64) -> Option<(PartitionKey, Entry, usize)> {
    let mut fields = Fields(bytes);
    let length_field = fields.array::<4>()?;
    let crc = u32::from_be_bytes(fields.array()?);
    let length = usize::try_from(u32::from_be_bytes(length_field)).ok()?;
    let rest = bytes.get(8..length)?;
    if length < HEAD_BYTES || checksum(length_field, rest) != crc {
        return None;
    }
    let whole = bytes.slice(..length);
    let mut fields = Fields(&whole);
    fields.array::<8>()?;
    if u64::from_be_bytes(fields.array()?) != generation {
        return None;
    }
    let [kind] = fields.array()?;
    let topic_id = TopicId::from_bytes(fields.array()?);
    let partition = PartitionIndex(u32::from_be_bytes(fields.array()?));
    let entry = fields.body(kind, &whole)?;
    bytes::Buf::advance(bytes, length);
    Some((PartitionKey { topic_id, partition }, entry, length))
}

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

    fn mark(&mut self) -> Option<DurableMark> {
        let (segment_base, position, offset) = (self.offset()?, self.u64()?, self.offset()?);
        let checksum = u32::from_be_bytes(self.array()?);
        let [known] = self.array()?;
        let max = (TimestampMs(i64::from_be_bytes(self.array()?)), self.offset()?);
        let max_timestamp = (known == 1).then_some(max);
        Some(DurableMark { segment_base, position, offset, checksum, max_timestamp })
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

    fn data(&mut self, whole: &Bytes) -> Option<Entry> {
        let (position, base_offset) = (self.u64()?, self.offset()?);
        let epoch = u32::try_from(i32::from_be_bytes(self.array()?)).ok().and_then(LeaderEpoch::new);
        let mark = self.mark()?;
        let bytes = whole.slice_ref(std::mem::take(&mut self.0));
        let fits = mark.position.checked_sub(position) == Some(bytes.len() as u64);
        fits.then_some(Entry::Data { position, base_offset, epoch, mark, bytes })
    }

    fn body(&mut self, kind: u8, whole: &Bytes) -> Option<Entry> {
        let entry = match kind {
            1 => self.data(whole)?,
            2 => Entry::Mark(self.mark()?),
            3 => Entry::EpochBegun(self.epoch()?),
            4 => Entry::History(self.history()?),
            5 => Entry::CutBegun { to: self.offset()?, history: self.history()? },
            6 => Entry::CutDone,
            7 => Entry::Settled { below: self.offset()? },
            8 => Entry::Dropped,
            9 => Entry::StateEnd,
            10 => Entry::Checkpointed { generation: self.u64()?, position: self.u64()? },
            _ => return None,
        };
        self.0.is_empty().then_some(entry)
    }
}

/// Bytes that an entry with `data_bytes` of batches takes.
pub(super) fn data_entry_bytes(data_bytes: u64) -> u64 {
    (HEAD_BYTES + 8 + 8 + 4 + MARK_BYTES) as u64 + data_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Entry::CutBegun { to: at(41), history },
            Entry::CutDone,
            Entry::Settled { below: at(5) },
            Entry::Dropped,
            Entry::StateEnd,
            Entry::Checkpointed { generation: 8, position: 4096 },
        ]
    }

    #[test]
    fn entries_come_back_as_they_went() {
        let mut out = Vec::new();
        for entry in every_kind() {
            encode(&mut out, 9, key(), &entry);
        }
        let mut bytes = Bytes::from(out);
        for entry in every_kind() {
            let before = bytes.len();
            let (found_key, found, length) = take(&mut bytes, 9).unwrap();
            assert_eq!((found_key, &found, length), (key(), &entry, before - bytes.len()));
            assert_eq!(entry.encoded_bytes(), length as u64);
            if let Entry::Data { bytes, .. } = &found {
                assert_eq!(data_entry_bytes(bytes.len() as u64), length as u64);
            }
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_changed_short_or_older_entry_is_none() {
        for entry in every_kind() {
            let mut out = Vec::new();
            encode(&mut out, 9, key(), &entry);
            assert_eq!(take(&mut Bytes::from(out.clone()), 8), None, "an older generation's");
            for at in 0..out.len() {
                let mut changed = out.clone();
                changed[at] ^= 1;
                assert_eq!(take(&mut Bytes::from(changed), 9), None, "{entry:?}, byte {at}");
                assert_eq!(take(&mut Bytes::copy_from_slice(&out[..at]), 9), None, "{entry:?}, cut at {at}");
            }
        }
    }
}
