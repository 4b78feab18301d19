//! `partition.state`: the little that a log must remember beside its batches.
//!
//! Layout, big-endian: magic `CDPS` · version u16 (2) · log start u64 · compacted
//! end u64 · catalogue (count u32, and 37 bytes for
//! each sealed segment, see `catalogue`) · CRC-32 u32 (ISO-HDLC, over all before it). Version 1 had no
//! catalogue and is still read. The file is always replaced as a whole: written beside, synced, renamed, and the
//! directory synced. Its presence also says that the directory itself is durable, because it is first written
//! after the directory's own name was synced.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corduroy_types::Offset;
use parking_lot::Mutex;

use crate::catalogue::{Catalogue, CatalogueEntry};
use crate::disk::{Disk, put_in_place, read_file, write_beside};
use crate::error::LogError;

/// The file's name.
pub(crate) const STATE_FILE: &str = "partition.state";
/// What it is called while it is written.
pub(crate) const STATE_FILE_TEMPORARY: &str = "partition.state.tmp";

const MAGIC: [u8; 4] = *b"CDPS";
const VERSION: u16 = 2;
/// A larger file is not read into memory: it would list more than a million segments.
const BYTES_MAX: u64 = 64 << 20;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) log_start: Offset,
    /// Compaction has been through everything below.
    pub(crate) compacted_end: Offset,
    pub(crate) catalogue: Catalogue,
}

/// What was found of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Whole(State),
    Missing,
    /// There is a file, but it is not to be believed.
    Damaged,
}

impl State {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.log_start.get().to_be_bytes());
        bytes.extend_from_slice(&self.compacted_end.get().to_be_bytes());
        self.catalogue.encode(&mut bytes);
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
        let version = u16::from_be_bytes(*version);
        if version > VERSION {
            return Err(version);
        }
        let Some((log_start, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let rest = match version {
            1 => rest.is_empty().then(|| (Offset::ZERO, Catalogue::default())),
            VERSION => decode_rest(rest),
            _ => None,
        };
        let log_start = Offset::new(u64::from_be_bytes(*log_start));
        let state = |(log_start, (compacted_end, catalogue))| Self { log_start, compacted_end, catalogue };
        Ok(log_start.zip(rest).map(state))
    }
}

/// What version 2 has behind the log start.
fn decode_rest(rest: &[u8]) -> Option<(Offset, Catalogue)> {
    let (compacted_end, rest) = rest.split_first_chunk::<8>()?;
    Offset::new(u64::from_be_bytes(*compacted_end)).zip(Catalogue::decode(rest))
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

/// Writes the file, one change at a time and none of them undoing another: the log start never goes back, and
/// whoever changes the catalogue leaves the log start alone.
#[derive(Debug)]
pub(crate) struct StateWriter {
    path: PathBuf,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// What is durable; `None` while there is no file.
    state: Option<State>,
    /// After a failed rename either of two states may be on disk, and the next change is written whatever it is.
    doubtful: bool,
}

impl StateWriter {
    pub(crate) fn new(dir: &Path, written: Option<State>) -> Self {
        let written = Mutex::new(Written { state: written, doubtful: false });
        Self { path: dir.join(STATE_FILE), written }
    }

    /// Makes a log start of at least this one durable, and forgets the segments below it.
    pub(crate) fn raise_log_start(&self, disk: &dyn Disk, log_start: Offset) -> io::Result<()> {
        self.change(disk, |state| state.log_start = state.log_start.max(log_start))
    }

    /// Enters a sealed segment, in place of all those that it covers. This is the moment at which a segment
    /// counts as sealed, or a rewritten one as the one that counts.
    pub(crate) fn enter(&self, disk: &dyn Disk, entry: CatalogueEntry) -> io::Result<()> {
        self.change(disk, |state| state.catalogue.put(entry))
    }

    /// Forgets segments that reach beyond `end`, before their files are cut there.
    pub(crate) fn cut(&self, disk: &dyn Disk, end: Offset) -> io::Result<()> {
        let mut written = self.written.lock();
        if written.state.is_none() && !written.doubtful {
            return Ok(()); // the file must not come before the directory is durable
        }
        self.change_locked(&mut written, disk, |state| {
            state.catalogue.cut(end);
            // What is appended there next is not compacted.
            state.compacted_end = state.compacted_end.min(end);
        })
    }

    /// Makes it durable that compaction has been through everything below `end`.
    pub(crate) fn raise_compacted_end(&self, disk: &dyn Disk, end: Offset) -> io::Result<()> {
        self.change(disk, |state| state.compacted_end = state.compacted_end.max(end))
    }

    /// Any other change. The file is written only if it differs, and `change` must not lower the log start.
    pub(crate) fn change(&self, disk: &dyn Disk, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut written = self.written.lock();
        self.change_locked(&mut written, disk, change)
    }

    fn change_locked(
        &self,
        written: &mut Written,
        disk: &dyn Disk,
        change: impl FnOnce(&mut State),
    ) -> io::Result<()> {
        let mut state = written.state.clone().unwrap_or_default();
        change(&mut state);
        state.catalogue.drop_below(state.log_start);
        if !written.doubtful && written.state.as_ref() == Some(&state) {
            return Ok(());
        }
        let temporary = write_beside(disk, &self.path, state.encode())?;
        written.doubtful = true;
        put_in_place(disk, &temporary, &self.path)?;
        *written = Written { state: Some(state), doubtful: false };
        Ok(())
    }

    /// Whether a segment that begins at `base` is entered as sealed.
    pub(crate) fn is_sealed(&self, base: Offset) -> bool {
        self.entry(base).is_some()
    }

    /// The entry of the segment that begins at `base`.
    pub(crate) fn entry(&self, base: Offset) -> Option<CatalogueEntry> {
        self.written.lock().state.as_ref().and_then(|state| state.catalogue.get(base).copied())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let (log_start, compacted_end) = (Offset::new(1_234_567).unwrap(), Offset::new(1_234_600).unwrap());
        let mut state = State { log_start, compacted_end, catalogue: Catalogue::default() };
        for base in [1_234_000, 1_234_800] {
            state.catalogue.put(CatalogueEntry {
                base: Offset::new(base).unwrap(),
                end: Offset::new(base + 800).unwrap(),
                bytes: 4_000,
                checksum: 7,
                max_timestamp: None,
                gaps: true,
            });
        }
        state
    }

    #[test]
    fn every_change_of_the_file_is_noticed() {
        let bytes = state().encode();
        assert_eq!(State::decode(&bytes), Ok(Some(state())));
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(State::decode(&damaged), Ok(None), "byte {at}");
            assert_eq!(State::decode(&bytes[..at]), Ok(None), "cut at {at}");
        }
    }

    #[test]
    fn a_file_without_a_catalogue_is_still_read() {
        let mut bytes = b"CDPS\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2a".to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let state = State { log_start: Offset::new(42).unwrap(), ..State::default() };
        assert_eq!(State::decode(&bytes), Ok(Some(state)));
    }

    #[test]
    fn a_newer_format_is_refused_and_not_taken_for_damage() {
        let mut bytes = b"CDPS\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2asomething else".to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        assert_eq!(State::decode(&bytes), Err(3));
    }

    #[test]
    fn no_change_undoes_another() {
        let disk = crate::SimDisk::new();
        let dir = Path::new("/t/0");
        disk.create_dir_all(dir).unwrap();
        let writer = StateWriter::new(dir, None);
        writer.raise_log_start(&disk, Offset::new(10).unwrap()).unwrap();
        let entry = state().catalogue.entries()[0];
        writer.enter(&disk, entry).unwrap();
        writer.raise_log_start(&disk, Offset::new(5).unwrap()).unwrap();
        let Found::Whole(found) = read(&disk, dir).unwrap() else { panic!("not whole") };
        assert_eq!((found.log_start.get(), found.catalogue.entries()), (10, &[entry][..]));
        let calls = disk.calls();
        writer.enter(&disk, entry).unwrap();
        assert_eq!(disk.calls(), calls, "nothing to change, nothing written");
        writer.raise_log_start(&disk, entry.end).unwrap();
        let Found::Whole(found) = read(&disk, dir).unwrap() else { panic!("not whole") };
        assert_eq!((found.log_start, found.catalogue.entries().len()), (entry.end, 0));
    }
}
