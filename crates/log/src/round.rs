//! Commit rounds: what has to be done on disk for appended batches to count, as a value.
//!
//! A round is a list of [`Step`]s in the order in which they must happen. The disk's commit thread performs it
//! whole, or the first part of many rounds and then their syncs; a simulator performs it step by step. What
//! came of it goes back to the log with [`Log::round_done`], and only that moves `durable_end`.
//!
//! The order carries the recovery: a segment's file is made only after its predecessor and that one's indexes
//! were synced, so whoever finds a segment knows that all before it is whole.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use corduroy_types::{Durability, Offset};

use crate::Log;
use crate::catalogue::CatalogueEntry;
use crate::cursors::Cursors;
use crate::disk::{Disk, OpenMode, create_partition_dir, is_lost_write, is_out_of_handles};
use crate::error::{LogError, StorageFailure};
use crate::journal::CheckpointFailure;
use crate::mark::{DurableMark, Point};
use crate::producers::SnapshotStep;
use crate::segment::{INDEX_SUFFIX, SNAPSHOT_SUFFIX, SegmentFile, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;
use crate::tail::TailEntry;

/// What waits to be put into a round.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A new segment's file.
    Create(Arc<SegmentFile>),
    /// A batch, at its position.
    Write { file: Arc<SegmentFile>, entry: TailEntry },
    /// The end of a segment: its last sync, its indexes, and its entry in the catalogue.
    Seal(Box<Seal>),
}

/// A segment that is to be sealed.
#[derive(Debug)]
pub(crate) struct Seal {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) end: Point,
    /// The contents of both index files; without them, older ones are removed.
    pub(crate) indexes: Option<(Bytes, Bytes)>,
    /// The snapshot of producers at its end.
    pub(crate) producers: Bytes,
}

impl Seal {
    fn entry(&self) -> CatalogueEntry {
        CatalogueEntry {
            base: self.end.segment_base,
            end: self.end.offset,
            bytes: self.end.position,
            checksum: self.end.checksum,
            max_timestamp: self.end.max_timestamp.map(|(timestamp, _)| timestamp),
            gaps: false,
        }
    }
}

impl Pending {
    fn bytes(&self) -> u64 {
        match self {
            Self::Write { entry, .. } => entry.bytes() as u64,
            Self::Create(_) | Self::Seal(_) => 0,
        }
    }
}

/// One thing to do on disk. Steps of a round are performed in order; after a failure none that follows is.
pub struct Step(Kind);

enum Kind {
    CreateDir { shared: Arc<Shared>, log_start: Offset },
    Create { file: Arc<SegmentFile> },
    SyncDir { dir: Arc<Path> },
    Write { file: Arc<SegmentFile>, position: u64, parts: Vec<Bytes>, bytes: u64 },
    Sync { file: Arc<SegmentFile> },
    WriteIndex { path: PathBuf, contents: Bytes },
    RemoveIndex { path: PathBuf },
    Catalogue { shared: Arc<Shared>, entry: CatalogueEntry },
    Snapshot(SnapshotStep),
}

impl Step {
    /// Performs this step.
    ///
    /// # Errors
    /// The disk's. Report it with [`Round::failed`], and perform nothing more of the round.
    pub fn perform(&self, disk: &dyn Disk) -> io::Result<()> {
        match &self.0 {
            Kind::CreateDir { shared, log_start } => {
                create_partition_dir(disk, &shared.dir)?;
                shared.state.raise_log_start(disk, *log_start)
            }
            Kind::Create { file } => file.create(disk),
            Kind::SyncDir { dir } => disk.sync_dir(dir),
            Kind::Write { file, position, parts, .. } => file.open(disk)?.write_at(parts, *position),
            Kind::Sync { file } => file.sync(disk),
            Kind::WriteIndex { path, contents } => {
                let file = disk.open(path, OpenMode::Truncate)?;
                file.write_at(std::slice::from_ref(contents), 0)?;
                file.sync()
            }
            Kind::RemoveIndex { path } => match disk.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Kind::Catalogue { shared, entry } => shared.state.enter(disk, *entry),
            Kind::Snapshot(snapshot) => {
                snapshot.perform(disk);
                Ok(())
            }
        }
    }

    /// Whether this step makes appended bytes durable: a sync of a segment file.
    pub fn is_sync(&self) -> bool {
        matches!(self.0, Kind::Sync { .. })
    }

    /// Bytes of batches that this step writes; 0 for one that writes none.
    pub fn bytes(&self) -> u64 {
        if let Kind::Write { bytes, .. } = &self.0 { *bytes } else { 0 }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::CreateDir { shared, .. } => write!(f, "creation of {}", shared.dir.display()),
            Kind::Create { file } => write!(f, "creation of {file:?}"),
            Kind::SyncDir { dir } => write!(f, "sync of directory {}", dir.display()),
            Kind::Write { file, position, bytes, .. } => {
                write!(f, "write of {bytes} bytes at {position} of {file:?}")
            }
            Kind::Sync { file } => write!(f, "sync of {file:?}"),
            Kind::WriteIndex { path, .. } => write!(f, "write of {}", path.display()),
            Kind::RemoveIndex { path } => write!(f, "removal of {}", path.display()),
            Kind::Snapshot(snapshot) => write!(f, "snapshot of producers at offset {}", snapshot.offset),
            Kind::Catalogue { shared, .. } => write!(f, "write of {}", shared.state.path().display()),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appended batches on their way to disk. Each round is performed once and reported once.
///
/// A step that found no file handle left has done nothing: only opening a file can fail so, and the steps that open one
/// after they have changed something can be repeated from their beginning. Such a round has not failed. Its result
/// [`is_postponed`](RoundResult::is_postponed) and is not reported; performing the round again goes on at that step. To
/// the log it is a round that takes long: it stays in flight, no other one passes it, and nothing of it counts.
#[derive(Debug)]
pub struct Round {
    id: u64,
    steps: Vec<Step>,
    /// Steps that have succeeded.
    done: AtomicUsize,
    /// Steps before this one write; those from it on are the syncs that may run beside other logs'.
    syncs_from: usize,
    bytes: u64,
    end: RoundEnd,
    /// Whether everything before it is durable, so that a copy of its batches elsewhere makes all of it so.
    follows_durable: bool,
}

/// Where the log is when a round has succeeded.
#[derive(Clone, Copy, Debug)]
struct RoundEnd {
    written: Point,
    durable: Option<Point>,
    settled: Option<Offset>,
}

/// What came of a round.
#[derive(Debug)]
pub struct RoundResult {
    id: u64,
    outcome: Result<RoundEnd, RoundFailure>,
}

#[derive(Debug)]
struct RoundFailure {
    step: String,
    in_sync: bool,
    postponed: bool,
    error: io::Error,
}

impl RoundResult {
    /// Whether every step succeeded.
    pub fn is_ok(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Whether the round is to be performed again later, because the system had no file handle for its next step.
    /// Nothing has failed; but reported, it counts as a failure, for those who cannot wait.
    pub fn is_postponed(&self) -> bool {
        self.outcome.as_ref().is_err_and(|failure| failure.postponed)
    }
}

impl Round {
    /// Performs all steps.
    pub fn perform(&self, disk: &dyn Disk) -> RoundResult {
        self.perform_up_to(disk, self.steps.len())
    }

    /// Performs all steps but the last syncs. With many logs on one disk: first this for each of them, then
    /// [`Round::perform_syncs`] for those where it returned `None`; the syncs may run beside each other.
    ///
    /// Returns the result when a step failed, or found no file handle.
    pub fn perform_writes(&self, disk: &dyn Disk) -> Option<RoundResult> {
        let result = self.perform_up_to(disk, self.syncs_from);
        (!result.is_ok()).then_some(result)
    }

    /// Performs the last syncs, after [`Round::perform_writes`].
    pub fn perform_syncs(&self, disk: &dyn Disk) -> RoundResult {
        self.perform_up_to(disk, self.steps.len())
    }

    /// Performs the steps before `end` that were not performed yet.
    fn perform_up_to(&self, disk: &dyn Disk, end: usize) -> RoundResult {
        for (index, step) in self.steps.iter().enumerate().take(end).skip(self.done.load(Relaxed)) {
            if let Err(error) = step.perform(disk) {
                return self.failed(index, error);
            }
            self.done.store(index + 1, Relaxed);
        }
        self.succeeded()
    }

    /// The steps, for who performs them one by one.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The report that every step succeeded.
    pub fn succeeded(&self) -> RoundResult {
        RoundResult { id: self.id, outcome: Ok(self.end) }
    }

    /// The report that the step with this index failed, and no later one was performed.
    pub fn failed(&self, index: usize, error: io::Error) -> RoundResult {
        let step = self.steps.get(index);
        let writes = step.is_some_and(|step| matches!(step.0, Kind::Write { .. } | Kind::Create { .. }));
        let in_sync = !writes || is_lost_write(&error);
        let postponed = is_out_of_handles(&error);
        let step = step.map_or_else(|| format!("step {index}"), Step::to_string);
        RoundResult { id: self.id, outcome: Err(RoundFailure { step, in_sync, postponed, error }) }
    }

    /// The report that the journal failed, on which this round's durability rested.
    pub(crate) fn journal_failed(&self, reason: &str) -> RoundResult {
        let (step, error) = ("write of the commit journal".to_owned(), io::Error::other(reason.to_owned()));
        let failure = RoundFailure { step, in_sync: true, postponed: false, error };
        RoundResult { id: self.id, outcome: Err(failure) }
    }

    /// What the journal would have to hold for this round to be durable without its sync; `None` when the round
    /// has to be synced where it belongs: it makes or seals a file, or does not follow what is durable.
    pub(crate) fn journal_data(&self) -> Option<JournalData<'_>> {
        let mark = self.end.durable?.into();
        match self.steps.as_slice() {
            [Step(Kind::Write { file, position, parts, .. }), Step(Kind::Sync { .. })]
                if self.follows_durable =>
            {
                Some(JournalData { file, position: *position, parts, mark })
            }
            _ => None,
        }
    }

    /// Where the segments end that this round seals: earlier data for those below is of no use then.
    pub(crate) fn settles(&self) -> Option<Offset> {
        self.end.settled
    }

    /// What is durable when the round has succeeded, if it makes anything so.
    pub(crate) fn durable_mark(&self) -> Option<DurableMark> {
        self.end.durable.map(DurableMark::from)
    }

    /// Bytes of batches that this round writes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Syncs of segment files in this round.
    pub fn syncs(&self) -> usize {
        self.steps.iter().filter(|step| step.is_sync()).count()
    }

    /// Syncs that [`Round::perform_syncs`] does.
    pub fn last_syncs(&self) -> usize {
        self.steps.len() - self.syncs_from
    }
}

/// A round as the journal holds it.
pub(crate) struct JournalData<'a> {
    pub(crate) file: &'a Arc<SegmentFile>,
    pub(crate) position: u64,
    pub(crate) parts: &'a [Bytes],
    pub(crate) mark: DurableMark,
}

/// Turns what is pending into steps, merging neighbouring batches into one write.
struct RoundBuilder {
    steps: Vec<Step>,
    bytes: u64,
    end: RoundEnd,
}

impl RoundBuilder {
    fn add(&mut self, pending: Pending, shared: &Arc<Shared>) {
        match pending {
            Pending::Create(file) => {
                self.steps.push(Step(Kind::Create { file }));
                self.steps.push(Step(Kind::SyncDir { dir: Arc::clone(&shared.dir) }));
            }
            Pending::Write { file, entry } => self.add_write(file, entry),
            Pending::Seal(seal) => self.add_seal(*seal, shared),
        }
    }

    fn add_seal(&mut self, seal: Seal, shared: &Arc<Shared>) {
        let entry = seal.entry();
        let Seal { file, end, indexes, producers } = seal;
        self.steps.push(Step(Kind::Sync { file }));
        let (offsets, times) = indexes.unzip();
        for (base, suffix, contents) in [
            (entry.base, INDEX_SUFFIX, offsets),
            (entry.base, TIME_INDEX_SUFFIX, times),
            (entry.end, SNAPSHOT_SUFFIX, Some(producers)),
        ] {
            let path = file_path(&shared.dir, base, suffix);
            self.steps.push(Step(match contents {
                Some(contents) => Kind::WriteIndex { path, contents },
                None => Kind::RemoveIndex { path },
            }));
        }
        self.steps.push(Step(Kind::Catalogue { shared: Arc::clone(shared), entry }));
        self.end.durable = Some(end);
        self.end.settled = Some(end.offset);
    }

    fn add_write(&mut self, file: Arc<SegmentFile>, entry: TailEntry) {
        let added = entry.bytes() as u64;
        self.bytes += added;
        self.end.written = entry.end;
        let new_parts = [entry.front, entry.back].into_iter().filter(|part| !part.is_empty());
        if let Some(Step(Kind::Write { parts, bytes, .. })) = self.steps.last_mut() {
            parts.extend(new_parts);
            *bytes += added;
            return;
        }
        let parts = new_parts.collect();
        self.steps.push(Step(Kind::Write { file, position: entry.position, parts, bytes: added }));
    }
}

impl Log {
    /// Takes what was appended as the next round; `None` while one is in flight, when there is nothing to do,
    /// and when the log has stopped.
    ///
    /// It carries at most [`crate::LogConfig::round_bytes`] (or one larger batch), so more may be left for the
    /// round after it. With durability `background` it writes, and syncs only segments that are sealed.
    pub fn take_round(&mut self) -> Option<Round> {
        if self.in_flight.is_some() || self.failure.is_some() {
            return None;
        }
        let sync = self.config.durability == Durability::Sync;
        let unsynced = sync && self.durable.offset < self.written.offset;
        if self.pending.is_empty() && !unsynced {
            return None;
        }
        self.build_round(sync)
    }

    /// The next round, and with `sync` the sync that makes all of it durable.
    pub(crate) fn build_round(&mut self, sync: bool) -> Option<Round> {
        let end = RoundEnd { written: self.written, durable: None, settled: None };
        let mut builder = RoundBuilder { steps: Vec::new(), bytes: 0, end };
        if !self.dir_durable {
            let log_start = self.cursors.log_start();
            builder.steps.push(Step(Kind::CreateDir { shared: Arc::clone(&self.shared), log_start }));
        }
        if let Some(snapshot) = self.upkeep.due(self.durable.offset, &self.shared.dir) {
            builder.steps.push(Step(Kind::Snapshot(snapshot)));
        }
        let mut last_file = self.written_file.clone();
        while let Some(next) = self.pending.pop_front() {
            if builder.bytes > 0 && builder.bytes + next.bytes() > self.config.round_bytes {
                self.pending.push_front(next);
                break;
            }
            if let Pending::Write { file, .. } = &next {
                last_file = Some(Arc::clone(file));
            }
            builder.add(next, &self.shared);
        }
        let syncs_from = builder.steps.len();
        let unsynced = builder.end.durable.unwrap_or(self.durable).offset < builder.end.written.offset;
        if let Some(file) = last_file.clone().filter(|_| sync && unsynced) {
            builder.steps.push(Step(Kind::Sync { file }));
            builder.end.durable = Some(builder.end.written);
        }
        if builder.steps.is_empty() {
            return None;
        }
        self.round_file = last_file;
        let id = self.next_round;
        self.next_round += 1;
        self.in_flight = Some(id);
        let RoundBuilder { steps, bytes, end } = builder;
        let follows_durable = self.durable == self.written;
        Some(Round { id, steps, done: AtomicUsize::new(0), syncs_from, bytes, end, follows_durable })
    }

    /// Takes the report of the round in flight. Success moves `written_end` and, where it was synced,
    /// `durable_end`.
    ///
    /// # Errors
    /// [`LogError::StorageFailed`] when the round failed: the log has stopped, the offsets in `lost` end as
    /// *unknown*, and it has to be reopened. [`LogError::WrongRound`] for a report that is not awaited.
    pub fn round_done(&mut self, result: RoundResult) -> Result<Cursors, LogError> {
        if self.in_flight != Some(result.id) {
            return Err(LogError::WrongRound { got: result.id, in_flight: self.in_flight });
        }
        self.in_flight = None;
        let written_file = self.round_file.take();
        let end = match result.outcome {
            Ok(end) => end,
            Err(failure) => return Err(self.stop(failure).into()),
        };
        self.written_file = written_file;
        self.dir_durable = true;
        let durability = self.config.durability;
        self.cursors.write(end.written.offset, durability)?;
        self.written = end.written;
        if let Some(durable) = end.durable {
            self.cursors.make_durable(durable.offset, durability)?;
            self.durable = durable;
        }
        if let Some(settled) = end.settled {
            self.settle(settled);
        }
        self.tail.shrink(self.config.tail_bytes, self.cursors.written_end());
        Ok(self.cursors)
    }

    /// Up to where everything is on stable storage, in the form in which it is given to [`Log::open`] as
    /// [`crate::Known::mark`].
    pub fn durable_mark(&self) -> DurableMark {
        self.durable.into()
    }

    /// Segments that end at or below `end` are whole on disk, indexes included: those are mapped from now on.
    fn settle(&mut self, end: Offset) {
        for sealed in self.sealed.iter().rev().skip_while(|sealed| sealed.end > end) {
            if sealed.end <= self.settled_end {
                break;
            }
            *sealed.indexes.lock() = None;
        }
        self.settled_end = self.settled_end.max(end);
    }

    /// Stops the log because the commit journal failed, on which its durability may rest. Whatever is not durable
    /// ends as *unknown*; a round in flight need not be reported any more.
    pub fn journal_failed(&mut self, reason: &str) {
        self.stop_because("write of the commit journal", reason);
    }

    /// Stops the log because a checkpoint could not sync one of its segments: nothing that was written there since
    /// the last sync can be believed, and only the journal still holds it.
    pub fn checkpoint_failed(&mut self, failure: &CheckpointFailure) {
        self.stop_because(&format!("sync of {}", failure.file), &failure.error.to_string());
    }

    fn stop_because(&mut self, step: &str, reason: &str) {
        if self.failure.is_none() {
            let error = io::Error::other(reason.to_owned());
            self.stop(RoundFailure { step: step.to_owned(), in_sync: true, postponed: false, error });
        }
    }

    fn stop(&mut self, failure: RoundFailure) -> StorageFailure {
        let lost = self.cursors.durable_end()..self.cursors.log_end();
        let (step, reason) = (failure.step, failure.error.to_string());
        let failure = StorageFailure { step, reason, in_sync: failure.in_sync, lost };
        self.failure = Some(failure.clone());
        failure
    }
}
