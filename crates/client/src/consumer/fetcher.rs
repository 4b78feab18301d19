//! The background task of a consumer: keeps a Consume stream open, and checks and decompresses what comes.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use corduroy_api::{Refusal, v1};
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_types::{ErrorCode, Offset};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Response, Status, Streaming};
use v1::fetch_client::FetchClient;

use super::{
    batch::{Fetched, Source, damaged},
    budget::Budget,
};
use crate::{backoff::Backoff, client::Shared, connection::DECODE_BYTES_MAX};

/// What one message of the stream may hold, softly: large enough for throughput, small enough to take turns.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;
/// How much of a message may be decompressed before there has to be room for more: a little may become very much.
const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// Where to read one partition from.
#[derive(Debug)]
pub(crate) struct FetchFrom {
    /// Its place in the reader.
    pub(crate) index: usize,
    pub(crate) source: Arc<Source>,
    pub(crate) topic_id: Bytes,
    pub(crate) position: Offset,
    pub(crate) until: Option<Offset>,
}

/// Read these partitions, and nothing else.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Distinguishes the answers of this plan from those of the plan before.
    pub(crate) generation: u64,
    pub(crate) partitions: Vec<FetchFrom>,
}

/// What came of one partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) generation: u64,
    pub(crate) index: usize,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) kind: ChunkKind,
}

#[derive(Debug)]
pub(crate) enum ChunkKind {
    /// Batches in order; reading goes on at `next`.
    Records { batches: Vec<Arc<Fetched>>, next: Offset },
    /// It cannot be read at `position`; nothing more comes.
    Failed { position: Offset, refusal: Refusal },
    /// It reached its `until`; nothing more comes.
    Done,
}

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<v1::ConsumeResponse>>, Status>> + Send>>;

enum StreamState {
    Idle,
    Waiting { until: Instant },
    Opening { opening: Opening, channel: usize },
    Open { answers: Box<Streaming<v1::ConsumeResponse>>, channel: usize },
}

/// A message of which not all batches were decompressed yet.
struct Unpacking {
    index: usize,
    bytes: Bytes,
    high_watermark: Offset,
    /// Where the broker says that reading goes on.
    next_offset: Offset,
    has_records: bool,
    /// It is the partition's last.
    done: bool,
}

enum Event {
    Plan(Option<Plan>),
    Open,
    Unpack,
    Opened(Result<Response<Streaming<v1::ConsumeResponse>>, Status>, usize),
    Answer(Result<Option<v1::ConsumeResponse>, Status>, usize),
}

pub(crate) struct Fetcher {
    client: Arc<Shared>,
    plans: mpsc::UnboundedReceiver<Plan>,
    chunks: mpsc::UnboundedSender<Chunk>,
    budget: Arc<Budget>,
    generation: u64,
    /// Partitions of which more is wanted, by place in the reader.
    wanted: HashMap<usize, FetchFrom>,
    /// Topic, then partition, to the place in the reader.
    places: HashMap<String, HashMap<u32, usize>>,
    state: StreamState,
    unpacking: Option<Unpacking>,
    backoff: Backoff,
    /// A partition of the open stream ended with a passing error: the stream is opened again then.
    reopen_at: Option<Instant>,
}

impl Fetcher {
    pub(crate) fn new(
        client: Arc<Shared>,
        plans: mpsc::UnboundedReceiver<Plan>,
        chunks: mpsc::UnboundedSender<Chunk>,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            client,
            plans,
            chunks,
            budget,
            generation: 0,
            wanted: HashMap::new(),
            places: HashMap::new(),
            state: StreamState::Idle,
            unpacking: None,
            backoff: Backoff::default(),
            reopen_at: None,
        }
    }

    /// Runs until the consumer is gone.
    pub(crate) async fn run(mut self) {
        loop {
            match self.event().await {
                Event::Plan(None) => return,
                Event::Plan(Some(plan)) => self.follow(plan),
                Event::Open => self.open(),
                Event::Unpack => self.unpack(),
                Event::Opened(Ok(response), channel) => {
                    self.client.data.works(channel);
                    self.state = StreamState::Open { answers: Box::new(response.into_inner()), channel };
                }
                Event::Opened(Err(status), channel) => self.failed(&status, channel),
                Event::Answer(Ok(Some(answer)), _) => self.answered(answer),
                Event::Answer(Ok(None), channel) => self.ended(channel),
                Event::Answer(Err(status), channel) => self.failed(&status, channel),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let reopen_at = self.reopen_at;
        let is_unpacking = self.unpacking.is_some();
        let stream = async {
            match &mut self.state {
                StreamState::Idle => std::future::pending().await,
                StreamState::Waiting { until } => {
                    tokio::time::sleep_until(*until).await;
                    Event::Open
                }
                StreamState::Opening { opening, channel } => {
                    let opened = opening.await;
                    Event::Opened(opened, *channel)
                }
                StreamState::Open { answers, channel } => {
                    self.budget.until_room().await;
                    if is_unpacking {
                        return Event::Unpack;
                    }
                    Event::Answer(answers.message().await, *channel)
                }
            }
        };
        tokio::select! {
            biased;
            plan = self.plans.recv() => Event::Plan(plan),
            () = async { tokio::time::sleep_until(reopen_at.unwrap_or_else(Instant::now)).await },
                if reopen_at.is_some() => Event::Open,
            event = stream => event,
        }
    }

    fn follow(&mut self, plan: Plan) {
        self.generation = plan.generation;
        self.places.clear();
        for from in &plan.partitions {
            let topic = self.places.entry(from.source.topic.to_string()).or_default();
            topic.insert(from.source.partition.0, from.index);
        }
        self.wanted = plan.partitions.into_iter().map(|from| (from.index, from)).collect();
        self.open();
    }

    /// Opens a stream for what is wanted, in place of the one that there is.
    fn open(&mut self) {
        self.reopen_at = None;
        // What was not taken of the last message comes again.
        self.unpacking = None;
        if self.wanted.is_empty() {
            self.state = StreamState::Idle;
            return;
        }
        let Ok((index, channel)) = self.client.data.channel() else { return };
        let mut partitions: Vec<_> = self.wanted.values().collect();
        partitions.sort_by_key(|from| from.index);
        let partitions = partitions
            .into_iter()
            .map(|from| v1::ConsumePartition {
                topic: from.source.topic.to_string(),
                topic_id: from.topic_id.clone(),
                partition: from.source.partition.0,
                start: Some(crate::OffsetSpec::Offset(from.position).to_wire()),
                until: from.until.map(|until| crate::OffsetSpec::Offset(until).to_wire()),
            })
            .collect();
        let request = v1::ConsumeRequest {
            partitions,
            form: v1::RecordForm::Batches.into(),
            max_message_bytes: MESSAGE_BYTES_MAX,
        };
        let opening = async move {
            FetchClient::new(channel).max_decoding_message_size(DECODE_BYTES_MAX).consume(request).await
        };
        self.state = StreamState::Opening { opening: Box::pin(opening), channel: index };
    }

    fn wait(&mut self) {
        self.state = StreamState::Waiting { until: Instant::now() + self.backoff.next() };
    }

    /// The stream could not be opened, or broke.
    fn failed(&mut self, status: &Status, channel: usize) {
        let refusal = self.client.data.failed(channel, status);
        self.wait();
        if !refusal.code.is_retriable() {
            let all: Vec<_> = self.wanted.keys().copied().collect();
            for index in all {
                self.give_up(index, refusal.clone());
            }
            self.state = StreamState::Idle;
        }
    }

    /// The broker ended the stream: as it should when nothing is wanted any more.
    fn ended(&mut self, channel: usize) {
        if self.wanted.is_empty() {
            self.state = StreamState::Idle;
            return;
        }
        if self.reopen_at.is_none() {
            self.client.data.lost(channel, "the broker ended the stream".to_owned());
        }
        self.wait();
    }

    fn answered(&mut self, answer: v1::ConsumeResponse) {
        let v1::ConsumeResponse { partition, done } = answer;
        let Some(fetched) = partition else { return };
        let place = self.places.get(&fetched.topic).and_then(|topic| topic.get(&fetched.partition));
        let Some(index) = place.copied() else { return };
        match fetched.error {
            Some(error) => {
                let refusal = Refusal::from(error);
                if refusal.code.is_retriable() && refusal.code != ErrorCode::TopicIdMismatch {
                    tracing::debug!(error = %refusal, partition = fetched.partition, "partition is read again later");
                    let again = Instant::now() + self.backoff.next();
                    self.reopen_at.get_or_insert(again);
                    // A stream that is done with a failed partition has not come to that partition's end.
                    return;
                } else {
                    self.give_up(index, refusal);
                }
            }
            None => {
                let Some(from) = self.wanted.get(&index) else { return };
                self.unpacking = Some(Unpacking {
                    index,
                    bytes: fetched.batches,
                    high_watermark: Offset::new(fetched.high_watermark).unwrap_or(Offset::MAX),
                    next_offset: Offset::new(fetched.next_offset).unwrap_or(from.position),
                    has_records: false,
                    done,
                });
                return self.unpack();
            }
        }
        if done && self.wanted.remove(&index).is_some() {
            self.send(index, None, ChunkKind::Done);
        }
    }

    /// Takes the next batches of a message apart: as many as may be held at one time.
    fn unpack(&mut self) {
        let Some(mut rest) = self.unpacking.take() else { return };
        let Some(from) = self.wanted.get_mut(&rest.index) else { return };
        let Unpacked { batches, next, damage, is_over } =
            unpack(from, &mut rest.bytes, rest.high_watermark, &self.budget);
        let (index, has_records) = (rest.index, !batches.is_empty());
        rest.has_records |= has_records;
        if !rest.has_records && damage.is_none() {
            from.position = from.position.max(rest.next_offset);
        } else {
            from.position = next;
            self.backoff.reset();
        }
        let (position, next) = (from.position, from.position);
        self.send(index, Some(rest.high_watermark), ChunkKind::Records { batches, next });
        if has_records {
            // The user who waited has got something; more comes when there is room, or when they wait again.
            self.budget.set_starving(false);
        }
        if let Some(refusal) = damage {
            tracing::warn!(index, %position, error = %refusal, "a fetched batch is damaged");
            self.give_up(index, refusal);
        } else if !is_over {
            self.unpacking = Some(rest);
        } else if rest.done && self.wanted.remove(&index).is_some() {
            self.send(index, None, ChunkKind::Done);
        }
    }

    /// Reports that a partition cannot be read, and goes on reading the others.
    fn give_up(&mut self, index: usize, refusal: Refusal) {
        if let Some(from) = self.wanted.remove(&index) {
            self.send(index, None, ChunkKind::Failed { position: from.position, refusal });
        }
    }

    fn send(&self, index: usize, high_watermark: Option<Offset>, kind: ChunkKind) {
        // No one listens any more: the next look at the plans ends the task.
        let _ = self.chunks.send(Chunk { generation: self.generation, index, high_watermark, kind });
    }
}

/// What came of a part of a message.
struct Unpacked {
    batches: Vec<Arc<Fetched>>,
    /// Where reading goes on behind them.
    next: Offset,
    damage: Option<Refusal>,
    /// Nothing is left of the message.
    is_over: bool,
}

/// Checks and decompresses concatenated batches, until they have become [`UNPACKED_BYTES_MAX`]; what comes before a damaged
/// one is kept.
fn unpack(from: &FetchFrom, bytes: &mut Bytes, high_watermark: Offset, budget: &Arc<Budget>) -> Unpacked {
    let mut next = from.position;
    let mut opened = Vec::new();
    let (mut damage, mut is_over) = (None, false);
    let packed_bytes = bytes.len();
    let mut decompressed_bytes = 0;
    while decompressed_bytes < UNPACKED_BYTES_MAX {
        let batch = match Batch::parse_prefix(bytes) {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                is_over = true;
                break;
            }
            Err(error) => {
                damage = Some(damaged(&error));
                break;
            }
        };
        let header = batch.header();
        if header.next_offset() <= next {
            continue;
        }
        if header.is_control() {
            next = header.next_offset();
            continue;
        }
        match batch.records(DecompressLimits::default()) {
            Ok(records) => {
                if header.compression() != corduroy_batch::Compression::None {
                    decompressed_bytes += records.buffer().len();
                }
                next = header.next_offset();
                opened.push((batch, records));
            }
            Err(error) => {
                damage = Some(damaged(&error));
                break;
            }
        }
    }
    let taken_bytes = packed_bytes - bytes.len();
    let held = Arc::new(budget.hold((taken_bytes + decompressed_bytes) as u64));
    let share = |(batch, records)| {
        Arc::new(Fetched {
            source: Arc::clone(&from.source),
            batch,
            records,
            high_watermark,
            _held: Arc::clone(&held),
        })
    };
    let is_over = is_over || bytes.is_empty();
    Unpacked { batches: opened.into_iter().map(share).collect(), next, damage, is_over }
}

#[cfg(test)]
mod tests {
    use corduroy_batch::{BatchBuilder, Compression, PushOutcome};
    use corduroy_types::{LeaderEpoch, PartitionIndex, TimestampMs, TopicName};

    use super::*;

    #[test]
    fn a_message_is_decompressed_a_little_at_a_time() {
        let mut builder = BatchBuilder::new(Compression::Gzip, 1 << 24);
        let mut message = Vec::new();
        for n in 0..5 {
            let pushed = builder.push(TimestampMs(1), None, Some(&vec![b'a'; 600_000]), []).unwrap();
            assert_eq!(pushed, PushOutcome::Added);
            let batch = Batch::parse(builder.build().unwrap()).unwrap();
            message.extend_from_slice(&batch.stamp(Offset::new(n).unwrap(), LeaderEpoch::ZERO).to_bytes());
        }
        let mut bytes = Bytes::from(message);
        let source = Source { topic: TopicName::new("t").unwrap(), partition: PartitionIndex(0) };
        let (source, position) = (Arc::new(source), Offset::ZERO);
        let mut from = FetchFrom { index: 0, source, topic_id: Bytes::new(), position, until: None };
        let budget = Budget::new(1 << 20);
        let mut parts = Vec::new();
        loop {
            let unpacked = unpack(&from, &mut bytes, Offset::MAX, &budget);
            assert_eq!(unpacked.damage, None);
            from.position = unpacked.next;
            parts.push(unpacked.batches.len());
            if unpacked.is_over {
                break;
            }
        }
        assert_eq!((parts, from.position.get()), (vec![2, 2, 1], 5));
    }
}
