//! `partition.state`: the little that a log must remember in addition to its batches, in two copies.
//!
//! Layout of version 3, big-endian: magic `CDPS` · version u16 · generation u64 · flags u8 (1: the partition is known) ·
//! topic id 16 bytes · partition u32 · log start u64 · compacted end u64 · doubtful end u64 · catalogue (count u32, and
//! 53 bytes for each sealed segment, see `catalogue`) · CRC-32 u32 (ISO-HDLC, over all before it). Version 2 had neither
//! generation, partition nor doubtful end, and shorter entries; version 1 had no catalogue. Both are still read.
//!
//! `partition.state` and `partition.state.copy` hold the same bytes, and each is replaced as a whole: both are written
//! next to it, synced and renamed, and the directory is synced. So no single fault takes what no other file knows: a
//! copy that is damaged, missing, of another partition or older than the other one is reported and written again. Where
//! both are gone, nothing says which records had been deleted: see [`PartitionState::doubtful_end`].
//!
//! Their presence also says that the directory itself is durable, because they are first written after the
//! directory's own name was synced.

mod stored;
mod writer;

use bytes::Bytes;
use corduroy_types::{Offset, PartitionIndex, TopicId};

use crate::catalogue::Catalogue;
use crate::journal::PartitionKey;

pub(crate) use stored::{Found, Stored, read};
pub use stored::{StateFault, StateFaultReason};
pub(crate) use writer::StateWriter;

/// The file's name.
pub(crate) const STATE_FILE: &str = "partition.state";
/// The name of its copy.
pub(crate) const STATE_COPY: &str = "partition.state.copy";
/// What they are called while they are written.
pub(crate) const STATE_TEMPORARIES: [&str; 2] = ["partition.state.tmp", "partition.state.copy.tmp"];

const MAGIC: [u8; 4] = *b"CDPS";
const VERSION: u16 = 3;
/// Flag: the partition is on record.
const IDENTIFIED: u8 = 1;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) log_start: Offset,
    /// Compaction has been through everything below.
    pub(crate) compacted_end: Offset,
    /// Nothing below is served until an operator accepts it: the state was lost, and with it which of these records
    /// had been deleted. 0 where nothing is in doubt.
    pub(crate) doubtful_end: Offset,
    pub(crate) catalogue: Catalogue,
}

/// One copy, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) state: PartitionState,
    /// Grows by one with each change; 0 in files of older versions.
    pub(crate) generation: u64,
    /// Whose it is, if it says so.
    pub(crate) partition: Option<PartitionKey>,
}

impl Decoded {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.push(if self.partition.is_some() { IDENTIFIED } else { 0 });
        let (topic_id, partition) =
            self.partition.map_or(([0; 16], 0), |key| (key.topic_id.to_bytes(), key.partition.0));
        bytes.extend_from_slice(&topic_id);
        bytes.extend_from_slice(&partition.to_be_bytes());
        for offset in [self.state.log_start, self.state.compacted_end, self.state.doubtful_end] {
            bytes.extend_from_slice(&offset.get().to_be_bytes());
        }
        self.state.catalogue.encode(&mut bytes);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.into()
    }

    /// `Err` holds the version of a sound file that is newer than this code.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, u16> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Ok(None);
        }
        let Some(rest) = body.strip_prefix(&MAGIC) else { return Ok(None) };
        let Some((version, mut rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        Ok(match u16::from_be_bytes(*version) {
            version if version > VERSION => return Err(version),
            VERSION => decode_3(&mut rest),
            2 => decode_2(&mut rest),
            1 => decode_1(&mut rest),
            _ => None,
        })
    }
}

fn decode_3(rest: &mut &[u8]) -> Option<Decoded> {
    let generation = u64::from_be_bytes(take(rest)?);
    let [flags] = take(rest)?;
    let topic_id = TopicId::from_bytes(take(rest)?);
    let partition = PartitionIndex(u32::from_be_bytes(take(rest)?));
    let key = PartitionKey { topic_id, partition };
    let (log_start, compacted_end, doubtful_end) = (offset(rest)?, offset(rest)?, offset(rest)?);
    let catalogue = Catalogue::decode(rest)?;
    let state = PartitionState { log_start, compacted_end, doubtful_end, catalogue };
    (flags <= IDENTIFIED).then_some(Decoded {
        state,
        generation,
        partition: (flags == IDENTIFIED).then_some(key),
    })
}

fn decode_2(rest: &mut &[u8]) -> Option<Decoded> {
    let (log_start, compacted_end) = (offset(rest)?, offset(rest)?);
    let catalogue = Catalogue::decode_v2(rest)?;
    let state = PartitionState { log_start, compacted_end, catalogue, ..PartitionState::default() };
    Some(Decoded { state, generation: 0, partition: None })
}

fn decode_1(rest: &mut &[u8]) -> Option<Decoded> {
    let log_start = offset(rest)?;
    let state = PartitionState { log_start, ..PartitionState::default() };
    rest.is_empty().then_some(Decoded { state, generation: 0, partition: None })
}

/// Splits `N` bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn offset(rest: &mut &[u8]) -> Option<Offset> {
    Offset::new(u64::from_be_bytes(take(rest)?))
}

#[cfg(test)]
mod tests;
