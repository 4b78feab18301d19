//! The commit journal: one durable order of data and replica state for all logs of a data directory.
//!
//! A commit round of many logs with little each costs one sync: their batches are written to their segments
//! without a sync, and to the journal, which is synced. Later the segments are synced in the background (a
//! *checkpoint*), and the journal's space is used again. The journal also keeps what little a replica must
//! remember whatever happens to its files: durable mark, epoch history, promise, suspicion, a cut that has begun.
//!
//! Two files in `<data dir>/journal/` are written in turn. Each filling of one is a *generation*: its number is in
//! the file's header and in the checksum of every entry, so that what an earlier filling left behind is never
//! taken for an entry. A generation begins with the state of all partitions (and an entry that ends it), so it
//! needs no older one, but for data that is not checkpointed yet. What nothing else says is stored twice, so that one
//! damaged place loses none of it (ADR 10).
//!
//! **Why a stale entry never overwrites newer bytes.** Bytes of a segment change only by a cut, by replacement
//! of the file (compaction), or because the file is gone. A cut is announced by `Entry::CutBegun` before it
//! touches a file and followed by `Entry::CutDone` before anything is appended: data entered before is not
//! replayed then. A file is removed or replaced only below [`crate::Log`]'s settled end, which moves only after
//! `Entry::Settled` is durable. A missing file is never made again: rounds that make one sync it themselves.
//! Everything else is replayed onto the very bytes it was written as.
//!
//! Like the rest of the crate, no thread and no clock: a [`Commit`] and a [`Checkpoint`] are values that the
//! caller performs; [`Replay`] and [`Journal::begin`] touch the disk at start-up, like opening a log.

mod begin;
mod carry;
mod checkpoint;
mod commit;
mod damage;
mod entry;
mod evidence;
mod file;
mod finish;
mod generation;
mod plan;
mod promise;
mod replay;
mod request;
mod room;
mod state;

use std::path::{Path, PathBuf};

use corduroy_types::{KIB, MIB, PartitionIndex, TopicId};

pub use checkpoint::{Checkpoint, CheckpointFailure};
pub use commit::{Commit, CommitKind, Committed, JournalFailed};
pub use damage::JournalDamage;
pub use file::JOURNAL_DIR;
pub use plan::Journal;
pub use promise::{Promise, Vote};
pub use replay::{Replay, ReplayReport, Rewrite};
pub use request::JournalRequest;

/// Which log, of all in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
}

impl PartitionKey {
    /// Where the partition's files are: `<data dir>/<topic id>/<partition>`.
    pub fn dir(&self, data_dir: &Path) -> PathBuf {
        data_dir.join(self.topic_id.to_string()).join(self.partition.to_string())
    }

    /// Whose directory this is, by its path; `None` where it has another form.
    pub(crate) fn of_dir(dir: &Path) -> Option<Self> {
        let topic_id = dir.parent()?.file_name()?.to_str()?.parse().ok()?;
        let partition = PartitionIndex(dir.file_name()?.to_str()?.parse().ok()?);
        Some(Self { topic_id, partition })
    }
}

/// How the journal is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Bytes that one of its two files grows to. One generation's state may alone be more.
    pub file_bytes: u64,
    /// Commit rounds that touch fewer segments than this sync those instead.
    pub segments_min: usize,
    /// Commit rounds with more bytes for each segment than this, on average, sync the segments instead: bytes in
    /// the journal are written twice.
    pub segment_bytes_max: u64,
    /// The file is filled with zeros this far ahead while it is first written, so that later syncs need not
    /// record its growth.
    pub grow_bytes: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { file_bytes: 32 * MIB, segments_min: 4, segment_bytes_max: 32 * KIB, grow_bytes: MIB }
    }
}
