//! One partition of a stream that pushes records.

use std::sync::Arc;

use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, Offset};

use super::{
    Shared,
    fetch::{self, Form},
};
use crate::{
    engine::{Engine, ReadHint, Replica},
    limits::{Connection, Permit},
};

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

    /// Reads what comes next, about `max_bytes` of it or what there is memory for, and goes on behind it. Returns it with
    /// the permit for its memory, which is charged to `caller`.
    pub(super) async fn read_charged(
        &mut self,
        shared: &Shared,
        caller: Option<&Arc<Connection>>,
        engine: &Arc<Engine>,
        max_bytes: u32,
        plain: bool,
    ) -> (Result<Read, Refusal>, Option<Permit>) {
        let overhead = fetch::ANSWER_BYTES + self.topic.len();
        let most = u64::from(max_bytes).saturating_add(u64::try_from(overhead).unwrap_or(u64::MAX));
        let permit = shared.limits.answer_permit(caller, most).await;
        let from = self.next;
        let read = self.read(engine, fetch::within(permit.as_ref(), overhead, max_bytes), plain).await;
        let large = match &read {
            Ok(Read::Records(records)) => fetch::outgrown(permit.as_ref(), records.as_ref()),
            _ => None,
        };
        let Some(large) = large else { return (read, permit) };
        // A first batch, or record, that is larger. It is read again once there is room for it.
        drop((read, permit));
        (self.next, self.hint) = (from, None);
        let permit = shared.limits.whole_answer_permit(caller, large).await;
        let read = self.read(engine, fetch::within(permit.as_ref(), overhead, max_bytes), plain).await;
        (read, permit)
    }

    async fn read(&mut self, engine: &Arc<Engine>, max_bytes: u32, plain: bool) -> Result<Read, Refusal> {
        let from = self.next;
        let mut fetched =
            engine.replicas().read(&self.replica, from, max_bytes, false, self.hint.take()).await?;
        self.hint = fetched.hint.take();
        if fetched.bytes.is_empty() {
            self.next = fetched.next_offset;
            return Ok(Read::Nothing { moved: self.next > from });
        }
        let range = from..self.until.unwrap_or(Offset::MAX).min(fetched.high_watermark);
        let form = if plain { Form::Plain { max_bytes, strict: false } } else { Form::Batches };
        let (answer, _) = fetch::fetched_partition(engine, &self.replica, range, fetched, form).await?;
        self.next = Offset::new(answer.next_offset).unwrap_or(from);
        Ok(Read::Records(Box::new(answer)))
    }
}
