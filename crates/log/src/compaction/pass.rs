//! One pass: mapping, then copying, in bounded steps.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use corduroy_batch::{Batch, BatchError, BatchHeader, BatchRewriter, DecompressLimits};
use corduroy_types::{Offset, TimestampMs};

use super::group::Group;
use super::key_map::KeyMap;
use super::rules::Rules;
use super::{Compacted, CompactionError, CompactionProgress, CompactionStep};
use crate::config::{CompactionConfig, LogConfig};
use crate::disk::Disk;
use crate::error::LogError;
use crate::log::Log;
use crate::read_disk::sealed_indexes;
use crate::scan::{Depth, Walk, WalkError};
use crate::segment::Sealed;
use crate::shared::Shared;

/// What a compaction has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionTotals {
    /// Bytes of batches read, in both parts of the pass.
    pub read_bytes: u64,
    /// Bytes of batches that were copied.
    pub copied_bytes: u64,
    /// Bytes of batches that were left out.
    pub removed_bytes: u64,
    /// Records that were left out.
    pub removed_records: u64,
    /// Different keys in the mapped range.
    pub keys: u64,
}

impl CompactionTotals {
    pub(super) fn count(&mut self, before: &BatchHeader, after: Option<&BatchHeader>) {
        let (old, new) = (before.total_bytes(), after.map_or(0, BatchHeader::total_bytes));
        self.read_bytes += u64::from(old);
        self.copied_bytes += u64::from(new);
        self.removed_bytes += u64::from(old.saturating_sub(new));
        let left = after.map_or(0, |after| after.record_count);
        self.removed_records += u64::from(before.record_count.saturating_sub(left));
    }
}

/// One pass through a log. See the module's description; see [`Log::plan_compaction`].
#[derive(Debug)]
#[must_use = "nothing happens before it is performed"]
pub struct Compaction {
    shared: Arc<Shared>,
    config: LogConfig,
    /// Those that the pass may touch, oldest first.
    segments: Vec<Arc<Sealed>>,
    range: Range<Offset>,
    rules: Rules,
    rewriter: BatchRewriter,
    phase: Phase,
    totals: CompactionTotals,
}

enum Phase {
    /// Which segment is being mapped, and the walk through it.
    Map { at: usize, walk: Option<Walk> },
    /// Which segment is the first that was not copied, and the group that it begins.
    Copy { at: usize, group: Option<Box<Group>> },
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Map { at, .. } => write!(f, "Map({at})"),
            Self::Copy { at, .. } => write!(f, "Copy({at})"),
        }
    }
}

impl Compaction {
    pub(super) fn new(
        log: &Log,
        config: CompactionConfig,
        segments: Vec<Arc<Sealed>>,
        range: Range<Offset>,
        now: TimestampMs,
        map_bytes: u64,
    ) -> Self {
        let at = segments.partition_point(|sealed| sealed.end <= range.start);
        // A batch was checked against a limit when it was appended; a later, lower one does not hide it.
        let limits = DecompressLimits::default();
        let rules = Rules {
            map: KeyMap::new(map_bytes, range.end.distance_from(range.start)),
            mapped_end: range.end,
            log_start: log.cursors().log_start(),
            now,
            horizon: now.plus_ms(config.delete_retention_ms),
            limits,
            last_batches: log.producers().last_batch_offsets().collect(),
        };
        Self {
            shared: Arc::clone(&log.shared),
            config: log.config,
            segments,
            range,
            rules,
            rewriter: BatchRewriter::new(limits),
            phase: Phase::Map { at, walk: None },
            totals: CompactionTotals::default(),
        }
    }

    /// Whether it was planned of this very log, and not of one that was opened in its place.
    pub fn is_of(&self, log: &Log) -> bool {
        log.failure.is_none() && Arc::ptr_eq(&self.shared, &log.shared)
    }

    /// What was done so far.
    pub fn totals(&self) -> CompactionTotals {
        self.totals
    }

    /// The offsets whose keys it maps. It ends earlier where the memory for them does.
    pub fn range(&self) -> Range<Offset> {
        self.range.start..self.rules.mapped_end
    }

    /// Does a part of the work. After an error nothing more is to be done but [`Compaction::discard`].
    ///
    /// # Errors
    /// [`CompactionError`]: what was swapped in so far stays, and the rest is as it was.
    pub fn step(&mut self, step: CompactionStep) -> Result<CompactionProgress, CompactionError> {
        match self.phase {
            Phase::Map { .. } => {
                self.map(step.max_bytes)?;
                Ok(CompactionProgress::More)
            }
            Phase::Copy { .. } => self.copy(step.max_bytes),
        }
    }

    /// Gives up: removes what was written for the next swap.
    pub fn discard(mut self, disk: &dyn Disk) {
        if let Phase::Copy { group: Some(group), .. } = &mut self.phase {
            group.discard(disk);
        }
    }

    fn map(&mut self, max_bytes: u64) -> Result<(), CompactionError> {
        let Phase::Map { at, walk } = &mut self.phase else { return Ok(()) };
        let mut read_bytes = 0;
        while let Some(sealed) = self.segments.get(*at) {
            if walk.is_none() {
                *walk = Some(walk_from(&self.shared, sealed, self.range.start)?);
            }
            let Some(current) = walk.as_mut() else { continue };
            let Some(header) = current.next().map_err(|error| walk_error(error, sealed))? else {
                *walk = None;
                *at += 1;
                continue;
            };
            read_bytes += u64::from(header.total_bytes());
            self.totals.read_bytes += u64::from(header.total_bytes());
            if header.next_offset() > self.range.start && !header.is_control() {
                let bytes = bytes::Bytes::copy_from_slice(current.batch_bytes());
                let full = map_batch(bytes, &mut self.rules, self.range.start)
                    .map_err(|reason| unreadable(sealed, current, &header, reason))?;
                if let Some(first_left_out) = full {
                    self.rules.mapped_end = first_left_out;
                    break;
                }
            }
            if read_bytes >= max_bytes {
                return Ok(());
            }
        }
        self.totals.keys = self.rules.map.keys() as u64;
        self.phase = Phase::Copy { at: 0, group: None };
        Ok(())
    }

    fn copy(&mut self, max_bytes: u64) -> Result<CompactionProgress, CompactionError> {
        let Phase::Copy { at, group } = &mut self.phase else { return Ok(CompactionProgress::More) };
        let mapped_end = self.rules.mapped_end;
        let within = self.segments.partition_point(|sealed| sealed.base() < mapped_end);
        let left = self.segments.get(*at..within).unwrap_or_default();
        if left.is_empty() {
            let shared = Arc::clone(&self.shared);
            return Ok(CompactionProgress::Done(Compacted { shared, end: mapped_end }));
        }
        let current = group.get_or_insert_with(|| Box::new(Group::first_of(left, &self.config)));
        let (shared, totals) = (&self.shared, &mut self.totals);
        if !current.copy(shared, &self.rules, &mut self.rewriter, max_bytes, totals)? {
            return Ok(CompactionProgress::More);
        }
        let swap = current.finish(shared)?;
        *at += current.segments();
        *group = None;
        Ok(swap.map_or(CompactionProgress::More, CompactionProgress::Swap))
    }
}

/// Takes note of a batch's keys; the offset of the first record for which there was no room.
fn map_batch(batch: bytes::Bytes, rules: &mut Rules, from: Offset) -> Result<Option<Offset>, BatchError> {
    let batch = Batch::parse(batch)?;
    let mut left_out = None;
    batch.visit_records(rules.limits, |record| {
        if let Some(key) = record.key.filter(|_| record.offset >= from && left_out.is_none())
            && !rules.map.put(key, record.offset)
        {
            left_out = Some(record.offset);
        }
    })?;
    Ok(left_out)
}

/// A walk through a segment that checks every batch, from one at or before `from`.
fn walk_from(shared: &Arc<Shared>, sealed: &Sealed, from: Offset) -> Result<Walk, CompactionError> {
    let path = sealed.file.path();
    let file = sealed.file.open(&*shared.disk).map_err(at(&path))?;
    let indexes = sealed_indexes(shared, sealed, &file).map_err(at(&path))?;
    let start = indexes.scan_start(sealed.base(), from.max(sealed.base()));
    Ok(Walk::new(&file, path, Depth::Checksums, start, sealed.bytes).allowing_gaps(sealed.gaps))
}

pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    LogError::io("read", path)
}

pub(super) fn walk_error(error: WalkError, sealed: &Sealed) -> CompactionError {
    match error {
        WalkError::Damaged(damage) => CompactionError::Damaged(Box::new(damage)),
        WalkError::Io(error) => at(&sealed.file.path())(error).into(),
    }
}

pub(super) fn unreadable(
    sealed: &Sealed,
    walk: &Walk,
    header: &BatchHeader,
    reason: BatchError,
) -> CompactionError {
    let (file, position) = (sealed.file.path(), walk.batch_at());
    CompactionError::Unreadable { file, position, offset: header.base_offset, reason }
}
