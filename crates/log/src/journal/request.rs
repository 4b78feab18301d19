//! What is made durable in addition to batches.

use corduroy_types::{EpochEntry, EpochHistory, Offset};

use super::PartitionKey;
use super::entry::Entry;

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
    /// The cut is done and its files are synced.
    EndCut(PartitionKey),
    /// The partition was deleted.
    Drop(PartitionKey),
}

impl JournalRequest {
    pub(super) fn key(&self) -> PartitionKey {
        match self {
            Self::BeginEpoch(key, _) | Self::BeginCut { key, .. } | Self::EndCut(key) | Self::Drop(key) => {
                *key
            }
        }
    }

    /// What is written for it.
    pub(super) fn entry(&self) -> Entry {
        match self {
            Self::BeginEpoch(_, begun) => Entry::EpochBegun(*begun),
            Self::BeginCut { to, history, .. } => Entry::CutBegun { to: *to, history: history.clone() },
            Self::EndCut(_) => Entry::CutDone,
            Self::Drop(_) => Entry::Dropped,
        }
    }
}
