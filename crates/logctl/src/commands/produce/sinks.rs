//! Where records go: to the producer, or with `--dry-run` nowhere.

use std::sync::{Arc, atomic::Ordering};

use corduroy_batch::{BatchBuilder, HEADER_BYTES, record_encoded_bytes};
use corduroy_client::{Producer, RecordRef, SendError, SendErrorKind};
use corduroy_types::ErrorCode;
use tokio::{runtime::Handle, sync::watch};

use super::{
    feed::{Meter, Refused, Sink},
    plan::Plan,
    tally::Tally,
};
use crate::{connect, error::CliError, output::counted};

/// Sends records.
pub(crate) struct ProducerSink {
    pub(crate) producer: Producer,
    pub(crate) runtime: Handle,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) tally: Arc<Tally>,
    /// For records that expect an offset.
    pub(crate) chain: Option<Chain>,
}

/// Records that each expect the offset behind the one before. One batch of them is on its way at a time: a batch behind
/// one that was refused could be at the right place after all, if someone else wrote just as many records.
#[derive(Debug)]
pub(crate) struct Chain {
    /// What a batch holds at most.
    room_bytes: usize,
    /// What the open batch holds at most.
    gathered_bytes: usize,
}

impl Chain {
    pub(crate) fn new(room_bytes: usize) -> Self {
        Self { room_bytes, gathered_bytes: 0 }
    }
}

impl Sink for ProducerSink {
    #[inline]
    fn push(&mut self, record: RecordRef<'_>) -> Result<(), Refused> {
        if self.chain.is_some() {
            self.gather(record)?;
        }
        match self.producer.try_enqueue_ref(record) {
            // The tally gets a report of its batch.
            Ok(delivery) => drop(delivery),
            Err(error)
                if matches!(error.kind(), SendErrorKind::BufferFull | SendErrorKind::TopicNotReady) =>
            {
                self.wait(record)?;
            }
            Err(error) => return Err(refused(&error, record)),
        }
        self.meter.records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Refused> {
        let Self { producer, runtime, stop, chain, .. } = self;
        let Some(chain) = chain.as_mut().filter(|chain| chain.gathered_bytes > 0) else { return Ok(()) };
        chain.gathered_bytes = 0;
        runtime.block_on(async {
            tokio::select! {
                biased;
                // The tally has its report already.
                flushed = producer.flush() => flushed.map_err(|_| Refused::Stopped),
                _ = stop.wait_for(|stop| *stop) => Err(Refused::Stopped),
            }
        })
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    fn keeps_failed(&self) -> bool {
        self.tally.keeps_failed()
    }

    fn keep(&mut self, record: RecordRef<'_>) {
        self.tally.keep(record);
    }
}

impl ProducerSink {
    /// Ends the open batch before a record that has no room in it.
    fn gather(&mut self, record: RecordRef<'_>) -> Result<(), Refused> {
        let bytes = record_encoded_bytes(record.key, record.value, record.headers.iter().copied());
        let is_full = |chain: &Chain| HEADER_BYTES + chain.gathered_bytes + bytes > chain.room_bytes;
        if self.chain.as_ref().is_some_and(is_full) {
            self.settle()?;
        }
        if let Some(chain) = &mut self.chain {
            chain.gathered_bytes += bytes;
        }
        Ok(())
    }

    /// Waits for room in the producer's buffer, unless someone says stop.
    #[cold]
    fn wait(&mut self, record: RecordRef<'_>) -> Result<(), Refused> {
        let Self { producer, runtime, stop, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                accepted = producer.enqueue_ref(record) => {
                    accepted.map(drop).map_err(|error| refused(&error, record))
                }
                _ = stop.wait_for(|stop| *stop) => Err(Refused::Stopped),
            }
        })
    }
}

#[cold]
fn refused(error: &SendError, record: RecordRef<'_>) -> Refused {
    match error.code() {
        ErrorCode::RecordTooLarge | ErrorCode::BatchTooLarge => Refused::TooLarge(encoded_bytes(record)),
        ErrorCode::Closed => Refused::Stopped,
        _ => Refused::Record(Box::new(from_send(error))),
    }
}

fn encoded_bytes(record: RecordRef<'_>) -> u64 {
    let bytes = record_encoded_bytes(record.key, record.value, record.headers.iter().copied());
    bytes.saturating_add(HEADER_BYTES) as u64
}

/// One of our errors for one of the producer's.
pub(crate) fn from_send(error: &SendError) -> CliError {
    let mut ours = CliError::new(error.code(), error.message().to_owned())
        .with_outcome(error.outcome())
        .caused_by(error);
    if !error.hint().is_empty() {
        ours = ours.with_hint(error.hint());
    }
    if let Some(next) = error.next_offset() {
        ours = ours.with_detail("next_offset", next.get());
    }
    connect::tidied(ours)
}

/// Counts records, and checks what can be checked without sending them.
pub(crate) struct DrySink {
    /// Finds out whether one record makes a batch that can be sent.
    probe: BatchBuilder,
    partition_count: u32,
    meter: Arc<Meter>,
}

impl DrySink {
    pub(crate) fn new(plan: &Plan, partition_count: u32, meter: Arc<Meter>) -> Self {
        let uncompressed_max = u32::try_from(plan.limit_bytes).unwrap_or(u32::MAX);
        let probe =
            BatchBuilder::new(plan.compression, plan.max_message_bytes).allow_uncompressed(uncompressed_max);
        Self { probe, partition_count, meter }
    }

    /// Whether the record alone makes a batch within max.message.bytes, compressed if it has to be.
    fn check_size(&mut self, record: RecordRef<'_>) -> Result<(), Refused> {
        let headers = record.headers.iter().copied();
        let bytes = record_encoded_bytes(record.key, record.value, headers.clone());
        if bytes.saturating_add(HEADER_BYTES) <= self.probe.max_bytes() as usize {
            return Ok(());
        }
        let time = record.timestamp.unwrap_or_default();
        if self.probe.push(time, record.key, record.value, headers).is_err() {
            return Err(Refused::TooLarge(encoded_bytes(record)));
        }
        let built = self.probe.build();
        self.probe.clear();
        built.map(drop).map_err(|error| {
            let message = format!("compressed with {}: {error}", self.probe.compression());
            Refused::Record(Box::new(CliError::new(error.code(), message)))
        })
    }
}

impl Sink for DrySink {
    fn push(&mut self, record: RecordRef<'_>) -> Result<(), Refused> {
        self.check_size(record)?;
        if let Some(partition) = record.partition.filter(|partition| partition.0 >= self.partition_count) {
            let count = self.partition_count;
            let message = format!(
                "the topic has {}, counted from 0; there is no partition {partition}",
                counted(count.into(), "partition")
            );
            return Err(Refused::Record(Box::new(CliError::new(ErrorCode::PartitionNotFound, message))));
        }
        self.meter.records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Refused> {
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn keeps_failed(&self) -> bool {
        false
    }

    fn keep(&mut self, _: RecordRef<'_>) {}
}
