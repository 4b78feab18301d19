//! A broker that does what the test says: every produce request and every consume stream is handed to the test,
//! which answers, refuses, is silent, or breaks the stream.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of a module of its own")]

mod services;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, AtomicI64},
    },
};

use bytes::Bytes;
use corduroy_api::{Refusal, v1};
use corduroy_batch::{Batch, BatchBuilder, BatchRewriter, Compression, DecompressLimits, PushOutcome};
use corduroy_client::{Client, ClientBuilder, ErrorCode, LeaderEpoch, Offset, Outcome, TimestampMs};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tonic::Status;

/// What the fake says of a topic.
#[derive(Debug, Clone)]
pub struct FakeTopic {
    pub partitions: u32,
    pub max_message_bytes: u32,
    pub id: [u8; 16],
}

/// The topics, and where the test takes requests from.
#[derive(Debug)]
pub struct Shared {
    pub topics: Mutex<BTreeMap<String, FakeTopic>>,
    /// The next producer id that is handed out.
    pub producer_ids: AtomicI64,
    /// The epoch that is handed out with each.
    pub first_epoch: AtomicI32,
    produced: mpsc::UnboundedSender<Incoming>,
    consumed: mpsc::UnboundedSender<Consuming>,
}

pub struct FakeBroker {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
    produced: mpsc::UnboundedReceiver<Incoming>,
    consumed: mpsc::UnboundedReceiver<Consuming>,
    runtime: Option<Runtime>,
}

impl FakeBroker {
    /// With one topic `t`.
    pub async fn start(partitions: u32) -> Self {
        let (produced_to, produced) = mpsc::unbounded_channel();
        let (consumed_to, consumed) = mpsc::unbounded_channel();
        let topic = FakeTopic { partitions, max_message_bytes: 1 << 20, id: [7; 16] };
        let topics = Mutex::new(BTreeMap::from([("t".to_owned(), topic)]));
        let shared = Arc::new(Shared {
            topics,
            producer_ids: AtomicI64::new(1),
            first_epoch: AtomicI32::new(0),
            produced: produced_to,
            consumed: consumed_to,
        });
        let mut fake = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            shared,
            produced,
            consumed,
            runtime: None,
        };
        fake.serve().await;
        fake
    }

    /// Begins to listen, at the address it had before if there was one.
    pub async fn serve(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (bound, address) = oneshot::channel();
        let (shared, wanted) = (Arc::clone(&self.shared), self.address);
        runtime.spawn(async move {
            let listener = loop {
                match TcpListener::bind(wanted).await {
                    Ok(listener) => break listener,
                    // The listener of the runtime that was shut down is still going away.
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            bound.send(listener.local_addr().unwrap()).unwrap();
            services::serve(shared, listener).await;
        });
        self.address = address.await.unwrap();
        self.runtime = Some(runtime);
    }

    /// Breaks every connection and listens no more.
    pub fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder(format!("http://{}", self.address))
    }

    pub fn client(&self) -> Client {
        self.builder().connect_lazy().unwrap()
    }

    /// The next produce request of any stream.
    pub async fn request(&mut self) -> Incoming {
        self.produced.recv().await.unwrap()
    }

    /// The next consume stream.
    pub async fn consume(&mut self) -> Consuming {
        self.consumed.recv().await.unwrap()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Answers = mpsc::UnboundedSender<Result<v1::ProduceResponse, Status>>;

/// A produce request, to be answered by the test.
#[derive(Debug)]
pub struct Incoming {
    pub request: v1::ProduceRequest,
    answers: Answers,
}

impl Incoming {
    /// Its batch.
    pub fn batch(&self) -> Batch {
        let Some(v1::produce_request::Payload::Batch(batch)) = &self.request.payload else {
            panic!("the client sent no batch")
        };
        Batch::parse(batch.clone()).unwrap()
    }

    /// Producer id, epoch and base sequence of its batch.
    pub fn numbers(&self) -> (i64, i16, i32) {
        let batch = self.batch();
        let header = batch.header();
        (header.producer_id, header.producer_epoch, header.base_sequence)
    }

    /// The values of its records, as text.
    pub fn values(&self) -> Vec<String> {
        let records = self.batch().records(DecompressLimits::default()).unwrap();
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        records.iter().map(|record| text(record.unwrap().value)).collect()
    }

    pub fn partition(&self) -> u32 {
        self.request.partition.unwrap()
    }

    fn answer(&self, result: v1::produce_response::Result) {
        let correlation_id = self.request.correlation_id;
        // The client may have left; the test looks at what it made of that.
        let _ = self.answers.send(Ok(v1::ProduceResponse { correlation_id, result: Some(result) }));
    }

    pub fn ack(&self, base_offset: u64) {
        self.ack_counting(base_offset, u32::try_from(self.values().len()).unwrap());
    }

    pub fn ack_counting(&self, base_offset: u64, record_count: u32) {
        self.acknowledge(base_offset, record_count, false);
    }

    /// Acknowledges it as one that was there already.
    pub fn ack_duplicate(&self, base_offset: u64) {
        self.acknowledge(base_offset, u32::try_from(self.values().len()).unwrap(), true);
    }

    fn acknowledge(&self, base_offset: u64, record_count: u32, duplicate: bool) {
        let appended = v1::AppendedRecords {
            duplicate,
            partition: self.partition(),
            base_offset,
            record_count,
            durable_replicas: 1,
            ..v1::AppendedRecords::default()
        };
        self.answer(v1::produce_response::Result::Ok(v1::ProduceAck { appended: vec![appended] }));
    }

    pub fn refuse(&self, code: ErrorCode, outcome: Outcome) {
        self.refuse_with(Refusal::new(code, "the test says so").with_outcome(outcome));
    }

    pub fn refuse_with(&self, refusal: Refusal) {
        self.answer(v1::produce_response::Result::Error(refusal.into()));
    }

    /// Ends the stream that it came on.
    pub fn break_stream(&self) {
        let _ = self.answers.send(Err(Status::unavailable("the test breaks the stream")));
    }
}

/// A consume stream, to be fed by the test.
#[derive(Debug)]
pub struct Consuming {
    pub request: v1::ConsumeRequest,
    answers: mpsc::UnboundedSender<Result<v1::ConsumeResponse, Status>>,
}

impl Consuming {
    /// Partition and offset that each partition begins at.
    pub fn starts(&self) -> Vec<(u32, u64)> {
        let start = |p: &v1::ConsumePartition| match p.start.as_ref().unwrap().spec {
            Some(v1::offset_spec::Spec::Offset(offset)) => (p.partition, offset),
            ref other => panic!("{other:?} is no offset"),
        };
        self.request.partitions.iter().map(start).collect()
    }

    pub fn send(&self, partition: u32, batches: Bytes, next_offset: u64) {
        let fetched = v1::FetchedPartition {
            topic: "t".to_owned(),
            partition,
            high_watermark: 1000,
            batches,
            next_offset,
            ..v1::FetchedPartition::default()
        };
        let _ = self.answers.send(Ok(v1::ConsumeResponse { partition: Some(fetched), done: false }));
    }

    pub fn refuse(&self, partition: u32, refusal: Refusal) {
        let fetched = v1::FetchedPartition {
            topic: "t".to_owned(),
            partition,
            error: Some(refusal.into()),
            ..v1::FetchedPartition::default()
        };
        let _ = self.answers.send(Ok(v1::ConsumeResponse { partition: Some(fetched), done: true }));
    }

    pub fn break_stream(&self) {
        let _ = self.answers.send(Err(Status::unavailable("the test breaks the stream")));
    }
}

/// A stored batch of these values, at an offset.
pub fn batch(base_offset: u64, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 24);
    for value in values {
        let added = builder.push(TimestampMs(1), None, Some(value.as_ref()), []).unwrap();
        assert_eq!(added, PushOutcome::Added);
    }
    let built = Batch::parse(builder.build().unwrap()).unwrap();
    built.stamp(Offset::new(base_offset).unwrap(), LeaderEpoch::ZERO).to_bytes()
}

/// A stored batch of one value, compressed.
pub fn compressed(base_offset: u64, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::Gzip, 1 << 24);
    assert_eq!(builder.push(TimestampMs(1), None, Some(value), []).unwrap(), PushOutcome::Added);
    let built = Batch::parse(builder.build().unwrap()).unwrap();
    built.stamp(Offset::new(base_offset).unwrap(), LeaderEpoch::ZERO).to_bytes()
}

/// A stored batch that held these values and that compaction has emptied.
pub fn emptied(base_offset: u64, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Bytes {
    let stored = Batch::parse(batch(base_offset, values)).unwrap();
    let mut rewriter = BatchRewriter::new(DecompressLimits::default());
    rewriter.rewrite(&stored, None, |_| false).unwrap().into_bytes()
}
