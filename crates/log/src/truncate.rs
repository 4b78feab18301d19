//! Cutting a log: removing its newest records, where its epoch history conflicts with the leader's, or all of them.

use std::path::Path;
use std::sync::Arc;

use corduroy_types::{EpochHistory, EpochOrder, Offset, TimestampMs};

use crate::config::LogConfig;
use crate::disk::{Disk, OpenMode, create_partition_dir};
use crate::error::LogError;
use crate::index::ScanStart;
use crate::journal::{JournalRequest, PartitionKey, Rewrite};
use crate::log::Log;
use crate::mark::Known;
use crate::recovery::{RecoveryReport, look_through};
use crate::retention::remove_if_present;
use crate::scan::{Depth, Walk, WalkError};
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;
use crate::state_file::{self, PartitionState, StateWriter};

/// A log that is being cut, or emptied: [`Log::plan_truncation`] and [`Log::plan_reset`].
///
/// First [`Truncation::begin`] has to be durable in the commit journal, then this is performed, then
/// [`Journal::end_cut`](crate::Journal::end_cut) has to be durable: only after that may the log that is returned replace the one
/// that is cut. A crash in between finishes it when the journal is replayed (rule R7).
#[derive(Clone, Debug)]
#[must_use = "the log accepts nothing until it is performed"]
pub struct Truncation {
    shared: Arc<Shared>,
    config: LogConfig,
    durable_end: Offset,
    target: Target,
    history: EpochHistory,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    EndAt(Offset),
    BeginAt(Offset),
}

/// Why a log is not cut. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// Records are not durable yet, a round is in flight, or the log has stopped. Finish the rounds, or reopen it.
    #[error("the log cannot be cut before it is durable up to its end {log_end}")]
    NotAtRest {
        /// Where the log ends.
        log_end: Offset,
    },
    /// Another cut has begun. Perform it first.
    #[error("the log is being cut already")]
    Cutting,
    /// The offset is not one that the log can end at. Never below its start, nor inside a segment that compaction has
    /// rewritten: what lies there is committed.
    #[error("the log cannot be cut at offset {to}: it may end between {least} and {log_end}")]
    OutOfRange {
        /// Where it should end.
        to: Offset,
        /// The least offset at which it may.
        least: Offset,
        /// Where it ends.
        log_end: Offset,
    },
    /// The log start never goes back.
    #[error("the log cannot begin at offset {start}, below its start {log_start}")]
    BelowStart {
        /// Where it should begin.
        start: Offset,
        /// Where it begins.
        log_start: Offset,
    },
    /// The history has an epoch that begins behind the cut.
    #[error(transparent)]
    Epoch(#[from] EpochOrder),
}

impl Log {
    /// Plans to cut the log so that it ends at `to`, or at the beginning of the batch that holds it; `history` is its history
    /// afterwards. From now on this log accepts nothing and serves only what stays, until the one that
    /// [`Truncation::perform`] returns takes its place.
    ///
    /// # Errors
    /// [`TruncateError`].
    pub fn plan_truncation(
        &mut self,
        to: Offset,
        history: EpochHistory,
    ) -> Result<Truncation, TruncateError> {
        let log_end = self.check_at_rest()?;
        let rewritten = self.sealed.iter().rev().find(|sealed| sealed.gaps).map(|sealed| sealed.end);
        let least = rewritten.map_or(self.cursors.log_start(), |end| end.max(self.cursors.log_start()));
        if to < least || to > log_end {
            return Err(TruncateError::OutOfRange { to, least, log_end });
        }
        self.begin_truncation(Target::EndAt(to), history)
    }

    /// Plans to empty the log, so that it begins and ends at `start`: for a follower whose log ends below its leader's log
    /// start, or has nothing in common with the leader's. From now on this log accepts nothing and serves nothing, until the
    /// one that [`Truncation::perform`] returns takes its place. What it knew of producers is forgotten.
    ///
    /// # Errors
    /// [`TruncateError`].
    pub fn plan_reset(&mut self, start: Offset, history: EpochHistory) -> Result<Truncation, TruncateError> {
        self.check_at_rest()?;
        let log_start = self.cursors.log_start();
        if start < log_start {
            return Err(TruncateError::BelowStart { start, log_start });
        }
        self.begin_truncation(Target::BeginAt(start), history)
    }

    fn check_at_rest(&self) -> Result<Offset, TruncateError> {
        let log_end = self.cursors.log_end();
        if self.cutting.is_some() {
            return Err(TruncateError::Cutting);
        }
        if self.failure.is_some() || self.in_flight.is_some() || self.cursors.durable_end() < log_end {
            return Err(TruncateError::NotAtRest { log_end });
        }
        Ok(log_end)
    }

    fn begin_truncation(
        &mut self,
        target: Target,
        history: EpochHistory,
    ) -> Result<Truncation, TruncateError> {
        let (Target::EndAt(end) | Target::BeginAt(end)) = target;
        if let Some(entry) = history.last().filter(|entry| entry.start > end) {
            return Err(EpochOrder { entry, last: entry }.into());
        }
        self.cutting = Some(match target {
            Target::EndAt(to) => to,
            Target::BeginAt(_) => self.cursors.log_start(),
        });
        let (shared, durable_end) = (Arc::clone(&self.shared), self.cursors.durable_end());
        Ok(Truncation { shared, config: self.config, durable_end, target, history })
    }

    /// Whether the log is being cut.
    pub fn is_cutting(&self) -> bool {
        self.cutting.is_some()
    }
}

impl Truncation {
    /// What has to be durable before it is performed.
    pub fn begin(&self, key: PartitionKey) -> JournalRequest {
        let history = self.history.clone();
        match self.target {
            Target::EndAt(to) => JournalRequest::BeginCut { key, to, history },
            Target::BeginAt(start) => JournalRequest::BeginReset { key, start, history },
        }
    }

    /// Cuts the files and opens what is left. Doing it again gives the same. `rewrite` was read after
    /// [`Truncation::begin`] was durable.
    ///
    /// # Errors
    /// The disk's; try again.
    pub fn perform(
        &self,
        disk: &Arc<dyn Disk>,
        rewrite: &Rewrite,
        now: TimestampMs,
    ) -> Result<(Log, RecoveryReport), LogError> {
        let dir = &self.shared.dir;
        match self.target {
            Target::EndAt(to) => {
                // A checkpoint that failed meanwhile may have informed a log that is gone: what only the journal holds is
                // not believed to be in the files.
                rewrite.perform(&**disk, dir, self.durable_end)?;
                cut_files(&**disk, dir, to)?;
            }
            Target::BeginAt(start) => reset_files(&**disk, dir, start)?,
        }
        let known = Known { history: self.history.clone(), ..Known::default() };
        Log::open(Arc::clone(disk), dir.to_path_buf(), self.config, known, now)
    }
}

/// Removes all files of a log, which begins at `start` then. Its log start is durable before anything is removed, and
/// segments go newest first, each durably. Doing it again changes nothing.
pub(crate) fn reset_files(disk: &dyn Disk, dir: &Path, start: Offset) -> Result<(), LogError> {
    create_partition_dir(disk, dir).map_err(LogError::io("create", dir))?;
    let files = look_through(disk, dir)?;
    let stored = match state_file::read(disk, dir)? {
        state_file::Found::Whole(stored) => Some(stored),
        _ => None,
    };
    let state = StateWriter::new(dir, stored);
    let written = state.change(disk, |state| {
        let log_start = state.log_start.max(start);
        *state = PartitionState { log_start, ..PartitionState::default() };
    });
    written.map_err(LogError::io("write", state.path()))?;
    let sync_dir = || disk.sync_dir(dir).map_err(LogError::io("sync", dir));
    // A snapshot is about what is removed here.
    for offset in &files.snapshots {
        remove_if_present(disk, file_path(dir, *offset, SNAPSHOT_SUFFIX))?;
    }
    sync_dir()?;
    for segment in files.segments.iter().rev() {
        segment.remove(disk, dir)?;
        sync_dir()?;
    }
    Ok(())
}

/// Cuts the files of a log so that it ends at `to`, or at the beginning of the batch that holds it: whole
/// segments, newest first, then the rest of the one it is in. The directory is synced after each, so that a crash
/// cannot bring back one behind a hole (rule R7). Doing it again changes nothing.
///
/// Returns where the log ends then.
pub(crate) fn cut_files(disk: &dyn Disk, dir: &Path, to: Offset) -> Result<Offset, LogError> {
    let files = look_through(disk, dir)?;
    // Before the segments, so that none is ever found shorter than the catalogue says.
    let state = match state_file::read(disk, dir)? {
        state_file::Found::Whole(stored) => Some(stored),
        _ => None,
    };
    let state = StateWriter::new(dir, state);
    state.cut(disk, to).map_err(LogError::io("write", state.path()))?;
    let mut end = to;
    for segment in files.segments.iter().rev() {
        if segment.base >= to {
            segment.remove(disk, dir)?;
            disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
            end = segment.base.min(end);
            continue;
        }
        if state.is_sealed(segment.base) {
            return Ok(end);
        }
        // It becomes the active segment again, whose indexes are not in files.
        for suffix in [TIME_INDEX_SUFFIX, INDEX_SUFFIX] {
            remove_if_present(disk, file_path(dir, segment.base, suffix))?;
        }
        return cut_segment(disk, dir, segment.base, segment.bytes, to);
    }
    Ok(end)
}

fn cut_segment(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    bytes: u64,
    to: Offset,
) -> Result<Offset, LogError> {
    let path = file_path(dir, base, LOG_SUFFIX);
    let file = disk.open(&path, OpenMode::ReadWrite).map_err(LogError::io("open", &*path))?;
    let start = ScanStart::of_segment(base);
    let mut walk = Walk::new(&file, path.clone(), Depth::Checksums, start, bytes).allowing_gaps(true);
    let (position, end) = loop {
        match walk.next() {
            Ok(Some(header)) if header.next_offset() > to => break (walk.batch_at(), header.base_offset),
            Ok(Some(_)) => {}
            Ok(None) => break (walk.position(), walk.expected()),
            // Damage costs what it hits, and no sound batch behind it.
            Err(WalkError::Damaged(damage)) => {
                let passed = walk.pass_if_followed(base, &damage, to);
                if passed.map_err(LogError::io("read", &*path))?.is_none() {
                    break (walk.position(), walk.expected());
                }
            }
            Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
        }
    };
    let cut = file.set_len(position).and_then(|()| file.sync());
    cut.map_err(LogError::io("cut", path))?;
    Ok(end)
}
