//! Batches as they are sent.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_batch::{Batch, BatchError, Compression, ProducerFields};
use corduroy_types::{ErrorCode, Outcome};
use tokio::time::Instant;

use super::{core::Ended, delivery::Ticket, queue::Unsent};

/// Batches from this size on are compressed off the network's threads.
const COMPRESS_INLINE_BYTES_MAX: usize = 16 * 1024;

/// A batch as it is sent.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) bytes: Bytes,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) record_count: u32,
    pub(crate) held_bytes: u32,
    pub(crate) created: Instant,
    /// Its place among the partition's batches, in the order of acceptance.
    pub(crate) place: u64,
    /// What the partition knows it by; [`ProducerFields::NONE`] when it would not know it again.
    pub(crate) producer: ProducerFields,
    /// What earlier attempts left behind.
    pub(crate) outcome: Outcome,
}

impl Sealed {
    /// Whether the partition would know it again, so that it can be sent again whatever became of it.
    pub(crate) fn is_numbered(&self) -> bool {
        self.producer != ProducerFields::NONE
    }

    /// Whether it is appended at one offset only.
    pub(crate) fn is_conditional(&self) -> bool {
        self.ticket.expected_offset.is_some()
    }

    /// Gives it other numbers. It is certainly not in the log, and never will be with the old ones.
    pub(crate) fn renumber(&mut self, producer: ProducerFields) {
        // These bytes were built here, so they are a batch.
        if let Ok(batch) = Batch::parse(self.bytes.clone()) {
            self.bytes = batch.with_producer(producer).into_bytes();
            self.producer = producer;
        }
    }

    /// What is needed of it to end it.
    pub(crate) fn ended(&self) -> Ended<'_> {
        Ended { ticket: &self.ticket, record_count: self.record_count, held_bytes: self.held_bytes }
    }
}

/// A batch that could not be built, and why. Its bytes are only good for handing its records back.
#[derive(Debug)]
pub(crate) struct Unbuilt {
    pub(crate) sealed: Sealed,
    pub(crate) refusal: Refusal,
}

/// Builds a batch. A large one that needs compressing is built where it holds up no connection.
pub(crate) async fn seal(
    mut unsent: Unsent,
    place: u64,
    producer: ProducerFields,
    compression: Compression,
) -> Result<Sealed, Box<Unbuilt>> {
    unsent.builder.set_producer(producer);
    let heavy =
        compression != Compression::None && unsent.builder.encoded_bytes() > COMPRESS_INLINE_BYTES_MAX;
    if !heavy {
        return seal_now(unsent, place, producer);
    }
    let ticket = Arc::clone(&unsent.ticket);
    let (held_bytes, created) = (unsent.held_bytes, unsent.created);
    let record_count = unsent.builder.record_count();
    match tokio::task::spawn_blocking(move || seal_now(unsent, place, producer)).await {
        Ok(sealed) => sealed,
        Err(_ended) => {
            let outcome = Outcome::NotWritten;
            let bytes = Bytes::new();
            let sealed =
                Sealed { bytes, ticket, record_count, held_bytes, created, place, producer, outcome };
            let refusal = Refusal::new(ErrorCode::Closed, "the runtime ended while the batch was compressed");
            Err(Box::new(Unbuilt { sealed, refusal }))
        }
    }
}

fn seal_now(mut unsent: Unsent, place: u64, producer: ProducerFields) -> Result<Sealed, Box<Unbuilt>> {
    let record_count = unsent.builder.record_count();
    match unsent.builder.build() {
        Ok(bytes) => Ok(sealed(unsent, record_count, bytes, place, producer)),
        Err(error) => {
            let refusal = refusal(&error, unsent.builder.compression());
            Err(Box::new(Unbuilt { sealed: seal_for_return(unsent), refusal }))
        }
    }
}

fn refusal(error: &BatchError, compression: Compression) -> Refusal {
    match error {
        BatchError::RecordTooLarge { got_bytes, max_bytes } => Refusal::new(
            error.code(),
            format!(
                "the record makes a batch of {got_bytes} bytes even when it is compressed with {compression}, \
                 max.message.bytes of the topic is {max_bytes}"
            ),
        ),
        _ => Refusal::new(error.code(), error.to_string()),
    }
}

fn sealed(unsent: Unsent, record_count: u32, bytes: Bytes, place: u64, producer: ProducerFields) -> Sealed {
    Sealed {
        bytes,
        record_count,
        ticket: unsent.ticket,
        held_bytes: unsent.held_bytes,
        created: unsent.created,
        place,
        producer,
        outcome: Outcome::NotWritten,
    }
}

/// Builds a batch that will not be sent, so that its records can be handed back from its bytes. It is behind everything
/// that was sealed.
pub(crate) fn seal_for_return(mut unsent: Unsent) -> Sealed {
    let record_count = unsent.builder.record_count();
    // A batch that was begun has a record, so there is no error.
    let bytes = unsent.builder.build_uncompressed().unwrap_or_default();
    sealed(unsent, record_count, bytes, u64::MAX, ProducerFields::NONE)
}
