//! Idempotent and conditional produce, seen from the wire: a batch is in the log once, however often it is sent.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::v1::{self, admin_client::AdminClient, produce_client::ProduceClient, produce_response};
use corduroy_batch::{BatchBuilder, Compression, ProducerFields};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::{SimDisk, disk::SimCall};
use corduroy_types::TimestampMs;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

type AppendAnswer = Result<v1::AppendedRecords, v1::Error>;

async fn start(disk: &SimDisk) -> (RunningBroker, Channel) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(disk.clone())).await.unwrap();
    let url = format!("http://{}", broker.grpc_addr());
    (broker, Channel::from_shared(url).unwrap().connect().await.unwrap())
}

async fn create_topic(channel: &Channel, configs: &[(&str, &str)]) {
    let entry = |(key, value): &(&str, &str)| v1::ConfigEntry { key: (*key).into(), value: (*value).into() };
    let configs = configs.iter().map(entry).collect();
    let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, configs, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer = AdminClient::new(channel.clone()).create_topics(request).await.unwrap().into_inner();
    assert_eq!(answer.topics[0].error, None);
}

async fn new_producer(channel: &Channel) -> i64 {
    let answer = ProduceClient::new(channel.clone()).init_producer(v1::InitProducerRequest {}).await.unwrap();
    assert_eq!(answer.get_ref().producer_epoch, 0);
    answer.into_inner().producer_id
}

/// A batch of two records.
fn batch(id: i64, epoch: i16, base_sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 10_000);
    builder.set_producer(ProducerFields { id, epoch, base_sequence });
    for value in [b"a", b"b"] {
        let pushed = builder.push(TimestampMs(1_000), None, Some(value), []);
        assert!(pushed.is_ok());
    }
    builder.build().unwrap()
}

fn request(batch: Bytes) -> v1::ProduceRequest {
    v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(v1::produce_request::Payload::Batch(batch)),
        ..Default::default()
    }
}

/// A request about another partition, which does not exist.
fn nowhere() -> v1::ProduceRequest {
    v1::ProduceRequest { partition: Some(7), ..request(Bytes::new()) }
}

/// One stream, on which requests are numbered in their order.
struct Stream {
    requests: mpsc::Sender<v1::ProduceRequest>,
    answers: Streaming<v1::ProduceResponse>,
    sent: u64,
}

impl Stream {
    async fn open(channel: &Channel) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let answers = ProduceClient::new(channel.clone()).produce(ReceiverStream::new(stream)).await;
        Self { requests, answers: answers.unwrap().into_inner(), sent: 0 }
    }

    async fn send(&mut self, request: v1::ProduceRequest) {
        self.requests.send(v1::ProduceRequest { correlation_id: self.sent, ..request }).await.unwrap();
        self.sent += 1;
    }

    async fn next(&mut self) -> (u64, AppendAnswer) {
        let answer = self.answers.message().await.unwrap().unwrap();
        let result = match answer.result.unwrap() {
            produce_response::Result::Ok(mut ack) => Ok(ack.appended.remove(0)),
            produce_response::Result::Error(error) => Err(error),
        };
        (answer.correlation_id, result)
    }

    async fn ask(&mut self, request: v1::ProduceRequest) -> AppendAnswer {
        self.send(request).await;
        self.next().await.1
    }
}

fn appended(answer: AppendAnswer) -> (u64, bool) {
    match answer {
        Ok(part) => (part.base_offset, part.duplicate),
        Err(error) => panic!("refused: {error:?}"),
    }
}

fn refused(answer: AppendAnswer) -> (v1::ErrorCode, v1::Outcome) {
    match answer {
        Ok(part) => panic!("appended: {part:?}"),
        Err(error) => (error.code(), error.outcome()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_answered_with_its_first_offset_also_after_a_crash() {
    use v1::{ErrorCode as E, Outcome as O};
    // Two records in each batch.
    let offset = |n: i32| u64::from(n.unsigned_abs()) * 2;
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    create_topic(&channel, &[]).await;
    let id = new_producer(&channel).await;
    let mut stream = Stream::open(&channel).await;
    for n in 0..7 {
        assert_eq!(appended(stream.ask(request(batch(id, 0, n * 2))).await), (offset(n), false));
    }
    assert_eq!(appended(stream.ask(request(batch(id, 0, 12))).await), (12, true));
    broker.crash();
    disk.crash();

    let (broker, channel) = start(&disk).await;
    let mut stream = Stream::open(&channel).await;
    for n in 2..7 {
        assert_eq!(appended(stream.ask(request(batch(id, 0, n * 2))).await), (offset(n), true));
    }
    assert_eq!(refused(stream.ask(request(batch(id, 0, 2))).await), (E::SequenceUnknown, O::Unknown));
    assert_eq!(refused(stream.ask(request(batch(id, 0, 16))).await), (E::OutOfSequence, O::NotWritten));
    assert_eq!(refused(stream.ask(request(batch(id + 7, 0, 4))).await), (E::SequenceUnknown, O::Unknown));
    assert_eq!(appended(stream.ask(request(batch(id, 1, 0))).await), (14, false));
    // This one never came, and that one was acknowledged: the partition remembers neither.
    for sequence in [14, 12] {
        let answer = stream.ask(request(batch(id, 0, sequence))).await;
        assert_eq!(refused(answer), (E::ProducerFenced, O::Unknown), "{sequence}");
    }
    assert_eq!(refused(stream.ask(request(batch(id, -1, 0))).await), (E::InvalidBatch, O::NotWritten));

    let later = new_producer(&channel).await;
    assert!(later > id, "no id is handed out twice");
    broker.shutdown().await;
    let (broker, channel) = start(&disk).await;
    assert!(new_producer(&channel).await > later);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_answered_when_its_original_is_durable() {
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    create_topic(&channel, &[]).await;
    let id = new_producer(&channel).await;
    let mut stream = Stream::open(&channel).await;
    let gate = disk.hold(SimCall::Sync);
    stream.send(request(batch(id, 0, 0))).await;
    stream.send(request(batch(id, 0, 0))).await;
    stream.send(nowhere()).await;
    // The refusal shows that those before it were accepted; nothing else is answered while the sync hangs.
    let (correlation_id, answer) = stream.next().await;
    assert_eq!((correlation_id, refused(answer).0), (2, v1::ErrorCode::PartitionNotFound));
    gate.open();
    let [(0, first), (1, again)] = [stream.next().await, stream.next().await] else { panic!("out of order") };
    assert_eq!(first.as_ref().unwrap().durable_replicas, 1);
    assert_eq!((appended(first), appended(again)), ((0, false), (0, true)));
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_of_what_a_failed_sync_lost_is_unknown_too() {
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    create_topic(&channel, &[]).await;
    let id = new_producer(&channel).await;
    let mut stream = Stream::open(&channel).await;
    assert_eq!(appended(stream.ask(request(batch(id, 0, 0))).await), (0, false));
    let gate = disk.hold(SimCall::Sync);
    stream.send(request(batch(id, 0, 2))).await;
    stream.send(request(batch(id, 0, 2))).await;
    stream.send(nowhere()).await;
    assert_eq!(refused(stream.next().await.1).0, v1::ErrorCode::PartitionNotFound);
    disk.fail_nth(SimCall::Sync, 0);
    gate.open();
    for _ in 0..2 {
        assert_eq!(refused(stream.next().await.1), (v1::ErrorCode::StorageFailed, v1::Outcome::Unknown));
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expected_offset_is_looked_at_after_duplicates() {
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    create_topic(&channel, &[("message.timestamp.type", "LogAppendTime")]).await;
    let id = new_producer(&channel).await;
    let mut stream = Stream::open(&channel).await;
    let expecting = |request, offset| v1::ProduceRequest { expected_offset: Some(offset), ..request };
    let first = stream.ask(expecting(request(batch(id, 0, 0)), 0)).await.unwrap();
    let again = stream.ask(expecting(request(batch(id, 0, 0)), 0)).await.unwrap();
    assert_eq!(again, v1::AppendedRecords { duplicate: true, ..first.clone() }, "its first time too");
    assert!(first.log_append_time_ms.is_some());

    let plain = v1::ProduceRequest {
        payload: Some(v1::produce_request::Payload::Records(v1::PlainRecords {
            records: vec![v1::Record { value: Some(Bytes::from_static(b"c")), ..Default::default() }],
        })),
        ..request(Bytes::new())
    };
    let error = stream.ask(expecting(plain.clone(), 0)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (v1::ErrorCode::OffsetMismatch, v1::Outcome::NotWritten));
    assert_eq!((error.next_offset, error.retriable), (Some(2), false));
    assert_eq!(appended(stream.ask(expecting(plain.clone(), 2)).await), (2, false));
    let nowhere = v1::ProduceRequest { partition: None, ..expecting(plain, 3) };
    assert_eq!(refused(stream.ask(nowhere).await), (v1::ErrorCode::InvalidRequest, v1::Outcome::NotWritten));
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_not_written_only_where_the_batch_is_known_to_be_absent() {
    use v1::{ErrorCode as E, Outcome as O};
    let (broker, channel) = start(&SimDisk::new()).await;
    create_topic(&channel, &[]).await;
    let id = new_producer(&channel).await;
    let mut stream = Stream::open(&channel).await;
    let (there, next, ahead) = (batch(id, 0, 0), batch(id, 0, 2), batch(id, 0, 4));
    assert_eq!(appended(stream.ask(request(there.clone())).await), (0, false));
    assert_eq!(refused(stream.ask(request(ahead.clone())).await), (E::OutOfSequence, O::NotWritten));
    // Whose numbers may be what was damaged, may be any.
    let damaged = |batch: &Bytes| {
        let mut bytes = batch.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        request(bytes.into())
    };
    assert_eq!(refused(stream.ask(damaged(&next)).await), (E::CorruptBatch, O::Unknown));
    assert_eq!(refused(stream.ask(damaged(&batch(-1, -1, -1))).await), (E::CorruptBatch, O::NotWritten));
    // Above every limit: only the beginning is looked at.
    let large = |batch: &Bytes| request([batch.as_ref(), &[0; 3 << 20]].concat().into());
    assert_eq!(refused(stream.ask(large(&there)).await), (E::BatchTooLarge, O::Unknown));
    assert_eq!(refused(stream.ask(large(&next)).await), (E::BatchTooLarge, O::NotWritten));
    // What is not there holds nothing.
    let elsewhere = v1::ProduceRequest { partition: Some(7), ..request(there.clone()) };
    assert_eq!(refused(stream.ask(elsewhere).await), (E::PartitionNotFound, O::NotWritten));
    let elsewhere = v1::ProduceRequest { topic: "u".to_owned(), ..request(there.clone()) };
    assert_eq!(refused(stream.ask(elsewhere).await), (E::TopicNotFound, O::NotWritten));
    let acks = v1::ProduceRequest { acks: 9, ..request(there.clone()) };
    assert_eq!(refused(stream.ask(acks).await), (E::InvalidRequest, O::Unknown));
    // By rules that came later.
    let set = vec![v1::ConfigEntry { key: "message.timestamp.before.max.ms".into(), value: "1000".into() }];
    let alter = v1::AlterTopicConfigsRequest { topic: "t".to_owned(), set, ..Default::default() };
    AdminClient::new(channel.clone()).alter_topic_configs(alter).await.unwrap();
    assert_eq!(refused(stream.ask(request(there)).await), (E::InvalidTimestamp, O::Unknown));
    for absent in [next, ahead, batch(-1, -1, -1)] {
        assert_eq!(refused(stream.ask(request(absent)).await), (E::InvalidTimestamp, O::NotWritten));
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_about_one_partition_come_in_the_order_of_the_requests() {
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    create_topic(&channel, &[]).await;
    let id = new_producer(&channel).await;
    let mut stream = Stream::open(&channel).await;
    assert_eq!(appended(stream.ask(request(batch(id, 0, 0))).await), (0, false));
    let gate = disk.hold(SimCall::Sync);
    // One that waits for the disk, a refusal, a duplicate of what is durable, one that waits, a duplicate of that.
    for sequence in [2, 99, 0, 4, 4] {
        stream.send(request(batch(id, 0, sequence))).await;
    }
    stream.send(nowhere()).await;
    assert_eq!(stream.next().await.0, 6, "another partition's answer waits for none of them");
    gate.open();
    let mut ids = Vec::new();
    for _ in 1..=5 {
        ids.push(stream.next().await.0);
    }
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    broker.shutdown().await;
}
