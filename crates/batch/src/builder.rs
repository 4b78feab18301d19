//! Building batches: records are encoded in place, right behind room for the header.

use bytes::{Bytes, BytesMut};
use corduroy_types::{Offset, TimestampMs};

use crate::{
    Attributes, BatchError, BatchHeader, Compression, HEADER_BYTES,
    batch::{length_field, seal},
    compress::Compressor,
    header::TOTAL_BYTES_MAX,
    varint::{Scratch, VARLONG_BYTES_MAX, varint_bytes},
};

/// What became of a record that was offered to a [`BatchBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a full builder has not taken the record"]
pub enum PushOutcome {
    /// It is in the batch.
    Added,
    /// It is not: it would make the batch greater than its limit. Build, then push it again.
    Full,
}

/// The idempotent producer's fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerFields {
    /// The producer id.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The sequence number of the batch's first record.
    pub base_sequence: i32,
}

impl ProducerFields {
    /// No idempotent producer: −1 in every field.
    pub const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1 };
}

/// Builds one batch after the other, each up to a limit of bytes.
///
/// Records are encoded once, into one growing buffer, and counted uncompressed: the limit holds whatever the codec
/// makes of them. Only a record that is greater than the limit by itself is taken on the chance that the codec makes it
/// small enough, and only where [`allow_uncompressed`](Self::allow_uncompressed) says so. The buffer of a built batch is used again once its [`Bytes`] are dropped.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    max_bytes: u32,
    /// What the batch of one record may take before it is compressed.
    uncompressed_max_bytes: u32,
    producer: ProducerFields,
    compressor: Option<Compressor>,
    /// Room for the header, then the records. Without compression this becomes the batch itself.
    records: BytesMut,
    /// Compressed batches are written here and leave as a copy of their own size: the room that a codec wants
    /// beforehand is several times what it needs, and batches in flight would hold on to all of it.
    compressed: BytesMut,
    /// The size of the previous batch: the room that the next one probably needs, reserved at once.
    previous_bytes: usize,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    record_count: u32,
}

const HEADER_ROOM: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

impl BatchBuilder {
    /// A builder of batches of at most `max_bytes` in all, header included.
    ///
    /// `max_bytes` belongs below the topic's `max.message.bytes`. It is at most 2^31 − 1, the format's own limit;
    /// greater values are taken as that.
    #[must_use]
    pub fn new(compression: Compression, max_bytes: u32) -> Self {
        Self {
            compression,
            max_bytes: max_bytes.min(TOTAL_BYTES_MAX),
            uncompressed_max_bytes: max_bytes.min(TOTAL_BYTES_MAX),
            producer: ProducerFields::NONE,
            compressor: None,
            records: BytesMut::new(),
            compressed: BytesMut::new(),
            previous_bytes: 0,
            base_timestamp: TimestampMs::default(),
            max_timestamp: TimestampMs::default(),
            record_count: 0,
        }
    }

    /// Takes a record that makes a batch of up to `bytes` before it is compressed, alone in its batch, where the codec may
    /// bring it below the limit; [`build`](Self::build) says whether it did. Without a codec this changes nothing.
    #[must_use]
    pub fn allow_uncompressed(mut self, bytes: u32) -> Self {
        if self.compression != Compression::None {
            self.uncompressed_max_bytes = bytes.clamp(self.max_bytes, TOTAL_BYTES_MAX);
        }
        self
    }

    /// Sets the producer fields of the batch being built and of those after it.
    pub fn set_producer(&mut self, producer: ProducerFields) {
        self.producer = producer;
    }

    /// Adds a record. A null value (`None`) deletes the key in a compacted topic.
    ///
    /// # Errors
    /// [`BatchError::RecordTooLarge`] when no batch within the limit can hold it,
    /// [`BatchError::TimestampDelta`] when its timestamp is 2^63 ms away from the batch's first. The builder stays
    /// as it was.
    #[inline]
    pub fn push<'h, H>(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<PushOutcome, BatchError>
    where
        H: IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
        H::IntoIter: Clone,
    {
        let headers = headers.into_iter();
        let base = if self.record_count == 0 { timestamp } else { self.base_timestamp };
        let timestamp_delta =
            (timestamp.0).checked_sub(base.0).ok_or(BatchError::TimestampDelta { got: timestamp, base })?;
        let (header_count, header_bytes) = headers_size(headers.clone());
        let key_bytes = nullable_bytes(key);
        let value_bytes = nullable_bytes(value);
        let body = 1 // attributes
            + varint_bytes(timestamp_delta)
            + varint_bytes(self.record_count.into())
            + key_bytes
            + value_bytes
            + varint_bytes(signed(header_count))
            + header_bytes;
        let before = self.encoded_bytes();
        let after = before + varint_bytes(signed(body)) + body;
        let max_bytes = if self.record_count == 0 { self.uncompressed_max_bytes } else { self.max_bytes };
        if after > max_bytes as usize {
            return self.refuse(after - before);
        }
        self.start(after);
        // All small fields up to the next bytes of the caller's leave in one copy.
        let mut fields = Scratch::<{ 1 + 5 * VARLONG_BYTES_MAX }>::new();
        fields.put_varint(signed(body));
        fields.put_u8(0);
        fields.put_varint(timestamp_delta);
        fields.put_varint(self.record_count.into());
        fields.put_varint(nullable_length(key));
        if let Some(key) = key {
            self.records.extend_from_slice(fields.as_slice());
            self.records.extend_from_slice(key);
            fields = Scratch::new();
        }
        fields.put_varint(nullable_length(value));
        self.records.extend_from_slice(fields.as_slice());
        self.records.extend_from_slice(value.unwrap_or_default());
        put_headers(&mut self.records, header_count, headers);
        debug_assert_eq!(self.records.len(), after, "the size was computed wrong");
        self.base_timestamp = base;
        self.max_timestamp =
            if self.record_count == 0 { timestamp } else { timestamp.max(self.max_timestamp) };
        self.record_count += 1;
        Ok(PushOutcome::Added)
    }

    #[cold]
    fn refuse(&self, record_bytes: usize) -> Result<PushOutcome, BatchError> {
        // Alone in a batch its deltas are zero and may take less room, never more.
        let alone = HEADER_BYTES + record_bytes;
        let max_bytes = self.uncompressed_max_bytes;
        if self.record_count == 0 || alone > max_bytes as usize + 2 * VARLONG_BYTES_MAX {
            return Err(BatchError::RecordTooLarge { got_bytes: alone as u64, max_bytes });
        }
        Ok(PushOutcome::Full)
    }

    /// Makes room, and room for the header before the first record.
    #[inline]
    fn start(&mut self, needed_bytes: usize) {
        if self.records.is_empty() {
            self.records.reserve(needed_bytes.max(self.previous_bytes));
            self.records.extend_from_slice(&HEADER_ROOM);
        }
        self.records.reserve(needed_bytes - self.records.len());
    }

    /// Whether a record of this shape makes the builder answer [`PushOutcome::Full`] or an error.
    #[must_use]
    pub fn would_exceed(&self, record_bytes: usize) -> bool {
        self.encoded_bytes().saturating_add(record_bytes) > self.max_bytes as usize
    }

    /// How many records the batch has so far.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether the batch has no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The size of the batch so far, uncompressed, header included.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.records.len().max(HEADER_BYTES)
    }

    /// The codec that batches are compressed with.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// The limit of a batch in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> u32 {
        self.max_bytes
    }

    /// The greatest timestamp so far, when there is a record.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<TimestampMs> {
        (self.record_count > 0).then_some(self.max_timestamp)
    }

    /// Forgets the records pushed since the last batch.
    pub fn clear(&mut self) {
        self.records.clear();
        self.record_count = 0;
    }

    /// Ends the batch and begins the next one.
    ///
    /// Records whose compressed form would pass the limit are sent uncompressed, which never does.
    ///
    /// # Errors
    /// [`BatchError::Empty`] without a record; [`BatchError::RecordTooLarge`] when a record that was taken uncompressed
    /// is above the limit compressed, too; [`BatchError::UnsupportedCompression`] in a build without the codec;
    /// [`BatchError::Compression`] when the codec fails. After an error the records are still there.
    pub fn build(&mut self) -> Result<Bytes, BatchError> {
        if self.record_count == 0 {
            return Err(BatchError::Empty);
        }
        if !self.compress()? {
            let (plain, max_bytes) = (self.records.len(), self.max_bytes);
            return if plain <= max_bytes as usize {
                self.build_uncompressed()
            } else {
                let got_bytes = plain.min(self.compressed.len()) as u64;
                Err(BatchError::RecordTooLarge { got_bytes, max_bytes })
            };
        }
        self.previous_bytes = self.records.len();
        let mut header = self.header(self.compression, self.compressed.len());
        seal(&mut header, &mut self.compressed);
        let bytes = Bytes::copy_from_slice(&self.compressed);
        self.clear();
        Ok(bytes)
    }

    /// Ends the batch uncompressed, whatever the limit is, and begins the next one: for a caller that only wants the
    /// records back.
    ///
    /// # Errors
    /// [`BatchError::Empty`] without a record.
    pub fn build_uncompressed(&mut self) -> Result<Bytes, BatchError> {
        if self.record_count == 0 {
            return Err(BatchError::Empty);
        }
        self.previous_bytes = self.records.len();
        let mut header = self.header(Compression::None, self.records.len());
        seal(&mut header, &mut self.records);
        let bytes = self.records.split().freeze();
        self.clear();
        Ok(bytes)
    }

    /// The header of the batch, but for its checksum. There is at least one record.
    fn header(&self, compression: Compression, total_bytes: usize) -> BatchHeader {
        BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: length_field(total_bytes),
            leader_epoch: None,
            crc: 0,
            attributes: Attributes::new(compression),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.producer.base_sequence,
            record_count: self.record_count,
        }
    }

    /// Fills `compressed`, unless there is no codec; `false` then, or when the codec made the records too large.
    fn compress(&mut self) -> Result<bool, BatchError> {
        if self.compression == Compression::None {
            return Ok(false);
        }
        if self.compressor.is_none() {
            self.compressor = Compressor::new(self.compression)?;
        }
        let Some(compressor) = &mut self.compressor else { return Ok(false) };
        self.compressed.clear();
        self.compressed.extend_from_slice(&HEADER_ROOM);
        let payload = self.records.get(HEADER_BYTES..).unwrap_or_default();
        compressor.compress(payload, &mut self.compressed)?;
        Ok(self.compressed.len() <= self.max_bytes as usize)
    }
}

/// An upper bound of the bytes that a record takes in a batch, whatever its place in it.
#[must_use]
pub fn record_encoded_bytes<'h>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
) -> usize {
    let (header_count, header_bytes) = headers_size(headers.into_iter());
    // Length, timestamp delta and offset delta at their longest; one byte of attributes.
    let fields = 5 + 1 + VARLONG_BYTES_MAX + 5;
    fields + nullable_bytes(key) + nullable_bytes(value) + varint_bytes(signed(header_count)) + header_bytes
}

/// A length as the varints take it. No slice is longer than `isize::MAX`.
#[inline]
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[inline]
fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_bytes(signed(bytes.len())) + bytes.len(),
        None => 1,
    }
}

/// How many headers, and the bytes that they take behind their count.
#[inline]
fn headers_size<'h>(headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) -> (usize, usize) {
    headers.fold((0, 0), |(count, bytes), (key, value)| {
        (count + 1, bytes + nullable_bytes(Some(key.as_bytes())) + nullable_bytes(value))
    })
}

/// The length field of bytes that may be null.
#[inline]
fn nullable_length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| signed(bytes.len()))
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    let mut length = Scratch::<VARLONG_BYTES_MAX>::new();
    length.put_varint(nullable_length(bytes));
    out.extend_from_slice(length.as_slice());
    out.extend_from_slice(bytes.unwrap_or_default());
}

#[inline]
fn put_headers<'h>(
    out: &mut BytesMut,
    count: usize,
    headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
) {
    let mut length = Scratch::<VARLONG_BYTES_MAX>::new();
    length.put_varint(signed(count));
    out.extend_from_slice(length.as_slice());
    for (key, value) in headers {
        put_nullable(out, Some(key.as_bytes()));
        put_nullable(out, value);
    }
}
