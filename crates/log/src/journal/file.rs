//! The journal's two files: their headers, and reading a generation back.
//!
//! Header, big-endian, 18 bytes at the start of the first 512: magic `CDJL` · version u16 (1) · generation u64 ·
//! CRC-32 u32 of all before it. Entries follow from byte 512 on, one behind the other.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::PartitionKey;
use super::entry::{self, Entry};
use crate::disk::{Disk, read_file};
use crate::error::LogError;

/// The directory of the journal, in the data directory.
pub const JOURNAL_DIR: &str = "journal";
/// Where entries begin.
pub(super) const ENTRIES_AT: u64 = 512;

const MAGIC: [u8; 4] = *b"CDJL";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 18;
/// No journal file is larger than this; a larger one is not read into memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// The path of one of the two files.
pub(super) fn path(data_dir: &Path, slot: Slot) -> PathBuf {
    data_dir.join(JOURNAL_DIR).join(slot.name())
}

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    A,
    B,
}

impl Slot {
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::A => "a.journal",
            Self::B => "b.journal",
        }
    }
}

/// The first 512 bytes of a file.
pub(super) fn header(generation: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.resize(512, 0);
    bytes
}

/// A header's generation. `Ok(None)`: no header that was written whole.
fn parse_header(bytes: &[u8], path: &Path) -> Result<Option<u64>, LogError> {
    let Some((body, crc)) = bytes.get(..HEADER_BYTES).and_then(<[u8]>::split_last_chunk::<4>) else {
        return Ok(None);
    };
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Ok(None);
    }
    let Some((version, rest)) = body.strip_prefix(&MAGIC).and_then(<[u8]>::split_first_chunk::<2>) else {
        return Ok(None);
    };
    match u16::from_be_bytes(*version) {
        VERSION => Ok(rest.first_chunk().copied().map(u64::from_be_bytes)),
        newer => Err(LogError::NewerFormat { path: path.to_owned(), version: newer, known: VERSION }),
    }
}

/// An entry with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) position: u64,
    pub(super) key: PartitionKey,
    pub(super) entry: Entry,
}

/// What one file holds.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) slot: Slot,
    /// In order, up to the first that is not whole.
    pub(super) entries: Vec<Placed>,
}

impl Generation {
    /// Whether the state that it begins with is complete. One that is not was still being begun.
    pub(super) fn is_whole(&self) -> bool {
        self.entries.iter().any(|placed| placed.entry == Entry::StateEnd)
    }
}

/// Reads a file; `None` when it is missing or has no header. Also returns its length.
pub(super) fn read(
    disk: &dyn Disk,
    data_dir: &Path,
    slot: Slot,
) -> Result<(Option<Generation>, u64), LogError> {
    let path = path(data_dir, slot);
    let bytes = match read_file(disk, &path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, 0)),
        other => Bytes::from(other.map_err(LogError::io("read", &*path))?),
    };
    let file_bytes = bytes.len() as u64;
    let Some(number) = parse_header(&bytes, &path)? else { return Ok((None, file_bytes)) };
    let mut position = ENTRIES_AT;
    let mut entries = Vec::new();
    let mut rest =
        usize::try_from(ENTRIES_AT).ok().filter(|at| *at <= bytes.len()).map(|at| bytes.slice(at..));
    while let Some((key, entry, length)) = rest.as_mut().and_then(|rest| entry::take(rest, number)) {
        entries.push(Placed { position, key, entry });
        position += length as u64;
    }
    Ok((Some(Generation { number, slot, entries }), file_bytes))
}
