//! Dead letters: records that no handler could deal with, in a topic of their own.
//!
//! A dead letter has the key, the value and the headers of the record it stands for, in that order, and behind them the
//! headers named here, whose values are text in UTF-8, numbers in decimal. A dead letter that fails again and becomes a
//! dead letter somewhere else has them twice; [`Message::header`](crate::Message::header) finds the newer ones. Its
//! timestamp is the moment at which it was written.

use std::time::Duration;

use tokio::time::sleep;

use super::{error::FailedRecord, retry::Retry};
use crate::{
    Client, ClientError, Message, Producer, Record, RecordMeta, SendError,
    backoff::random,
    event::{Event, EventSink},
};

/// The topic that the record was in.
pub const TOPIC: &str = "corduroy.dead-letter.topic";
/// Its partition there.
pub const PARTITION: &str = "corduroy.dead-letter.partition";
/// Its offset there.
pub const OFFSET: &str = "corduroy.dead-letter.offset";
/// Its timestamp there, in milliseconds since 1970.
pub const TIMESTAMP: &str = "corduroy.dead-letter.timestamp-ms";
/// The group that could not handle it.
pub const GROUP: &str = "corduroy.dead-letter.group";
/// How often it was tried.
pub const ATTEMPTS: &str = "corduroy.dead-letter.attempts";
/// What the last attempt ended with: the error and its causes, at most 4,096 bytes.
pub const ERROR: &str = "corduroy.dead-letter.error";

/// How long one attempt to write may take before a delay is reported.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes dead letters.
#[derive(Debug, Clone)]
pub(super) struct DeadLetters {
    topic: String,
    producer: Producer,
    events: EventSink,
}

impl DeadLetters {
    /// Finds the topic; it has to be there, since nothing creates it.
    pub(super) async fn to(topic: &str, client: &Client) -> Result<Self, ClientError> {
        // Idempotent, and acknowledged by a quorum, as producers are by default.
        let producer = client.producer().delivery_timeout(WRITE_TIMEOUT).build().await?;
        producer.prepare(topic).await.map_err(|error| unusable(topic, &error))?;
        let events = client.shared.events.clone();
        Ok(Self { topic: topic.to_owned(), producer, events })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Writes the dead letter of a record, until it is acknowledged or refused for good. `None` when the record's partition
    /// is to go to someone else before either: it will be handled there.
    pub(super) async fn write(
        self,
        message: Message,
        failed: &FailedRecord,
    ) -> Result<Option<RecordMeta>, SendError> {
        let waits = Retry::exponential(u32::MAX);
        let mut attempts = 0_u32;
        loop {
            let error = match self.producer.send(self.letter(&message, failed)).await {
                Ok(meta) => return Ok(Some(meta)),
                Err(error) if error.is_retriable() => error,
                Err(error) => return Err(error),
            };
            if !message.is_wanted() {
                return Ok(None);
            }
            attempts = attempts.saturating_add(1);
            let retry_in = waits.wait(attempts, random());
            let (record, error) = (failed.clone(), error.to_string());
            self.events.emit(Event::DeadLetterDelayed { record, error, retry_in });
            sleep(retry_in).await;
        }
    }

    fn letter(&self, message: &Message, failed: &FailedRecord) -> Record {
        let mut letter = Record::to(&self.topic);
        if let Some(key) = message.key_bytes() {
            letter = letter.key(key);
        }
        letter = match message.value_bytes() {
            Some(value) => letter.value(value),
            None => letter.tombstone(),
        };
        for (key, value) in message.headers() {
            letter = match value {
                Some(value) => letter.header(key.to_owned(), value.to_vec()),
                None => letter.null_header(key.to_owned()),
            };
        }
        letter
            .header(TOPIC, failed.topic.to_string())
            .header(PARTITION, failed.partition.to_string())
            .header(OFFSET, failed.offset.to_string())
            .header(TIMESTAMP, message.timestamp().0.to_string())
            .header(GROUP, failed.group.to_string())
            .header(ATTEMPTS, failed.attempts.to_string())
            .header(ERROR, failed.error.clone())
    }
}

/// Why dead letters cannot be written there, before anything was handled.
fn unusable(topic: &str, error: &SendError) -> ClientError {
    let message = format!("dead letters cannot go to topic {topic:?}: {}", error.message());
    ClientError::new(error.code(), message).with_hint(error.hint())
}
