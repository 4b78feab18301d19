//! One partition of a stream that pushes records.

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, Offset};

use super::fetch;
use crate::engine::{Engine, ReadHint, Replica};

const MESSAGE_BYTES_DEFAULT: u32 = 1024 * 1024;
const MESSAGE_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// Reads a `max_message_bytes` field.
pub(super) fn message_bytes(max_message_bytes: u32) -> Result<u32, Refusal> {
    match max_message_bytes {
        0 => Ok(MESSAGE_BYTES_DEFAULT),
        1..=MESSAGE_BYTES_MAX => Ok(max_message_bytes),
        _ => {
            let text = format!("max_message_bytes: {max_message_bytes} is above {MESSAGE_BYTES_MAX}");
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        }
    }
}

/// One partition and how far it has been pushed.
pub(super) struct Source {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) replica: Arc<Replica>,
    pub(super) next: Offset,
    pub(super) until: Option<Offset>,
    hint: Option<ReadHint>,
}

/// What a read brought.
pub(super) enum Read {
    /// No records. `moved` where nothing is stored up to a later place: that may be the end that was asked for.
    Nothing { moved: bool },
    /// Records.
    Records(Box<v1::FetchedPartition>),
}

impl Source {
    pub(super) fn new(replica: Arc<Replica>, next: Offset, until: Option<Offset>) -> Self {
        let (topic, partition) = (replica.topic().to_string(), replica.index().0);
        Self { topic, partition, replica, next, until, hint: None }
    }

    /// Reads what comes next, about `max_bytes` of it, and goes on behind it.
    ///
    /// # Errors
    /// It cannot be read from there.
    pub(super) async fn read(
        &mut self,
        engine: &Arc<Engine>,
        max_bytes: u32,
        plain: bool,
    ) -> Result<Read, Refusal> {
        let from = self.next;
        let mut fetched = engine.read(&self.replica, from, max_bytes, false, self.hint.take()).await?;
        self.hint = fetched.hint.take();
        if fetched.bytes.is_empty() {
            self.next = fetched.next_offset;
            return Ok(Read::Nothing { moved: self.next > from });
        }
        let range = from..self.until.unwrap_or(Offset::MAX).min(fetched.high_watermark);
        let topic = self.topic.as_str();
        let answer = fetch::fetched_partition(engine, topic, self.partition, range, fetched, plain).await?;
        self.next = Offset::new(answer.next_offset).unwrap_or(from);
        Ok(Read::Records(Box::new(answer)))
    }
}
