//! What a log shares with the plans that were made from it and are performed without its lock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corduroy_types::Offset;

use crate::disk::Disk;
use crate::state_file::StateWriter;

/// The parts of a log that need no lock.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: Arc<Path>,
    pub(crate) state: StateWriter,
    pub(crate) index_interval_bytes: u32,
    log_start: AtomicU64,
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
        Arc::new(Self { disk, dir, state, index_interval_bytes, log_start })
    }

    /// The log start as of now, which may be later than when a plan was made.
    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire)).unwrap_or(Offset::MAX)
    }

    /// Raised before a file is removed, so that whoever misses the file finds the reason here.
    pub(crate) fn raise_log_start(&self, to: Offset) {
        self.log_start.fetch_max(to.get(), Ordering::AcqRel);
    }
}
