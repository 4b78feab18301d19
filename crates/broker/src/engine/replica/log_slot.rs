//! What a replica has of its log.

use std::sync::Arc;

use corduroy_api::Refusal;
use corduroy_log::Log;

use super::{identity::ReplicaIdentity, refusals};

/// The log of one replica.
pub(in crate::engine) enum LogSlot {
    /// It is open; it may have stopped after a failed write or sync.
    Open(Box<Log>),
    /// It has stopped, and a task cuts it at what is durable and opens it again. What is durable can be read during that time.
    Reopening(Box<Log>),
    /// It cannot be opened now, for this reason. Opening it is tried again.
    Offline(Arc<str>),
    /// As [`LogSlot::Offline`], and a task is opening it.
    Opening(Arc<str>),
    /// It is closed for good.
    Closed(WhyClosed),
}

/// Why a log was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum WhyClosed {
    TopicDeleted,
    ShuttingDown,
}

impl LogSlot {
    pub(in crate::engine) fn get(&self) -> Option<&Log> {
        match self {
            Self::Open(log) | Self::Reopening(log) => Some(log),
            Self::Offline(_) | Self::Opening(_) | Self::Closed(_) => None,
        }
    }

    pub(in crate::engine) fn get_mut(&mut self) -> Option<&mut Log> {
        match self {
            Self::Open(log) | Self::Reopening(log) => Some(log),
            Self::Offline(_) | Self::Opening(_) | Self::Closed(_) => None,
        }
    }

    /// Why it is offline, if it is.
    pub(in crate::engine) fn offline(&self) -> Option<&Arc<str>> {
        match self {
            Self::Offline(reason) | Self::Opening(reason) => Some(reason),
            Self::Open(_) | Self::Reopening(_) | Self::Closed(_) => None,
        }
    }

    /// Why there is no log.
    pub(in crate::engine) fn absent(&self, of: &ReplicaIdentity) -> Refusal {
        match self {
            Self::Offline(reason) | Self::Opening(reason) => refusals::offline(of, reason),
            // It was opened after the caller had found none.
            Self::Open(_) | Self::Reopening(_) => refusals::offline(of, "it is being opened"),
            Self::Closed(WhyClosed::TopicDeleted) => refusals::topic_gone(&of.topic),
            Self::Closed(WhyClosed::ShuttingDown) => refusals::shutting_down(of),
        }
    }

    /// Why the log takes no appends, if it does not and may later.
    pub(in crate::engine) fn failure(&self) -> Option<String> {
        match self {
            Self::Open(log) | Self::Reopening(log) => log.failure().map(ToString::to_string),
            Self::Offline(reason) | Self::Opening(reason) => Some(reason.to_string()),
            Self::Closed(_) => None,
        }
    }

    /// Whether a task opens or reopens it now.
    pub(in crate::engine) fn is_being_opened(&self) -> bool {
        matches!(self, Self::Opening(_) | Self::Reopening(_))
    }

    /// Notes that a task opens or reopens it from now on. Returns `false` where one does already, or nothing is to be opened.
    pub(in crate::engine) fn begin_opening(&mut self) -> bool {
        let (slot, begun) = match self.take() {
            Self::Open(log) if log.failure().is_some() => (Self::Reopening(log), true),
            Self::Offline(reason) => (Self::Opening(reason), true),
            other => (other, false),
        };
        *self = slot;
        begun
    }

    /// Notes that no task opens it any more, and none has put another log in its place.
    pub(in crate::engine) fn end_opening(&mut self) {
        *self = match self.take() {
            Self::Reopening(log) => Self::Open(log),
            Self::Opening(reason) => Self::Offline(reason),
            other => other,
        };
    }

    /// Takes the log out of service for this reason. A task that opens it goes on.
    pub(in crate::engine) fn take_offline(&mut self, reason: &str) {
        *self = match self.take() {
            Self::Open(_) | Self::Offline(_) => Self::Offline(reason.into()),
            Self::Reopening(_) | Self::Opening(_) => Self::Opening(reason.into()),
            closed @ Self::Closed(_) => closed,
        };
    }

    /// Closes it for good.
    pub(in crate::engine) fn close(&mut self, why: WhyClosed) -> Option<Log> {
        match std::mem::replace(self, Self::Closed(why)) {
            Self::Open(log) | Self::Reopening(log) => Some(*log),
            Self::Offline(_) | Self::Opening(_) | Self::Closed(_) => None,
        }
    }

    /// What is there, to be put back in another form at once.
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Closed(WhyClosed::ShuttingDown))
    }
}
