//! One whole batch over shared bytes, and the records in it.

use bytes::{Buf, Bytes, BytesMut};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::{
    BatchError, BatchHeader, Compression, DecompressLimits, HEADER_BYTES, ProducerFields, RecordRef,
    StampedBatch, TimestampType, compress,
    crc::crc32c,
    error::RecordFault,
    header::{CRC_COVERS_FROM, LENGTH_PREFIX_BYTES},
    record::{RawRecord, take_record},
    survey, walk,
};

/// Exactly one record batch whose header was read and whose CRC-32C was found right.
///
/// Holds the bytes as they came; a clone shares them. The records themselves are not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes `bytes` as one batch, all of them.
    ///
    /// # Errors
    /// [`BatchError::BadCrc`] when the bytes were damaged (send them again), anything else when they are no batch.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let present_bytes = bytes.len() as u64;
        match present_bytes.checked_sub(header.total_bytes().into()) {
            None => Err(BatchError::Truncated { needed_bytes: header.total_bytes().into(), present_bytes }),
            Some(0) => Self::checked(header, bytes),
            Some(extra_bytes) => Err(BatchError::TrailingBytes { extra_bytes }),
        }
    }

    /// Takes the first of several concatenated batches off the front of `bytes`; `None` when nothing is left.
    ///
    /// # Errors
    /// As [`Batch::parse`]; a last batch that is not whole is [`BatchError::Truncated`]. `bytes` stays as it was.
    pub fn parse_prefix(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes)?;
        let total = header.total_bytes() as usize;
        if bytes.len() < total {
            return Err(BatchError::Truncated {
                needed_bytes: total as u64,
                present_bytes: bytes.len() as u64,
            });
        }
        let batch = Self::checked(header, bytes.slice(..total))?;
        bytes.advance(total);
        Ok(Some(batch))
    }

    fn checked(header: BatchHeader, bytes: Bytes) -> Result<Self, BatchError> {
        let computed = crc32c(bytes.get(CRC_COVERS_FROM..).unwrap_or_default());
        if computed != header.crc {
            return Err(BatchError::BadCrc { stored: header.crc, computed });
        }
        Ok(Self { header, bytes })
    }

    /// The header's fields.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, as stored and sent.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch, as stored and sent.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The size of the whole batch in bytes.
    #[must_use]
    pub const fn total_bytes(&self) -> u32 {
        self.header.total_bytes()
    }

    /// The bytes behind the header: the records, compressed or not.
    pub(crate) fn payload(&self) -> Bytes {
        // A parsed batch is never shorter than its header.
        self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..)
    }

    /// The records, ready to be iterated: borrowed from the batch, or decompressed into one buffer.
    ///
    /// # Errors
    /// [`BatchError::DecompressedTooLarge`] over `limits`, [`BatchError::Decompression`] for bytes that the codec
    /// refuses, [`BatchError::UnsupportedCompression`] in a build without the codec.
    pub fn records(&self, limits: DecompressLimits) -> Result<Records, BatchError> {
        let payload = self.payload();
        // Compaction may leave a batch without records and without a compressed blob, codec bits still set.
        let buffer = match self.header.compression() {
            Compression::None => payload,
            _ if payload.is_empty() => payload,
            codec => compress::decompress(codec, &payload, limits)?,
        };
        Ok(Records { plan: RecordPlan::new(&self.header), buffer })
    }

    /// Shows every record to `see`, in memory that does not depend on how much the records decompress to.
    ///
    /// # Errors
    /// As [`Batch::records`], and the record that is no record.
    pub fn visit_records(
        &self,
        limits: DecompressLimits,
        mut see: impl FnMut(&RecordRef<'_>),
    ) -> Result<(), BatchError> {
        walk::walk(self, limits, |seen| {
            see(&seen.record);
            Ok(())
        })
    }

    /// As [`Batch::visit_records`], for as long as `see` says `true`; what comes behind that is neither decompressed nor
    /// checked. With the record, `see` gets the bytes that encode it, from which its parts borrow.
    ///
    /// # Errors
    /// As [`Batch::records`], and the record that is no record.
    pub fn visit_records_while(
        &self,
        limits: DecompressLimits,
        mut see: impl FnMut(&RecordRef<'_>, &[u8]) -> bool,
    ) -> Result<(), BatchError> {
        walk::walk_while(self, limits, |seen| Ok(see(&seen.record, seen.encoded)))
    }

    /// Shows offset and timestamp of every record to `see`, for as long as it says `true`. No record is held for that,
    /// however large it is.
    ///
    /// # Errors
    /// As [`Batch::visit_records_while`].
    pub fn visit_stamps_while(
        &self,
        limits: DecompressLimits,
        mut see: impl FnMut(Offset, TimestampMs) -> bool,
    ) -> Result<(), BatchError> {
        survey::survey_while(self, limits, |facts| Ok(see(facts.offset, facts.timestamp)))
    }

    /// About the most memory that [`validate_for_append`](crate::validate_for_append) holds while it checks the records:
    /// nothing of theirs where they are not compressed, else the codec's buffers.
    #[must_use]
    pub fn check_bytes(&self, limits: DecompressLimits) -> u64 {
        compress::decoder_bytes(self.header.compression(), &self.payload(), limits)
    }

    /// The same batch with the leader's time: every record then has the timestamp `now`.
    ///
    /// The one rewrite that a leader ever does: the attribute bit, the max timestamp and the checksum change, in a
    /// copy of the bytes.
    #[must_use]
    pub fn with_log_append_time(&self, now: TimestampMs) -> Self {
        let mut header = self.header.clone();
        header.attributes = header.attributes.with_log_append_time();
        header.max_timestamp = now;
        let mut bytes = BytesMut::from(&self.bytes[..]);
        seal(&mut header, &mut bytes);
        Self { header, bytes: bytes.freeze() }
    }

    /// The same batch with other producer fields: what a producer sends when the numbers of a batch that is certainly
    /// not in the log have to change. In a copy of the bytes, with the checksum computed again.
    #[must_use]
    pub fn with_producer(&self, producer: ProducerFields) -> Self {
        let mut header = self.header.clone();
        let ProducerFields { id, epoch, base_sequence } = producer;
        (header.producer_id, header.producer_epoch, header.base_sequence) = (id, epoch, base_sequence);
        let mut bytes = BytesMut::from(&self.bytes[..]);
        seal(&mut header, &mut bytes);
        Self { header, bytes: bytes.freeze() }
    }

    /// The batch as the leader appends it: with its place in the log and the leader's epoch.
    ///
    /// Copies nothing but the first 16 bytes. `base_offset` plus the batch's last offset delta must be an offset;
    /// a log that counts its end has checked that.
    #[must_use]
    pub fn stamp(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> StampedBatch {
        StampedBatch::new(self.header, self.bytes, base_offset, leader_epoch)
    }
}

/// Writes `header` over the front of a batch and sets the checksum in both.
pub(crate) fn seal(header: &mut BatchHeader, bytes: &mut [u8]) {
    // The checksum covers the header's fields behind it, so they have to be in place first.
    if let Some(front) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        *front = header.to_bytes();
    }
    header.crc = crc32c(bytes.get(CRC_COVERS_FROM..).unwrap_or_default());
    if let Some(front) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        *front = header.to_bytes();
    }
}

/// The length field of a batch of this many bytes in all.
pub(crate) fn length_field(total_bytes: usize) -> u32 {
    u32::try_from(total_bytes.saturating_sub(LENGTH_PREFIX_BYTES)).unwrap_or(u32::MAX)
}

/// What the header says about the records.
#[derive(Clone, Debug)]
pub(crate) struct RecordPlan {
    pub(crate) base_offset: Offset,
    pub(crate) base_timestamp: TimestampMs,
    /// With log-append time, the timestamp of every record.
    pub(crate) fixed_timestamp: Option<TimestampMs>,
    pub(crate) last_offset_delta: u32,
    pub(crate) record_count: u32,
}

impl RecordPlan {
    pub(crate) fn new(header: &BatchHeader) -> Self {
        Self {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            fixed_timestamp: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
            last_offset_delta: header.last_offset_delta,
            record_count: header.record_count,
        }
    }

    /// Turns the record that was read into what it means. `offset_delta_min` is one past the previous record's.
    #[inline]
    pub(crate) fn resolve<'a>(
        &self,
        raw: &RawRecord<'a>,
        offset_delta_min: u32,
    ) -> Result<RecordRef<'a>, RecordFault> {
        let max = self.last_offset_delta;
        let offset_delta = u32::try_from(raw.offset_delta)
            .ok()
            .filter(|delta| (offset_delta_min..=max).contains(delta))
            .ok_or(RecordFault::OffsetDelta { got: raw.offset_delta, min: offset_delta_min, max })?;
        let timestamp = match self.fixed_timestamp {
            Some(timestamp) => timestamp,
            None => TimestampMs(
                (self.base_timestamp.0)
                    .checked_add(raw.timestamp_delta)
                    .ok_or(RecordFault::OutOfRange { field: "timestamp" })?,
            ),
        };
        Ok(RecordRef {
            offset_delta,
            offset: self.base_offset.saturating_add(offset_delta.into()),
            timestamp,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

/// The uncompressed records of one batch.
#[derive(Clone, Debug)]
pub struct Records {
    plan: RecordPlan,
    buffer: Bytes,
}

impl Records {
    /// Iterates the records in order, without an allocation.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { plan: &self.plan, rest: &self.buffer, index: 0, offset_delta_min: 0, done: false }
    }

    /// The bytes that keys and values borrow from: `buffer().slice_ref(key)` shares them without a copy.
    #[must_use]
    pub const fn buffer(&self) -> &Bytes {
        &self.buffer
    }

    /// How many records the batch announces.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.plan.record_count
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<RecordRef<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;
    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Iterates the records of a batch; after an error it ends.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    plan: &'a RecordPlan,
    rest: &'a [u8],
    index: u32,
    offset_delta_min: u32,
    done: bool,
}

impl<'a> RecordIter<'a> {
    #[inline]
    fn take(&mut self) -> Result<RecordRef<'a>, RecordFault> {
        let raw = take_record(&mut self.rest)?;
        let record = self.plan.resolve(&raw, self.offset_delta_min)?;
        self.index += 1;
        self.offset_delta_min = record.offset_delta + 1;
        Ok(record)
    }

    fn finish(&mut self) -> Option<BatchError> {
        self.done = true;
        (!self.rest.is_empty()).then_some(BatchError::TrailingRecordBytes {
            record_count: self.plan.record_count,
            extra_bytes: self.rest.len() as u64,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index == self.plan.record_count {
            return self.finish().map(Err);
        }
        let index = self.index;
        match self.take() {
            Ok(record) => Some(Ok(record)),
            Err(fault) => {
                self.done = true;
                Some(Err(BatchError::Record { index, fault }))
            }
        }
    }
}
