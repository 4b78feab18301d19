//! Reading a file of the journal back: which generation it holds, and which of its bytes cannot be believed.
//!
//! A commit is one write, and the next is made only after its sync. So where an entry of a later commit follows bytes
//! that are not sound, those were synced once, and are damaged. Where none follows, they may be the rest of a write that a
//! loss of power has torn, which was never acknowledged.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memchr::memmem;

use super::PartitionKey;
use super::entry::{self, Entry, Read, TAG_AT};
use super::file::{self, ENTRIES_AT, FILE_BYTES_MAX, Id, SECTOR_BYTES, Slot};
use crate::disk::{Disk, read_file};
use crate::error::LogError;

/// An entry with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) position: u64,
    /// Where its commit begins.
    pub(super) commit: u64,
    pub(super) key: PartitionKey,
    pub(super) entry: Entry,
}

/// Bytes that are not sound, and that sound entries follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// What one file holds.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) id: Id,
    pub(super) slot: Slot,
    /// In order.
    pub(super) entries: Vec<Placed>,
    pub(super) gaps: Vec<Gap>,
    /// Where the last sound entry ends.
    pub(super) end: u64,
}

impl Generation {
    /// Whether a copy of the state that it begins with is complete, and all that it carries over. A generation that is
    /// not was still being begun, or is damaged.
    pub(super) fn is_whole(&self) -> bool {
        self.entries.iter().any(|placed| match placed.entry {
            Entry::StateEnd { from, carried_end } => {
                self.is_sound(ENTRIES_AT, carried_end) && self.is_sound(from, placed.position)
            }
            _ => false,
        })
    }

    fn is_sound(&self, from: u64, to: u64) -> bool {
        self.gaps.iter().all(|gap| gap.to <= from || gap.from >= to)
    }

    /// Where its last commit begins, as far as can be seen: everything before was synced.
    pub(super) fn last_commit(&self) -> u64 {
        self.entries.last().map_or(0, |placed| placed.commit)
    }

    /// Whether it was durable, whole or not.
    pub(super) fn was_begun(&self) -> bool {
        self.last_commit() > 0 || self.is_whole()
    }

    /// Where the next commit may begin; `None` where the last one is torn, so that what follows would be taken for
    /// later than its rest.
    pub(super) fn goes_on_at(&self) -> Option<u64> {
        let torn = self.gaps.last().is_some_and(|gap| gap.from >= self.last_commit());
        (self.id.version == file::VERSION && !torn).then_some(self.end)
    }
}

/// What is at the beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// There is no file.
    Missing,
    /// Nothing was written there, or it was lost before it was synced.
    Blank,
    Sound,
    /// Something that was never written there.
    Damaged,
}

/// One of the two files, as found.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) head: Head,
    pub(super) generation: Option<Generation>,
}

/// Reads a file into memory.
///
/// # Errors
/// The disk's, and [`LogError::NewerFormat`].
pub(super) fn read(disk: &dyn Disk, data_dir: &Path, slot: Slot) -> Result<Contents, LogError> {
    let path = file::path(data_dir, slot);
    let bytes = match read_file(disk, &path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Contents { path, bytes: 0, head: Head::Missing, generation: None });
        }
        other => Bytes::from(other.map_err(LogError::io("read", &*path))?),
    };
    let first = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    let (head, generation) = match file::parse_header(first, &path)? {
        Some(id) => (Head::Sound, Some(walk(&bytes, id, slot))),
        None if first.iter().all(|byte| *byte == 0) => (Head::Blank, headless(&bytes, slot)),
        None => (Head::Damaged, headless(&bytes, slot)),
    };
    // Without its header a generation counts only where it was synced for certain.
    let generation = generation.filter(|found| head != Head::Blank || found.last_commit() > 0);
    Ok(Contents { path, bytes: bytes.len() as u64, head, generation })
}

/// The generation of a file whose header is lost, in the version that more of its entries are sound in: marks, with which
/// every generation of any use begins, have another length in each.
fn headless(bytes: &Bytes, slot: Slot) -> Option<Generation> {
    let found = [2, file::VERSION].into_iter().filter_map(|version| id_of_entries(bytes, version));
    found.map(|id| walk(bytes, id, slot)).max_by_key(|generation| generation.entries.len())
}

/// Which generation a file holds, by its first entry, or else by the first that begins a sector: a copy of the state
/// does.
fn id_of_entries(bytes: &Bytes, version: u16) -> Option<Id> {
    let step = usize::try_from(SECTOR_BYTES).ok()?;
    let places = (step..bytes.len()).step_by(step);
    let found = places.map(|at| entry::read(&bytes.slice(at..), version)).find_map(|read| read)?;
    Some(Id::of_tag(version, found.of.tag))
}

fn walk(bytes: &Bytes, id: Id, slot: Slot) -> Generation {
    let mut generation = Generation { id, slot, entries: Vec::new(), gaps: Vec::new(), end: ENTRIES_AT };
    let finder = Finder { bytes, id, tag: id.tag().to_be_bytes() };
    loop {
        let (end, last_commit) = (generation.end, generation.last_commit());
        let next = match finder.read_at(end, last_commit) {
            None if id.version > 1 => finder.next_behind(end, last_commit),
            found => found.map(|found| (end, found)),
        };
        let Some((position, Read { of, key, entry, bytes })) = next else { return generation };
        if position > end {
            generation.gaps.push(Gap { from: end, to: position });
        }
        generation.entries.push(Placed { position, commit: of.commit, key, entry });
        generation.end = position + bytes;
    }
}

/// Finds entries of one generation.
struct Finder<'a> {
    bytes: &'a Bytes,
    id: Id,
    tag: [u8; 8],
}

impl Finder<'_> {
    /// The entry at `position`; commits follow one another.
    fn read_at(&self, position: u64, last_commit: u64) -> Option<Read> {
        let at = usize::try_from(position).ok().filter(|at| *at <= self.bytes.len())?;
        let found = entry::read(&self.bytes.slice(at..), self.id.version)?;
        let fits = found.of.commit <= position && found.of.commit >= last_commit;
        (found.of.tag == self.id.tag() && fits).then_some(found)
    }

    /// The first sound entry behind `position`.
    fn next_behind(&self, position: u64, last_commit: u64) -> Option<(u64, Read)> {
        let from = usize::try_from(position).ok()?.checked_add(1 + TAG_AT)?;
        let places = memmem::find_iter(self.bytes.get(from..)?, &self.tag);
        let mut places = places.map(|at| (from + at - TAG_AT) as u64);
        places.find_map(|at| Some((at, self.read_at(at, last_commit)?)))
    }
}

#[cfg(test)]
mod tests {
    use corduroy_types::{Offset, PartitionIndex, TopicId};

    use super::*;
    use crate::journal::entry::{Of, encode, mark_of_version_2};
    use crate::mark::DurableMark;

    #[test]
    fn a_file_without_its_header_is_read_in_the_version_that_it_was_written_in() {
        let mark = DurableMark {
            segment_base: Offset::ZERO,
            position: 66,
            offset: Offset::new(9).unwrap(),
            checksum: 7,
            max_timestamp: None,
            first_crc: None,
        };
        let id = |version| Id { version, number: 5, salt: 0x0102_0304 };
        let of = Of { tag: id(2).tag(), commit: 0 };
        for version in [2, file::VERSION] {
            let mut bytes = vec![0xff; 512];
            for partition in 0..3 {
                let key = PartitionKey {
                    topic_id: TopicId::from_bytes([7; 16]),
                    partition: PartitionIndex(partition),
                };
                // The same in every version.
                encode(&mut bytes, of, key, &Entry::Settled { below: Offset::ZERO });
                match version {
                    2 => bytes.extend(mark_of_version_2(of, key, mark)),
                    _ => encode(&mut bytes, of, key, &Entry::Mark(mark)),
                }
            }
            let generation = headless(&bytes.into(), Slot::A).unwrap();
            assert_eq!((generation.id, generation.entries.len()), (id(version), 6));
            assert_eq!(generation.gaps, [], "every entry is read");
        }
    }
}
