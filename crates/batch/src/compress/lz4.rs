//! LZ4 frames (lz4 frame format 1.6), block by block over lz4_flex.
//!
//! The frame layer is ours because a frame's header announces blocks of up to 4 MiB and a decoder that believes it
//! reserves twice that for a batch of a hundred bytes. Here a block's buffer is bounded by its compressed bytes.

use std::{
    hash::Hasher,
    io::{self, Read},
};

use bytes::{BufMut, BytesMut};
use lz4_flex::block::{self, CompressTable, DecompressError};
use twox_hash::XxHash32;

use super::{append_with, invalid, over_the_cap};

const MAGIC: u32 = 0x184d_2204;
/// What a linked block may refer back to.
const HISTORY_BYTES: usize = 64 * 1024;
/// No LZ4 sequence makes more than 255 bytes of one; short ones begin with a few literal bytes.
const EXPANSION_MAX: usize = 255;
/// A block length with this bit is that of bytes that were not compressed.
const UNCOMPRESSED: u32 = 1 << 31;

/// What a frame's descriptor says.
#[derive(Clone, Copy)]
struct Descriptor {
    blocks_linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_bytes: Option<u64>,
    block_bytes_max: usize,
}

fn take<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or_else(|| invalid("the frame is cut short"))?;
    *rest = tail;
    Ok(*head)
}

fn take_u32(rest: &mut &[u8]) -> io::Result<u32> {
    take(rest).map(u32::from_le_bytes)
}

impl Descriptor {
    fn take(rest: &mut &[u8]) -> io::Result<Self> {
        if take_u32(rest)? != MAGIC {
            return Err(invalid("not an LZ4 frame"));
        }
        let start = *rest;
        let [flags, block_size] = take(rest)?;
        if flags & 0b1100_0000 != 0b0100_0000 || flags & 0b10 != 0 || block_size & 0b1000_1111 != 0 {
            return Err(invalid("the frame's version or reserved bits are unknown"));
        }
        if flags & 1 != 0 {
            return Err(invalid("the frame needs a dictionary"));
        }
        let block_bytes_max = match block_size >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(invalid("the frame's block size is unknown")),
        };
        let content_bytes = if flags & 0b1000 != 0 { Some(u64::from_le_bytes(take(rest)?)) } else { None };
        let described = start.len() - rest.len();
        let hash = XxHash32::oneshot(0, start.get(..described).unwrap_or_default());
        if take(rest)? != [hash.to_le_bytes()[1]] {
            return Err(invalid("the frame header's checksum is wrong"));
        }
        Ok(Self {
            blocks_linked: flags & 0b10_0000 == 0,
            block_checksums: flags & 0b1_0000 != 0,
            content_checksum: flags & 0b100 != 0,
            content_bytes,
            block_bytes_max,
        })
    }
}

/// The largest block that a payload can hold, with the history behind it.
pub(super) fn block_bytes_max(payload: &[u8]) -> u64 {
    let most = Descriptor::take(&mut &*payload).map_or(0, |descriptor| descriptor.block_bytes_max as u64);
    most.min((payload.len() as u64).saturating_mul(EXPANSION_MAX as u64)) + HISTORY_BYTES as u64
}

/// Decodes one frame; nothing may follow it.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    descriptor: Option<Descriptor>,
    ended: bool,
    left_bytes: u64,
    out_bytes: u64,
    hash: XxHash32,
    /// The history that linked blocks need, and behind it the current block.
    window: Vec<u8>,
    read: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8], max_bytes: u64) -> Self {
        Self {
            rest: payload,
            descriptor: None,
            ended: false,
            left_bytes: max_bytes,
            out_bytes: 0,
            hash: XxHash32::with_seed(0),
            window: Vec::new(),
            read: 0,
        }
    }

    /// Decodes the next block behind the history, or ends.
    fn next_block(&mut self) -> io::Result<()> {
        let descriptor = match self.descriptor {
            Some(descriptor) => descriptor,
            None => *self.descriptor.insert(Descriptor::take(&mut self.rest)?),
        };
        let length = take_u32(&mut self.rest)?;
        if length == 0 {
            return self.end(descriptor);
        }
        let block = (usize::try_from(length & !UNCOMPRESSED).ok())
            .filter(|length| *length <= descriptor.block_bytes_max)
            .and_then(|length| self.rest.split_at_checked(length));
        let (block, tail) = block.ok_or_else(|| invalid("a block's length points past its limit"))?;
        self.rest = tail;
        if descriptor.block_checksums && take_u32(&mut self.rest)? != XxHash32::oneshot(0, block) {
            return Err(invalid("a block's checksum is wrong"));
        }
        self.keep_history(if descriptor.blocks_linked { HISTORY_BYTES } else { 0 });
        let start = self.window.len();
        if length & UNCOMPRESSED == 0 {
            self.decode(block, descriptor.block_bytes_max)?;
        } else {
            self.window.extend_from_slice(block);
        }
        let decoded = self.window.get(start..).unwrap_or_default();
        self.left_bytes = self.left_bytes.checked_sub(decoded.len() as u64).ok_or_else(over_the_cap)?;
        self.out_bytes += decoded.len() as u64;
        if descriptor.content_checksum {
            self.hash.write(decoded);
        }
        self.read = start;
        Ok(())
    }

    fn keep_history(&mut self, bytes: usize) {
        let from = self.window.len().saturating_sub(bytes);
        self.window.copy_within(from.., 0);
        self.window.truncate(self.window.len() - from);
    }

    fn decode(&mut self, block: &[u8], block_bytes_max: usize) -> io::Result<()> {
        let capped = usize::try_from(self.left_bytes).unwrap_or(usize::MAX);
        let possible = block_bytes_max.min(block.len().saturating_mul(EXPANSION_MAX));
        let start = self.window.len();
        self.window.resize(start + possible.min(capped), 0);
        let (history, out) = self.window.split_at_mut(start);
        let decoded = if history.is_empty() {
            block::decompress_into(block, out)
        } else {
            block::decompress_into_with_dict(block, out, history)
        };
        match decoded {
            Ok(count) => self.window.truncate(start + count),
            Err(DecompressError::OutputTooSmall { .. }) if capped < possible => return Err(over_the_cap()),
            Err(_) => return Err(invalid("a block is damaged")),
        }
        Ok(())
    }

    fn end(&mut self, descriptor: Descriptor) -> io::Result<()> {
        self.ended = true;
        if descriptor.content_checksum && u64::from(take_u32(&mut self.rest)?) != self.hash.finish() {
            return Err(invalid("the content's checksum is wrong"));
        }
        if descriptor.content_bytes.is_some_and(|bytes| bytes != self.out_bytes) {
            return Err(invalid("the content has another size than the frame declares"));
        }
        if !self.rest.is_empty() {
            return Err(invalid("bytes follow the frame"));
        }
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.window.len() {
            if self.ended {
                return Ok(0);
            }
            self.next_block()?;
        }
        let count = self.window.get(self.read..).unwrap_or_default().read(out)?;
        self.read += count;
        Ok(count)
    }
}

/// Encodes frames as Java's client does: independent blocks of 64 KiB, no checksums but the header's, since the
/// batch has its own.
pub(crate) struct Writer {
    table: CompressTable,
}

impl Default for Writer {
    fn default() -> Self {
        Self { table: CompressTable::large() }
    }
}

impl Writer {
    const BLOCK_BYTES: usize = 64 * 1024;
    /// Version 1, independent blocks; blocks of at most 64 KiB.
    const DESCRIPTOR: [u8; 2] = [0b0110_0000, 4 << 4];

    pub(super) fn compress(&mut self, payload: &[u8], out: &mut BytesMut) -> io::Result<()> {
        out.put_u32_le(MAGIC);
        out.extend_from_slice(&Self::DESCRIPTOR);
        out.put_u8(XxHash32::oneshot(0, &Self::DESCRIPTOR).to_le_bytes()[1]);
        for block in payload.chunks(Self::BLOCK_BYTES) {
            self.put_block(block, out)?;
        }
        out.put_u32_le(0);
        Ok(())
    }

    fn put_block(&mut self, block: &[u8], out: &mut BytesMut) -> io::Result<()> {
        let length_at = out.len();
        out.put_u32_le(0);
        append_with(out, block::get_maximum_output_size(block.len()), |room| {
            block::compress_into_with_table(block, room, &mut self.table)
                .map_err(|_| invalid("a block does not fit"))
        })?;
        let start = length_at + size_of::<u32>();
        let mut field = u32::try_from(out.len() - start).map_err(|_| invalid("a block is too long"))?;
        if out.len() - start >= block.len() {
            out.truncate(start);
            out.extend_from_slice(block);
            field = UNCOMPRESSED | u32::try_from(block.len()).map_err(|_| invalid("a block is too long"))?;
        }
        if let Some(place) = out.get_mut(length_at..).and_then(|tail| tail.first_chunk_mut()) {
            *place = field.to_le_bytes();
        }
        Ok(())
    }
}
