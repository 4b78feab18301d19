//! `partition.state`: the little that a log must remember beside its batches.
//!
//! Layout, big-endian, 18 bytes: magic `CDPS` · version u16 (1) · log start u64 · CRC-32 u32 (ISO-HDLC, over all
//! before it). It is always replaced as a whole: written beside, synced,
//! renamed, and the directory synced. Its presence also says that the directory itself is durable, because it
//! is first written after the directory's own name was synced.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corduroy_types::Offset;
use parking_lot::Mutex;

use crate::disk::{Disk, read_file, replace_file};
use crate::error::LogError;

/// The file's name.
pub(crate) const STATE_FILE: &str = "partition.state";
/// What it is called while it is written.
pub(crate) const STATE_FILE_TEMPORARY: &str = "partition.state.tmp";

const MAGIC: [u8; 4] = *b"CDPS";
const VERSION: u16 = 1;
const BYTES: usize = 18;
/// More than any version's file; a larger one is not read into memory.
const BYTES_MAX: u64 = 4096;

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) log_start: Offset,
}

/// What was found of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Whole(State),
    Missing,
    /// There is a file, but it is not to be believed.
    Damaged,
}

impl State {
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.log_start.get().to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.into()
    }

    /// `Err` holds the version of a sound file that is newer than this code.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, u16> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Ok(None);
        }
        let Some(rest) = body.strip_prefix(&MAGIC) else { return Ok(None) };
        let Some((version, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        match u16::from_be_bytes(*version) {
            VERSION => {}
            newer => return Err(newer),
        }
        let log_start = rest.first_chunk::<8>().and_then(|bytes| Offset::new(u64::from_be_bytes(*bytes)));
        Ok(log_start.filter(|_| bytes.len() == BYTES).map(|log_start| Self { log_start }))
    }
}

/// Reads the state of the partition in `dir`.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Found, LogError> {
    let path = dir.join(STATE_FILE);
    let bytes = match read_file(disk, &path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Found::Damaged),
        Err(error) => return Err(LogError::io("read", path)(error)),
    };
    match State::decode(&bytes) {
        Ok(Some(state)) => Ok(Found::Whole(state)),
        Ok(None) => Ok(Found::Damaged),
        Err(version) => Err(LogError::NewerFormat { path, version, known: VERSION }),
    }
}

/// Writes the file, one at a time and never backwards: a slower writer cannot undo a faster one.
#[derive(Debug)]
pub(crate) struct StateWriter {
    path: PathBuf,
    written: Mutex<Option<State>>,
}

impl StateWriter {
    pub(crate) fn new(dir: &Path, written: Option<State>) -> Self {
        Self { path: dir.join(STATE_FILE), written: Mutex::new(written) }
    }

    /// Makes a log start of at least this one durable.
    pub(crate) fn persist(&self, disk: &dyn Disk, state: State) -> io::Result<()> {
        let mut written = self.written.lock();
        if written.is_some_and(|present| present.log_start >= state.log_start) {
            return Ok(());
        }
        replace_file(disk, &self.path, state.encode())?;
        *written = Some(state);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_the_file_is_noticed() {
        let state = State { log_start: Offset::new(1_234_567).unwrap() };
        let bytes = state.encode();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(State::decode(&bytes), Ok(Some(state)));
        for at in 0..BYTES {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(State::decode(&damaged), Ok(None), "byte {at}");
            assert_eq!(State::decode(&bytes[..at]), Ok(None), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_and_not_taken_for_damage() {
        let mut bytes = b"CDPS\x00\x02something else".to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        assert_eq!(State::decode(&bytes), Err(2));
    }
}
