//! Replay: from the journal back into the segments, before any log is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corduroy_types::Offset;

use super::PartitionKey;
use super::entry::Entry;
use super::file::{self, ENTRIES_AT, Generation, Slot};
use super::state::{self, States};
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::segment::{LOG_SUFFIX, file_path};
use crate::truncate::cut_files;

/// Batches that the journal holds for a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) position: u64,
    /// The offset behind the last batch.
    pub(super) end: Offset,
    pub(super) bytes: Bytes,
}

/// By segment, in the order in which they were written.
type Pieces = BTreeMap<(PartitionKey, Offset), Vec<Piece>>;

/// What a journal holds when the broker starts. Nothing has been changed yet: perform every task (they are of
/// different segments or partitions, and may run beside each other), then give it to [`super::Journal::begin`].
#[derive(Debug)]
#[must_use = "logs may be opened only after it was performed"]
pub struct Replay {
    pub(super) data_dir: PathBuf,
    pub(super) tasks: Vec<Task>,
    pub(super) states: States,
    /// Where the newest generation is, if there is one.
    pub(super) newest: Option<Slot>,
    /// The greatest number that a generation has had.
    pub(super) number: u64,
    pub(super) files: [Found; 2],
    report: ReplayReport,
}

/// One of the two files, as found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) bytes: u64,
    /// Whether its header can be read. Without it nobody knows which numbers its entries have.
    pub(super) readable: bool,
}

#[derive(Debug)]
pub(super) enum Task {
    Write {
        key: PartitionKey,
        segment_base: Offset,
        pieces: Vec<Piece>,
    },
    /// All of a partition that was being cut: first what was written before, then the cut.
    Cut {
        key: PartitionKey,
        to: Offset,
        segments: Vec<(Offset, Vec<Piece>)>,
    },
}

/// What replay found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Entries read.
    pub entries: u64,
    /// Bytes of batches that are written to segments again.
    pub data_bytes: u64,
    /// Segments that get some.
    pub segments: usize,
    /// Cuts that were begun and are finished now.
    pub cuts: usize,
    /// Whether there are journal files, but none can be read. That is normal only if the very first start was cut
    /// short; otherwise acknowledged records and epoch histories may be lost.
    pub unreadable: bool,
}

impl Replay {
    /// Reads the journal of a data directory; an empty one where there is none. Performs I/O.
    ///
    /// # Errors
    /// The disk's, and [`LogError::NewerFormat`].
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Self, LogError> {
        let mut files = [Found::default(); 2];
        let mut generations = Vec::new();
        let mut number = 0;
        for (slot, found) in Slot::BOTH.into_iter().zip(&mut files) {
            let (generation, bytes) = file::read(disk, data_dir, slot)?;
            *found = Found { bytes, readable: generation.is_some() };
            number = generation.as_ref().map_or(number, |generation| generation.number.max(number));
            generations.extend(generation.filter(Generation::is_whole));
        }
        generations.sort_by_key(|generation| generation.number);
        let unreadable = generations.is_empty() && files.iter().any(|found| found.bytes > 0);
        let newest = generations.last().map(|generation| generation.slot);
        let mut report = ReplayReport { unreadable, ..ReplayReport::default() };
        let (pieces, states) = fold(&generations, &mut report);
        let tasks = tasks(pieces, &states);
        for task in &tasks {
            report.count(task);
        }
        Ok(Self { data_dir: data_dir.to_owned(), tasks, states, newest, number, files, report })
    }

    /// What was found.
    pub fn report(&self) -> ReplayReport {
        self.report
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Performs one task. Doing it again, or after a crash in it, gives the same.
    ///
    /// # Errors
    /// The disk's. No log may be opened then; try again.
    pub fn perform_task(&self, index: usize, disk: &dyn Disk) -> Result<(), LogError> {
        match self.tasks.get(index) {
            None => Ok(()),
            Some(Task::Write { key, segment_base, pieces }) => {
                write_pieces(disk, &key.dir(&self.data_dir), *segment_base, pieces)
            }
            Some(Task::Cut { key, to, segments }) => {
                let dir = key.dir(&self.data_dir);
                for (segment_base, pieces) in segments {
                    write_pieces(disk, &dir, *segment_base, pieces)?;
                }
                cut_files(disk, &dir, *to).map(drop)
            }
        }
    }

    /// Performs all tasks.
    ///
    /// # Errors
    /// The disk's.
    pub fn perform(&self, disk: &dyn Disk) -> Result<(), LogError> {
        (0..self.tasks.len()).try_for_each(|index| self.perform_task(index, disk))
    }
}

impl ReplayReport {
    fn count(&mut self, task: &Task) {
        let segments: &mut dyn Iterator<Item = &Vec<Piece>> = match task {
            Task::Write { pieces, .. } => &mut std::iter::once(pieces),
            Task::Cut { segments, .. } => {
                self.cuts += 1;
                &mut segments.iter().map(|(_, pieces)| pieces)
            }
        };
        for pieces in segments {
            self.segments += 1;
            self.data_bytes += pieces.iter().map(|piece| piece.bytes.len() as u64).sum::<u64>();
        }
    }
}

/// Goes through all entries in order: what is left of the data, and the state at the end.
fn fold(generations: &[Generation], report: &mut ReplayReport) -> (Pieces, States) {
    let mut states = States::new();
    let mut pieces = Pieces::new();
    let checkpointed = checkpointed(generations);
    for generation in generations {
        // Each begins with everybody's state.
        states.clear();
        for placed in &generation.entries {
            report.entries += 1;
            state::apply(&mut states, placed.key, &placed.entry);
            let key = placed.key;
            match &placed.entry {
                Entry::Data { position, mark, bytes, .. }
                    if (generation.number, placed.position) >= checkpointed =>
                {
                    let piece = Piece { position: *position, end: mark.offset, bytes: bytes.clone() };
                    pieces.entry((key, mark.segment_base)).or_default().push(piece);
                }
                Entry::CutDone | Entry::Dropped => pieces.retain(|(of, _), _| *of != key),
                Entry::Settled { below } => pieces.retain(|(of, base), _| *of != key || base >= below),
                _ => {}
            }
        }
    }
    (pieces, states)
}

fn checkpointed(generations: &[Generation]) -> (u64, u64) {
    let entries = generations.iter().flat_map(|generation| &generation.entries);
    let places = entries.filter_map(|placed| match placed.entry {
        Entry::Checkpointed { generation, position } => Some((generation, position)),
        _ => None,
    });
    places.max().unwrap_or((0, ENTRIES_AT))
}

fn tasks(pieces: Pieces, states: &States) -> Vec<Task> {
    let mut cuts: BTreeMap<PartitionKey, (Offset, Vec<_>)> = BTreeMap::new();
    for (key, state) in states {
        if let Some(to) = state.cut {
            cuts.insert(*key, (to, Vec::new()));
        }
    }
    let mut tasks = Vec::new();
    for ((key, segment_base), pieces) in pieces {
        match cuts.get_mut(&key) {
            Some((_, segments)) => segments.push((segment_base, pieces)),
            None => tasks.push(Task::Write { key, segment_base, pieces }),
        }
    }
    tasks.extend(cuts.into_iter().map(|(key, (to, segments))| Task::Cut { key, to, segments }));
    tasks
}

/// Divides pieces into those that follow one another.
fn runs(pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    pieces.chunk_by(|piece, next| piece.position + piece.bytes.len() as u64 == next.position)
}

/// Writes batches where they were written before, and syncs them. A file that is missing was removed since.
///
/// The file is never cut first: a write that then fails would leave it without what it had, while the journal's copy
/// may be the only other one. Writing back what lies beyond the length on disk makes that durable, too.
fn write_pieces(disk: &dyn Disk, dir: &Path, segment_base: Offset, pieces: &[Piece]) -> Result<(), LogError> {
    let path = file_path(dir, segment_base, LOG_SUFFIX);
    let file = match disk.open(&path, OpenMode::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(LogError::io("open", &*path))?,
    };
    for run in runs(pieces) {
        let Some(first) = run.first() else { continue };
        let parts: Vec<Bytes> = run.iter().map(|piece| piece.bytes.clone()).collect();
        file.write_at(&parts, first.position).map_err(LogError::io("write", &*path))?;
    }
    file.sync().map_err(LogError::io("sync", path))
}

/// The data that the journal holds beyond the last checkpoint, for logs that are reopened after a failure: their
/// segments' pages cannot be believed, so it is written to them again.
#[derive(Debug)]
pub struct Rewrite {
    data_dir: PathBuf,
    pieces: Pieces,
}

impl Rewrite {
    /// Reads it. Performs I/O. The logs it is used for have stopped; others may go on meanwhile.
    ///
    /// # Errors
    /// The disk's; try again.
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Self, LogError> {
        let mut generations = Vec::new();
        for slot in Slot::BOTH {
            generations.extend(file::read(disk, data_dir, slot)?.0.filter(Generation::is_whole));
        }
        generations.sort_by_key(|generation| generation.number);
        let (pieces, _) = fold(&generations, &mut ReplayReport::default());
        Ok(Self { data_dir: data_dir.to_owned(), pieces })
    }

    /// No data: for a log that is not committed through a journal.
    pub fn none() -> Self {
        Self { data_dir: PathBuf::new(), pieces: Pieces::new() }
    }

    /// Writes the data of the log in `dir` that ends at or below `durable_end`, and syncs it.
    pub(crate) fn perform(&self, disk: &dyn Disk, dir: &Path, durable_end: Offset) -> Result<(), LogError> {
        for ((key, segment_base), pieces) in &self.pieces {
            if key.dir(&self.data_dir) == dir {
                let durable: Vec<Piece> =
                    pieces.iter().filter(|piece| piece.end <= durable_end).cloned().collect();
                if !durable.is_empty() {
                    write_pieces(disk, dir, *segment_base, &durable)?;
                }
            }
        }
        Ok(())
    }
}
