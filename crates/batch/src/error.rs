//! What can be wrong with a batch, and the code that the API gives it.

use corduroy_types::{ErrorCode, Offset, TimestampMs};

use crate::Compression;

/// Why bytes are no acceptable record batch, or why records do not make one.
///
/// Nothing here is worth a retry with the same bytes, except [`BatchError::BadCrc`]: those bytes were damaged on
/// their way. [`BatchError::code`] gives the code of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch is cut short: it needs {needed_bytes} bytes, {present_bytes} are there")]
    Truncated {
        /// What the header asks for, or the header's own size.
        needed_bytes: u64,
        /// What there is.
        present_bytes: u64,
    },
    /// Bytes follow the one batch that was expected.
    #[error("{extra_bytes} bytes follow the batch; send exactly one batch")]
    TrailingBytes {
        /// How many.
        extra_bytes: u64,
    },
    /// Not a record batch v2.
    #[error("magic {got}, expected 2: only record batches of version 2 are accepted")]
    Magic {
        /// The byte found at offset 16.
        got: u8,
    },
    /// A header field has a value that the format does not allow.
    #[error("header field {field} is {got}, {expected}")]
    HeaderField {
        /// Its name.
        field: &'static str,
        /// Its value.
        got: i64,
        /// What is allowed, as the end of the sentence.
        expected: &'static str,
    },
    /// The record count and the last offset, or the record count and the bytes, exclude each other.
    #[error("the batch announces {record_count} records, but {limit}")]
    RecordCount {
        /// What the header says.
        record_count: u32,
        /// What contradicts it.
        limit: CountLimit,
    },
    /// The checksum is not that of the bytes.
    #[error("CRC-32C is {computed:#010x}, the header says {stored:#010x}: the batch was damaged")]
    BadCrc {
        /// The header's.
        stored: u32,
        /// That of the bytes.
        computed: u32,
    },
    /// The attributes name a codec number that does not exist.
    #[error("codec number {bits} is unknown; use none, gzip, snappy, lz4 or zstd")]
    UnknownCodec {
        /// The lowest three attribute bits.
        bits: u16,
    },
    /// The codec exists, and this build does not have it.
    #[error("this build does not have the codec {compression}; use another one, or a build with it")]
    UnsupportedCompression {
        /// The codec.
        compression: Compression,
    },
    /// The compressed bytes are not valid.
    #[error("the records are no valid {compression} data: {reason}")]
    Decompression {
        /// The codec.
        compression: Compression,
        /// What its decoder found.
        reason: String,
    },
    /// The codec refused to compress.
    #[error("compressing with {compression} failed: {reason}")]
    Compression {
        /// The codec.
        compression: Compression,
        /// What its encoder said.
        reason: String,
    },
    /// More data came out of the compressed bytes than is allowed.
    #[error("the records decompress to more than the limit of {max_bytes} bytes; send fewer in a batch")]
    DecompressedTooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// One record is wrong.
    #[error("record {index} of the batch: {fault}")]
    Record {
        /// Which, counted from 0.
        index: u32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Bytes are left after the last record.
    #[error("{extra_bytes} bytes or more follow the last of {record_count} records")]
    TrailingRecordBytes {
        /// What the header says.
        record_count: u32,
        /// How many, as far as they were read.
        extra_bytes: u64,
    },
    /// The batch is over the topic's limit.
    #[error(
        "the batch has {got_bytes} bytes, the limit is {max_bytes}; send smaller batches or raise max.message.bytes"
    )]
    BatchTooLarge {
        /// Its size, header included.
        got_bytes: u64,
        /// The limit.
        max_bytes: u32,
    },
    /// A single record does not fit in any batch.
    #[error(
        "the record makes a batch of {got_bytes} bytes, the limit is {max_bytes}; store large values elsewhere and send a reference"
    )]
    RecordTooLarge {
        /// The size of a batch with this record alone.
        got_bytes: u64,
        /// The limit.
        max_bytes: u32,
    },
    /// Nothing to append, or nothing to build.
    #[error("the batch has no records")]
    Empty,
    /// A client sent what only the broker may write.
    #[error("{what}, which a client may not send")]
    NotForClients {
        /// What it is.
        what: &'static str,
    },
    /// A feature of the format that this version does not serve.
    #[error("{what} are not supported by this broker version")]
    NotSupported {
        /// The feature.
        what: &'static str,
    },
    /// A client's batch begins at offset 0.
    #[error("base offset {got}, expected 0: the broker assigns offsets")]
    BaseOffset {
        /// What it said.
        got: Offset,
    },
    /// Offsets in a client's batch are dense.
    #[error(
        "last offset delta {last_offset_delta} with {record_count} records, expected one less than the records"
    )]
    OffsetsNotDense {
        /// What the header says.
        last_offset_delta: u32,
        /// What the header says.
        record_count: u32,
    },
    /// The header's greatest timestamp is not that of the records.
    #[error("the header's max timestamp is {header}, the greatest of the records is {records}")]
    MaxTimestamp {
        /// What the header says.
        header: TimestampMs,
        /// The truth.
        records: TimestampMs,
    },
    /// The header's greatest timestamp is too far from the broker's clock.
    #[error("max timestamp {got} is outside {min}..={max}, what the topic allows now")]
    TimestampOutOfBounds {
        /// The timestamp.
        got: TimestampMs,
        /// The least allowed.
        min: TimestampMs,
        /// The greatest allowed.
        max: TimestampMs,
    },
    /// The timestamps of one batch must lie within 2^63 ms of its first.
    #[error("timestamp {got} is too far from the batch's first, {base}")]
    TimestampDelta {
        /// The timestamp.
        got: TimestampMs,
        /// The first record's.
        base: TimestampMs,
    },
}

/// What a record count contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountLimit {
    /// Each record takes an offset of its own.
    #[error("its last offset delta {last_offset_delta} leaves room for fewer")]
    Offsets {
        /// What the header says.
        last_offset_delta: u32,
    },
    /// Each record takes at least seven bytes.
    #[error("{bytes} bytes of records leave room for fewer")]
    Bytes {
        /// The bytes behind the header.
        bytes: u32,
    },
}

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The records end before the announced number is reached.
    #[error("missing, the bytes end before it")]
    Missing,
    /// A varint is cut short or too long.
    #[error("its {field} is no valid varint")]
    Varint {
        /// Which field.
        field: &'static str,
    },
    /// A length points outside the record or the batch.
    #[error("its {field} is {got}, with {left_bytes} bytes left")]
    Length {
        /// Which field.
        field: &'static str,
        /// Its value.
        got: i32,
        /// How many bytes could follow.
        left_bytes: u64,
    },
    /// The record's length is more than its fields take.
    #[error("{extra_bytes} bytes are left behind its last header")]
    TrailingBytes {
        /// How many.
        extra_bytes: u64,
    },
    /// A header's key is not text.
    #[error("a header key is not UTF-8")]
    HeaderKey,
    /// The offset deltas do not grow, or pass the batch's last.
    #[error("its offset delta is {got}, expected {min}..={max}")]
    OffsetDelta {
        /// Its value.
        got: i32,
        /// The least allowed.
        min: u32,
        /// The greatest allowed.
        max: u32,
    },
    /// Base offset or timestamp plus delta is out of range.
    #[error("its {field} is out of range")]
    OutOfRange {
        /// Which field.
        field: &'static str,
    },
    /// Attribute bits that no one has given a meaning.
    #[error("its attributes are {bits:#04x}, expected 0")]
    Attributes {
        /// Their value.
        bits: u8,
    },
    /// A compacted topic needs keys.
    #[error("it has no key, and the topic is compacted")]
    KeyRequired,
    /// Its timestamp is too far from the broker's clock.
    #[error("its timestamp {got} is outside {min}..={max}, what the topic allows now")]
    TimestampOutOfBounds {
        /// The timestamp.
        got: TimestampMs,
        /// The least allowed.
        min: TimestampMs,
        /// The greatest allowed.
        max: TimestampMs,
    },
}

impl BatchError {
    /// The API's code for this error.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::BadCrc { .. } => ErrorCode::CorruptBatch,
            Self::UnknownCodec { .. } | Self::UnsupportedCompression { .. } => {
                ErrorCode::UnsupportedCompression
            }
            Self::DecompressedTooLarge { .. } => ErrorCode::DecompressedTooLarge,
            Self::BatchTooLarge { .. } => ErrorCode::BatchTooLarge,
            Self::RecordTooLarge { .. } => ErrorCode::RecordTooLarge,
            Self::TimestampOutOfBounds { .. }
            | Self::TimestampDelta { .. }
            | Self::Record { fault: RecordFault::TimestampOutOfBounds { .. }, .. } => {
                ErrorCode::InvalidTimestamp
            }
            Self::Record { fault: RecordFault::KeyRequired, .. } => ErrorCode::KeyRequired,
            Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::Magic { .. }
            | Self::HeaderField { .. }
            | Self::RecordCount { .. }
            | Self::Decompression { .. }
            | Self::Compression { .. }
            | Self::Record { .. }
            | Self::TrailingRecordBytes { .. }
            | Self::Empty
            | Self::NotForClients { .. }
            | Self::NotSupported { .. }
            | Self::BaseOffset { .. }
            | Self::OffsetsNotDense { .. }
            | Self::MaxTimestamp { .. } => ErrorCode::InvalidBatch,
        }
    }

    /// Which record of the batch is at fault, counted from 0, when it is one.
    #[must_use]
    pub const fn record_index(&self) -> Option<u32> {
        match self {
            Self::Record { index, .. } => Some(*index),
            _ => None,
        }
    }
}
