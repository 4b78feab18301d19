//! Replay: from the journal back into the segments, before any log is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corduroy_types::{Offset, TopicId};

use super::PartitionKey;
use super::damage::{self, JournalDamage};
use super::entry;
use super::entry::{Entry, NO_PARTITION, Of};
use super::file::{self, ENTRIES_AT, Id, Slot};
use super::generation::{self, Contents, Generation, Head};
use super::state::{self, Cut, States};
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::segment::{LOG_SUFFIX, file_path};
use crate::truncate::{cut_files, reset_files};

/// Batches that the journal holds for a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) position: u64,
    /// The offset behind the last batch.
    pub(super) end: Offset,
    pub(super) bytes: Bytes,
}

impl Piece {
    /// A copy of its own: what was read is a part of a whole file in memory.
    pub(super) fn compact(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..*self }
    }
}

/// By segment, in the order in which they were written.
type Pieces = BTreeMap<(PartitionKey, Offset), Vec<Piece>>;

/// What a journal holds when the broker starts. Nothing has been changed yet: perform every task (they are of
/// different segments or partitions, and may run in parallel), then give it to [`super::Journal::begin`].
#[derive(Debug)]
#[must_use = "logs may be opened only after it was performed"]
pub struct Replay {
    pub(super) data_dir: PathBuf,
    pub(super) tasks: Vec<Task>,
    pub(super) states: States,
    /// The newest generation, if there is one.
    pub(super) newest: Option<Newest>,
    /// The greatest number that a generation has had, as far as can be read.
    pub(super) number: u64,
    /// The length of each file in which a generation can be read.
    pub(super) files: [Option<u64>; 2],
    report: ReplayReport,
}

/// Where the newest generation is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    pub(super) slot: Slot,
    id: Id,
    /// Where another commit may follow.
    goes_on_at: Option<u64>,
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
        cut: Cut,
        segments: Vec<(Offset, Vec<Piece>)>,
    },
}

/// What replay found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Entries read.
    pub entries: u64,
    /// Bytes of batches that are written to segments again.
    pub data_bytes: u64,
    /// Segments that get some.
    pub segments: usize,
    /// Cuts that were begun and are finished now.
    pub cuts: usize,
    /// What is damaged, of what was synced once. Evidence is stored twice, and lost only where both copies are; of
    /// batches there is one copy besides the segment's.
    pub damages: Vec<JournalDamage>,
    /// Whether there should be a journal, but none can be read. That is normal only if the very first start was cut
    /// short; otherwise acknowledged records and epoch histories may be lost.
    pub unreadable: bool,
}

impl Replay {
    /// Reads the journal of a data directory; an empty one where there is none. Performs I/O.
    ///
    /// # Errors
    /// The disk's, and [`LogError::NewerFormat`].
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Self, LogError> {
        let [a, b] = Slot::BOTH.map(|slot| generation::read(disk, data_dir, slot));
        let contents = [a?, b?];
        let files = contents.each_ref().map(|found| found.generation.as_ref().map(|_| found.bytes));
        let numbers = contents.iter().filter_map(|found| Some(found.generation.as_ref()?.id.number));
        let number = numbers.max().unwrap_or(0);
        let mut report = ReplayReport::default();
        let (generations, heads) = begun(contents);
        let has_logs = has_logs(disk, data_dir)?;
        let is_there = |(_, head): &(PathBuf, Head)| matches!(head, Head::Sound | Head::Damaged);
        report.unreadable = generations.is_empty() && (has_logs || heads.iter().any(is_there));
        let newest = generations.last().map(|found| Newest {
            slot: found.slot,
            id: found.id,
            goes_on_at: found.goes_on_at(),
        });
        let (pieces, states) = fold(&generations, &mut report.entries);
        report.damages = damage::find(&generations, &heads, checkpointed(&generations), has_logs);
        let tasks = tasks(pieces, &states);
        for task in &tasks {
            report.count(task);
        }
        Ok(Self { data_dir: data_dir.to_owned(), tasks, states, newest, number, files, report })
    }

    /// Makes durable that all tasks were performed, so that the file which is not the newest may be filled again: a crash
    /// in that must not look like the loss of what was needed.
    pub(super) fn give_up_older(&self, disk: &dyn Disk) -> Result<(), LogError> {
        let Some(Newest { slot, id, goes_on_at: Some(position) }) = self.newest else { return Ok(()) };
        let mut bytes = Vec::new();
        let checkpointed = Entry::Checkpointed { generation: id.number, position };
        entry::encode(&mut bytes, Of { tag: id.tag(), commit: position }, NO_PARTITION, &checkpointed);
        let path = file::path(&self.data_dir, slot);
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(LogError::io("open", &*path))?;
        let written = file.write_at(&[bytes.into()], position).and_then(|()| file.sync());
        written.map_err(LogError::io("write", path))
    }

    /// What was found.
    pub fn report(&self) -> ReplayReport {
        self.report.clone()
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Performs one task. Doing it again, or after a crash in it, gives the same.
    ///
    /// # Errors
    /// The disk's. The log must not be opened then: try again, or begin the journal without it
    /// ([`super::Journal::begin_without`]).
    pub fn perform_task(&self, index: usize, disk: &dyn Disk) -> Result<(), LogError> {
        match self.tasks.get(index) {
            None => Ok(()),
            Some(Task::Write { key, segment_base, pieces }) => {
                write_pieces(disk, &key.dir(&self.data_dir), *segment_base, pieces)
            }
            Some(Task::Cut { key, cut, segments }) => {
                let dir = key.dir(&self.data_dir);
                match cut {
                    Cut::To(to) => {
                        for (segment_base, pieces) in segments {
                            write_pieces(disk, &dir, *segment_base, pieces)?;
                        }
                        cut_files(disk, &dir, *to).map(drop)
                    }
                    Cut::Reset(start) => reset_files(disk, &dir, *start),
                }
            }
        }
    }

    /// Which log a task is of.
    pub fn task_key(&self, index: usize) -> Option<PartitionKey> {
        self.tasks.get(index).map(Task::key)
    }

    /// Performs all tasks of one log: for one whose tasks failed when the journal began.
    ///
    /// # Errors
    /// The disk's. The log must not be opened then; try again.
    pub fn perform_of(&self, key: PartitionKey, disk: &dyn Disk) -> Result<(), LogError> {
        let mut of_log = (0..self.tasks.len()).filter(|index| self.task_key(*index) == Some(key));
        of_log.try_for_each(|index| self.perform_task(index, disk))
    }

    /// What the tasks of these logs write, by segment.
    pub(super) fn pieces_of(
        &self,
        keys: &BTreeSet<PartitionKey>,
    ) -> impl Iterator<Item = (PartitionKey, Offset, &Piece)> {
        let tasks = self.tasks.iter().filter(|task| keys.contains(&task.key()));
        tasks.flat_map(|task| task.pieces().map(|(base, piece)| (task.key(), base, piece)))
    }

    /// Performs all tasks.
    ///
    /// # Errors
    /// The disk's.
    pub fn perform(&self, disk: &dyn Disk) -> Result<(), LogError> {
        (0..self.tasks.len()).try_for_each(|index| self.perform_task(index, disk))
    }
}

impl Task {
    fn key(&self) -> PartitionKey {
        match self {
            Self::Write { key, .. } | Self::Cut { key, .. } => *key,
        }
    }

    /// What it writes, with the segment that each piece belongs to.
    fn pieces(&self) -> impl Iterator<Item = (Offset, &Piece)> {
        let (one, many) = match self {
            Self::Write { segment_base, pieces, .. } => (Some((*segment_base, pieces)), None),
            Self::Cut { segments, .. } => (None, Some(segments.iter().map(|(base, pieces)| (*base, pieces)))),
        };
        let segments = one.into_iter().chain(many.into_iter().flatten());
        segments.flat_map(|(base, pieces)| pieces.iter().map(move |piece| (base, piece)))
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

/// The generations that count, oldest first, and how each file begins.
fn begun(contents: [Contents; 2]) -> (Vec<Generation>, Vec<(PathBuf, Head)>) {
    let heads = contents.iter().map(|found| (found.path.clone(), found.head)).collect();
    let found = contents.into_iter().filter_map(|found| found.generation);
    let mut generations: Vec<_> = found.filter(Generation::was_begun).collect();
    generations.sort_by_key(|generation| generation.id.number);
    (generations, heads)
}

/// Whether a data directory holds more than its journal.
fn has_logs(disk: &dyn Disk, data_dir: &Path) -> Result<bool, LogError> {
    match disk.list(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LogError::io("list", data_dir)(error)),
        Ok(entries) => Ok(entries.iter().any(|entry| entry.is_dir && entry.name.parse::<TopicId>().is_ok())),
    }
}

/// Goes through all entries in order: what is left of the data, and the state at the end.
fn fold(generations: &[Generation], entries: &mut u64) -> (Pieces, States) {
    let mut states = States::new();
    let mut pieces = Pieces::new();
    let checkpointed = checkpointed(generations);
    for generation in generations {
        // Each begins with everybody's state. Where both copies of that are damaged, the older one is better than none.
        if generation.is_whole() {
            states.clear();
        }
        for placed in &generation.entries {
            *entries += 1;
            state::apply(&mut states, placed.key, &placed.entry);
            let (key, counts) = (placed.key, (generation.id.number, placed.position) >= checkpointed);
            match &placed.entry {
                Entry::Data { position, mark, bytes, .. } if counts => {
                    let piece = Piece { position: *position, end: mark.offset, bytes: bytes.clone() };
                    pieces.entry((key, mark.segment_base)).or_default().push(piece);
                }
                Entry::Carried { segment_base, position, end, bytes } if counts => {
                    let piece = Piece { position: *position, end: *end, bytes: bytes.clone() };
                    pieces.entry((key, *segment_base)).or_default().push(piece);
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
    let mut cuts: BTreeMap<PartitionKey, (Cut, Vec<_>)> = BTreeMap::new();
    for (key, state) in states {
        if let Some(cut) = state.cut {
            cuts.insert(*key, (cut, Vec::new()));
        }
    }
    let mut tasks = Vec::new();
    for ((key, segment_base), pieces) in pieces {
        match cuts.get_mut(&key) {
            Some((_, segments)) => segments.push((segment_base, pieces)),
            None => tasks.push(Task::Write { key, segment_base, pieces }),
        }
    }
    tasks.extend(cuts.into_iter().map(|(key, (cut, segments))| Task::Cut { key, cut, segments }));
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
    /// Whose directories these are: there may be many.
    keys: BTreeMap<PathBuf, PartitionKey>,
    pieces: Pieces,
}

impl Rewrite {
    /// Reads it. Performs I/O. The logs it is used for have stopped; others may go on.
    ///
    /// # Errors
    /// The disk's; try again.
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Self, LogError> {
        let [a, b] = Slot::BOTH.map(|slot| generation::read(disk, data_dir, slot));
        let (generations, _) = begun([a?, b?]);
        let (pieces, _) = fold(&generations, &mut 0);
        Ok(Self::of_pieces(data_dir, pieces))
    }

    fn of_pieces(data_dir: &Path, pieces: Pieces) -> Self {
        let keys = pieces.keys().map(|(key, _)| (key.dir(data_dir), *key)).collect();
        Self { keys, pieces }
    }

    /// Data that is in memory.
    pub(super) fn kept(
        data_dir: &Path,
        kept: impl Iterator<Item = (PartitionKey, Vec<(Offset, Piece)>)>,
    ) -> Self {
        let mut pieces = Pieces::new();
        for (key, of_log) in kept {
            for (segment_base, piece) in of_log {
                pieces.entry((key, segment_base)).or_default().push(piece);
            }
        }
        Self::of_pieces(data_dir, pieces)
    }

    /// The data of one log, with the segment that each piece belongs to.
    pub(super) fn of(&self, key: PartitionKey) -> impl Iterator<Item = (Offset, &Piece)> {
        let pieces = self.pieces.range((key, Offset::ZERO)..=(key, Offset::MAX));
        pieces.flat_map(|((_, base), pieces)| pieces.iter().map(|piece| (*base, piece)))
    }

    /// No data: for a log that is not committed through a journal.
    pub fn none() -> Self {
        Self { keys: BTreeMap::new(), pieces: Pieces::new() }
    }

    /// Writes the data of the log in `dir` that ends at or below `durable_end`, and syncs it.
    pub(crate) fn perform(&self, disk: &dyn Disk, dir: &Path, durable_end: Offset) -> Result<(), LogError> {
        let Some(key) = self.keys.get(dir) else { return Ok(()) };
        for ((_, segment_base), pieces) in self.pieces.range((*key, Offset::ZERO)..=(*key, Offset::MAX)) {
            let durable: Vec<Piece> =
                pieces.iter().filter(|piece| piece.end <= durable_end).cloned().collect();
            if !durable.is_empty() {
                write_pieces(disk, dir, *segment_base, &durable)?;
            }
        }
        Ok(())
    }
}
