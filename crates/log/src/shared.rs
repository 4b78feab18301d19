//! What a log shares with the plans that were made from it and are performed without its lock.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use corduroy_types::Offset;
use parking_lot::Mutex;

use crate::damage::{DamagedRange, Damages, Sought};
use crate::disk::{Disk, DiskFile};
use crate::error::ReadError;
use crate::scan::{Damage, DamageReason};
use crate::segment::SegmentFile;
use crate::state_file::{StateFault, StateWriter};

/// The parts of a log that need no lock.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: Arc<Path>,
    pub(crate) state: StateWriter,
    pub(crate) index_interval_bytes: u32,
    log_start: AtomicU64,
    doubtful_end: AtomicU64,
    damages: Damages,
    faults: Mutex<Vec<StateFault>>,
    stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: Arc<Path>,
        state: StateWriter,
        index_interval_bytes: u32,
        log_start: Offset,
    ) -> Arc<Self> {
        let log_start = AtomicU64::new(log_start.get());
        Arc::new(Self {
            disk,
            dir,
            state,
            index_interval_bytes,
            log_start,
            doubtful_end: AtomicU64::new(0),
            damages: Damages::default(),
            faults: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Nothing below is served, because the state was lost; 0 where nothing is in doubt.
    pub(crate) fn doubtful_end(&self) -> Offset {
        Offset::new(self.doubtful_end.load(Ordering::Acquire)).unwrap_or(Offset::MAX)
    }

    pub(crate) fn set_doubtful_end(&self, end: Offset) {
        self.doubtful_end.store(end.get(), Ordering::Release);
    }

    /// That the state was lost, as damage of what it leaves in doubt.
    pub(crate) fn doubt(&self) -> Option<DamagedRange> {
        let (log_start, next_good) = (self.log_start(), self.doubtful_end());
        if next_good <= log_start {
            return None;
        }
        let file = self.state.path().to_path_buf();
        let damage = Damage { file, position: 0, offset: log_start, reason: DamageReason::StateLost };
        Some(DamagedRange { damage, segment_base: log_start, next_good })
    }

    /// Remembers what was wrong with small files whose contents were taken from elsewhere.
    pub(crate) fn note_faults(&self, faults: impl IntoIterator<Item = StateFault>) {
        self.faults.lock().extend(faults);
    }

    pub(crate) fn faults(&self) -> Vec<StateFault> {
        self.faults.lock().clone()
    }

    pub(crate) fn forget_faults(&self) {
        self.faults.lock().clear();
    }

    /// The log has stopped. What its files hold is not believed from here on: pages may be lost that only the commit
    /// journal still has, and are written again when the log is reopened.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether the log has stopped, so that damage may be gone once it is reopened.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The log start as of now, which may be later than when a plan was made.
    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire)).unwrap_or(Offset::MAX)
    }

    /// Raised before a file is removed, so that a read that misses the file finds the reason here.
    pub(crate) fn raise_log_start(&self, to: Offset) {
        self.log_start.fetch_max(to.get(), Ordering::AcqRel);
    }

    /// Remembers damage that was found; returns the ranges that were not known. None of a log that has stopped.
    pub(crate) fn note_damages(&self, found: Vec<DamagedRange>) -> Vec<DamagedRange> {
        if self.is_stopped() {
            return Vec::new();
        }
        found.into_iter().filter(|range| self.damages.add(range.clone())).collect()
    }

    /// As [`Shared::note_damages`], of a segment that was read: unless it was replaced, and so perhaps another one
    /// was read.
    pub(crate) fn note_damages_of(&self, segment: &SegmentFile, found: Vec<DamagedRange>) {
        if segment.replacement().is_none() {
            self.note_damages(found);
        }
    }

    /// What was damaged between two offsets was replaced.
    pub(crate) fn forget_damages(&self, base: Offset, end: Offset) {
        self.damages.forget(base, end);
    }

    /// The answer to a read that met damage, of which the log knows from now on. In a log that has stopped it is the
    /// disk's failure: a reader that skipped it would miss records that are there again when the log is reopened.
    pub(crate) fn corrupt(
        &self,
        segment: &SegmentFile,
        file: &dyn DiskFile,
        damage: Damage,
        sought: Sought,
    ) -> ReadError {
        if self.is_stopped() {
            let text = format!("the log has stopped and is being reopened; until then {damage}");
            return ReadError::Io { file: damage.file, source: io::Error::other(text) };
        }
        let next_good = match sought.find(file) {
            Ok(found) => found.map_or(sought.end, |start| start.expect.offset()),
            Err(source) => return ReadError::Io { file: damage.file, source },
        };
        let range = DamagedRange { damage: damage.clone(), segment_base: segment.base, next_good };
        self.note_damages_of(segment, vec![range]);
        ReadError::Corrupt { damage: Box::new(damage), next_good: Some(next_good) }
    }

    /// The damage known in what the log has.
    pub(crate) fn damages(&self) -> Vec<DamagedRange> {
        let mut known = self.damages.above(self.log_start());
        known.extend(self.doubt());
        known
    }
}
