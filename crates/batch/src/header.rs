//! The batch's fixed header: 61 bytes, big-endian.

use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::{Attributes, BatchError, Compression, TimestampType, error::CountLimit};

/// Bytes of the whole fixed header.
pub const HEADER_BYTES: usize = 61;
/// Bytes of base offset and batch length: what stands before the bytes that the length counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The version of the format, in byte 16.
pub const MAGIC: u8 = 2;
/// Where the bytes begin that the checksum covers; they go to the end of the batch.
pub(crate) const CRC_COVERS_FROM: usize = 21;
/// The least bytes that a record can take: length, attributes, two deltas, two null lengths, header count.
pub(crate) const RECORD_BYTES_MIN: u32 = 7;

const LENGTH_PREFIX: u32 = 12;
/// The least value of the length field: the rest of the header.
const LENGTH_MIN: u32 = 49;
const _: () = assert!(
    LENGTH_PREFIX as usize == LENGTH_PREFIX_BYTES
        && LENGTH_MIN as usize == HEADER_BYTES - LENGTH_PREFIX_BYTES
);
/// The greatest total size that a signed 32-bit length can express.
pub(crate) const TOTAL_BYTES_MAX: u32 = i32::MAX.unsigned_abs();

/// The fixed header of a record batch (Kafka's RecordBatch v2).
///
/// Fields have the names and meaning of the format. Numbers that it stores signed and that are never negative are
/// unsigned here; a header that holds such a negative number does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record; 0 until the leader assigns it. Outside the checksum.
    pub base_offset: Offset,
    /// Bytes behind this field, so the whole batch less [`LENGTH_PREFIX_BYTES`].
    pub batch_length: u32,
    /// The epoch of the leader that appended the batch; `None` (−1) until then. Outside the checksum.
    pub leader_epoch: Option<LeaderEpoch>,
    /// CRC-32C over everything behind this field.
    pub crc: u32,
    /// Codec, timestamp type and the other bits.
    pub attributes: Attributes,
    /// The last offset less the base offset. Compaction leaves it, so it may be more than the records need.
    pub last_offset_delta: u32,
    /// What the records' timestamps are relative to; the delete horizon when that attribute is set.
    pub base_timestamp: TimestampMs,
    /// The greatest timestamp of the records, or with log-append time the timestamp of all of them.
    pub max_timestamp: TimestampMs,
    /// The idempotent producer's id; −1 for none.
    pub producer_id: i64,
    /// The idempotent producer's epoch; −1 for none.
    pub producer_epoch: i16,
    /// The sequence number of the first record; −1 for none.
    pub base_sequence: i32,
    /// How many records the batch holds; 0 is possible after compaction.
    pub record_count: u32,
}

/// Splits `N` bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may hold more.
    ///
    /// Checks magic and every field by itself, and that record count, last offset and length can go together. It
    /// sees neither the rest of the batch nor its checksum: that is [`crate::Batch::parse`].
    ///
    /// # Errors
    /// [`BatchError::Truncated`] below [`HEADER_BYTES`]; otherwise the field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = RawHeader::take(&mut &*bytes).ok_or(BatchError::Truncated {
            needed_bytes: HEADER_BYTES as u64,
            present_bytes: bytes.len() as u64,
        })?;
        header.check()
    }

    /// The size of the whole batch in bytes.
    #[must_use]
    pub const fn total_bytes(&self) -> u32 {
        self.batch_length.saturating_add(LENGTH_PREFIX)
    }

    /// The offset of the last record that the batch ever held.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// The offset after the last: where the next batch begins, unless there is a gap.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.last_offset_delta) + 1)
    }

    /// Until when compaction keeps the batch's tombstones, once it has met them.
    #[must_use]
    pub const fn delete_horizon(&self) -> Option<TimestampMs> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }

    /// How the records are compressed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.attributes.compression()
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Whether the batch holds the broker's own marks and no records of users.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// The 61 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = &mut bytes[..];
        put(&mut rest, self.stamp_bytes());
        put(&mut rest, [MAGIC]);
        put(&mut rest, self.crc.to_be_bytes());
        put(&mut rest, self.attributes.bits().to_be_bytes());
        put(&mut rest, self.last_offset_delta.to_be_bytes());
        put(&mut rest, self.base_timestamp.0.to_be_bytes());
        put(&mut rest, self.max_timestamp.0.to_be_bytes());
        put(&mut rest, self.producer_id.to_be_bytes());
        put(&mut rest, self.producer_epoch.to_be_bytes());
        put(&mut rest, self.base_sequence.to_be_bytes());
        put(&mut rest, self.record_count.to_be_bytes());
        bytes
    }

    /// The first 16 bytes: the two fields that the leader sets, and the length between them.
    pub(crate) fn stamp_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let mut rest = &mut bytes[..];
        put(&mut rest, self.base_offset.as_i64().to_be_bytes());
        put(&mut rest, self.batch_length.to_be_bytes());
        put(&mut rest, self.leader_epoch.map_or(-1, LeaderEpoch::as_i32).to_be_bytes());
        bytes
    }
}

/// Writes `field` at the front of `rest` and moves past it.
fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    if let Some((head, tail)) = std::mem::take(rest).split_first_chunk_mut::<N>() {
        *head = field;
        *rest = tail;
    }
}

/// The fields as stored, before any check.
struct RawHeader {
    base_offset: i64,
    batch_length: i32,
    leader_epoch: i32,
    magic: u8,
    crc: u32,
    attributes: u16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    record_count: i32,
}

impl RawHeader {
    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            base_offset: i64::from_be_bytes(take(rest)?),
            batch_length: i32::from_be_bytes(take(rest)?),
            leader_epoch: i32::from_be_bytes(take(rest)?),
            magic: u8::from_be_bytes(take(rest)?),
            crc: u32::from_be_bytes(take(rest)?),
            attributes: u16::from_be_bytes(take(rest)?),
            last_offset_delta: i32::from_be_bytes(take(rest)?),
            base_timestamp: i64::from_be_bytes(take(rest)?),
            max_timestamp: i64::from_be_bytes(take(rest)?),
            producer_id: i64::from_be_bytes(take(rest)?),
            producer_epoch: i16::from_be_bytes(take(rest)?),
            base_sequence: i32::from_be_bytes(take(rest)?),
            record_count: i32::from_be_bytes(take(rest)?),
        })
    }

    fn check(self) -> Result<BatchHeader, BatchError> {
        // Magic first: in another version the bytes around it mean something else.
        if self.magic != MAGIC {
            return Err(BatchError::Magic { got: self.magic });
        }
        let header = BatchHeader {
            base_offset: Offset::try_from(self.base_offset)
                .map_err(|_| field("base_offset", self.base_offset, "expected 0 or more"))?,
            batch_length: self.checked_length()?,
            leader_epoch: self.checked_epoch()?,
            crc: self.crc,
            attributes: Attributes::from_bits(self.attributes)
                .ok_or(BatchError::UnknownCodec { bits: self.attributes & 0b111 })?,
            last_offset_delta: not_negative("last_offset_delta", self.last_offset_delta)?,
            base_timestamp: TimestampMs(self.base_timestamp),
            max_timestamp: TimestampMs(self.max_timestamp),
            producer_id: at_least_none("producer_id", self.producer_id)?,
            producer_epoch: at_least_none("producer_epoch", self.producer_epoch)?,
            base_sequence: at_least_none("base_sequence", self.base_sequence)?,
            record_count: not_negative("record_count", self.record_count)?,
        };
        header.check_count()?;
        Ok(header)
    }

    fn checked_length(&self) -> Result<u32, BatchError> {
        u32::try_from(self.batch_length)
            .ok()
            .filter(|length| (LENGTH_MIN..=TOTAL_BYTES_MAX - LENGTH_PREFIX).contains(length))
            .ok_or_else(|| field("batch_length", self.batch_length, "expected 49..=2147483635"))
    }

    fn checked_epoch(&self) -> Result<Option<LeaderEpoch>, BatchError> {
        match u32::try_from(self.leader_epoch) {
            Ok(epoch) => Ok(LeaderEpoch::new(epoch)),
            Err(_) if self.leader_epoch == -1 => Ok(None),
            Err(_) => Err(field("leader_epoch", self.leader_epoch, "expected -1 or more")),
        }
    }
}

impl BatchHeader {
    fn check_count(&self) -> Result<(), BatchError> {
        let Self { record_count, last_offset_delta, .. } = *self;
        if self.base_offset.checked_add(u64::from(last_offset_delta) + 1).is_none() {
            return Err(field(
                "base_offset",
                self.base_offset.as_i64(),
                "too great for the batch's last offset",
            ));
        }
        if record_count > last_offset_delta.saturating_add(1) {
            return Err(BatchError::RecordCount {
                record_count,
                limit: CountLimit::Offsets { last_offset_delta },
            });
        }
        let bytes = self.batch_length.saturating_sub(LENGTH_MIN);
        // Compressed records take an unknown number of bytes, but never none.
        let least = match self.compression() {
            Compression::None => record_count.saturating_mul(RECORD_BYTES_MIN),
            _ => record_count.min(1),
        };
        if bytes < least {
            return Err(BatchError::RecordCount { record_count, limit: CountLimit::Bytes { bytes } });
        }
        Ok(())
    }
}

fn field(field: &'static str, got: impl Into<i64>, expected: &'static str) -> BatchError {
    BatchError::HeaderField { field, got: got.into(), expected }
}

fn not_negative(name: &'static str, got: i32) -> Result<u32, BatchError> {
    u32::try_from(got).map_err(|_| field(name, got, "expected 0 or more"))
}

/// Producer fields: -1 stands for none, everything below is nonsense.
fn at_least_none<N: Into<i64> + Copy>(name: &'static str, got: N) -> Result<N, BatchError> {
    if got.into() < -1 { Err(field(name, got, "expected -1 or more")) } else { Ok(got) }
}
