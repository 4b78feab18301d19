//! From files to a log: what is believed, what is checked, what is cut.
//!
//! After a clean close the files are as they should be, and only the end is looked up. Otherwise: a segment's
//! file is made only after the one before it was synced with its indexes (see `round`), so only the last can
//! end in bytes that were never synced. That one is read through, cut at the first batch that is not sound, and
//! synced. Earlier ones are checked to end where the next begins; what is wrong inside them is damage, which is
//! reported and never cut.

mod files;
mod segments;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use corduroy_types::{Offset, TimestampMs};

use crate::catalogue::Catalogue;
use crate::config::LogConfig;
use crate::cursors::Cursors;
use crate::disk::{Disk, create_partition_dir};
use crate::error::LogError;
use crate::index::IndexDoubt;
use crate::log::Log;
use crate::mark::Known;
use crate::scan::{Damage, DamageReason};
use crate::segment::{Active, LOG_SUFFIX, Sealed, file_path};
use crate::shared::Shared;
use crate::state_file::{self, State, StateWriter};

pub(crate) use files::{Files, SegmentEntry, look_through};
pub(crate) use segments::index_segment;

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the files were taken as a clean close left them.
    pub clean: bool,
    /// Segments found.
    pub segments: usize,
    /// Bytes read to check them.
    pub scanned_bytes: u64,
    /// What was cut from the end, if anything: bytes that were never acknowledged after a sync.
    pub cut: Option<Cut>,
    /// Damage in segments that are not the last, and missing segments. Reads there answer with it; appends go
    /// on.
    pub damages: Vec<Damage>,
    /// Index files that were missing or doubtful, and were not used.
    pub index_doubts: Vec<IndexDoubt>,
    /// Segments that an interrupted deletion had left, and now are gone.
    pub removed_segments: usize,
    /// Whether the state file was missing or damaged, so that the log starts at its first segment.
    pub state_rebuilt: bool,
    /// Names in the directory that are not the log's. They are left alone.
    pub unknown_files: Vec<String>,
}

/// What was cut from the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where, and what was wrong there.
    pub damage: Damage,
    /// Bytes from there to the end of the file.
    pub bytes: u64,
}

impl Log {
    /// Opens the log in `dir`, or a new one where nothing is (whose directory the first round makes).
    ///
    /// Opening is idempotent: a crash at any point of it, and opening again, gives the same log. Performs I/O.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk fails, [`LogError::NewerFormat`] for a newer version's state file. Damage
    /// is no error: it is in the report.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: LogConfig,
        known: Known,
        now: TimestampMs,
    ) -> Result<(Self, RecoveryReport), LogError> {
        let dir: Arc<Path> = dir.into();
        let mut report = RecoveryReport { clean: known.clean, ..RecoveryReport::default() };
        let mut files = look_through(&*disk, &dir)?;
        report.unknown_files = std::mem::take(&mut files.unknown);
        report.segments = files.segments.len();
        let stored = read_state(&*disk, &dir, &files, &mut report)?;
        let log_start = log_start(&dir, stored.as_ref(), &files, &mut report);
        let catalogue = stored.as_ref().map(|state| state.catalogue.clone()).unwrap_or_default();
        let has_state = stored.is_some();
        report.removed_segments = files.remove_below(&*disk, &dir, log_start)?;
        let writer = StateWriter::new(&dir, stored);
        let shared = Shared::new(disk, dir, writer, config.index_interval_bytes, log_start);
        let mut opening = Opening { shared: &shared, config, known, catalogue, now, report };
        let (sealed, active, log_end) = opening.segments(&files.segments, log_start)?;
        let dir_durable = opening.make_durable(has_state, &files, log_start)?;
        let report = opening.report;
        let cursors = Cursors::recovered(log_start, log_end)?;
        Ok((Self::from_parts(shared, config, cursors, sealed, active, dir_durable), report))
    }
}

/// The stored state, if it can be believed. A missing one is normal only where nothing was ever appended.
fn read_state(
    disk: &dyn Disk,
    dir: &Path,
    files: &Files,
    report: &mut RecoveryReport,
) -> Result<Option<State>, LogError> {
    let (stored, rebuilt) = match state_file::read(disk, dir)? {
        state_file::Found::Whole(state) => (Some(state), false),
        state_file::Found::Missing => (None, !files.segments.is_empty()),
        state_file::Found::Damaged => (None, true),
    };
    report.state_rebuilt = rebuilt;
    Ok(stored)
}

/// Where the log starts: where the state says, or at the first segment if that is later.
fn log_start(dir: &Path, stored: Option<&State>, files: &Files, report: &mut RecoveryReport) -> Offset {
    let first = files.segments.first().map(|segment| segment.base);
    let Some(log_start) = stored.map(|state| state.log_start) else { return first.unwrap_or(Offset::ZERO) };
    match first {
        // A deletion moves the log start before it removes a file, so these were not deleted by the log.
        Some(next) if next > log_start => {
            let file = file_path(dir, log_start, LOG_SUFFIX);
            let reason = DamageReason::Missing { next };
            report.damages.push(Damage { file, position: 0, offset: log_start, reason });
            next
        }
        _ => log_start,
    }
}

/// What opening needs at hand.
pub(crate) struct Opening<'a> {
    shared: &'a Arc<Shared>,
    config: LogConfig,
    known: Known,
    catalogue: Catalogue,
    now: TimestampMs,
    report: RecoveryReport,
}

impl Opening<'_> {
    fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    /// Opens all segments: the last as the active one.
    fn segments(
        &mut self,
        found: &[SegmentEntry],
        log_start: Offset,
    ) -> Result<(Vec<Arc<Sealed>>, Active, Offset), LogError> {
        let (shared, config) = (Arc::clone(self.shared), self.config);
        let fresh = |start| Active::new(&shared.dir, start, &config);
        let Some((last, earlier)) = found.split_last() else {
            return Ok((Vec::new(), fresh(log_start), log_start));
        };
        let whole = self.catalogue.get(last.base).filter(|entry| entry.bytes == last.bytes).copied();
        if let Some(entry) = whole {
            // Sealed, and its successor's file was not made.
            let bases = found.iter().skip(1).map(|segment| segment.base);
            let ends = bases.chain([entry.end]);
            let sealed = found.iter().zip(ends).map(|(segment, end)| self.open_sealed(*segment, end));
            return Ok((sealed.collect::<Result<_, _>>()?, fresh(entry.end), entry.end));
        }
        let (active, log_end) = self.open_active(*last)?;
        if log_end < log_start {
            // Deleted up to a point that the records before it did not survive to (durability `background`).
            drop(active);
            for segment in found.iter().rev() {
                segment.remove(self.disk(), &self.shared.dir)?;
            }
            self.report.removed_segments += found.len();
            return Ok((Vec::new(), Active::new(&self.shared.dir, log_start, &self.config), log_start));
        }
        let ends = found.iter().skip(1).map(|segment| segment.base);
        let sealed = earlier.iter().zip(ends).map(|(segment, end)| self.open_sealed(*segment, end));
        Ok((sealed.collect::<Result<_, _>>()?, active, log_end))
    }

    /// Makes what was found as durable as what is appended from now on; says whether the directory is.
    fn make_durable(&self, has_state: bool, files: &Files, log_start: Offset) -> Result<bool, LogError> {
        let empty = files.segments.is_empty() && self.report.removed_segments == 0;
        if empty && !has_state {
            return Ok(false);
        }
        let dir = &self.shared.dir;
        if !has_state {
            // The state file also stands for the directory's own name being durable.
            create_partition_dir(self.disk(), dir).map_err(LogError::io("create", &**dir))?;
        }
        if !self.report.clean {
            // Names that were given before a kill or a failure, and not synced, are listed but not durable.
            self.disk().sync_dir(dir).map_err(LogError::io("sync", &**dir))?;
        }
        let written = self.shared.state.raise_log_start(self.disk(), log_start);
        written.map_err(LogError::io("write", self.shared.state.path()))?;
        Ok(true)
    }
}
