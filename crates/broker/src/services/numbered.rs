//! What is known of a batch that is refused, where an earlier request may have written it.
//!
//! Only a batch with a producer id and a sequence can be known again. Everything else is new with each request, so what
//! is refused before it is appended is not written.

use bytes::Bytes;
use corduroy_api::v1;
use corduroy_batch::BatchHeader;
use corduroy_types::{ErrorCode, Outcome};
use v1::produce_request::Payload;

use super::{Shared, lookup};

/// The header of a batch that its partition would know again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered(BatchHeader);

impl Numbered {
    /// Reads the header of a batch, of which nothing has been checked yet.
    pub(crate) fn of(batch: &[u8]) -> Option<Self> {
        let header = BatchHeader::parse(batch).ok()?;
        let numbered = header.producer_id >= 0 && header.producer_epoch >= 0 && header.base_sequence >= 0;
        numbered.then_some(Self(header))
    }

    pub(super) fn of_payload(payload: Option<&Payload>) -> Option<Self> {
        match payload {
            Some(Payload::Batch(batch)) => Self::of(batch),
            Some(Payload::Records(_)) | None => None,
        }
    }
}

/// Where a refused batch was to go.
pub(super) struct Target<'a> {
    pub(super) topic: &'a str,
    pub(super) topic_id: &'a Bytes,
    pub(super) partition: Option<u32>,
}

/// The outcome of a request that was refused with `code` before its partition was asked: UNKNOWN unless it is known that
/// the partition does not hold the batch.
pub(super) fn outcome(
    shared: &Shared,
    target: &Target<'_>,
    numbered: Option<&Numbered>,
    code: ErrorCode,
) -> Outcome {
    let (Some(Numbered(header)), Some(partition)) = (numbered, target.partition) else {
        return Outcome::NotWritten;
    };
    if code == ErrorCode::CorruptBatch {
        // Its numbers may be what was damaged.
        return Outcome::Unknown;
    }
    let Some(engine) = shared.engine_to_ask() else { return Outcome::Unknown };
    let replica = lookup::topic(engine, target.topic, target.topic_id)
        .and_then(|topic| lookup::replica(engine, &topic, partition));
    match replica {
        Ok(replica) => replica.outcome_if_refused(header),
        Err(refusal) => match refusal.code {
            // What does not exist holds nothing.
            ErrorCode::InvalidRequest
            | ErrorCode::InvalidTopicName
            | ErrorCode::TopicNotFound
            | ErrorCode::TopicIdMismatch
            | ErrorCode::PartitionNotFound => Outcome::NotWritten,
            _ => Outcome::Unknown,
        },
    }
}
