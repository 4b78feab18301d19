//! Batches as they are sent.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_batch::Compression;
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
    pub(crate) sequence: u64,
    /// What earlier attempts left behind.
    pub(crate) outcome: Outcome,
}

impl Sealed {
    /// What is needed of it to end it.
    pub(crate) fn ended(&self) -> Ended<'_> {
        Ended { ticket: &self.ticket, record_count: self.record_count, held_bytes: self.held_bytes }
    }
}

/// A batch that could not be built, and why. It has no bytes.
#[derive(Debug)]
pub(crate) struct Unbuilt {
    pub(crate) sealed: Sealed,
    pub(crate) refusal: Refusal,
}

/// Builds a batch. A large one that needs compressing is built where it holds up no connection.
pub(crate) async fn seal(
    unsent: Unsent,
    sequence: u64,
    compression: Compression,
) -> Result<Sealed, Box<Unbuilt>> {
    let heavy =
        compression != Compression::None && unsent.builder.encoded_bytes() > COMPRESS_INLINE_BYTES_MAX;
    if !heavy {
        return seal_now(unsent, sequence);
    }
    let ticket = Arc::clone(&unsent.ticket);
    let (held_bytes, created) = (unsent.held_bytes, unsent.created);
    let record_count = unsent.builder.record_count();
    match tokio::task::spawn_blocking(move || seal_now(unsent, sequence)).await {
        Ok(sealed) => sealed,
        Err(_ended) => {
            let outcome = Outcome::NotWritten;
            let bytes = Bytes::new();
            let sealed = Sealed { bytes, ticket, record_count, held_bytes, created, sequence, outcome };
            let refusal = Refusal::new(ErrorCode::Closed, "the runtime ended while the batch was compressed");
            Err(Box::new(Unbuilt { sealed, refusal }))
        }
    }
}

fn seal_now(mut unsent: Unsent, sequence: u64) -> Result<Sealed, Box<Unbuilt>> {
    let record_count = unsent.builder.record_count();
    let built = unsent.builder.build();
    let sealed = |bytes| Sealed {
        bytes,
        ticket: unsent.ticket,
        record_count,
        held_bytes: unsent.held_bytes,
        created: unsent.created,
        sequence,
        outcome: Outcome::NotWritten,
    };
    match built {
        Ok(bytes) => Ok(sealed(bytes)),
        Err(error) => {
            let refusal = Refusal::new(error.code(), error.to_string());
            Err(Box::new(Unbuilt { sealed: sealed(Bytes::new()), refusal }))
        }
    }
}

/// Builds a batch that will not be sent, so that its records can be handed back from its bytes.
pub(crate) fn seal_for_return(unsent: Unsent) -> Sealed {
    match seal_now(unsent, 0) {
        Ok(sealed) => sealed,
        Err(unbuilt) => unbuilt.sealed,
    }
}
