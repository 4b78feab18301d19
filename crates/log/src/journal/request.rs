//! What is made durable in addition to batches.

use corduroy_types::{EpochEntry, EpochHistory, Offset};

use super::entry::Entry;
use super::{PartitionKey, Promise};

/// What to make durable in addition to batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalRequest {
    /// An epoch begins in a log whose every record is durable.
    BeginEpoch(PartitionKey, EpochEntry),
    /// A log is about to be cut.
    BeginCut {
        /// Which.
        key: PartitionKey,
        /// Where to.
        to: Offset,
        /// The history that holds afterwards.
        history: EpochHistory,
    },
    /// A log is about to be emptied, to begin at another offset.
    BeginReset {
        /// Which.
        key: PartitionKey,
        /// Where it begins.
        start: Offset,
        /// The history that holds afterwards.
        history: EpochHistory,
    },
    /// The cut or reset is done and its files are synced.
    EndCut(PartitionKey),
    /// A replica promises an epoch. A promise of an earlier one than before changes nothing.
    Promise(PartitionKey, Promise),
    /// Whether a replica may have lost what it once acknowledged (rule R14).
    Suspect(PartitionKey, bool),
    /// The partition was deleted.
    Drop(PartitionKey),
}

impl JournalRequest {
    pub(super) fn key(&self) -> PartitionKey {
        match self {
            Self::BeginEpoch(key, _)
            | Self::BeginCut { key, .. }
            | Self::BeginReset { key, .. }
            | Self::EndCut(key)
            | Self::Promise(key, _)
            | Self::Suspect(key, _)
            | Self::Drop(key) => *key,
        }
    }

    /// What is written for it.
    pub(super) fn entry(&self) -> Entry {
        match self {
            Self::BeginEpoch(_, begun) => Entry::EpochBegun(*begun),
            Self::BeginCut { to, history, .. } => Entry::CutBegun { to: *to, history: history.clone() },
            Self::BeginReset { start, history, .. } => {
                Entry::ResetBegun { start: *start, history: history.clone() }
            }
            Self::EndCut(_) => Entry::CutDone,
            Self::Promise(_, promise) => Entry::Promised(*promise),
            Self::Suspect(_, suspect) => Entry::Suspect(*suspect),
            Self::Drop(_) => Entry::Dropped,
        }
    }
}
