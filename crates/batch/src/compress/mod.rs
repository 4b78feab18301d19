//! The codecs: a whole payload in, pieces out, and never more than a cap allows.
//!
//! Compressed data is hostile until it has been decoded: sizes that it declares bound nothing and reserve nothing.
//! Each decoder hands out pieces, and the pieces are counted.

mod gzip;
mod lz4;
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

use crate::{BatchError, Compression};

/// How much a batch may grow when it is decompressed.
///
/// An absolute cap and no ratio: log lines compress a hundred times and more, honestly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// The most bytes of records that may come out of one batch.
    pub max_bytes: u64,
}

impl DecompressLimits {
    /// At most `max_bytes` of records from one batch.
    #[must_use]
    pub const fn new(max_bytes: u64) -> Self {
        Self { max_bytes }
    }
}

impl Default for DecompressLimits {
    /// 128 MiB: a batch of the default `max.message.bytes` whose records compress a hundred times.
    fn default() -> Self {
        Self::new(128 * 1024 * 1024)
    }
}

/// The least that a buffer for decompressed data begins with.
const PIECE_BYTES: usize = 4 * 1024;

/// Decompresses `payload` whole, in a buffer that grows only by what has really come out.
pub(crate) fn decompress(
    codec: Compression,
    payload: &[u8],
    limits: DecompressLimits,
) -> Result<Bytes, BatchError> {
    let mut decoder = Decoder::new(codec, payload, limits)?;
    // One byte over the cap is enough to know.
    let most = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX).saturating_add(1);
    let mut out = BytesMut::zeroed(payload.len().saturating_mul(4).max(PIECE_BYTES).min(most));
    let mut filled = 0;
    loop {
        if filled == out.len() {
            out.resize(filled.saturating_mul(2).min(most).max(filled + 1), 0);
        }
        match decoder.read(out.get_mut(filled..).unwrap_or_default())? {
            0 => break,
            count => filled += count,
        }
    }
    out.truncate(filled);
    Ok(out.freeze())
}

/// What every decoder takes in addition to its blocks and windows, with the window that its output passes through.
const DECODER_BYTES: u64 = 256 * 1024;

/// About the most memory that a [`Decoder`] of `payload` takes, and the window behind it.
pub(crate) fn decoder_bytes(codec: Compression, payload: &[u8], limits: DecompressLimits) -> u64 {
    let blocks = match codec {
        Compression::None => return 0,
        Compression::Gzip => 0,
        Compression::Snappy => snappy::chunk_bytes_max(payload),
        Compression::Lz4 => lz4::block_bytes_max(payload),
        #[cfg(feature = "zstd")]
        Compression::Zstd => zstd::window_bytes(payload),
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => 0,
    };
    blocks.min(limits.max_bytes).saturating_add(DECODER_BYTES)
}

/// A running decompression that counts what comes out.
pub(crate) struct Decoder<'a> {
    codec: Compression,
    inner: Box<dyn Read + 'a>,
    limits: DecompressLimits,
    out_bytes: u64,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(
        codec: Compression,
        payload: &'a [u8],
        limits: DecompressLimits,
    ) -> Result<Self, BatchError> {
        let inner: Box<dyn Read + 'a> = match codec {
            Compression::None => Box::new(payload),
            Compression::Gzip => Box::new(gzip::reader(payload)),
            Compression::Snappy => Box::new(snappy::Reader::new(payload, limits.max_bytes)),
            Compression::Lz4 => Box::new(lz4::Reader::new(payload, limits.max_bytes)),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Box::new(
                zstd::reader(payload, limits.max_bytes).map_err(|error| failure(codec, limits, &error))?,
            ),
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => return Err(BatchError::UnsupportedCompression { compression: codec }),
        };
        Ok(Self { codec, inner, limits, out_bytes: 0 })
    }

    /// Fills the front of `out` and says how much; 0 at the end of the data.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, BatchError> {
        let count = self.inner.read(out).map_err(|error| failure(self.codec, self.limits, &error))?;
        self.out_bytes = self.out_bytes.saturating_add(count as u64);
        if self.out_bytes > self.limits.max_bytes {
            return Err(BatchError::DecompressedTooLarge { max_bytes: self.limits.max_bytes });
        }
        Ok(count)
    }
}

/// A decoder's way to say that the next piece would pass the cap.
fn over_the_cap() -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

/// A decoder's way to say that the data is wrong.
fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn failure(compression: Compression, limits: DecompressLimits, error: &io::Error) -> BatchError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => BatchError::DecompressedTooLarge { max_bytes: limits.max_bytes },
        _ => BatchError::Decompression { compression, reason: error.to_string() },
    }
}

/// An encoder with its tables, kept from batch to batch.
pub(crate) enum Compressor {
    Gzip,
    Snappy(Box<snap::raw::Encoder>),
    Lz4(Box<lz4::Writer>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::Writer),
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// The encoder of `codec`; `None` for no compression.
    pub(crate) fn new(codec: Compression) -> Result<Option<Self>, BatchError> {
        Ok(Some(match codec {
            Compression::None => return Ok(None),
            Compression::Gzip => Self::Gzip,
            Compression::Snappy => Self::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Lz4 => Self::Lz4(Box::default()),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Self::Zstd(zstd::Writer::new().map_err(|error| refused(codec, &error))?),
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => return Err(BatchError::UnsupportedCompression { compression: codec }),
        }))
    }

    /// Appends the compressed form of `payload` to `out`.
    pub(crate) fn compress(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<(), BatchError> {
        let (codec, result) = match self {
            Self::Gzip => (Compression::Gzip, gzip::compress(payload, out)),
            Self::Snappy(encoder) => (Compression::Snappy, snappy::compress(encoder, payload, out)),
            Self::Lz4(writer) => (Compression::Lz4, writer.compress(payload, out)),
            #[cfg(feature = "zstd")]
            Self::Zstd(writer) => (Compression::Zstd, writer.compress(payload, out)),
        };
        result.map_err(|error| refused(codec, &error))
    }
}

fn refused(compression: Compression, error: &io::Error) -> BatchError {
    BatchError::Compression { compression, reason: error.to_string() }
}

/// Lets `write` fill up to `room` bytes behind what `out` holds; it says how many it filled.
fn append_with(
    out: &mut BytesMut,
    room: usize,
    write: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let start = out.len();
    out.resize(start + room, 0);
    let count = write(out.get_mut(start..).unwrap_or_default())?;
    out.truncate(start + count.min(room));
    Ok(())
}
