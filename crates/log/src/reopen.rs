//! After a failed write or sync: cutting the files at what is known durable, and opening them afresh.

use std::sync::Arc;

use corduroy_types::{EpochHistory, Offset, TimestampMs};

use crate::config::LogConfig;
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::journal::Rewrite;
use crate::log::Log;
use crate::mark::{Known, Point};
use crate::recovery::{RecoveryReport, look_through};
use crate::retention::remove_if_present;
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;

/// How to make a stopped log usable again.
#[derive(Debug)]
#[must_use = "the log stays stopped until this is performed and replaces it"]
pub struct Reopen {
    shared: Arc<Shared>,
    config: LogConfig,
    durable: Point,
    history: EpochHistory,
    /// In durability `background`, where only a write failed: up to where recovery may still find sound batches.
    written: Option<Point>,
}

impl Log {
    /// What to perform before a stopped log can be used again; `None` when it has not stopped, a round has yet to be
    /// reported, or the log is being cut, which opens it again by itself.
    ///
    /// Everything above `durable_end` is given up, in memory, page cache and file alike, because after a failed
    /// sync the kernel takes its pages for clean. One exception: in durability `background`, when only a write
    /// failed, what was written before it is recovered as after a kill.
    pub fn plan_reopen(&self) -> Option<Reopen> {
        let failure = self.failure.as_ref().filter(|_| self.in_flight.is_none() && self.cutting.is_none())?;
        let unsynced = self.durable.offset < self.written.offset;
        Some(Reopen {
            shared: Arc::clone(&self.shared),
            config: self.config,
            durable: self.durable,
            history: self.history.clone(),
            written: (!failure.in_sync && unsynced).then_some(self.written),
        })
    }
}

impl Reopen {
    /// Up to where the log is durable: what is carried over for it ends there ([`crate::Journal::carry`]).
    pub fn durable_end(&self) -> Offset {
        self.durable.offset
    }

    /// Cuts the files and opens a log afresh that is not committed through a journal.
    ///
    /// # Errors
    /// As [`Reopen::perform_with`].
    pub fn perform(&self, disk: &Arc<dyn Disk>, now: TimestampMs) -> Result<(Log, RecoveryReport), LogError> {
        self.perform_with(disk, &Rewrite::none(), now)
    }

    /// Cuts the files, writes again what only the journal holds, and opens the log afresh. The result replaces the
    /// stopped log, which must not be used any more. Offsets from the new log end on were lost and are given to
    /// other records.
    ///
    /// # Errors
    /// The disk's; the log stays stopped, and this can be tried again.
    pub fn perform_with(
        &self,
        disk: &Arc<dyn Disk>,
        rewrite: &Rewrite,
        now: TimestampMs,
    ) -> Result<(Log, RecoveryReport), LogError> {
        self.cut(&**disk, self.written.unwrap_or(self.durable))?;
        rewrite.perform(&**disk, &self.shared.dir, self.durable.offset)?;
        let known = Known {
            clean: false,
            named: false,
            mark: Some(self.durable.into()),
            history: self.history.clone(),
        };
        Log::open(Arc::clone(disk), self.shared.dir.to_path_buf(), self.config, known, now)
    }

    /// Removes what was written beyond `keep`: whole segments, newest first, then the rest of the one it is in.
    /// The directory is synced after each, so that a crash cannot bring back one behind a hole.
    fn cut(&self, disk: &dyn Disk, keep: Point) -> Result<(), LogError> {
        let dir = &self.shared.dir;
        let files = look_through(disk, dir)?;
        // Indexes are evidence of nothing, and on a full disk they make room for the state file.
        for (base, suffix) in files.indexes.iter().filter(|(base, _)| *base > keep.segment_base) {
            remove_if_present(disk, file_path(dir, *base, suffix))?;
        }
        // Before the segments, so that none is ever found shorter than the catalogue says.
        let forgotten = self.shared.state.cut(disk, keep.offset);
        forgotten.map_err(LogError::io("write", self.shared.state.path()))?;
        let sync_dir = || disk.sync_dir(dir).map_err(LogError::io("sync", &**dir));
        for segment in files.segments.iter().rev().take_while(|segment| segment.base >= keep.segment_base) {
            if segment.base > keep.segment_base || keep.position == 0 {
                segment.remove(disk, dir)?;
                sync_dir()?;
                continue;
            }
            if self.shared.state.is_sealed(segment.base) {
                continue;
            }
            // It becomes the active segment again, whose indexes are not in files.
            for suffix in [TIME_INDEX_SUFFIX, INDEX_SUFFIX] {
                remove_if_present(disk, file_path(dir, segment.base, suffix))?;
            }
            let path = file_path(dir, segment.base, LOG_SUFFIX);
            // A new handle: an old one may have reported its error already and would say nothing now.
            let cut = disk.open(&path, OpenMode::ReadWrite).and_then(|file| {
                // Never made longer: zeros would stand where records are missing.
                if file.len()? > keep.position {
                    file.set_len(keep.position)?;
                }
                file.sync()
            });
            cut.map_err(LogError::io("cut", path))?;
        }
        Ok(())
    }
}
