//! Snappy: the framing of Java's snappy (xerial), which Kafka's clients write, and plain Snappy, which some write.
//!
//! The framing is a header of 16 bytes (magic, version, compatible version), then chunks: a big-endian length and
//! as many bytes of plain Snappy, each with its own declared size.

use std::io::{self, Read};

use bytes::{BufMut, BytesMut};
use snap::raw;

use super::{append_with, invalid, over_the_cap};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version 1, readable from version 1 on.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Uncompressed bytes in a chunk: Java's default.
const CHUNK_BYTES: usize = 32 * 1024;
/// No Snappy element makes more: a copy turns three bytes into 64. A declared size over that is a lie, and
/// nothing is reserved for it.
const EXPANSION_MAX: usize = 22;

/// The largest chunk that a payload can hold: without the framing it is one.
pub(super) fn chunk_bytes_max(payload: &[u8]) -> u64 {
    (payload.len() as u64).saturating_mul(EXPANSION_MAX as u64)
}

/// Decodes both forms.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    framed: bool,
    left_bytes: u64,
    chunk: Vec<u8>,
    chunk_read: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8], max_bytes: u64) -> Self {
        Self {
            rest: payload,
            framed: payload.starts_with(&MAGIC),
            left_bytes: max_bytes,
            chunk: Vec::new(),
            chunk_read: 0,
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let compressed = if self.framed { self.take_framed()? } else { std::mem::take(&mut self.rest) };
        let size = raw::decompress_len(compressed)?;
        if size > compressed.len().saturating_mul(EXPANSION_MAX) {
            return Err(invalid("a chunk declares a size that its bytes cannot make"));
        }
        self.left_bytes = self.left_bytes.checked_sub(size as u64).ok_or_else(over_the_cap)?;
        self.chunk.resize(size, 0);
        raw::Decoder::new().decompress(compressed, &mut self.chunk)?;
        self.chunk_read = 0;
        Ok(())
    }

    /// The next chunk's bytes. Streams may be concatenated, so a header may stand before any chunk.
    fn take_framed(&mut self) -> io::Result<&'a [u8]> {
        if self.rest.starts_with(&MAGIC) {
            self.rest =
                self.rest.get(HEADER.len()..).ok_or_else(|| invalid("the stream header is cut short"))?;
        }
        let (length, tail) =
            self.rest.split_first_chunk().ok_or_else(|| invalid("a chunk length is cut short"))?;
        let (chunk, tail) = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .and_then(|length| tail.split_at_checked(length))
            .ok_or_else(|| invalid("a chunk length points past the end"))?;
        self.rest = tail;
        Ok(chunk)
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk_read == self.chunk.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let count = self.chunk.get(self.chunk_read..).unwrap_or_default().read(out)?;
        self.chunk_read += count;
        Ok(count)
    }
}

/// Appends `payload` to `out` in the framing of Java's snappy.
pub(super) fn compress(encoder: &mut raw::Encoder, payload: &[u8], out: &mut BytesMut) -> io::Result<()> {
    out.extend_from_slice(&HEADER);
    for chunk in payload.chunks(CHUNK_BYTES) {
        let length_at = out.len();
        out.put_i32(0);
        append_with(out, raw::max_compress_len(chunk.len()), |room| Ok(encoder.compress(chunk, room)?))?;
        let length = out.len() - length_at - size_of::<i32>();
        let length = u32::try_from(length).map_err(|_| invalid("a chunk is too long"))?;
        if let Some(field) = out.get_mut(length_at..).and_then(|tail| tail.first_chunk_mut()) {
            *field = length.to_be_bytes();
        }
    }
    Ok(())
}
