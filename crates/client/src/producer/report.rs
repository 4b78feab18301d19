//! What a producer reports of each batch, for programs that count deliveries instead of awaiting them one by one.

use std::{fmt, sync::Arc};

use corduroy_types::{Offset, PartitionIndex, TimestampMs, TopicName};

use super::{
    delivery::{BatchEnd, Ticket},
    error::SendError,
};
use crate::Record;

/// How one batch ended: every record of it was acknowledged, or none was.
#[derive(Debug, Clone, Copy)]
pub struct BatchReport<'a> {
    pub(crate) ticket: &'a Ticket,
    pub(crate) record_count: u32,
    pub(crate) end: &'a BatchEnd,
}

impl<'a> BatchReport<'a> {
    /// The topic it went to.
    #[must_use]
    pub fn topic(&self) -> &'a TopicName {
        &self.ticket.topic
    }

    /// The partition it went to.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.ticket.partition
    }

    /// How many records it held.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The offset of its first record; the others follow without a gap. `None` when it was not acknowledged.
    #[must_use]
    pub fn base_offset(&self) -> Option<Offset> {
        match self.end {
            BatchEnd::Acked(acked) => Some(acked.base_offset),
            BatchEnd::Failed(_) => None,
        }
    }

    /// The broker's time of all its records, where the topic has LogAppendTime.
    #[must_use]
    pub fn log_append_time(&self) -> Option<TimestampMs> {
        match self.end {
            BatchEnd::Acked(acked) => acked.log_append_time,
            BatchEnd::Failed(_) => None,
        }
    }

    /// Why it was not delivered, and what is known of it; `None` when it was acknowledged.
    #[must_use]
    pub fn error(&self) -> Option<&'a SendError> {
        match self.end {
            BatchEnd::Acked(_) => None,
            BatchEnd::Failed(failed) => Some(&failed.error),
        }
    }

    /// The records of a batch that was not delivered, each with the partition and the time it was meant to have.
    /// Empty for one that was acknowledged: its bytes are gone.
    pub fn undelivered(&self) -> &'a [Record] {
        match self.end {
            BatchEnd::Acked(_) => &[],
            BatchEnd::Failed(failed) => failed.records(self.ticket),
        }
    }
}

type Listener = dyn Fn(BatchReport<'_>) + Send + Sync;

/// The receiver of reports of batches.
#[derive(Clone, Default)]
pub(crate) struct ReportSink(Option<Arc<Listener>>);

impl ReportSink {
    pub(crate) fn new(listener: impl Fn(BatchReport<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn emit(&self, report: BatchReport<'_>) {
        if let Some(listener) = &self.0 {
            listener(report);
        }
    }
}

impl fmt::Debug for ReportSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ReportSink(set)" } else { "ReportSink(none)" })
    }
}
