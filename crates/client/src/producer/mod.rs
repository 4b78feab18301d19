//! Producing records.

mod core;
mod delivery;
mod ends;
mod error;
mod followers;
mod ids;
mod lane;
mod numbering;
mod options;
mod partitioner;
mod pump;
mod queue;
mod queues;
mod report;
mod seal;
mod stream;
mod topic;
mod verdict;

use std::{sync::Arc, time::Duration};

use corduroy_api::Refusal;
use corduroy_types::ErrorCode;

pub use delivery::{Delivery, RecordMeta};
pub use error::{FlushError, SendError, SendErrorKind, Undelivered};
pub use options::ProducerBuilder;
pub use partitioner::Partitioner;
pub use report::BatchReport;

use self::core::{Core, Offer};
use crate::{Record, RecordRef, record::Source};

/// Sends records to topics, in batches, in order for each partition.
///
/// Cheap to clone, and clones share everything: the buffer, the batches, the connection. The order in a partition
/// is the order in which `send`, `enqueue` or `try_enqueue` accepted the records.
///
/// It is idempotent, unless acks is [`Acks::One`](crate::Acks::One): a batch that was refused for a passing reason, or
/// whose answer was lost, is sent again until `delivery_timeout`, and the partition knows it again. So a record is there
/// once, and in its order, however often connections break or the broker starts again. When a batch is refused for good,
/// those behind it are still delivered, unless it [expected an offset](Record::expect_offset). When time runs out for a batch that may have been written, it ends *unknown*, what
/// is behind it in the same partition is handed back, and the next record begins a new epoch, which shuts out whatever of
/// the old one is still on its way. With `Acks::One` an answer that was lost ends *unknown* at once, and nothing is sent
/// again that may be there.
///
/// Dropping the last clone does not wait: what was accepted is still being sent, as long as the runtime lives.
/// [`close`](Self::close) waits, and hands back what was not delivered.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = corduroy_testing::Broker::start().await?;
/// # broker.topic("lines", 1).await?;
/// # let client = broker.client();
/// use corduroy_client::Record;
///
/// let producer = client.producer().build().await?;
/// for line in ["one", "two", "three"] {
///     // Waits only for room in the buffer; the failures are counted for `flush`.
///     drop(producer.enqueue(Record::to("lines").value(line)).await?);
/// }
/// producer.flush().await?;
/// producer.close(std::time::Duration::from_secs(5)).await?;
/// # assert_eq!(broker.records("lines").await?.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// The last of these to go lets the background task drain and end.
#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
}

impl Producer {
    fn start(core: Core) -> Self {
        let core = Arc::new(core);
        tokio::spawn(pump::Pump::new(Arc::clone(&core)).run());
        Self { handle: Arc::new(Handle { core }) }
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    /// Looks a topic up before the first record, so that a wrong name shows now.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND` with the nearest name as its hint, `INVALID_TOPIC_NAME`; `UNAVAILABLE` or `TIMED_OUT` when
    /// no broker answered within `delivery_timeout`.
    pub async fn prepare(&self, topic: &str) -> Result<(), SendError> {
        self.core().find_topic(topic).await
    }

    /// Sends a record and waits until it is acknowledged.
    ///
    /// When the future is dropped before its end the record is either not accepted or on its way, as if it had
    /// been given to [`enqueue`](Self::enqueue).
    ///
    /// # Errors
    /// As [`Delivery`] and [`enqueue`](Self::enqueue); the record is handed back.
    #[tracing::instrument(level = "debug", name = "send", skip_all, fields(topic = record.topic()))]
    pub async fn send(&self, record: Record) -> Result<RecordMeta, SendError> {
        self.accept(record).await?.await
    }

    /// Takes a record into the buffer, waiting for room if there is none, and for the topic's first lookup.
    ///
    /// When the future is dropped before its end, the record was not accepted.
    ///
    /// # Errors
    /// The record is handed back and certainly not written: `TOPIC_NOT_FOUND`, `PARTITION_NOT_FOUND`,
    /// `RECORD_TOO_LARGE` (correct it), `UNAVAILABLE` (no broker answered within `delivery_timeout`), `CLOSED`.
    pub async fn enqueue(&self, record: Record) -> Result<Delivery, SendError> {
        self.accept(record).await
    }

    /// As [`enqueue`](Self::enqueue), for a borrowed record: its bytes are copied into the buffer and nothing is
    /// allocated for it.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_ref(&self, record: RecordRef<'_>) -> Result<Delivery, SendError> {
        self.accept(record).await
    }

    /// Takes a record into the buffer if there is room, and never waits.
    ///
    /// # Errors
    /// The record is handed back and certainly not written. Kind `BufferFull`: wait for deliveries. Kind
    /// `TopicNotReady`: the topic is being looked up, try again, or use [`prepare`](Self::prepare) first.
    /// `PARTITION_NOT_FOUND`: it may have been added only now; the topic is being looked up again. Otherwise as
    /// [`enqueue`](Self::enqueue).
    pub fn try_enqueue(&self, record: Record) -> Result<Delivery, SendError> {
        self.try_accept(record)
    }

    /// As [`try_enqueue`](Self::try_enqueue), for a borrowed record.
    ///
    /// # Errors
    /// As [`try_enqueue`](Self::try_enqueue).
    pub fn try_enqueue_ref(&self, record: RecordRef<'_>) -> Result<Delivery, SendError> {
        self.try_accept(record)
    }

    /// Waits until everything accepted before is acknowledged or has failed. Open batches leave at once.
    ///
    /// The producer goes on: it is usable after an error, too.
    ///
    /// # Errors
    /// [`FlushError`] counts all failures since the last flush, whether or not their deliveries were awaited.
    #[tracing::instrument(level = "debug", name = "flush", skip_all)]
    pub async fn flush(&self) -> Result<(), FlushError> {
        for ticket in self.core().queues.hurry() {
            ticket.ended().await;
        }
        self.core().take_failures().map_or(Ok(()), Err)
    }

    /// Closes the producer and all its clones: nothing more is accepted, and what was is delivered within the time
    /// given or handed back.
    ///
    /// # Errors
    /// [`Undelivered`] has the records that failed or had no result in time, each with what is known of it: *not
    /// written* when it was never sent, else *unknown*.
    #[tracing::instrument(level = "debug", name = "close", skip_all)]
    pub async fn close(self, within: Duration) -> Result<(), Undelivered> {
        let core = self.core();
        let tickets = core.close();
        let all = async {
            for ticket in &tickets {
                ticket.ended().await;
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            core.abort();
            for ticket in &tickets {
                ticket.ended().await;
            }
        }
        let records: Vec<_> = tickets.iter().flat_map(|ticket| ticket.undelivered()).collect();
        if records.is_empty() { Ok(()) } else { Err(Undelivered { records }) }
    }

    async fn accept<S: Source>(&self, record: S) -> Result<Delivery, SendError> {
        let core = self.core();
        let mut room = None;
        let mut looked_again = false;
        loop {
            // Room that was waited for goes back by itself when the record is not accepted, or no one waits any more.
            let error = match core.offer(&record, room.take()) {
                Offer::Accepted(delivery) => return Ok(delivery),
                Offer::NoRoom(bytes) => match core.wait_for_room(bytes).await {
                    Ok(free) => {
                        room = Some(free);
                        continue;
                    }
                    Err(error) => error,
                },
                Offer::NoTopic => match core.find_topic(record.topic()).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Offer::NoPartition(_) if !looked_again => {
                    looked_again = true;
                    core.find_partition(record.topic()).await;
                    continue;
                }
                Offer::NoPartition(error) | Offer::Refused(error) => error,
            };
            return Err(error.with_record(Some(record.give_back())));
        }
    }

    fn try_accept<S: Source>(&self, record: S) -> Result<Delivery, SendError> {
        let core = self.core();
        let error = match core.offer(&record, None) {
            Offer::Accepted(delivery) => return Ok(delivery),
            Offer::NoRoom(bytes) => {
                let message =
                    format!("the buffer of {} bytes has no room for {bytes}", core.options.buffer_bytes);
                SendError::not_accepted(
                    SendErrorKind::BufferFull,
                    Refusal::new(ErrorCode::BufferFull, message),
                )
            }
            Offer::NoTopic if core.is_closed() => SendError::closed(),
            Offer::NoTopic => core.find_topic_in_background(record.topic()),
            Offer::NoPartition(error) => {
                core.find_partition_in_background(record.topic());
                error
            }
            Offer::Refused(error) => error,
        };
        Err(error.with_record(Some(record.give_back())))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let unfinished = self.core.close();
        if !unfinished.is_empty() {
            tracing::debug!(
                batches = unfinished.len(),
                "a producer was dropped without close; what it accepted is still being sent"
            );
        }
    }
}
