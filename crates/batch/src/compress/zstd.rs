//! Zstandard frames (RFC 8878), through the reference library.

use std::io::{self, Read};

use bytes::BytesMut;

use super::{append_with, over_the_cap};

/// The library's own default level.
const LEVEL: i32 = 3;
/// The windows that are granted, as powers of two: what RFC 8878 expects of every decoder, and what the library's
/// highest level asks for.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 23..=27;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The window that the first frame announces; where more frames follow, at least the one that is granted to each.
pub(super) fn window_bytes(payload: &[u8]) -> u64 {
    let Some([descriptor, window, ..]) = payload.strip_prefix(&MAGIC) else { return 0 };
    let first = if descriptor & 0b10_0000 == 0 {
        let base = 1_u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 0b111)
    } else {
        // One segment: the window is all of it.
        zstd::zstd_safe::get_frame_content_size(payload).ok().flatten().unwrap_or(0)
    };
    let has_more =
        payload.get(MAGIC.len()..).is_some_and(|rest| rest.windows(MAGIC.len()).any(|at| at == MAGIC));
    if has_more { first.max(1 << WINDOW_LOG.start()) } else { first }
}

/// A decoder that grants no greater window than the first frame's and the cap on what comes out, if those are over
/// 8 MiB.
pub(super) fn reader<'a>(payload: &'a [u8], max_bytes: u64) -> io::Result<impl Read + 'a> {
    // A frame may say how much it holds. That is no reason to reserve anything, but it can be one to refuse.
    if let Ok(Some(declared)) = zstd::zstd_safe::get_frame_content_size(payload)
        && declared > max_bytes
    {
        return Err(over_the_cap());
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?;
    let cap_bytes = max_bytes.min(window_bytes(payload));
    let cap_log = u64::BITS - cap_bytes.saturating_sub(1).leading_zeros();
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
