//! What a replica has of its log.

use std::sync::Arc;

use corduroy_api::Refusal;
use corduroy_log::Log;

use super::{identity::ReplicaIdentity, refusals};

/// The log of one replica.
pub(super) enum LogSlot {
    /// It is open; it may have stopped after a failed write or sync.
    Open(Box<Log>),
    /// It cannot be opened now, for this reason. Opening it is tried again.
    Offline(Arc<str>),
    /// The topic was deleted, or the broker has closed the log.
    Closed,
}

impl LogSlot {
    pub(super) fn get(&self) -> Option<&Log> {
        match self {
            Self::Open(log) => Some(log),
            Self::Offline(_) | Self::Closed => None,
        }
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut Log> {
        match self {
            Self::Open(log) => Some(log),
            Self::Offline(_) | Self::Closed => None,
        }
    }

    /// Why there is no log.
    pub(super) fn absent(&self, of: &ReplicaIdentity) -> Refusal {
        match self {
            Self::Offline(reason) => refusals::offline(of, reason),
            // An open log is asked again by who raced with its opening.
            Self::Open(_) => refusals::offline(of, "it is being opened"),
            Self::Closed => refusals::topic_gone(&of.topic),
        }
    }

    /// Why the log takes no appends, if it does not and may later.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Open(log) => log.failure().map(ToString::to_string),
            Self::Offline(reason) => Some(reason.to_string()),
            Self::Closed => None,
        }
    }

    /// Closes it for good.
    pub(super) fn close(&mut self) -> Option<Log> {
        match std::mem::replace(self, Self::Closed) {
            Self::Open(log) => Some(*log),
            Self::Offline(_) | Self::Closed => None,
        }
    }
}
