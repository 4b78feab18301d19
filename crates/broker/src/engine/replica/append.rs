//! What is asked of an append, and what is answered.

use std::{sync::Arc, time::Duration};

use corduroy_api::Refusal;
use corduroy_types::{Acks, LeaderEpoch, Offset, TimestampMs};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::refusals;

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) durable_replicas: u32,
    pub(crate) leader_epoch: LeaderEpoch,
}

/// How a batch is to be appended.
#[derive(Clone)]
pub(crate) struct AppendRequest {
    pub(crate) acks: Acks,
    /// How long the acknowledgement is waited for.
    pub(crate) timeout: Duration,
    /// Append only where this is the next offset.
    pub(crate) expected_offset: Option<Offset>,
    /// The memory that the batch is charged for, given back once it is written.
    pub(crate) memory: Option<Arc<OwnedSemaphorePermit>>,
}

/// An append that is in the log's memory. Dropping it cancels nothing.
pub(crate) struct PendingAck {
    pub(in crate::engine) base_offset: Offset,
    pub(in crate::engine) max_timestamp: TimestampMs,
    pub(in crate::engine) duplicate: bool,
    pub(in crate::engine) answer: oneshot::Receiver<Result<Ack, Refusal>>,
}

impl PendingAck {
    pub(crate) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The batch's greatest timestamp, as it is stored.
    pub(crate) fn max_timestamp(&self) -> TimestampMs {
        self.max_timestamp
    }

    /// Whether the batch was in the log before.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The append is unknown: it may or may not survive.
    pub(crate) async fn acknowledged(self) -> Result<Ack, Refusal> {
        self.answer.await.unwrap_or_else(|_| Err(refusals::stopping()))
    }
}
