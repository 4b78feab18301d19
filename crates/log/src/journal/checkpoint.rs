//! Checkpoints: syncing the segments that the journal holds data for, so that its space can be used again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use corduroy_types::Offset;
use parking_lot::Mutex;

use super::PartitionKey;
use super::plan::Journal;
use crate::disk::{Disk, is_out_of_handles};
use crate::segment::SegmentFile;

/// A place in the journal: generation, position.
pub(super) type JournalPosition = (u64, u64);

/// A segment with data in the journal that it may not have synced.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) file: Arc<SegmentFile>,
    /// Where the oldest and the newest of that data are.
    pub(super) oldest: JournalPosition,
    pub(super) newest: JournalPosition,
    /// Its log has stopped. No sync of the file proves anything then, because the log is cut and written again
    /// meanwhile: the journal's copy stays until the log is reopened.
    pub(super) stopped: bool,
    /// Each generation from now on begins with its data.
    pub(super) carried: bool,
}

impl Pin {
    /// Of a segment with data at one place.
    pub(super) fn new(file: &Arc<SegmentFile>, place: JournalPosition) -> Self {
        Self { file: Arc::clone(file), oldest: place, newest: place, stopped: false, carried: false }
    }
}

/// By partition and segment.
pub(super) type Pins = BTreeMap<(PartitionKey, Offset), Pin>;

/// Segments to be synced. Perform it on another thread than the commits', then give it to
/// [`Journal::checkpointed`].
#[derive(Debug)]
#[must_use = "the journal's space is not used again before"]
pub struct Checkpoint {
    /// Data before this place is covered.
    through: JournalPosition,
    files: Vec<ToSync>,
}

/// A segment, and what came of its sync.
type ToSync = (PartitionKey, Arc<SegmentFile>, Mutex<Option<io::Result<()>>>);

/// A segment could not be synced: its log has to stop (see [`crate::Log::checkpoint_failed`]) and be reopened.
#[derive(Debug)]
pub struct CheckpointFailure {
    /// Which log.
    pub key: PartitionKey,
    /// The segment's file.
    pub file: String,
    /// What the disk said.
    pub error: io::Error,
}

impl Checkpoint {
    /// How many segments.
    pub fn segments(&self) -> usize {
        self.files.len()
    }

    /// Syncs all of them.
    pub fn perform(&self, disk: &dyn Disk) {
        (0..self.files.len()).for_each(|index| self.perform_step(index, disk));
    }

    /// Syncs one of them. Some may be synced in parallel: the file system then has less to do for each.
    pub fn perform_step(&self, index: usize, disk: &dyn Disk) {
        if let Some((_, file, result)) = self.files.get(index) {
            *result.lock() = Some(file.sync_journaled(disk));
        }
    }
}

impl Journal {
    /// Whether a checkpoint should be made soon, so that the journal does not run full.
    pub fn wants_checkpoint(&self) -> bool {
        let half_full = self.position() >= self.config().file_bytes / 2;
        let generation = self.generation();
        // What a checkpoint did not reach because more was written since it began waits for the next one.
        self.pins().values().any(|pin| {
            pin.oldest.0 < generation || (half_full && pin.oldest.1 < self.config().file_bytes / 2)
        })
    }

    /// The checkpoint of all data but that of stopped logs; `None` when there is none that is not checkpointed.
    pub fn plan_checkpoint(&self) -> Option<Checkpoint> {
        let files: Vec<ToSync> = self
            .pins()
            .iter()
            .filter(|(_, pin)| !pin.stopped)
            .map(|((key, _), pin)| (*key, Arc::clone(&pin.file), Mutex::new(None)))
            .collect();
        (!files.is_empty()).then(|| Checkpoint { through: (self.generation(), self.position()), files })
    }

    /// Takes what came of a checkpoint. Returns the segments that failed: their data stays in the journal, and
    /// their logs have to stop.
    pub fn checkpointed(&mut self, done: Checkpoint) -> Vec<CheckpointFailure> {
        let Checkpoint { through, files } = done;
        let mut failures = Vec::new();
        for (key, file, result) in files {
            match result.into_inner() {
                Some(Ok(())) => self.unpin(key, &file, through),
                // It has done nothing, and is done again with the next checkpoint.
                Some(Err(error)) if is_out_of_handles(&error) => {}
                Some(Err(error)) => {
                    self.stopped(key);
                    failures.push(CheckpointFailure { key, file: format!("{file:?}"), error })
                }
                None => {}
            }
        }
        self.note_checkpointed();
        failures
    }

    /// Forgets the data of a log whose segments were written again and synced: it was reopened.
    pub fn reopened(&mut self, key: PartitionKey) {
        self.pins_mut().retain(|(of, _), _| *of != key);
        self.carried.remove(&key);
    }

    /// Keeps the data of a log that has stopped until it is reopened.
    pub(super) fn stopped(&mut self, key: PartitionKey) {
        let pins = self.pins_mut().iter_mut().filter(|((of, _), _)| *of == key);
        pins.for_each(|(_, pin)| pin.stopped = true);
    }

    fn unpin(&mut self, key: PartitionKey, file: &Arc<SegmentFile>, through: JournalPosition) {
        let Some(pin) = self.pins_mut().get_mut(&(key, file.base)) else { return };
        // A reopened log has other files.
        if pin.stopped || !Arc::ptr_eq(&pin.file, file) {
            return;
        }
        if pin.newest < through {
            self.pins_mut().remove(&(key, file.base));
        } else {
            pin.oldest = pin.oldest.max(through);
        }
    }
}
