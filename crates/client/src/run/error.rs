//! Records that could not be handled, and why a run stopped.

use std::{any::Any, error::Error, fmt, sync::Arc};

use corduroy_types::{Offset, PartitionIndex, TopicName};

use crate::{ClientError, CommitError, GroupConsumeError, Message, SendError};

/// What a handler may fail with: any error, or text.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// How much of an error's text is kept in events and dead letters.
const TEXT_BYTES_MAX: usize = 4096;

/// A record whose handler failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRecord {
    /// The group that reads it.
    pub group: Arc<str>,
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset.
    pub offset: Offset,
    /// How often it was tried by this run.
    pub attempts: u32,
    /// What the last attempt ended with: the error and its causes, at most 4,096 bytes.
    pub error: String,
}

impl FailedRecord {
    pub(super) fn new(group: &Arc<str>, message: &Message, attempts: u32, error: &HandlerError) -> Self {
        Self {
            group: Arc::clone(group),
            topic: message.topic().clone(),
            partition: message.partition(),
            offset: message.offset(),
            attempts,
            error: text_of(error.as_ref()),
        }
    }
}

impl fmt::Display for FailedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group: _, topic, partition, offset, attempts, error } = self;
        let times = if *attempts == 1 { "attempt" } else { "attempts" };
        write!(f, "topic \"{topic}\" partition {partition} offset {offset} ({attempts} {times}): {error}")
    }
}

/// Why [`run`](crate::GroupConsumer::run) stopped. What was done until then is committed, and the member has left the
/// group; everything else comes again when someone reads on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An option is out of range, or the topic for dead letters cannot be used: nothing was handled. Correct what the
    /// message names.
    #[error(transparent)]
    Options(ClientError),
    /// A handler failed for the last time, and [`OnFailure::Stop`](crate::OnFailure::Stop) holds. The record is not done:
    /// it comes again.
    #[error("the handler failed at {record}")]
    Handler {
        /// The record.
        record: Box<FailedRecord>,
        /// What the handler ended with, or [`HandlerPanic`].
        source: HandlerError,
    },
    /// A dead letter was refused for good: the topic is gone, or does not take a record that large. The record is not
    /// done: it comes again.
    #[error("the dead letter was refused for {record}: {source}")]
    DeadLetter {
        /// The record.
        record: Box<FailedRecord>,
        /// Why the dead letter was refused.
        source: Box<SendError>,
    },
    /// The group cannot be read on.
    #[error(transparent)]
    Consume(#[from] GroupConsumeError),
    /// The run ended as it should, but not all that was handled could be committed: what was not comes again.
    #[error("not everything that was handled could be committed: {0}")]
    Commit(#[source] CommitError),
}

/// The handler panicked. It counts as failed, as with any error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the handler panicked: {message}")]
pub struct HandlerPanic {
    /// What it panicked with, if that was text.
    pub message: String,
}

impl HandlerPanic {
    pub(super) fn new(payload: &(dyn Any + Send)) -> Self {
        let text = (payload.downcast_ref::<&str>().copied())
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { message: text.unwrap_or("not with text").to_owned() }
    }
}

/// An error and its causes, in one line, cut where it gets too long.
fn text_of(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors say in their own text what their cause says.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
        if text.len() > TEXT_BYTES_MAX {
            break;
        }
    }
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: &'static str,
        source: Option<Box<Caused>>,
    }

    #[test]
    fn the_text_of_an_error_names_its_causes_once() {
        let refused = Caused { text: "connection refused", source: None };
        let post = Caused { text: "POST /bill: connection refused", source: Some(Box::new(refused)) };
        let whole = Caused { text: "cannot bill", source: Some(Box::new(post)) };
        assert_eq!(text_of(&whole), "cannot bill: POST /bill: connection refused");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let long: HandlerError = "ä".repeat(5000).into();
        let long = text_of(long.as_ref());
        assert_eq!(long, "ä".repeat(2048));
        let odd: HandlerError = format!("x{}", "ä".repeat(5000)).into();
        assert_eq!(text_of(odd.as_ref()).len(), 4095);
    }

    #[test]
    fn a_panic_is_reported_with_its_text() {
        let payload = std::panic::catch_unwind(|| panic!("no price for {}", "book")).unwrap_err();
        assert_eq!(
            HandlerPanic::new(payload.as_ref()).to_string(),
            "the handler panicked: no price for book"
        );
        let payload = std::panic::catch_unwind(|| std::panic::panic_any(7)).unwrap_err();
        assert_eq!(HandlerPanic::new(payload.as_ref()).message, "not with text");
    }
}
