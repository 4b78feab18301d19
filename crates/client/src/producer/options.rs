//! Options of a producer.

use std::time::Duration;

use corduroy_batch::{Compression, DecompressLimits};
use corduroy_types::{Acks, ErrorCode, KIB, MIB};

use super::{
    Producer,
    core::Core,
    partitioner::Partitioner,
    report::{BatchReport, ReportSink},
};
use crate::{Client, ClientError};

/// How many batches of a producer a partition remembers (KIP-98): no more may be in doubt at one time.
const REMEMBERED_BATCHES: u64 = 5;

/// What a batch may hold, decompressed.
fn decompressed_bytes_max() -> u32 {
    u32::try_from(DecompressLimits::default().max_bytes).unwrap_or(u32::MAX)
}

/// Options of a producer, checked.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) acks: Acks,
    pub(crate) compression: Compression,
    pub(crate) linger: Duration,
    pub(crate) batch_bytes: u32,
    pub(crate) buffer_bytes: u32,
    pub(crate) delivery_timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) partitioner: Partitioner,
    pub(crate) on_batch: ReportSink,
}

impl Options {
    /// Whether batches are numbered, so that the partition knows one again that is sent twice.
    pub(crate) fn is_idempotent(&self) -> bool {
        // With less than a quorum an acknowledged batch may be lost, and then the partition would refuse all that follow.
        self.acks != Acks::One
    }

    /// The most bytes of a batch of one record before it is compressed: what fits into the buffer, and what a broker and
    /// its consumers decompress.
    pub(crate) fn uncompressed_bytes_max(&self, max_message_bytes: u32) -> u32 {
        match self.compression {
            Compression::None => max_message_bytes,
            _ => self.buffer_bytes.min(decompressed_bytes_max()).max(max_message_bytes),
        }
    }
}

/// Options of a [`Producer`]; made by [`Client::producer`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct ProducerBuilder {
    client: Client,
    options: Options,
    batch_bytes: u64,
    buffer_bytes: u64,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            options: Options {
                acks: Acks::default(),
                compression: Compression::None,
                linger: Duration::ZERO,
                batch_bytes: 0,
                buffer_bytes: 0,
                delivery_timeout: Duration::from_mins(2),
                max_in_flight: 5,
                partitioner: Partitioner::murmur2_sticky(),
                on_batch: ReportSink::default(),
            },
            batch_bytes: 256 * KIB,
            buffer_bytes: 32 * MIB,
        }
    }

    /// When a record counts as written: [`Acks::Quorum`] by default (Kafka: `acks`). With [`Acks::One`] the producer is not
    /// idempotent (Kafka: `enable.idempotence`).
    pub fn acks(mut self, acks: Acks) -> Self {
        self.options.acks = acks;
        self
    }

    /// How batches are compressed: not at all by default (Kafka: `compression.type`).
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// How long a batch waits for more records: zero by default (Kafka: `linger.ms`).
    ///
    /// With zero a batch leaves at once when nothing is in flight for its partition, and gathers records while
    /// something is. With more, it leaves when it is full or that old, whichever is first.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// The size at which a batch is full, uncompressed: 256 KiB by default, 1 KiB to 64 MiB (Kafka: `batch.size`).
    /// A topic's `max.message.bytes` lowers it; one record that is larger than it makes a batch alone, and may be larger
    /// than `max.message.bytes` as long as it is [not when compressed](Self::uncompressed_bytes_max).
    pub fn batch_bytes(mut self, bytes: u64) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How much may wait in the producer, unacknowledged: 32 MiB by default, at least 1 MiB, less than 4 GiB
    /// (Kafka: `buffer.memory`). It also bounds a record before it is compressed: see
    /// [`uncompressed_bytes_max`](Self::uncompressed_bytes_max).
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// The most bytes that the batch of one record may take before it is compressed, in a topic with this
    /// `max.message.bytes`.
    ///
    /// `max.message.bytes` is about batches as they are sent. So without compression it is that; with compression a record
    /// may be as large as the buffer, and as what is decompressed at the other end (128 MiB), and it is refused with
    /// `RECORD_TOO_LARGE` when it is still larger than `max.message.bytes` compressed.
    #[must_use]
    pub fn uncompressed_bytes_max(&self, max_message_bytes: u32) -> u32 {
        let buffer_bytes = u32::try_from(self.buffer_bytes).unwrap_or(u32::MAX);
        Options { buffer_bytes, ..self.options.clone() }.uncompressed_bytes_max(max_message_bytes)
    }

    /// How long after its acceptance a record may at most remain without a result: 120 s by default, more than
    /// zero (Kafka: `delivery.timeout.ms`).
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.options.delivery_timeout = timeout;
        self
    }

    /// How many batches of one partition may be in flight: 5 by default, 1 to 5, since a partition remembers the last five
    /// batches of a producer; with [`Acks::One`] 1 to 1,000 (Kafka: `max.in.flight.requests.per.connection`, there for each
    /// connection).
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.options.max_in_flight = batches;
        self
    }

    /// How records without a partition find one: [`Partitioner::murmur2_sticky`] by default.
    pub fn partitioner(mut self, partitioner: Partitioner) -> Self {
        self.options.partitioner = partitioner;
        self
    }

    /// Called with the result of every batch, before its deliveries resolve: for programs that count what was
    /// delivered instead of awaiting each record. It runs in the background task: it must not block.
    pub fn on_batch(mut self, listener: impl Fn(BatchReport<'_>) + Send + Sync + 'static) -> Self {
        self.options.on_batch = ReportSink::new(listener);
        self
    }

    #[cfg(test)]
    pub(crate) fn into_options(self) -> Options {
        Options { batch_bytes: 1024, ..self.options }
    }

    /// Starts the producer and its background task. The broker is contacted when the first record comes.
    ///
    /// # Errors
    /// `INVALID_REQUEST` names the option that is out of range; `UNSUPPORTED_COMPRESSION`: the codec is not in
    /// this build.
    #[expect(clippy::unused_async, reason = "a producer of transactions will ask who it is here")]
    pub async fn build(self) -> Result<Producer, ClientError> {
        let Self { client, mut options, batch_bytes, buffer_bytes } = self;
        options.batch_bytes = within("batch_bytes", batch_bytes, KIB, 64 * MIB)?;
        options.buffer_bytes = within("buffer_bytes", buffer_bytes, MIB, u64::from(u32::MAX))?;
        let in_flight_max = if options.is_idempotent() { REMEMBERED_BATCHES } else { 1000 };
        within("max_in_flight", options.max_in_flight as u64, 1, in_flight_max)?;
        if options.delivery_timeout.is_zero() {
            return Err(invalid("delivery_timeout is zero, must be more".to_owned()));
        }
        if !options.compression.is_supported() {
            let message = format!("this build does not have the codec {}", options.compression);
            return Err(ClientError::new(ErrorCode::UnsupportedCompression, message)
                .with_hint("Use another codec, or build corduroy-client with its feature of that name."));
        }
        Ok(Producer::start(Core::new(client.shared, options)))
    }
}

fn within(option: &str, value: u64, min: u64, max: u64) -> Result<u32, ClientError> {
    u32::try_from(value)
        .ok()
        .filter(|_| (min..=max).contains(&value))
        .ok_or_else(|| invalid(format!("{option} is {value}, must be {min} to {max}")))
}

fn invalid(message: String) -> ClientError {
    ClientError::new(ErrorCode::InvalidRequest, message)
}
