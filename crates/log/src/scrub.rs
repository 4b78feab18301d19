//! The scrub: reading everything that was synced, to find damage before a reader does.
//!
//! Planned under the log's lock, performed in bounded steps without it. It checks what a read checks (headers,
//! offsets that follow one another, each batch's checksum), and what no read can: the running checksum over all
//! bytes, which also covers the few that a batch's own checksum leaves out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use corduroy_batch::{BatchHeader, crc32c_append};
use corduroy_types::TimestampMs;

use crate::catalogue::CatalogueEntry;
use crate::damage::DamagedRange;
use crate::disk::{DiskFile, OpenMode};
use crate::error::LogError;
use crate::index::ScanStart;
use crate::log::Log;
use crate::recovery::{Extent, checksum};
use crate::scan::{Damage, DamageReason, Depth, Walk, WalkError};
use crate::segment::{Sealed, SegmentFile};
use crate::shared::Shared;

/// A check of all that a log had on stable storage when this was planned. Perform it step by step.
#[derive(Debug)]
#[must_use = "nothing is checked until steps are performed"]
pub struct Scrub {
    shared: Arc<Shared>,
    left: VecDeque<Part>,
    under_way: Option<UnderWay>,
    /// Whether what is found is taken for what it should be, on an operator's word.
    accepting: bool,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStep {
    /// Bytes that were read.
    pub bytes: u64,
    /// Damage that was not known before. The log knows of it now: see [`Log::damages`].
    pub found: Vec<DamagedRange>,
    /// Whether there is nothing left to do.
    pub done: bool,
}

/// A segment, as far as it was synced.
#[derive(Debug)]
struct Part {
    file: Arc<SegmentFile>,
    extent: Extent,
    /// What the checksum over all of it should be, where that is on record.
    checksum: Option<u32>,
    sealed: bool,
}

#[derive(Debug)]
struct UnderWay {
    part: Part,
    file: Arc<dyn DiskFile>,
    walk: Walk,
    checksum: u32,
    max_timestamp: Option<TimestampMs>,
    records: u64,
    first_crc: Option<u32>,
    found: Vec<DamagedRange>,
}

impl Log {
    /// Plans a check of everything below `durable_end`; of nothing while the log is being cut.
    pub fn plan_scrub(&self) -> Scrub {
        let settled =
            self.sealed.iter().filter(|sealed| sealed.end <= self.settled_end && sealed.lost.is_none());
        let settled = settled.filter(|_| self.cutting.is_none());
        let mut left: VecDeque<Part> = settled
            .map(|sealed| Part {
                file: Arc::clone(&sealed.file),
                extent: sealed.extent(),
                checksum: sealed.checksum,
                sealed: true,
            })
            .collect();
        let durable = self.durable;
        if self.cutting.is_none() && durable.segment_base == self.active.base() && durable.position > 0 {
            let base = durable.segment_base;
            let extent = Extent { base, end: durable.offset, bytes: durable.position, gaps: false };
            let (file, checksum) = (Arc::clone(&self.active.file), Some(durable.checksum));
            left.push_back(Part { file, extent, checksum, sealed: false });
        }
        Scrub { shared: Arc::clone(&self.shared), left, under_way: None, accepting: false }
    }
}

impl Scrub {
    /// A check of sealed segments of which nothing is on record, after which they are taken for what they are.
    pub(crate) fn accepting(shared: &Arc<Shared>, segments: &[Arc<Sealed>]) -> Self {
        let unknown = segments.iter().filter(|sealed| sealed.checksum.is_none() && sealed.lost.is_none());
        let part = |sealed: &Arc<Sealed>| Part {
            file: Arc::clone(&sealed.file),
            extent: sealed.extent(),
            checksum: None,
            sealed: true,
        };
        let left = unknown.map(part).collect();
        Self { shared: Arc::clone(shared), left, under_way: None, accepting: true }
    }

    /// Goes on for about `max_bytes` more: it stops at the first batch boundary behind that many.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk fails to read. The segment is passed over; the next step goes on with the one
    /// behind it.
    pub fn step(&mut self, max_bytes: u64) -> Result<ScrubStep, LogError> {
        let mut step = ScrubStep { bytes: 0, found: Vec::new(), done: false };
        while step.bytes < max_bytes {
            let Some(mut under_way) = self.next_segment()? else {
                step.done = true;
                return Ok(step);
            };
            let path = under_way.part.file.path();
            let ended = under_way.go_on(max_bytes, &mut step.bytes).map_err(LogError::io("read", &*path))?;
            if ended {
                step.found.extend(self.finish(under_way)?);
            } else {
                self.under_way = Some(under_way);
            }
        }
        Ok(step)
    }

    /// The segment to go on with; those that were deleted meanwhile are passed over.
    fn next_segment(&mut self) -> Result<Option<UnderWay>, LogError> {
        if self.under_way.is_some() {
            return Ok(self.under_way.take());
        }
        while let Some(part) = self.left.pop_front() {
            if part.extent.end <= self.shared.log_start() || !self.is_current(&part) {
                continue;
            }
            match self.open(&part) {
                Ok(file) => return Ok(Some(UnderWay::new(part, file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_current(&part) => {}
                Err(error) => return Err(LogError::io("open", part.file.path())(error)),
            }
        }
        Ok(None)
    }

    /// The active segment is opened by a handle of its own: the log's may be in a round, so that it could not be given
    /// back afterwards. Where its name is gone, only the log's handle leads to it.
    fn open(&self, part: &Part) -> io::Result<Arc<dyn DiskFile>> {
        let own = (!part.sealed).then(|| self.shared.disk.open(&part.file.path(), OpenMode::Read));
        match own {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Some(Ok(file)) => Ok(file),
            None | Some(Err(_)) => part.file.open(&*self.shared.disk),
        }
    }

    /// Whether the segment is still the one that was planned, and was not rewritten or deleted.
    fn is_current(&self, part: &Part) -> bool {
        if part.file.replacement().is_some() {
            return false;
        }
        let Some(expected) = part.checksum.filter(|_| part.sealed) else { return true };
        self.shared.state.entry(part.extent.base).is_some_and(|entry| entry.checksum == expected)
    }

    fn finish(&self, mut done: UnderWay) -> Result<Vec<DamagedRange>, LogError> {
        done.check_whole();
        if done.part.sealed {
            done.part.file.release();
        }
        let deleted = done.part.extent.end <= self.shared.log_start();
        if deleted || !self.is_current(&done.part) {
            return Ok(Vec::new());
        }
        // While the state is in doubt, what is found is not taken for what was written.
        let vouched = self.accepting || done.part.extent.base >= self.shared.doubtful_end();
        if done.part.sealed && done.part.checksum.is_none() && done.found.is_empty() && vouched {
            // Found sound though nothing was on record: from now on it is held to what it is.
            let entered = self.shared.state.enter(&*self.shared.disk, done.entry());
            entered.map_err(LogError::io("write", self.shared.state.path()))?;
        }
        Ok(self.shared.note_damages(done.found))
    }
}

impl UnderWay {
    fn new(part: Part, file: Arc<dyn DiskFile>) -> Self {
        let Extent { base, bytes, gaps, .. } = part.extent;
        let start = ScanStart::of_segment(base);
        let walk = Walk::new(&file, part.file.path(), Depth::Checksums, start, bytes).allowing_gaps(gaps);
        Self {
            part,
            file,
            walk,
            checksum: 0,
            max_timestamp: None,
            records: 0,
            first_crc: None,
            found: Vec::new(),
        }
    }

    /// Whether the segment's end was reached. Adds what was read to `read`.
    fn go_on(&mut self, max_bytes: u64, read: &mut u64) -> io::Result<bool> {
        let before = *read;
        let at_first = self.walk.read_bytes();
        loop {
            *read = before + self.walk.read_bytes() - at_first;
            if *read >= max_bytes {
                return Ok(false);
            }
            let from = self.walk.position();
            match self.walk.next() {
                Ok(Some(header)) => self.note(&header),
                Ok(None) => return Ok(true),
                Err(WalkError::Io(error)) => return Err(error),
                Err(WalkError::Damaged(damage)) => {
                    let Extent { base, end, .. } = self.part.extent;
                    self.found.push(self.walk.pass(base, damage, end)?);
                    self.checksum = checksum(&*self.file, self.checksum, from, self.walk.position())?;
                }
            }
        }
    }

    fn note(&mut self, header: &BatchHeader) {
        self.checksum = crc32c_append(self.checksum, self.walk.batch_bytes());
        self.records += u64::from(header.record_count);
        self.first_crc.get_or_insert(header.crc);
        if header.max_timestamp != TimestampMs(-1) {
            self.max_timestamp = self.max_timestamp.max(Some(header.max_timestamp));
        }
    }

    /// What only the whole segment can tell.
    fn check_whole(&mut self) {
        let Extent { base, end, .. } = self.part.extent;
        if let Some(damage) = self.walk.missing_before(end) {
            self.found.push(DamagedRange { damage, segment_base: base, next_good: end });
        }
        let Some(stored) = self.part.checksum.filter(|stored| *stored != self.checksum) else { return };
        if self.found.is_empty() {
            let reason = DamageReason::WrongChecksum { stored, computed: self.checksum };
            let damage = Damage { file: self.part.file.path(), position: 0, offset: base, reason };
            self.found.push(DamagedRange { damage, segment_base: base, next_good: end });
        }
    }

    fn entry(&self) -> CatalogueEntry {
        let Extent { base, end, bytes, gaps } = self.part.extent;
        let (checksum, max_timestamp) = (self.checksum, self.max_timestamp);
        CatalogueEntry {
            base,
            end,
            bytes,
            checksum,
            max_timestamp,
            gaps,
            records: Some(self.records),
            first_crc: self.first_crc,
            index_checksum: None,
            suspect: false,
        }
    }
}
