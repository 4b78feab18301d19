//! gzip (RFC 1952), through flate2 with zlib-rs.

use std::io::{self, Read, Write};

use bytes::{BufMut, BytesMut};
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};

pub(super) fn reader<'a>(payload: &'a [u8]) -> impl Read + 'a {
    MultiGzDecoder::new(payload)
}

pub(super) fn compress(payload: &[u8], out: &mut BytesMut) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out.writer(), Compression::default());
    encoder.write_all(payload)?;
    encoder.finish()?;
    Ok(())
}
