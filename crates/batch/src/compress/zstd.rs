//! Zstandard frames (RFC 8878), through the reference library.

use std::io::{self, Read};

use bytes::BytesMut;

use super::{append_with, over_the_cap};

/// The library's own default level.
const LEVEL: i32 = 3;
/// The windows that are granted, as powers of two: what RFC 8878 expects of every decoder, and what the library's
/// highest level asks for.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 23..=27;

/// A decoder that grants no greater window than the cap on what comes out, if that is over 8 MiB.
pub(super) fn reader<'a>(payload: &'a [u8], max_bytes: u64) -> io::Result<impl Read + 'a> {
    // A frame may say how much it holds. That is no reason to reserve anything, but it can be one to refuse.
    if let Ok(Some(declared)) = zstd::zstd_safe::get_frame_content_size(payload)
        && declared > max_bytes
    {
        return Err(over_the_cap());
    }
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
