//! Cutting a log: removing its newest records, where its epoch history conflicts with the leader's.

use std::path::Path;
use std::sync::Arc;

use corduroy_types::{EpochHistory, EpochOrder, Offset, TimestampMs};

use crate::config::LogConfig;
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::index::ScanStart;
use crate::journal::{JournalRequest, PartitionKey, Rewrite};
use crate::log::Log;
use crate::mark::Known;
use crate::recovery::{RecoveryReport, look_through};
use crate::retention::remove_if_present;
use crate::scan::{Depth, Walk, WalkError};
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;
use crate::state_file::{self, StateWriter};

/// A log that is being cut. There is no log meanwhile, so that nothing can be appended or read.
///
/// First [`Truncation::begin`] has to be durable in the commit journal, then this is performed, then
/// [`Truncation::end`] has to be durable: only after that the new log may be appended to. A crash in between finishes
/// the cut when the journal is replayed (rule R7).
#[derive(Debug)]
#[must_use = "there is no log until it is performed"]
pub struct Truncation {
    shared: Arc<Shared>,
    config: LogConfig,
    durable_end: Offset,
    to: Offset,
    history: EpochHistory,
}

/// Why a log was not cut. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// Records are not durable yet, a round is in flight, or the log has stopped. Finish the rounds, or reopen it.
    #[error("the log cannot be cut before it is durable up to its end {log_end}")]
    NotAtRest {
        /// Where the log ends.
        log_end: Offset,
    },
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
    /// The history has an epoch that begins behind the cut.
    #[error(transparent)]
    Epoch(#[from] EpochOrder),
}

impl Log {
    /// Cuts the log so that it ends at `to`, or at the beginning of the batch that holds it; `history` is its history
    /// afterwards. Consumes the log; [`Truncation::perform`] gives the one that takes its place.
    ///
    /// # Errors
    /// [`TruncateError`], with the log.
    pub fn truncate_to(
        self,
        to: Offset,
        history: EpochHistory,
    ) -> Result<Truncation, (Box<Self>, TruncateError)> {
        if let Err(error) = self.check_truncate(to, &history) {
            return Err((Box::new(self), error));
        }
        let durable_end = self.cursors.durable_end();
        Ok(Truncation { shared: self.shared, config: self.config, durable_end, to, history })
    }

    fn check_truncate(&self, to: Offset, history: &EpochHistory) -> Result<(), TruncateError> {
        let log_end = self.cursors.log_end();
        if self.failure.is_some() || self.in_flight.is_some() || self.cursors.durable_end() < log_end {
            return Err(TruncateError::NotAtRest { log_end });
        }
        let rewritten = self.sealed.iter().rev().find(|sealed| sealed.gaps).map(|sealed| sealed.end);
        let least = rewritten.map_or(self.cursors.log_start(), |end| end.max(self.cursors.log_start()));
        if to < least || to > log_end {
            return Err(TruncateError::OutOfRange { to, least, log_end });
        }
        match history.last() {
            Some(entry) if entry.start > to => Err(EpochOrder { entry, last: entry }.into()),
            _ => Ok(()),
        }
    }
}

impl Truncation {
    /// What has to be durable before it is performed.
    pub fn begin(&self, key: PartitionKey) -> JournalRequest {
        JournalRequest::BeginCut { key, to: self.to, history: self.history.clone() }
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
        // A checkpoint that failed meanwhile may have informed a log that is gone: what only the journal holds is not
        // believed to be in the files.
        rewrite.perform(&**disk, dir, self.durable_end)?;
        cut_files(&**disk, dir, self.to)?;
        let known = Known { history: self.history.clone(), ..Known::default() };
        Log::open(Arc::clone(disk), dir.to_path_buf(), self.config, known, now)
    }

    /// What has to be durable before the new log is appended to.
    pub fn end(&self, key: PartitionKey) -> JournalRequest {
        JournalRequest::EndCut(key)
    }
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
