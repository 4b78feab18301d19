//! Reading records: borrowed, without an allocation, and trusting no length before it is checked.

use corduroy_types::{Offset, TimestampMs};

use crate::{
    error::RecordFault,
    varint::{take_varint, take_varlong},
};

/// One record of a batch, borrowed from the batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset less the batch's base offset.
    pub offset_delta: u32,
    /// Its offset in the partition, or in a batch that no leader has stamped its number in the batch.
    pub offset: Offset,
    /// Its own timestamp, or with log-append time the batch's.
    pub timestamp: TimestampMs,
    /// Its key, if it has one. An empty key is not the same as none.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a null value, which deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order; keys may repeat.
    pub headers: Headers<'a>,
}

/// The headers of a record: an iterator over key and value, whose bytes were checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl Headers<'_> {
    /// No headers.
    pub const EMPTY: Self = Headers { rest: &[], left: 0 };

    /// How many are still to come.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is to come.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        take_header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// A record as stored, before anything is added to its deltas.
#[derive(Clone, Copy)]
pub(crate) struct RawRecord<'a> {
    pub(crate) attributes: u8,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

/// Takes the next record off the front of `rest`.
///
/// All of it is checked, headers included, so that nothing read from it later can fail.
#[inline]
pub(crate) fn take_record<'a>(rest: &mut &'a [u8]) -> Result<RawRecord<'a>, RecordFault> {
    if rest.is_empty() {
        return Err(RecordFault::Missing);
    }
    let length = take_varint(rest).ok_or(RecordFault::Varint { field: "length" })?;
    let mut body = take_bytes(rest, length, "length")?;
    let Some((attributes, tail)) = body.split_first() else {
        return Err(RecordFault::Length { field: "length", got: 0, left_bytes: rest.len() as u64 });
    };
    body = tail;
    let timestamp_delta = take_varlong(&mut body).ok_or(RecordFault::Varint { field: "timestamp delta" })?;
    let offset_delta = take_varint(&mut body).ok_or(RecordFault::Varint { field: "offset delta" })?;
    let key = take_nullable(&mut body, "key length")?;
    let value = take_nullable(&mut body, "value length")?;
    let headers = take_headers(body)?;
    Ok(RawRecord { attributes: *attributes, timestamp_delta, offset_delta, key, value, headers })
}

/// Takes `length` bytes, or says why it cannot.
#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8], length: i32, field: &'static str) -> Result<&'a [u8], RecordFault> {
    match usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)) {
        Some((taken, tail)) => {
            *rest = tail;
            Ok(taken)
        }
        None => Err(RecordFault::Length { field, got: length, left_bytes: rest.len() as u64 }),
    }
}

/// Takes a length and as many bytes; −1 stands for null.
#[inline]
fn take_nullable<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<Option<&'a [u8]>, RecordFault> {
    match take_varint(rest).ok_or(RecordFault::Varint { field })? {
        -1 => Ok(None),
        length => take_bytes(rest, length, field).map(Some),
    }
}

/// Reads the header count and all headers, which must end where the record does.
#[inline]
fn take_headers(mut body: &[u8]) -> Result<Headers<'_>, RecordFault> {
    // Nearly always none.
    if let [0] = body {
        return Ok(Headers::EMPTY);
    }
    check_headers(&mut body)
}

fn check_headers<'a>(body: &mut &'a [u8]) -> Result<Headers<'a>, RecordFault> {
    let count = take_varint(body).ok_or(RecordFault::Varint { field: "header count" })?;
    let left_bytes = body.len() as u64;
    let left = u32::try_from(count)
        .ok()
        .filter(|count| u64::from(*count) <= left_bytes)
        .ok_or(RecordFault::Length { field: "header count", got: count, left_bytes })?;
    let headers = Headers { rest: body, left };
    for _ in 0..left {
        take_header(body)?;
    }
    if !body.is_empty() {
        return Err(RecordFault::TrailingBytes { extra_bytes: body.len() as u64 });
    }
    Ok(headers)
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, Option<&'a [u8]>), RecordFault> {
    let length = take_varint(rest).ok_or(RecordFault::Varint { field: "header key length" })?;
    let key = take_bytes(rest, length, "header key length")?;
    let key = std::str::from_utf8(key).map_err(|_| RecordFault::HeaderKey)?;
    Ok((key, take_nullable(rest, "header value length")?))
}
