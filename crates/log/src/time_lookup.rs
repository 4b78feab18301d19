//! Finding records by timestamp: planned under the log's lock, performed without it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{Batch, BatchHeader, DecompressLimits};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

use crate::damage::Sought;
use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::index::{Indexes, ScanStart};
use crate::log::Log;
use crate::read_disk::{rebuilt_indexes, sealed_indexes};
use crate::scan::{Damage, DamageReason, Depth, Walk, WalkError};
use crate::segment::{Sealed, SegmentFile};
use crate::shared::Shared;
use crate::tail::TailEntry;
use crate::unscanned_prefix::UnscannedPrefix;

/// A record that a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// The epoch of the leader that appended it.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// What a look-up searches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// The first record at or after a time.
    AtOrAfter(TimestampMs),
    /// The first record with the greatest timestamp of all.
    Greatest,
}

/// A look-up that was planned. Performing it reads the disk, mostly a few KiB.
#[derive(Debug)]
pub struct TimeLookupPlan {
    shared: Arc<Shared>,
    wanted: Wanted,
    log_start: Offset,
    upper: Offset,
    sealed: Arc<Vec<Arc<Sealed>>>,
    /// The active segment: its file, where to begin in it, and how much of it is written.
    active: Arc<SegmentFile>,
    active_start: ScanStart,
    /// The part of it whose index may have to be made, and the timestamp to look up there.
    active_unscanned: Option<(Arc<UnscannedPrefix>, TimestampMs)>,
    active_limit: u64,
    active_max: Option<TimestampMs>,
    /// Sealed segments that are not wholly written: how far they are.
    written: crate::mark::Point,
    /// What is in memory only.
    unwritten: Vec<TailEntry>,
}

impl Log {
    /// Plans to find the first record with a timestamp at or after `timestamp`, in offset order, below `upper`
    /// (KIP-79: the answer is the record's own timestamp, and none when there is no such record).
    pub fn plan_time_lookup(&self, timestamp: TimestampMs, upper: Offset) -> TimeLookupPlan {
        self.lookup(Wanted::AtOrAfter(timestamp), Some(timestamp), upper)
    }

    /// Plans to find the first record with the greatest timestamp below `upper` (KIP-734).
    pub fn plan_max_timestamp_lookup(&self, upper: Offset) -> TimeLookupPlan {
        let index = &self.active.index;
        // Where the greatest is known and in range, only its batch has to be looked at.
        let known =
            index.max_timestamp().filter(|(_, last)| *last < upper && *last >= self.cursors.log_start());
        self.lookup(Wanted::Greatest, known.map(|(timestamp, _)| timestamp), upper)
    }

    fn lookup(&self, wanted: Wanted, near: Option<TimestampMs>, upper: Offset) -> TimeLookupPlan {
        let written_end = self.cursors.written_end();
        let (base, index) = (self.active.base(), &self.active.index);
        let whole = ScanStart::of_segment(base);
        let active_start = near.map_or(whole, |timestamp| index.scan_start(index.offset_before(timestamp)));
        let unscanned = self.active.unscanned.clone().filter(|_| active_start == whole);
        TimeLookupPlan {
            shared: Arc::clone(&self.shared),
            wanted,
            log_start: self.cursors.log_start(),
            upper: upper.min(self.readable_end()),
            sealed: Arc::clone(&self.sealed),
            active: Arc::clone(&self.active.file),
            active_start,
            active_unscanned: unscanned.zip(near),
            active_limit: self.readable_bytes(self.active.base(), self.active.bytes),
            active_max: self.active.index.max_timestamp().map(|(timestamp, _)| timestamp),
            written: self.written,
            unwritten: self.tail.from(written_end).cloned().collect(),
        }
    }
}

impl TimeLookupPlan {
    /// Finds the record, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when the search meets damage, [`ReadError::Io`].
    pub fn perform(&self) -> Result<Option<FoundRecord>, ReadError> {
        if let Some(doubt) = self.shared.doubt().filter(|doubt| self.log_start < doubt.next_good) {
            return Err(ReadError::from(&doubt));
        }
        let mut search = Search { plan: self, best: None };
        for sealed in self.sealed.iter().take_while(|sealed| sealed.base() < self.upper) {
            if search.may_hold(sealed.max_timestamp) && search.sealed(sealed)? {
                return Ok(search.best);
            }
        }
        if self.active_limit > 0 && search.may_hold(self.active_max) && search.active()? {
            return Ok(search.best);
        }
        for entry in &self.unwritten {
            let place = Damage {
                file: self.shared.dir.to_path_buf(),
                position: entry.position,
                offset: entry.base,
                reason: DamageReason::WrongOffset { got: entry.base },
            };
            if entry.base < self.upper
                && search.may_hold(Some(entry.max_timestamp))
                && search.batch(entry.contiguous(), place).map_err(in_memory)?
            {
                break;
            }
        }
        Ok(search.best)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let file = path.to_path_buf();
    move |source| ReadError::Io { file, source }
}

/// A part of the log to walk through.
struct Part<'a> {
    segment: &'a SegmentFile,
    file: &'a Arc<dyn DiskFile>,
    path: &'a Path,
    /// Bytes of the file that count, and the offset at which they end.
    limit: u64,
    end: Offset,
    gaps: bool,
}

/// Why a walk ended early.
enum Stop {
    Io(io::Error),
    Damage(Damage),
}

/// One look-up under way.
struct Search<'a> {
    plan: &'a TimeLookupPlan,
    best: Option<FoundRecord>,
}

impl Search<'_> {
    /// Whether a segment or batch with this greatest timestamp may hold a better record than found so far.
    /// Unknown counts as yes.
    fn may_hold(&self, max: Option<TimestampMs>) -> bool {
        let Some(max) = max else { return true };
        match self.plan.wanted {
            Wanted::AtOrAfter(timestamp) => max >= timestamp,
            Wanted::Greatest => self.best.is_none_or(|best| best.timestamp < max),
        }
    }

    /// Each of these returns whether the search is over.
    fn sealed(&mut self, sealed: &Sealed) -> Result<bool, ReadError> {
        let limit = match sealed.base().cmp(&self.plan.written.segment_base) {
            std::cmp::Ordering::Less => sealed.bytes,
            std::cmp::Ordering::Equal => self.plan.written.position,
            std::cmp::Ordering::Greater => 0,
        };
        self.sealed_to(sealed, limit)
    }

    fn sealed_to(&mut self, sealed: &Sealed, limit: u64) -> Result<bool, ReadError> {
        let path = sealed.file.path();
        let result = self.sealed_at(sealed, &path, limit);
        match (sealed.file.replacement(), result) {
            // It was replaced, so that what was looked at may have been either of the two.
            (Some(new), _) => self.sealed_to(new, new.bytes),
            // Deleted since the plan was made: its records do not count any more.
            (None, Err(_)) if sealed.end <= self.plan.shared.log_start() => Ok(false),
            (None, result) => result,
        }
    }

    /// What was the active segment when the plan was made.
    fn active(&mut self) -> Result<bool, ReadError> {
        let plan = self.plan;
        let (segment, path) = (&plan.active, plan.active.path());
        let mut walk = || {
            let file = segment.open(&*plan.shared.disk).map_err(at(&path))?;
            let start = match &plan.active_unscanned {
                Some((unscanned, near)) => {
                    let indexes = unscanned.indexes(&plan.shared, segment, &file).map_err(at(&path))?;
                    indexes.scan_start(segment.base, indexes.offset_before(segment.base, *near))
                }
                None => plan.active_start,
            };
            let (limit, end) = (plan.active_limit, plan.written.offset);
            let part = Part { segment, file: &file, path: &path, limit, end, gaps: false };
            self.walk(&part, start).map_err(|stop| self.refuse(&part, stop))
        };
        let result = walk();
        match segment.replacement() {
            Some(new) => self.sealed_to(new, new.bytes),
            None => result,
        }
    }

    fn sealed_at(&mut self, sealed: &Sealed, path: &Path, limit: u64) -> Result<bool, ReadError> {
        let shared = &self.plan.shared;
        if let Some(lost) = sealed.lost_error() {
            return Err(lost);
        }
        if limit == 0 {
            return Ok(false); // no round has made its file yet
        }
        let file = sealed.file.open(&*shared.disk).map_err(at(path))?;
        let part =
            Part { segment: &sealed.file, file: &file, path, limit, end: sealed.end, gaps: sealed.gaps };
        let indexes = sealed_indexes(shared, sealed, &file).map_err(at(path))?;
        let start = self.start_in(sealed, &indexes);
        match self.walk(&part, start) {
            // An index entry may be wrong: the segment itself decides.
            Err(Stop::Damage(_)) if start.position > 0 => {
                let indexes = rebuilt_indexes(shared, sealed, &file).map_err(at(path))?;
                let start = self.start_in(sealed, &indexes);
                self.walk(&part, start).map_err(|stop| self.refuse(&part, stop))
            }
            other => other.map_err(|stop| self.refuse(&part, stop)),
        }
    }

    /// Where in a sealed segment the walk begins.
    fn start_in(&self, sealed: &Sealed, indexes: &Indexes) -> ScanStart {
        let base = sealed.base();
        let below = match self.plan.wanted {
            Wanted::AtOrAfter(timestamp) => Some(indexes.offset_before(base, timestamp)),
            // Compaction may have taken the record with the greatest timestamp and left its batch.
            Wanted::Greatest if sealed.gaps => None,
            Wanted::Greatest => indexes
                .max_timestamp(base)
                .filter(|(_, last)| *last < self.plan.upper && *last >= self.plan.log_start)
                .map(|(timestamp, _)| indexes.offset_before(base, timestamp)),
        };
        below.map_or(ScanStart::of_segment(base), |offset| indexes.scan_start(base, offset))
    }

    fn refuse(&self, part: &Part<'_>, stop: Stop) -> ReadError {
        match stop {
            Stop::Io(source) => at(part.path)(source),
            Stop::Damage(damage) => {
                let (position, offset) = (damage.position, damage.offset);
                let sought = Sought { position, offset, limit: part.limit, end: part.end };
                self.plan.shared.corrupt(part.segment, &**part.file, damage, sought)
            }
        }
    }

    /// Goes through headers, and into those batches that may hold a better record.
    fn walk(&mut self, part: &Part<'_>, start: ScanStart) -> Result<bool, Stop> {
        let walk = Walk::new(part.file, part.path.to_path_buf(), Depth::Headers, start, part.limit);
        let mut walk = walk.allowing_gaps(part.gaps);
        let start = walk.place();
        loop {
            let header = match walk.next() {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(false),
                Err(WalkError::Io(source)) => return Err(Stop::Io(source)),
                Err(WalkError::Damaged(damage)) => {
                    return Err(Stop::Damage(walk.locate(start, damage).map_err(Stop::Io)?));
                }
            };
            if header.base_offset >= self.plan.upper {
                return Ok(true);
            }
            let passed = header.next_offset() <= self.plan.log_start;
            if !passed && self.may_hold(Some(header.max_timestamp)) {
                let bytes = read_batch(&**part.file, &header, walk.batch_at()).map_err(Stop::Io)?;
                let place = damage_at(part.path, walk.batch_at(), &header);
                if self.batch(bytes, place).map_err(Stop::Damage)? {
                    return Ok(true);
                }
            }
        }
    }

    fn batch(&mut self, bytes: Bytes, place: Damage) -> Result<bool, Damage> {
        let fail = |reason| Damage { reason: DamageReason::Batch(reason), ..place.clone() };
        let batch = Batch::parse(bytes).map_err(fail)?;
        // The batch was checked against a limit when it was appended; a later, lower one does not hide it.
        let range = self.plan.log_start..self.plan.upper;
        let mut is_found = false;
        let seen = batch.visit_stamps_while(DecompressLimits::default(), |offset, timestamp| {
            let found = FoundRecord { offset, timestamp, leader_epoch: batch.header().leader_epoch };
            match self.plan.wanted {
                _ if !range.contains(&offset) => {}
                Wanted::AtOrAfter(wanted) if timestamp >= wanted => {
                    self.best = Some(found);
                    is_found = true;
                }
                Wanted::Greatest if self.may_hold(Some(timestamp)) => self.best = Some(found),
                _ => {}
            }
            !is_found
        });
        seen.map_err(fail)?;
        Ok(is_found)
    }
}

fn read_batch(file: &dyn DiskFile, header: &BatchHeader, position: u64) -> io::Result<Bytes> {
    let total = header.total_bytes() as usize; // the walk has checked it against the file
    let mut bytes = Vec::with_capacity(total);
    file.read_at(&mut bytes, position, total)?;
    Ok(bytes.into())
}

fn damage_at(path: &Path, position: u64, header: &BatchHeader) -> Damage {
    let reason = DamageReason::WrongOffset { got: header.base_offset };
    Damage { file: path.to_path_buf(), position, offset: header.base_offset, reason }
}

/// Damage of what has not been written yet.
fn in_memory(damage: Damage) -> ReadError {
    ReadError::Corrupt { damage: Box::new(damage), next_good: None }
}
