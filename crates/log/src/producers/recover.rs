//! Producer state when a log is opened: the newest sound snapshot, and the headers behind it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use corduroy_types::Offset;

use super::{Producers, Snapshot, SnapshotFault, Upkeep, snapshot::SNAPSHOT_BYTES_MAX};
use crate::disk::{DiskFile, read_file};
use crate::error::LogError;
use crate::index::{Expect, ScanStart};
use crate::recovery::Extent;
use crate::retention::remove_if_present;
use crate::scan::{Depth, Walk, WalkError};
use crate::segment::{Active, SNAPSHOT_SUFFIX, Sealed, SegmentFile, file_path};
use crate::shared::Shared;
use crate::state_file::{StateFault, StateFaultReason};

/// The segments of a log that is being opened.
pub(crate) struct Segments<'a> {
    pub(crate) sealed: &'a [Arc<Sealed>],
    pub(crate) active: &'a Active,
    pub(crate) log_end: Offset,
}

/// What came of it.
pub(crate) struct RecoveredProducers {
    pub(crate) producers: Producers,
    pub(crate) upkeep: Upkeep,
    /// Bytes read behind the snapshot.
    pub(crate) scanned_bytes: u64,
    /// Snapshots that were synced and are damaged. They are removed, and older ones or the log were read instead.
    pub(crate) faults: Vec<StateFault>,
}

/// The producers as of the log's end. `found` are the offsets of the snapshots in the directory, in order.
///
/// Those beyond the log's end are removed, durably, before anything can be appended there: they are about batches that
/// were cut.
///
/// # Errors
/// The disk's. A snapshot that cannot be used is passed over.
pub(crate) fn recover(
    shared: &Shared,
    found: &[Offset],
    segments: &Segments<'_>,
    expiration_ms: u64,
    clean: bool,
) -> Result<RecoveredProducers, LogError> {
    let (found, beyond) = found.split_at(found.partition_point(|offset| *offset <= segments.log_end));
    for offset in beyond {
        remove_if_present(&*shared.disk, file_path(&shared.dir, *offset, SNAPSHOT_SUFFIX))?;
    }
    if !beyond.is_empty() {
        shared.disk.sync_dir(&shared.dir).map_err(LogError::io("sync", &*shared.dir))?;
    }
    let between = sweep(shared, found, segments)?;
    let (mut newest, mut faults) = (None, Vec::new());
    for offset in found.iter().rev() {
        let reason = match load(shared, *offset, expiration_ms) {
            Ok(snapshot) => {
                newest = Some(snapshot);
                break;
            }
            Err(Unusable::Passed) => continue,
            Err(Unusable::Fault(reason)) => reason,
        };
        // One within a segment is not synced, and torn by a loss of power.
        if clean || segments.is_base(*offset) {
            let file = file_path(&shared.dir, *offset, SNAPSHOT_SUFFIX);
            if matches!(reason, StateFaultReason::Damaged | StateFaultReason::OtherPartition) {
                remove_if_present(&*shared.disk, file.clone())?;
            }
            faults.push(StateFault { file, reason });
        }
    }
    let mut catching_up = match newest {
        Some(Snapshot { offset, segment_base, position, producers, .. }) => {
            CatchingUp { producers, from: offset, place: Some((segment_base, position)), scanned_bytes: 0 }
        }
        None => {
            let mut producers = Producers::new(expiration_ms);
            if !segments.are_whole() {
                producers.forget_all();
            }
            CatchingUp { producers, from: Offset::ZERO, place: None, scanned_bytes: 0 }
        }
    };
    catching_up.read(shared, segments)?;
    let CatchingUp { producers, scanned_bytes, .. } = catching_up;
    let upkeep = Upkeep::resume(scanned_bytes, between);
    Ok(RecoveredProducers { producers, upkeep, scanned_bytes, faults })
}

/// Removes snapshots that are neither at a segment's base nor among the newest; returns those within segments.
fn sweep(shared: &Shared, found: &[Offset], segments: &Segments<'_>) -> Result<VecDeque<Offset>, LogError> {
    let mut between: VecDeque<_> =
        found.iter().copied().filter(|offset| !segments.is_base(*offset)).collect();
    while between.len() > super::upkeep::BETWEEN_MAX
        && let Some(oldest) = between.pop_front()
    {
        remove_if_present(&*shared.disk, file_path(&shared.dir, oldest, SNAPSHOT_SUFFIX))?;
    }
    Ok(between)
}

/// Why a snapshot is not used.
enum Unusable {
    /// A newer version's, or gone.
    Passed,
    Fault(StateFaultReason),
}

fn load(shared: &Shared, offset: Offset, expiration_ms: u64) -> Result<Snapshot, Unusable> {
    let path = file_path(&shared.dir, offset, SNAPSHOT_SUFFIX);
    let bytes = read_file(&*shared.disk, &path, SNAPSHOT_BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Passed,
        io::ErrorKind::InvalidData => Unusable::Fault(StateFaultReason::Damaged),
        _ => Unusable::Fault(StateFaultReason::Unreadable(error.to_string())),
    })?;
    match Snapshot::decode(&bytes, expiration_ms) {
        Ok(snapshot) if snapshot.is_of_other(&shared.dir) => {
            Err(Unusable::Fault(StateFaultReason::OtherPartition))
        }
        Ok(snapshot) if snapshot.offset == offset => Ok(snapshot),
        Ok(_) | Err(SnapshotFault::Damaged) => Err(Unusable::Fault(StateFaultReason::Damaged)),
        Err(SnapshotFault::NewerFormat(_)) => Err(Unusable::Passed),
    }
}

/// The checksum over the index files of the last segment, if they were written with the snapshot at `end`.
pub(crate) fn index_checksum(shared: &Shared, end: Offset) -> Option<u32> {
    load(shared, end, u64::MAX).ok()?.index_checksum
}

impl Segments<'_> {
    /// Whether every batch that was ever appended is there: none was removed by retention or compaction.
    fn are_whole(&self) -> bool {
        let first = self.sealed.first().map_or(self.active.base(), |sealed| sealed.base());
        first == Offset::ZERO && self.sealed.iter().all(|sealed| !sealed.gaps)
    }

    /// Whether a segment begins there, so that the snapshot there was synced.
    fn is_base(&self, offset: Offset) -> bool {
        offset == self.active.base()
            || self.sealed.binary_search_by_key(&offset, |sealed| sealed.base()).is_ok()
    }
}

struct CatchingUp {
    producers: Producers,
    /// Batches below it are in.
    from: Offset,
    /// Where the snapshot says that `from` is.
    place: Option<(Offset, u64)>,
    scanned_bytes: u64,
}

/// A segment to be read.
struct Part<'a> {
    file: &'a Arc<SegmentFile>,
    extent: Extent,
    /// Where the first batch that is not in yet should be.
    position: Option<u64>,
}

impl CatchingUp {
    fn read(&mut self, shared: &Shared, segments: &Segments<'_>) -> Result<(), LogError> {
        let first = segments.sealed.partition_point(|sealed| sealed.end <= self.from);
        for sealed in segments.sealed.iter().skip(first) {
            if sealed.lost.is_some() {
                self.producers.forget_all();
                self.from = sealed.end;
                continue;
            }
            // Positions may have changed since the snapshot, by compaction.
            self.segment(shared, &Part { file: &sealed.file, extent: sealed.extent(), position: None })?;
        }
        let Segments { active, log_end, .. } = segments;
        if active.bytes == 0 || *log_end <= self.from {
            return Ok(());
        }
        let position = self.place.filter(|(base, _)| *base == active.base()).map(|(_, position)| position);
        let extent = Extent { base: active.base(), end: *log_end, bytes: active.bytes, gaps: false };
        self.segment(shared, &Part { file: &active.file, extent, position })
    }

    fn segment(&mut self, shared: &Shared, part: &Part<'_>) -> Result<(), LogError> {
        let from = self.from;
        let file = part.file.open(&*shared.disk).map_err(LogError::io("open", part.file.path()))?;
        let behind = part.position.map(|position| ScanStart { position, expect: Expect::Base(from) });
        for start in behind.into_iter().chain([ScanStart::of_segment(part.extent.base)]) {
            if self.walk(part, &file, Depth::Headers, start)? {
                part.file.release();
                return Ok(());
            }
        }
        // Headers that cannot be believed may have been noted: again, with checksums, and no producer known from before.
        self.producers.forget_all();
        self.from = from;
        self.walk(part, &file, Depth::Checksums, ScanStart::of_segment(part.extent.base))?;
        self.from = self.from.max(part.extent.end);
        part.file.release();
        Ok(())
    }

    /// Notes what is not in yet; stops at damage if it looks at headers only, and steps over it if at checksums. Whether
    /// it came to the segment's end without meeting any.
    fn walk(
        &mut self,
        part: &Part<'_>,
        file: &Arc<dyn DiskFile>,
        depth: Depth,
        start: ScanStart,
    ) -> Result<bool, LogError> {
        let Extent { base, end, bytes, gaps } = part.extent;
        let path = part.file.path();
        let mut walk = Walk::new(file, path.clone(), depth, start, bytes).allowing_gaps(gaps);
        let mut whole = true;
        loop {
            match walk.next() {
                Ok(Some(header)) if header.base_offset < self.from => {}
                Ok(Some(header)) => {
                    self.producers.note(&header);
                    self.from = header.next_offset();
                }
                Ok(None) => break,
                Err(WalkError::Io(error)) => return Err(LogError::io("read", path)(error)),
                Err(WalkError::Damaged(damage)) => {
                    whole = false;
                    if depth == Depth::Headers {
                        break;
                    }
                    self.producers.forget_all();
                    walk.pass(base, damage, end).map_err(LogError::io("read", &*path))?;
                }
            }
        }
        self.scanned_bytes += walk.read_bytes();
        Ok(whole && walk.missing_before(end).is_none())
    }
}
