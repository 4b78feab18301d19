//! Why records were not delivered.

use std::fmt;

use corduroy_api::Refusal;
use corduroy_batch::BatchError;
use corduroy_types::{ErrorCode, Offset, Outcome};

use crate::{ClientError, Record, error::tells_its_refusal};

/// What stood in the way of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The broker, or the client in its stead, refused it; the code says why.
    Refused,
    /// The connection broke before the answer came.
    Disconnected,
    /// It was not acknowledged within `delivery_timeout`.
    TimedOut,
    /// A record behind it in the same partition was written first, so sending it again would change the order; only with
    /// `Acks::One`.
    Overtaken,
    /// A record before it in the same partition ended *unknown*, or was lost. What comes behind is handed back, so that the
    /// order is the program's to decide.
    AfterUnknown,
    /// A record before it in the same partition expected an offset and was not written. What was accepted behind such a
    /// record is written only if that record is, so it was not written either.
    AfterRefused,
    /// The producer's buffer is full; only from `try_enqueue`.
    BufferFull,
    /// The topic has not been looked up yet; only from `try_enqueue`, which never waits.
    TopicNotReady,
    /// The producer was closed.
    Closed,
}

/// Why a record was not delivered, and what is known of it.
///
/// [`outcome`](Self::outcome) joins all attempts: *not written* means that it is certainly not in the log, and that
/// sending it again cannot duplicate it; *unknown* means that it may or may not be.
#[derive(Debug, Clone)]
pub struct SendError {
    inner: Box<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    kind: SendErrorKind,
    outcome: Outcome,
    refusal: Refusal,
    record: Option<Record>,
}

tells_its_refusal!(SendError, inner.refusal);

impl SendError {
    pub(crate) fn new(kind: SendErrorKind, outcome: Outcome, refusal: Refusal) -> Self {
        Self { inner: Box::new(Inner { kind, outcome, refusal, record: None }) }
    }

    /// A record that never got into the buffer.
    pub(crate) fn not_accepted(kind: SendErrorKind, refusal: Refusal) -> Self {
        Self::new(kind, Outcome::NotWritten, refusal)
    }

    pub(crate) fn closed() -> Self {
        let refusal = Refusal::new(ErrorCode::Closed, "the producer is closed");
        Self::not_accepted(SendErrorKind::Closed, refusal)
    }

    pub(crate) fn lookup(error: &ClientError) -> Self {
        let kind = match error.code() {
            ErrorCode::Unavailable => SendErrorKind::Disconnected,
            ErrorCode::TimedOut => SendErrorKind::TimedOut,
            _ => SendErrorKind::Refused,
        };
        Self::not_accepted(kind, error.refusal().clone())
    }

    pub(crate) fn batch(error: &BatchError) -> Self {
        let refusal = Refusal::new(error.code(), error.to_string());
        Self::not_accepted(SendErrorKind::Refused, refusal)
    }

    #[must_use]
    pub(crate) fn with_record(mut self, record: Option<Record>) -> Self {
        self.inner.record = record;
        self
    }

    /// What stood in the way.
    #[must_use]
    pub fn kind(&self) -> SendErrorKind {
        self.inner.kind
    }

    /// Whether the record is certainly not in the log, or may be.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.inner.outcome
    }

    /// The record, handed back with the partition and the time it was meant to have.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.inner.record.as_ref()
    }

    /// The record, handed back with the partition and the time it was meant to have.
    #[must_use]
    pub fn into_record(self) -> Option<Record> {
        self.inner.record
    }

    /// `OFFSET_MISMATCH`: the offset that the next record of the partition gets.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.refusal().next_offset
    }

    /// Whether sending the same record again may succeed without anybody changing anything. Look at
    /// [`outcome`](Self::outcome) first: after *unknown* the record may then be there twice.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self.inner.kind {
            SendErrorKind::Refused | SendErrorKind::AfterRefused => self.code().is_retriable(),
            SendErrorKind::Closed => false,
            _ => true,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.inner.outcome {
            Outcome::NotWritten => "not written",
            Outcome::Unknown => "it is unknown whether it was written",
        };
        write!(f, "{} ({outcome})", self.inner.refusal)
    }
}

impl std::error::Error for SendError {}

/// Records failed since the last flush. The producer is usable: records accepted after them go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{failed_count} records failed since the last flush, of {unknown_count} it is unknown whether they were written; the first: {first}"
)]
pub struct FlushError {
    /// How many records failed since the last flush, whatever else reported them.
    pub failed_count: u64,
    /// Of how many of them the outcome is unknown.
    pub unknown_count: u64,
    /// The error of the first, without its record.
    pub first: SendError,
}

/// What a producer had not delivered when it was closed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} records were not delivered when the producer was closed", records.len())]
pub struct Undelivered {
    /// The records, in order for each partition, each with what is known of it.
    pub records: Vec<(Record, SendError)>,
}
