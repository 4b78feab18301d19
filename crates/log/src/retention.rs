//! Deleting from the front: retention by size and time, and delete-records.
//!
//! In three parts, so that the log start is durable before a file goes: [`Removal::persist`] without the lock,
//! [`Log::apply_removal`] under it, [`ObsoleteFiles::remove`] without it. A crash between any two leaves
//! segments below the log start, which opening the log removes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use corduroy_types::{Offset, TimestampMs};

use crate::disk::{Disk, create_partition_dir};
use crate::error::{DeleteRecordsError, LogError};
use crate::log::Log;
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, Sealed, TIME_INDEX_SUFFIX, file_path};
use crate::shared::Shared;

/// A new log start, to be made durable.
#[derive(Debug)]
#[must_use = "nothing is deleted until it is persisted and applied"]
pub struct Removal {
    shared: Arc<Shared>,
    log_start: Offset,
    dir_durable: bool,
    /// Segments that go with it.
    going: Vec<Offset>,
}

/// Files of segments that the log no longer has.
#[derive(Debug)]
#[must_use = "the files stay until removed"]
pub struct ObsoleteFiles {
    shared: Arc<Shared>,
    segments: Vec<Arc<Sealed>>,
}

impl Removal {
    /// The log start to be.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Gives up what can be made again of the segments that go, their indexes: on a full disk that makes room for the
    /// log start, without which none of them can go. If the removal then does not happen, indexes are rebuilt.
    ///
    /// # Errors
    /// The disk's.
    pub fn make_room(&self, disk: &dyn Disk) -> Result<(), LogError> {
        for base in &self.going {
            for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
                remove_if_present(disk, file_path(&self.shared.dir, *base, suffix))?;
            }
        }
        Ok(())
    }

    /// Makes the log start durable. Then give it to [`Log::apply_removal`].
    ///
    /// # Errors
    /// The disk's. Nothing has changed then as far as readers can see; try again later.
    pub fn persist(&self, disk: &dyn Disk) -> Result<(), LogError> {
        let dir = &self.shared.dir;
        if !self.dir_durable {
            create_partition_dir(disk, dir).map_err(LogError::io("create", &**dir))?;
        }
        let raised = self.shared.state.raise_log_start(disk, self.log_start);
        raised.map_err(LogError::io("write", self.shared.state.path()))
    }
}

impl ObsoleteFiles {
    /// How many segments go.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of batches that go.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|sealed| sealed.bytes).sum()
    }

    /// Removes the files, oldest first. Readers that have one open keep it.
    ///
    /// # Errors
    /// The disk's. What is left is removed when the log is next opened.
    pub fn remove(&self, disk: &dyn Disk) -> Result<(), LogError> {
        if self.segments.is_empty() {
            return Ok(());
        }
        let dir = &self.shared.dir;
        for sealed in &self.segments {
            // The batches first: indexes without them are known to be leftovers.
            for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, SNAPSHOT_SUFFIX] {
                remove_if_present(disk, file_path(dir, sealed.base(), suffix))?;
            }
        }
        disk.sync_dir(dir).map_err(LogError::io("sync", &**dir))
    }
}

pub(crate) fn remove_if_present(disk: &dyn Disk, path: PathBuf) -> Result<(), LogError> {
    match disk.remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A segment that retention by time keeps, with all behind it, because of a timestamp in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionBlock {
    /// The offset at which it begins.
    pub segment: Offset,
    /// Its greatest timestamp.
    pub newest: TimestampMs,
    /// When it expires.
    pub until: TimestampMs,
}

/// A clock that is no further ahead than this is no reason to speak of the future.
const FUTURE_MS: u64 = 3_600_000;

impl Log {
    /// The first segment with a record whose timestamp is more than an hour ahead of `now`, where retention by time is on:
    /// neither it nor what is behind it goes before that record expires.
    pub fn retention_block(&self, now: TimestampMs) -> Option<RetentionBlock> {
        let retention_ms = self.config.retention_ms?;
        let future = now.plus_ms(FUTURE_MS);
        let sealed = self.sealed.iter().map(|sealed| (sealed.base(), sealed.max_timestamp));
        let active = self.active.index.max_timestamp().map(|(timestamp, _)| timestamp);
        let mut segments = sealed.chain([(self.active.base(), active)]);
        segments.find_map(|(segment, newest)| {
            let newest = newest.filter(|newest| *newest > future)?;
            Some(RetentionBlock { segment, newest, until: newest.plus_ms(retention_ms) })
        })
    }

    /// What retention by time and size would delete, if anything.
    ///
    /// Whole segments only, oldest first, never beyond `high_watermark` and never the last one. When the active
    /// segment has expired it is rolled (which the next round carries out), and goes the time after.
    pub fn plan_retention(&mut self, now: TimestampMs, high_watermark: Offset) -> Option<Removal> {
        if !self.is_changeable() {
            return None;
        }
        let by_time = self.expired_end(self.config.retention_ms, now);
        if by_time == self.active.base() && self.active_expired(now, high_watermark) {
            self.roll();
        }
        let end = by_time.max(self.oversize_end(self.config.retention_bytes));
        let removable = self.sealed.iter().map(|sealed| sealed.end).take_while(|sealed_end| {
            *sealed_end <= end && *sealed_end <= high_watermark && *sealed_end <= self.settled_end
        });
        let present = self.cursors.log_start();
        let log_start = removable.last().map_or(present, |end| end.max(present));
        // A segment may already lie below the log start, deleted before a round had sealed it.
        let left = self.sealed.first().is_some_and(|sealed| sealed.end <= log_start.min(self.settled_end));
        (log_start > present || left).then(|| self.removal(log_start))
    }

    /// Bytes of the segments that retention would delete with these limits, whatever the configured ones are: to tell
    /// beforehand what a change will do. The active segment counts once it has expired.
    pub fn deletable_bytes(
        &self,
        retention_ms: Option<u64>,
        retention_bytes: Option<u64>,
        now: TimestampMs,
    ) -> u64 {
        let by_time = self.expired_end(retention_ms, now);
        let end = by_time.max(self.oversize_end(retention_bytes));
        let sealed = self.sealed.iter().take_while(|sealed| sealed.end <= end);
        let newest = self.active.index.max_timestamp().map(|(timestamp, _)| timestamp);
        let active_goes = by_time == self.active.base() && is_expired(retention_ms, newest, now);
        sealed.map(|sealed| sealed.bytes).sum::<u64>() + if active_goes { self.active.bytes } else { 0 }
    }

    /// Where the segments end whose newest record is too old, counted from the front.
    fn expired_end(&self, retention_ms: Option<u64>, now: TimestampMs) -> Offset {
        let start = self.sealed.first().map_or(self.active.base(), |sealed| sealed.base());
        let expired =
            self.sealed.iter().take_while(|sealed| is_expired(retention_ms, sealed.max_timestamp, now));
        expired.last().map_or(start, |sealed| sealed.end)
    }

    fn active_expired(&self, now: TimestampMs, high_watermark: Offset) -> bool {
        let newest = self.active.index.max_timestamp().map(|(timestamp, _)| timestamp);
        let expired = is_expired(self.config.retention_ms, newest, now);
        self.active.bytes > 0 && self.cursors.log_end() <= high_watermark && expired
    }

    /// Where the segments end without which the log still has at least `retention_bytes`.
    fn oversize_end(&self, retention_bytes: Option<u64>) -> Offset {
        let Some(retention_bytes) = retention_bytes else { return Offset::ZERO };
        let mut excess = self.stats().bytes.saturating_sub(retention_bytes);
        let mut end = Offset::ZERO;
        for sealed in self.sealed.iter().take_while(|sealed| {
            let goes = sealed.bytes <= excess;
            excess = excess.saturating_sub(sealed.bytes);
            goes
        }) {
            end = sealed.end;
        }
        end
    }

    /// Deletes all records below `before`: they cannot be read any more, and whole segments of them go.
    ///
    /// `None` when the log already starts there or later.
    ///
    /// # Errors
    /// [`DeleteRecordsError`]: nothing was deleted.
    pub fn plan_delete_records(
        &self,
        before: Offset,
        high_watermark: Offset,
    ) -> Result<Option<Removal>, DeleteRecordsError> {
        if self.cutting.is_some() {
            return Err(DeleteRecordsError::Cutting);
        }
        let high_watermark = high_watermark.min(self.cursors.log_end());
        if before > high_watermark {
            return Err(DeleteRecordsError::AboveHighWatermark { before, high_watermark });
        }
        Ok((before > self.cursors.log_start()).then(|| self.removal(before)))
    }

    fn removal(&self, log_start: Offset) -> Removal {
        let below = log_start.min(self.settled_end);
        let going = self.sealed.iter().take_while(|sealed| sealed.end <= below);
        let going = going.filter(|sealed| !sealed.file.is_swapping()).map(|sealed| sealed.base()).collect();
        Removal { shared: Arc::clone(&self.shared), log_start, dir_durable: self.dir_durable, going }
    }

    /// Raises the log start to one that was persisted, and gives up the segments below it.
    ///
    /// # Errors
    /// [`LogError::Cursors`] when the removal is of another log.
    pub fn apply_removal(&mut self, removal: &Removal) -> Result<ObsoleteFiles, LogError> {
        let log_start = removal.log_start.max(self.cursors.log_start());
        self.cursors.raise_start(log_start)?;
        self.shared.raise_log_start(log_start);
        self.tail.forget_below(log_start, self.cursors.written_end());
        self.history.forget_below(log_start);
        let gone = self.sealed.partition_point(|sealed| sealed.end <= log_start.min(self.settled_end));
        let segments = Arc::make_mut(&mut self.sealed).drain(..gone).collect();
        Ok(ObsoleteFiles { shared: Arc::clone(&self.shared), segments })
    }
}

fn is_expired(retention_ms: Option<u64>, newest: Option<TimestampMs>, now: TimestampMs) -> bool {
    match (retention_ms, newest) {
        (Some(retention_ms), Some(newest)) => newest < now.minus_ms(retention_ms),
        // Records without any timestamp have no age.
        _ => false,
    }
}
