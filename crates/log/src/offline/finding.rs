//! What a check of a partition can find.

use std::path::PathBuf;

use corduroy_types::Offset;

use crate::index::IndexDoubt;
use crate::journal::PartitionKey;
use crate::producers::SnapshotFault;
use crate::scan::Damage;
use crate::state_file::StateFault;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Damage behind which nothing sound follows in its segment, though another segment does.
    #[error(transparent)]
    Damage(Damage),
    /// Damage in the midst of sound batches: no interrupted write leaves that behind.
    #[error("{damage}; {} from offset {next_good} on", counted(*sound_records))]
    DamageWithin {
        /// Where, and what is wrong there.
        damage: Damage,
        /// The first offset behind it that can be read.
        next_good: Offset,
        /// Records in the sound batches behind it, up to the end of the file.
        sound_records: u64,
    },
    /// The last segment ends in bytes that are no whole batch, as after a crash. Opening the log cuts them; none
    /// of them was acknowledged after a sync.
    #[error("{damage}; opening the log cuts the last {bytes} bytes")]
    TornTail {
        /// Where, and what is wrong there.
        damage: Damage,
        /// Bytes from there to the end of the file.
        bytes: u64,
    },
    /// A batch passes its checksum, but its records cannot be read.
    #[error("{}: the batch at position {position}, offset {offset}: {reason}", file.display())]
    UnreadableRecords {
        /// The segment file.
        file: PathBuf,
        /// Where the batch begins.
        position: u64,
        /// Its base offset.
        offset: Offset,
        /// What is wrong.
        reason: corduroy_batch::BatchError,
    },
    /// An index that is malformed or does not agree with its segment. It is built again when needed.
    #[error(transparent)]
    Index(IndexDoubt),
    /// A sealed segment is longer than it was when it was sealed. The log reads what it was; the rest is no one's.
    #[error("{} has {bytes} bytes, and had {sealed_bytes} when it was sealed; the log reads only those", file.display())]
    Surplus {
        /// The segment file.
        file: PathBuf,
        /// Its length.
        bytes: u64,
        /// Its length on record.
        sealed_bytes: u64,
    },
    /// Both copies of the state are missing or damaged: which records had been deleted is not known, nor what the
    /// sealed segments should be. The log will serve none of the records in it until an operator accepts that.
    #[error("{} and its copy are missing or damaged; what is stored is served only once that is accepted", file.display())]
    State {
        /// The file.
        file: PathBuf,
    },
    /// One of the two copies of the state is not as it should be. Opening the log takes the other and writes both again.
    #[error("{0}; opening the log writes it again from its copy")]
    StateCopy(StateFault),
    /// The whole directory is another partition's; it is not opened.
    #[error(
        "{} holds partition {} of topic id {}, and its path says partition {} of topic id {}",
        dir.display(), found.partition, found.topic_id, expected.partition, expected.topic_id
    )]
    OtherPartition {
        /// The directory.
        dir: PathBuf,
        /// Whose it should be.
        expected: PartitionKey,
        /// Whose it says that it is.
        found: PartitionKey,
    },
    /// A segment is another one's: of another partition, or an older one.
    #[error("{}: its first batch is sound, and is not the one that was written there", file.display())]
    OtherSegment {
        /// The segment file.
        file: PathBuf,
    },
    /// A segment that lies below the log start, left by an interrupted deletion. Opening the log removes it.
    #[error("{} lies below the log start {log_start}", file.display())]
    BelowLogStart {
        /// The segment file.
        file: PathBuf,
        /// Where the log starts.
        log_start: Offset,
    },
    /// A name that is not the log's.
    #[error("{} is not a file of the log", file.display())]
    UnknownFile {
        /// The file.
        file: PathBuf,
    },
}

fn counted(sound_records: u64) -> String {
    if sound_records == 1 {
        "1 sound record follows".to_owned()
    } else {
        format!("{sound_records} sound records follow")
    }
}

impl Finding {
    /// Whether records are lost or cannot be read. The rest is repaired by opening the log, or harmless.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damage(_)
                | Self::DamageWithin { .. }
                | Self::UnreadableRecords { .. }
                | Self::OtherSegment { .. }
                | Self::OtherPartition { .. }
                | Self::State { .. }
        )
    }
}

/// What may surprise in the files, and is as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// A sealed segment without this index, as when it was sealed while the log was opened. It is built when needed.
    #[error("{} is not there; it is built when needed", file.display())]
    NoIndex {
        /// Where it would be.
        file: PathBuf,
    },
    /// A file of an interrupted replacement.
    #[error("{} was left by an interrupted replacement; opening the log finishes or removes it", file.display())]
    Leftover {
        /// The file.
        file: PathBuf,
    },
    /// A part of a segment that is not sound there and that the commit journal holds.
    #[error(
        "{}: {bytes} bytes from position {position} are written again from the commit journal when the broker starts",
        file.display()
    )]
    Restored {
        /// The segment file.
        file: PathBuf,
        /// Where they begin.
        position: u64,
        /// How many.
        bytes: u64,
    },
    /// A snapshot of producers that cannot be used, as a loss of power may leave it: most are not synced. The log is
    /// read instead.
    #[error("{}: {fault}; the log is read instead", file.display())]
    Snapshot {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        fault: SnapshotFault,
    },
}
