//! Commit rounds: what has to be done on disk for appended batches to count, as a value.
//!
//! A round is a list of [`Step`]s in the order in which they must happen. The disk's commit thread performs it
//! whole, or the first part of many rounds and then their syncs; a simulator performs it step by step. What
//! came of it goes back to the log with [`Log::round_done`], and only that moves `durable_end`.
//!
//! The order carries the recovery: a segment's file is made only after its predecessor and that one's indexes
//! were synced, so a segment that is found shows that all before it is whole.

mod build;
mod step;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use corduroy_types::Offset;
use parking_lot::Mutex;

pub(crate) use build::{Pending, Seal};
pub use step::Step;

use step::Kind;

use crate::Log;
use crate::cursors::Cursors;
use crate::disk::{Disk, is_lost_write, is_out_of_handles};
use crate::error::{LogError, StorageFailure};
use crate::journal::CheckpointFailure;
use crate::mark::{DurableMark, Point};
use crate::segment::SegmentFile;

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
    /// How preparing it has failed.
    failure: Mutex<Option<RoundResult>>,
    /// Steps before this one write; those from it on are the syncs that may run in parallel with other logs'.
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

    /// Whether files have to be made or sealed before the last batches are written, which takes several syncs one after
    /// another: see [`Round::prepare`].
    pub fn needs_preparation(&self) -> bool {
        self.done.load(Relaxed) < self.preparation()
    }

    /// Performs what has to be done before the last batches are written: making directories and files, sealing segments,
    /// and the writes before that. It may run at the same time as the commits of other logs, so that those do not wait for it;
    /// the round is committed after that as any other. A failure is kept, and reported when the round is performed.
    pub fn prepare(&self, disk: &dyn Disk) {
        let result = self.perform_up_to(disk, self.preparation());
        if !result.is_ok() && !result.is_postponed() {
            *self.failure.lock() = Some(result);
        }
    }

    /// Where the steps end that make and seal files.
    fn preparation(&self) -> usize {
        let before_syncs = self.steps.get(..self.syncs_from).unwrap_or_default();
        let last = before_syncs.iter().rposition(|step| !matches!(step.0, Kind::Write { .. }));
        last.map_or(0, |last| last + 1)
    }

    /// Performs all steps but the last syncs. With many logs on one disk: first this for each of them, then
    /// [`Round::perform_syncs`] for those where it returned `None`; the syncs may run in parallel.
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
        // Never tried again: a second sync says that all is well, whatever the first one has lost.
        if let Some(failed) = self.failure.lock().take() {
            return failed;
        }
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

impl Log {
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
            // The holder is opening or building them, which is I/O: they stay in memory until the log is idle.
            if let Some(mut indexes) = sealed.indexes.try_lock() {
                *indexes = None;
            }
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
        self.shared.stop();
        self.failure = Some(failure.clone());
        failure
    }
}
