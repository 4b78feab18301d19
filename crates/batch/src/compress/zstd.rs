//! Zstandard frames (RFC 8878), through the reference library.

use std::io::{self, Read};

use bytes::BytesMut;

use super::append_with;

/// The library's own default level.
const LEVEL: i32 = 3;
/// The smallest and the greatest window that a frame may ask for, as powers of two.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 10..=27;

/// A decoder that grants a window no greater than what may come out: a frame that needs a greater one either
/// passes the cap anyway or was written with more than its level needs.
pub(super) fn reader<'a>(payload: &'a [u8], max_bytes: u64) -> io::Result<impl Read + 'a> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?;
    let cap_log = u64::BITS - max_bytes.saturating_sub(1).leading_zeros();
    decoder.window_log_max(cap_log.clamp(*WINDOW_LOG.start(), *WINDOW_LOG.end()))?;
    Ok(decoder)
}

/// An encoder with its tables.
pub(crate) struct Writer(zstd::bulk::Compressor<'static>);

impl Writer {
    pub(super) fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(LEVEL).map(Self)
    }

    pub(super) fn compress(&mut self, payload: &[u8], out: &mut BytesMut) -> io::Result<()> {
        append_with(out, zstd::zstd_safe::compress_bound(payload.len()), |room| {
            self.0.compress_to_buffer(payload, room)
        })
    }
}
