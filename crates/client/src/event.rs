//! What a client reports while calls are going on: of its connections, and of the groups it reads in.

use std::{fmt, sync::Arc, time::Duration};

use corduroy_types::{Offset, TopicName};

use crate::{ClientError, CommitError, FailedRecord, PositionLost, RecordMeta, TopicPartition};

/// Which of a client's two connections an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionRole {
    /// Records: produce and consume.
    Data,
    /// Everything small: lookups and admin calls, so that records in transit cannot hold them up.
    Control,
}

/// Something that happened to a connection, or to a consumer of a group. The client goes on by itself: it reconnects
/// for ever, and a consumer that lost its place in a group joins again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was lost, or could not be made. Reported once, until the connection works again.
    Disconnected {
        /// Which connection.
        role: ConnectionRole,
        /// The broker's address.
        url: String,
        /// Why, in the words of the operating system where it was that.
        reason: String,
    },
    /// A connection that had been lost works again.
    Reconnected {
        /// Which connection.
        role: ConnectionRole,
        /// The broker's address.
        url: String,
        /// How long it was gone.
        after: Duration,
    },
    /// Partitions were added to topics that a consumer without a group reads as a whole; it reads them, too, from their
    /// start.
    PartitionsAdded {
        /// The partitions that are new.
        partitions: Vec<TopicPartition>,
    },
    /// A broker refuses records for a reason that passes, like a full disk. The producer sends them again until its
    /// delivery time-out. Sent once, until records are acknowledged again or the reason is another one.
    ProduceDelayed {
        /// Where the first of them should go.
        partition: TopicPartition,
        /// Why they are refused.
        error: ClientError,
    },
    /// A consumer reads these partitions from now on.
    Assigned {
        /// Its group.
        group: Arc<str>,
        /// The partitions that are new.
        partitions: Vec<TopicPartition>,
    },
    /// A consumer has released these partitions, as the coordinator asked: what was done is committed.
    Revoked {
        /// Its group.
        group: Arc<str>,
        /// The partitions that are gone.
        partitions: Vec<TopicPartition>,
    },
    /// A consumer has lost these partitions: its session ended or it was removed from the group. What it had not
    /// committed is read again, elsewhere or here: it joins again.
    Lost {
        /// Its group.
        group: Arc<str>,
        /// The partitions that are gone.
        partitions: Vec<TopicPartition>,
    },
    /// Records are gone that a group has not read, and its consumer goes on behind them, as it was built to.
    PositionLost {
        /// Where, and how many.
        lost: PositionLost,
        /// Where reading goes on.
        resumed_at: Offset,
    },
    /// A topic that a consumer of a group is to read does not exist. Nothing is read of it until it does. Sent once, when
    /// the consumer has joined.
    TopicMissing {
        /// Its group.
        group: Arc<str>,
        /// The topic, as it was named.
        topic: TopicName,
        /// What the broker says, with the nearest name as its hint.
        error: ClientError,
    },
    /// A group's position lies beyond the end of a partition: nothing can be read there, and what is appended below it is
    /// not read. The consumer gets the error, too, and does not go on in the partition by itself.
    PositionBeyondEnd {
        /// Its group.
        group: Arc<str>,
        /// Where.
        partition: TopicPartition,
        /// The offset that the group would read next.
        position: Offset,
        /// The end of what can be read.
        end: Offset,
    },
    /// A message was handed out and is not done for long. It holds back the group's position in its partition, and
    /// rebalances wait for it. Reported once for each such message that is its partition's first.
    RecordStuck {
        /// The group.
        group: Arc<str>,
        /// Where.
        partition: TopicPartition,
        /// Which message.
        offset: Offset,
        /// For how long, at least.
        since: Duration,
    },
    /// What was done could not be committed so far, and is tried again. Sent once, until a commit succeeds.
    CommitDelayed {
        /// The group.
        group: Arc<str>,
        /// Why, and which partitions.
        error: CommitError,
    },
    /// What was done could not be committed, and it is not tried again: another member has the partitions by now, say, or
    /// the member releases them, or stops. The group reads it again.
    CommitFailed {
        /// The group.
        group: Arc<str>,
        /// Why, and which partitions.
        error: CommitError,
    },
    /// A consumer of a group was dropped without [`close`](crate::GroupConsumer::close) when not all was committed that
    /// was done. It is committed in the background, and the member leaves, if the runtime goes on for long enough;
    /// otherwise the group reads it again, and others get the member's partitions only when its session ends.
    NotClosed {
        /// The group.
        group: Arc<str>,
        /// How many offsets were done and not committed.
        uncommitted_count: u64,
    },
    /// A handler of a [run](crate::GroupConsumer::run) failed, and is called again for the record.
    HandlerFailed {
        /// The record, and what the handler failed with.
        record: FailedRecord,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A handler failed for the last time, and the record counts as done because of
    /// [`OnFailure::Skip`](crate::OnFailure::Skip).
    RecordSkipped {
        /// The record, and what the handler failed with.
        record: FailedRecord,
    },
    /// A handler failed for the last time, and the record is in the topic for dead letters now.
    RecordDeadLettered {
        /// The record, and what the handler failed with.
        record: FailedRecord,
        /// Where the dead letter is.
        dead_letter: RecordMeta,
    },
    /// A dead letter could not be written, and is tried again. The record is not done until then.
    DeadLetterDelayed {
        /// The record, and what the handler failed with.
        record: FailedRecord,
        /// Why the dead letter could not be written.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
}

impl Event {
    /// Writes it to the log.
    fn trace(&self) {
        match self {
            Self::Disconnected { role, url, reason } => {
                tracing::warn!(?role, url, reason, "connection to the broker lost");
            }
            Self::Reconnected { role, url, after } => {
                let after_ms = after.as_millis();
                tracing::info!(?role, url, after_ms, "connection to the broker works again");
            }
            Self::PartitionsAdded { partitions } => {
                tracing::info!(partitions = %List(partitions), "partitions were added; they are read, too");
            }
            Self::ProduceDelayed { partition, error } => {
                tracing::warn!(%partition, %error, "records are refused, and sent again");
            }
            Self::Assigned { group, partitions } => {
                tracing::info!(%group, partitions = %List(partitions), "partitions assigned");
            }
            Self::Revoked { group, partitions } => {
                tracing::info!(%group, partitions = %List(partitions), "partitions revoked");
            }
            Self::Lost { group, partitions } => {
                tracing::warn!(%group, partitions = %List(partitions), "partitions lost");
            }
            Self::PositionLost { lost, resumed_at } => tracing::warn!(%resumed_at, "{lost}"),
            Self::RecordStuck { group, partition, offset, since } => {
                let for_ms = since.as_millis();
                tracing::warn!(%group, %partition, %offset, for_ms, "a message is not done");
            }
            Self::TopicMissing { group, topic, error } => {
                tracing::warn!(%group, %topic, %error, hint = error.hint(), "a topic of the group does not exist");
            }
            Self::PositionBeyondEnd { group, partition, position, end } => {
                tracing::error!(%group, %partition, %position, %end, "the group's position lies beyond the end");
            }
            Self::NotClosed { group, uncommitted_count } => tracing::warn!(
                %group, uncommitted_count,
                "a consumer was dropped without close, with records done that are not committed"
            ),
            Self::CommitDelayed { group, error } => {
                tracing::warn!(%group, %error, "offsets are not committed yet; it is tried again");
            }
            Self::CommitFailed { group, error } => tracing::warn!(%group, %error, "offsets not committed"),
            Self::HandlerFailed { record, retry_in } => {
                tracing::warn!(retry_in_ms = retry_in.as_millis(), "the handler failed at {record}");
            }
            Self::RecordSkipped { record } => tracing::error!("skipped {record}"),
            Self::RecordDeadLettered { record, dead_letter } => {
                let RecordMeta { topic, partition, offset, .. } = dead_letter;
                tracing::error!(%topic, %partition, %offset, "written to the dead letters: {record}");
            }
            Self::DeadLetterDelayed { record, error, retry_in } => {
                let retry_in_ms = retry_in.as_millis();
                tracing::error!(error, retry_in_ms, "the dead letter cannot be written of {record}");
            }
        }
    }
}

/// Partitions, one behind the other.
struct List<'a>(&'a [TopicPartition]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|partition| write!(f, "{partition} "))
    }
}

/// The receiver of events.
#[derive(Clone, Default)]
pub(crate) struct EventSink(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl EventSink {
    pub(crate) fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn emit(&self, event: Event) {
        event.trace();
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "EventSink(set)" } else { "EventSink(none)" })
    }
}
