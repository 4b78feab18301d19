//! The state of all producers, as a file.
//!
//! `<20-digit offset>.snapshot`, big-endian: magic `CDPR` · version u16 (4) · whether the partition is known u8 · topic id
//! 16 bytes · partition u32 (before version 3 none of these) · offset u64: all batches below it are in ·
//! base offset u64 of the segment it is in, and position u64 of that offset in it · whether index files were written
//! with it u8 (version 1 had neither this nor the next), and CRC-32 over them u32 · log time i64 · greatest id of a producer that was forgotten i64, -1: none (not before version 4) · count u32 · for
//! each producer, the one quiet longest first: id i64 · epoch i16 · whether it is whole u8 (not before version 4) · log time of its
//! last batch i64 · batches u8 (1 to 5), and for each, oldest first: first sequence u32 · last delta u32 · base offset u64 · max timestamp i64 · at the
//! end CRC-32 u32 (ISO-HDLC) over all before it.

use std::path::Path;

use bytes::Bytes;
use corduroy_types::{Offset, PartitionIndex, TimestampMs, TopicId};

use crate::journal::PartitionKey;

use super::{PRODUCERS_MAX, Producer, ProducerBatch, Producers, Sequence, WINDOW_BATCHES};

const MAGIC: [u8; 4] = *b"CDPR";
const VERSION: u16 = 4;
const HEAD_BYTES: usize = 4 + 2 + 1 + 16 + 4 + 8 + 8 + 8 + 1 + 4 + 8 + 8 + 4;
const PRODUCER_BYTES_MAX: usize = 8 + 2 + 1 + 8 + 1 + WINDOW_BATCHES * 24;
/// No snapshot is larger.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = (HEAD_BYTES + PRODUCERS_MAX * PRODUCER_BYTES_MAX + 4) as u64;

/// Why the bytes are no snapshot that can be used. It is a cache: the log is read instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFault {
    /// Its checksum or its contents are wrong.
    #[error("the snapshot of producers is damaged")]
    Damaged,
    /// A newer version wrote it.
    #[error("the snapshot of producers has format {0}, and this version knows {VERSION}")]
    NewerFormat(u16),
}

/// The producers as of an offset, with the place to go on reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is; `None` where it does not say so.
    pub partition: Option<PartitionKey>,
    /// All batches below it are in.
    pub offset: Offset,
    /// The segment that holds, or will hold, the batch at that offset.
    pub segment_base: Offset,
    /// Where in that segment, while it is not compacted.
    pub position: u64,
    /// CRC-32 over the segment's index files, where they were written with it, at a clean close.
    pub(crate) index_checksum: Option<u32>,
    /// The producers.
    pub producers: Producers,
}

impl Snapshot {
    /// The bytes to store, for the log in `dir`.
    pub(crate) fn encode(
        dir: &Path,
        producers: &Producers,
        (offset, segment_base, position): (Offset, Offset, u64),
        index_checksum: Option<u32>,
    ) -> Bytes {
        let partition = PartitionKey::of_dir(dir);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + producers.len() * PRODUCER_BYTES_MAX + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.push(partition.is_some().into());
        let (topic_id, index) =
            partition.map_or(([0; 16], 0), |key| (key.topic_id.to_bytes(), key.partition.0));
        bytes.extend_from_slice(&topic_id);
        bytes.extend_from_slice(&index.to_be_bytes());
        for place in [offset.get(), segment_base.get(), position] {
            bytes.extend_from_slice(&place.to_be_bytes());
        }
        bytes.push(index_checksum.is_some().into());
        bytes.extend_from_slice(&index_checksum.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&producers.log_time().0.to_be_bytes());
        bytes.extend_from_slice(&producers.forgotten_id_max().unwrap_or(-1).to_be_bytes());
        let count = u32::try_from(producers.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_be_bytes());
        for (id, producer) in producers.iter() {
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&producer.epoch().to_be_bytes());
            bytes.push(producer.is_whole().into());
            bytes.extend_from_slice(&producer.quiet_since().0.to_be_bytes());
            bytes.push(u8::try_from(producer.batches().len()).unwrap_or(u8::MAX));
            for batch in producer.batches() {
                bytes.extend_from_slice(&batch.first_sequence.get().to_be_bytes());
                bytes.extend_from_slice(&batch.last_delta.to_be_bytes());
                bytes.extend_from_slice(&batch.base_offset.get().to_be_bytes());
                bytes.extend_from_slice(&batch.max_timestamp.0.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.into()
    }

    /// Whether it says that it is of another partition than the one in `dir`.
    pub(crate) fn is_of_other(&self, dir: &Path) -> bool {
        let own = PartitionKey::of_dir(dir);
        self.partition.zip(own).is_some_and(|(found, own)| found != own)
    }

    /// Reads what `Snapshot::encode` wrote, and forgets producers that have expired by `expiration_ms`.
    ///
    /// # Errors
    /// [`SnapshotFault`].
    pub fn decode(bytes: &[u8], expiration_ms: u64) -> Result<Self, SnapshotFault> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(SnapshotFault::Damaged)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(SnapshotFault::Damaged);
        }
        let mut rest = body.strip_prefix(&MAGIC).ok_or(SnapshotFault::Damaged)?;
        let version = take(&mut rest).map(u16::from_be_bytes).ok_or(SnapshotFault::Damaged)?;
        if version > VERSION {
            return Err(SnapshotFault::NewerFormat(version));
        }
        Self::decode_body(&mut rest, version, expiration_ms)
            .filter(|_| rest.is_empty())
            .ok_or(SnapshotFault::Damaged)
    }

    fn decode_body(rest: &mut &[u8], version: u16, expiration_ms: u64) -> Option<Self> {
        let partition = if version >= 3 { take_partition(rest)? } else { None };
        let offset = Offset::new(u64::from_be_bytes(take(rest)?))?;
        let segment_base = Offset::new(u64::from_be_bytes(take(rest)?))?;
        let position = u64::from_be_bytes(take(rest)?);
        let index_checksum = if version >= 2 { take_index_checksum(rest)? } else { None };
        let log_time = TimestampMs(i64::from_be_bytes(take(rest)?));
        let forgotten_id_max = match version {
            // Whether one was forgotten is not known.
            ..4 => Some(i64::MAX),
            _ => Some(i64::from_be_bytes(take(rest)?)).filter(|id| *id >= 0),
        };
        let count = u32::from_be_bytes(take(rest)?);
        // No room is made for a count that was not read: the vector grows with what is there.
        let mut producers = Vec::new();
        for _ in 0..count {
            let (id, producer) = decode_producer(rest, version)?;
            (producer.last_batch()?.next_offset() <= offset && producer.quiet_since() <= log_time)
                .then_some(())?;
            producers.push((id, producer));
        }
        let producers = Producers::restore(expiration_ms, log_time, forgotten_id_max, producers)?;
        Some(Self { partition, offset, segment_base, position, index_checksum, producers })
    }
}

fn take_partition(rest: &mut &[u8]) -> Option<Option<PartitionKey>> {
    let [known] = take(rest)?;
    let topic_id = TopicId::from_bytes(take(rest)?);
    let partition = PartitionIndex(u32::from_be_bytes(take(rest)?));
    (known <= 1).then_some((known == 1).then_some(PartitionKey { topic_id, partition }))
}

fn take_index_checksum(rest: &mut &[u8]) -> Option<Option<u32>> {
    let [present] = take(rest)?;
    let checksum = u32::from_be_bytes(take(rest)?);
    (present <= 1).then_some((present == 1).then_some(checksum))
}

fn decode_producer(rest: &mut &[u8], version: u16) -> Option<(i64, Producer)> {
    let id = i64::from_be_bytes(take(rest)?);
    let epoch = i16::from_be_bytes(take(rest)?);
    let [is_whole] = if version >= 4 { take(rest)? } else { [0] };
    (is_whole <= 1).then_some(())?;
    let mut producer = Producer::new(epoch, is_whole == 1);
    let quiet_since = TimestampMs(i64::from_be_bytes(take(rest)?));
    let [batches] = take(rest)?;
    (id >= 0 && (1..=WINDOW_BATCHES).contains(&usize::from(batches))).then_some(())?;
    for _ in 0..batches {
        let batch = ProducerBatch {
            first_sequence: Sequence::new(i32::from_be_bytes(take(rest)?))?,
            last_delta: u32::from_be_bytes(take(rest)?),
            base_offset: Offset::new(u64::from_be_bytes(take(rest)?))?,
            max_timestamp: TimestampMs(i64::from_be_bytes(take(rest)?)),
        };
        producer.push(batch, quiet_since);
    }
    Some((id, producer))
}

/// Splits `N` bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
