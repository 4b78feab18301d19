//! Compaction: of each key the last record stays, and offsets never change (Kafka's log cleaner).
//!
//! One [`Compaction`] is one pass, in bounded steps, planned under the log's lock and performed without it while
//! appends and reads go on:
//!
//! 1. *Map*: from where the last pass ended, every key goes into a [`key_map::KeyMap`] with its last offset, until
//!    the range or the memory ends.
//! 2. *Copy*: every segment from the log's start up to there is copied without the records that a later one has
//!    superseded, neighbours together up to the size of a segment, and each copy is swapped in ([`crate::Swap`]).
//! 3. *Checkpoint*: [`Compacted`] is made durable, so that the next pass goes on from there. A crash before that
//!    repeats the pass, which changes nothing that is right already.
//!
//! What a pass may touch ends at the high watermark, at the active segment, and at the first segment with a record
//! younger than the minimum lag: a record that may still be taken back must not supersede one that stays
//! (KAFKA-13194).
//!
//! **A tombstone** (a null value) stays until its horizon: the first pass that has removed everything it supersedes
//! stamps its batch with `now + delete.retention.ms`, and a pass after that time drops it (KIP-534). Readers that are
//! not behind by more than that see every deletion.
//!
//! **A batch** is copied as it is unless a record of it goes or it is stamped; then it is encoded again in its
//! codec. It stays without records where its header still says something: the last one of a segment, which holds
//! the segment's end.
//!
//! | file | what it holds |
//! |---|---|
//! | `need` | what there is to compact, and whether it is due |
//! | `key_map` | keys and their last offsets |
//! | `pass` | the pass: mapping, copying, what is counted |
//! | `rules` | which records and batches stay |
//! | `group` | copying some neighbouring segments into one |

mod group;
mod key_map;
mod need;
mod pass;
mod rules;

use std::path::PathBuf;
use std::sync::Arc;

use corduroy_batch::BatchError;
use corduroy_types::Offset;

use crate::disk::Disk;
use crate::error::LogError;
use crate::log::Log;
use crate::scan::Damage;
use crate::shared::Shared;
use crate::swap::Swap;

pub use need::CompactionNeed;
pub use pass::{Compaction, CompactionTotals};

/// What a step of a compaction came to.
#[derive(Debug)]
pub enum CompactionProgress {
    /// There is more to do.
    More,
    /// A segment is ready to take the place of others. Swap it in (see [`Swap`]), or discard it and the whole
    /// compaction; only then go on.
    Swap(Swap),
    /// Everything is done but to make that durable.
    Done(Compacted),
}

/// How much a step does at most, softly: it ends after the batch that exceeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionStep {
    /// Bytes of batches to read.
    pub max_bytes: u64,
}

/// Why a partition cannot be compacted. It stays readable as it is; trying again changes nothing before the
/// cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// A segment is damaged. Repair or recover the partition.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// A batch's records cannot be read, for one because they decompress to too much. Delete records beyond it.
    #[error("{}: the batch at position {position}, offset {offset}: {reason}", file.display())]
    Unreadable {
        /// The segment file.
        file: PathBuf,
        /// Where the batch begins.
        position: u64,
        /// Its base offset.
        offset: Offset,
        /// What is wrong.
        reason: BatchError,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] LogError),
}

/// How far a compaction has come, to be made durable.
#[derive(Debug)]
#[must_use = "the next compaction begins where this one did until it is persisted"]
pub struct Compacted {
    shared: Arc<Shared>,
    end: Offset,
}

impl Compacted {
    /// Everything below is compacted.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Makes it durable. Then give it to [`Log::apply_compacted`].
    ///
    /// # Errors
    /// The disk's. The next pass then does it again.
    pub fn persist(&self, disk: &dyn Disk) -> Result<(), LogError> {
        let state = &self.shared.state;
        state.raise_compacted_end(disk, self.end).map_err(LogError::io("write", state.path()))
    }
}

impl Log {
    /// Goes on from there with the next compaction.
    pub fn apply_compacted(&mut self, compacted: &Compacted) {
        let end = compacted.end.min(self.cursors.log_end());
        self.compacted_end = self.compacted_end.max(end);
    }

    /// Everything below was compacted.
    pub fn compacted_end(&self) -> Offset {
        self.compacted_end.max(self.cursors.log_start())
    }
}
