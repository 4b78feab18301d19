//! The journal's two files, and their headers.
//!
//! Header, big-endian, 22 bytes at the start of the first 512: magic `CDJL` · version u16 (4) · generation u64 · salt
//! u32 · CRC-32 u32 of all before it. Version 1 has no salt. Entries follow from byte 512 on, one behind the other.

use std::path::{Path, PathBuf};

use crate::error::LogError;

/// The directory of the journal, in the data directory.
pub const JOURNAL_DIR: &str = "journal";
/// Where entries begin.
pub(super) const ENTRIES_AT: u64 = 512;
/// The unit that is torn or lost as a whole, at least.
pub(super) const SECTOR_BYTES: u64 = 512;

const MAGIC: [u8; 4] = *b"CDJL";
pub(super) const VERSION: u16 = 4;
/// No journal file is larger than this; a larger one is not read into memory.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 30;

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

/// What distinguishes the entries of one generation from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) version: u16,
    pub(super) number: u64,
    /// Drawn for each generation, so that no record can look like an entry of it.
    pub(super) salt: u32,
}

impl Id {
    /// The tag of its entries.
    pub(super) fn tag(self) -> u64 {
        if self.version == 1 { self.number } else { self.number << 32 | u64::from(self.salt) }
    }

    /// The generation that entries of this version with this tag are of.
    pub(super) fn of_tag(version: u16, tag: u64) -> Self {
        let [.., a, b, c, d] = tag.to_be_bytes();
        Self { version, number: tag >> 32, salt: u32::from_be_bytes([a, b, c, d]) }
    }
}

/// The first 512 bytes of a file.
pub(super) fn header(id: Id) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&id.version.to_be_bytes());
    bytes.extend_from_slice(&id.number.to_be_bytes());
    bytes.extend_from_slice(&id.salt.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.resize(512, 0);
    bytes
}

/// What a header says. `Ok(None)`: it is none that was written whole.
pub(super) fn parse_header(bytes: &[u8], path: &Path) -> Result<Option<Id>, LogError> {
    let Some(version) = bytes.get(4..6).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_be_bytes(*bytes))
    else {
        return Ok(None);
    };
    let body_bytes = if version == 1 { 14 } else { 18 };
    let Some((body, crc)) = bytes.get(..body_bytes + 4).and_then(<[u8]>::split_last_chunk::<4>) else {
        return Ok(None);
    };
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) || !body.starts_with(&MAGIC) {
        return Ok(None);
    }
    if version > VERSION {
        return Err(LogError::NewerFormat { path: path.to_owned(), version, known: VERSION });
    }
    let number = body.get(6..14).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_be_bytes(*bytes));
    let salt = body.get(14..18).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes));
    Ok(number.map(|number| Id { version, number, salt: salt.unwrap_or(0) }))
}
