//! From files to a log: what is believed, what is checked, what is cut.
//!
//! A segment's file is made only after the one before it was synced with its indexes and entered in the catalogue
//! (see `round`), so only the last can end in bytes that were never synced. Sealed segments are held to their entries
//! by length alone; what is wrong inside them is found by reads and by the scrub. The last one is read from the durable
//! mark on, and cut there at the first batch that is not sound (see `active`). What was synced is never cut:
//! what is wrong or missing there is reported, its offsets stay taken, and appends go on behind them.

mod active;
mod files;
mod layout;
mod segments;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use corduroy_types::{Offset, TimestampMs};

use crate::catalogue::{Catalogue, CatalogueEntry};
use crate::config::LogConfig;
use crate::cursors::Cursors;
use crate::damage::DamagedRange;
use crate::disk::{Disk, create_partition_dir};
use crate::error::LogError;
use crate::index::IndexDoubt;
use crate::log::Log;
use crate::mark::{DurableMark, Known};
use crate::producers::{self, RecoveredProducers, Segments};
use crate::scan::Damage;
use crate::segment::{Active, Sealed};
use crate::shared::Shared;
use crate::state_file::{self, PartitionState, StateFault, StateWriter, Stored};
use crate::swap;

use layout::{Layout, Part, lay_out};

pub(crate) use active::checksum;
pub(crate) use files::{Files, SegmentEntry, look_through};
pub(crate) use segments::{Extent, index_segment};

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the files were taken as a clean close left them.
    pub clean: bool,
    /// Segments found.
    pub segments: usize,
    /// Bytes read to check them.
    pub scanned_bytes: u64,
    /// Bytes read to learn of the producers since the newest snapshot of them.
    pub producer_scanned_bytes: u64,
    /// The durable mark from which the last segment was checked; `None` when all of it was.
    pub mark: Option<DurableMark>,
    /// What was cut from the end, if anything: with a mark, bytes that were never acknowledged after a sync.
    pub cut: Option<Cut>,
    /// Damage in what was synced, as far as it was looked at, and missing segments. Reads there answer with it; appends
    /// go on.
    pub damages: Vec<DamagedRange>,
    /// Index files that were missing or doubtful, and were not used.
    pub index_doubts: Vec<IndexDoubt>,
    /// Segments that an interrupted deletion or rewrite had left, and now are gone.
    pub removed_segments: usize,
    /// Whether the state was missing or damaged in both copies, so that nothing of what was stored is served before
    /// that is accepted: see [`Log::plan_salvage`].
    pub state_lost: bool,
    /// Small files that were not as they should be; what they held was taken from elsewhere, and nothing is lost.
    pub faults: Vec<StateFault>,
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
        let stored = read_state(&*disk, &dir, &files, &mut report)?;
        let catalogue = stored.as_ref().map(|stored| stored.state.catalogue.clone()).unwrap_or_default();
        swap::settle(&*disk, &dir, &catalogue, &mut files)?;
        report.segments = files.segments.len();
        let state = stored.as_ref().map(|stored| &stored.state);
        let log_start = log_start(state, &files, &known);
        let compacted_end = state.map(|state| state.compacted_end).unwrap_or_default();
        let doubtful_end = state.map(|state| state.doubtful_end).unwrap_or_default();
        let has_state = stored.is_some();
        report.removed_segments = files.remove_below(&*disk, &dir, log_start)?;
        let writer = StateWriter::new(&dir, stored);
        let shared = Shared::new(disk, dir, writer, config.index_interval_bytes, log_start);
        shared.set_doubtful_end(doubtful_end);
        let mut opening =
            Opening { shared: &shared, config, known, catalogue, now, report, entered: Vec::new() };
        let (sealed, active, log_end) = opening.segments(&files.segments, log_start)?;
        if opening.report.state_lost {
            shared.set_doubtful_end(log_end);
        }
        let dir_durable = opening.make_durable(has_state, &files, log_start)?;
        let segments = Segments { sealed: &sealed, active: &active, log_end };
        let (expiration_ms, known_clean) = (config.producer_expiration_ms, opening.known.clean);
        let recovered =
            producers::recover(opening.shared, &files.snapshots, &segments, expiration_ms, known_clean)?;
        let RecoveredProducers { producers, upkeep, scanned_bytes, faults } = recovered;
        let Opening { mut report, known: Known { mut history, named, .. }, .. } = opening;
        history.forget_below(log_start);
        report.producer_scanned_bytes = scanned_bytes;
        report.faults.extend(faults);
        shared.note_faults(report.faults.iter().cloned());
        shared.note_damages(report.damages.clone());
        report.damages.extend(shared.doubt());
        let cursors = Cursors::recovered(log_start, log_end)?;
        let producers = (producers, upkeep);
        let mut log = Self::from_parts(shared, config, cursors, sealed, active, dir_durable, producers);
        log.history = history;
        log.named = named;
        log.compacted_end = compacted_end.min(log_end);
        Ok((log, report))
    }
}

/// The stored state, if it can be believed. A missing one is normal only where nothing was ever appended.
fn read_state(
    disk: &dyn Disk,
    dir: &Path,
    files: &Files,
    report: &mut RecoveryReport,
) -> Result<Option<Stored>, LogError> {
    let (stored, lost) = match state_file::read(disk, dir)? {
        state_file::Found::Whole(stored) => (Some(stored), false),
        state_file::Found::Missing => (None, !files.segments.is_empty()),
        state_file::Found::Damaged => (None, true),
    };
    report.state_lost = lost;
    report.faults.extend(stored.iter().filter_map(|stored| stored.fault.clone()));
    Ok(stored)
}

/// Where the log starts: where the state says, whatever is there. A deletion moves the log start before it removes a
/// file, so what is missing behind it was not deleted by the log, and stays damage until an operator accepts it.
///
/// Without a state, at the first segment that is known; where no file is left either, where the history says.
fn log_start(state: Option<&PartitionState>, files: &Files, known: &Known) -> Offset {
    if let Some(state) = state {
        return state.log_start;
    }
    let file = files.segments.first().map(|segment| segment.base);
    let mark = known.mark.map(|mark| mark.segment_base);
    let begun = known.history.entries().first().map(|entry| entry.start);
    let begun = begun.filter(|_| file.is_none() && mark.is_some());
    [file, mark, begun].into_iter().flatten().min().unwrap_or(Offset::ZERO)
}

/// What opening needs at hand.
pub(crate) struct Opening<'a> {
    shared: &'a Arc<Shared>,
    config: LogConfig,
    known: Known,
    catalogue: Catalogue,
    now: TimestampMs,
    report: RecoveryReport,
    /// What has to be in the catalogue before anything is appended.
    entered: Vec<CatalogueEntry>,
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
        let Layout { parts, covered, mut end } = lay_out(found, &self.catalogue, self.known.mark, log_start);
        for segment in &covered {
            segment.remove(self.disk(), &self.shared.dir)?;
        }
        self.report.removed_segments += covered.len();
        let (mut sealed, mut last) = (Vec::new(), None);
        for part in parts {
            sealed.push(match part {
                Part::Catalogued { entry, bytes } => self.open_catalogued(entry, bytes)?,
                Part::Uncatalogued { segment, end } => self.open_uncatalogued(segment, end)?,
                Part::Short { mark, bytes } => self.open_short(mark, bytes)?,
                Part::Hole { base, end } => self.open_hole(base, end),
                Part::Active(segment) => match self.other_active(segment)? {
                    Some(mark) => {
                        end = mark.offset;
                        self.open_other(mark)
                    }
                    None => {
                        last = Some(self.open_active(segment)?);
                        break;
                    }
                },
            });
        }
        let fresh = |start| Active::new(&self.shared.dir, start, &self.config);
        match last {
            Some((active, log_end)) if log_end >= log_start => Ok((sealed, active, log_end)),
            Some(_) => {
                // Deleted up to a point that the records before it did not survive to (durability `background`).
                for segment in found.iter().rev() {
                    segment.remove(self.disk(), &self.shared.dir)?;
                }
                self.report.removed_segments += found.len();
                Ok((Vec::new(), fresh(log_start), log_start))
            }
            None => Ok((sealed, fresh(end), end)),
        }
    }

    /// Makes what was found as durable as what is appended from now on; says whether the directory is.
    fn make_durable(&self, has_state: bool, files: &Files, log_start: Offset) -> Result<bool, LogError> {
        let empty = files.segments.is_empty() && self.report.removed_segments == 0;
        // That records are lost is written down where no file is left to show it.
        if empty && !has_state && self.report.damages.is_empty() && !self.report.state_lost {
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
        let written = self.shared.state.change(self.disk(), |state| {
            state.log_start = state.log_start.max(log_start);
            state.doubtful_end = self.shared.doubtful_end();
            self.entered.iter().for_each(|entry| state.catalogue.put(*entry));
        });
        written.map_err(LogError::io("write", self.shared.state.path()))?;
        Ok(true)
    }
}
