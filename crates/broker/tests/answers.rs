//! What answers hold, seen from the wire: no more than they may, what the request itself does, and why it was refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::{
    Refusal,
    v1::{
        self, admin_client::AdminClient, fetch_client::FetchClient, produce_client::ProduceClient,
        produce_request::Payload,
    },
};
use corduroy_batch::{BatchBuilder, Compression, PushOutcome};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::SimDisk;
use corduroy_types::{ErrorCode, TimestampMs};
use prost::Message as _;
use tonic::{Status, transport::Channel};

async fn start() -> (RunningBroker, Channel) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let url = format!("http://{}", broker.grpc_addr());
    (broker, Channel::from_shared(url).unwrap().connect().await.unwrap())
}

fn new_topic(name: &str) -> v1::NewTopic {
    v1::NewTopic { name: name.to_owned(), partition_count: 1, ..Default::default() }
}

async fn create(channel: &Channel, names: &[&str], validate_only: bool) -> Vec<Option<v1::Error>> {
    let topics = names.iter().map(|name| new_topic(name)).collect();
    let request = v1::CreateTopicsRequest { topics, validate_only };
    let answer = AdminClient::new(channel.clone()).create_topics(request).await.unwrap().into_inner();
    answer.topics.into_iter().map(|topic| topic.error).collect()
}

async fn delete(channel: &Channel, names: &[&str], validate_only: bool) -> Vec<Option<v1::Error>> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let request = v1::DeleteTopicsRequest { names, validate_only };
    let answer = AdminClient::new(channel.clone()).delete_topics(request).await.unwrap().into_inner();
    answer.topics.into_iter().map(|topic| topic.error).collect()
}

fn codes(errors: Vec<Option<v1::Error>>) -> Vec<Option<ErrorCode>> {
    let refusals = errors.into_iter().map(|error| error.map(Refusal::from));
    refusals
        .map(|refusal| {
            refusal.map(|refusal| {
                assert_eq!(refusal.outcome, None, "{refusal}: no produce, no outcome");
                refusal.code
            })
        })
        .collect()
}

/// Appends one batch of records with these value lengths to partition 0 of `t`.
async fn produce(channel: &Channel, codec: Compression, lengths: &[usize]) {
    let mut builder = BatchBuilder::new(codec, 64 << 20);
    for length in lengths {
        let pushed = builder.push(TimestampMs(1_000), None, Some(&vec![7; *length]), []);
        assert_eq!(pushed.unwrap(), PushOutcome::Added);
    }
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Batch(builder.build().unwrap())),
        ..Default::default()
    };
    let mut client = ProduceClient::new(channel.clone());
    let mut answers = client.produce(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().result.unwrap();
    assert!(matches!(answer, v1::produce_response::Result::Ok(_)), "{answer:?}");
}

/// Checks one plain message: dense from `next`, and no larger than `max_bytes` unless it has one record. Returns where
/// to go on.
fn check(message: &v1::FetchedPartition, next: u64, max_bytes: usize) -> u64 {
    assert_eq!(message.error, None);
    let records = &message.records;
    assert!(records.iter().zip(next..).all(|(record, offset)| record.offset == offset), "from {next}");
    let bytes: usize = records.iter().map(|record| record.encoded_len() + 4).sum();
    assert!(bytes <= max_bytes || records.len() == 1, "{bytes} bytes of {} records", records.len());
    assert!(message.next_offset >= next + records.len() as u64);
    message.next_offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_messages_hold_what_they_may_however_much_is_compressed_in_a_batch() {
    let (broker, channel) = start().await;
    assert_eq!(codes(create(&channel, &["t"], false).await), [None]);
    // A small batch that makes 20 MB, one record that is larger than a message may be, and some that are not compressed.
    produce(&channel, Compression::Gzip, &[10_000; 2_000]).await;
    produce(&channel, Compression::Gzip, &[10, 600_000, 10]).await;
    produce(&channel, Compression::None, &[50_000; 20]).await;
    let end = 2_023;

    let mut client = FetchClient::new(channel.clone()).max_decoding_message_size(4 << 20);
    for (max_bytes, most) in [(0, 1 << 20), (100_000, 100_000), (1, 1)] {
        // One record in each message, where only one fits: some are enough to see it.
        let mut next = if max_bytes == 1 { 1_995 } else { 0 };
        while next < end {
            let partition = v1::FetchPartition { topic: "t".to_owned(), offset: next, ..Default::default() };
            let request = v1::FetchRequest {
                partitions: vec![partition],
                max_bytes,
                form: v1::RecordForm::Plain.into(),
                ..Default::default()
            };
            let answer = client.fetch(request).await.unwrap().into_inner();
            let after = check(&answer.partitions[0], next, most);
            assert!(after > next);
            next = after;
        }
        assert_eq!(next, end);
    }

    for (max_message_bytes, most) in [(0, 1 << 20), (250_000, 250_000)] {
        let partition = v1::ConsumePartition {
            topic: "t".to_owned(),
            start: Some(v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Offset(3)) }),
            until: Some(v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::End(true)) }),
            ..Default::default()
        };
        let request = v1::ConsumeRequest {
            partitions: vec![partition],
            form: v1::RecordForm::Plain.into(),
            max_message_bytes,
        };
        let mut stream = client.consume(request).await.unwrap().into_inner();
        let mut next = 3;
        while let Some(message) = stream.message().await.unwrap() {
            next = check(&message.partition.unwrap(), next, most);
        }
        assert_eq!(next, end);
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_message_limit_is_charged_for_what_the_first_batch_takes() {
    let (broker, channel) = start().await;
    assert_eq!(codes(create(&channel, &["t"], false).await), [None]);
    produce(&channel, Compression::None, &[100_000; 5]).await;
    let partition = v1::FetchPartition { topic: "t".to_owned(), max_bytes: 1, ..Default::default() };
    let request = v1::FetchRequest { partitions: vec![partition], ..Default::default() };
    let answer = FetchClient::new(channel.clone()).fetch(request).await.unwrap().into_inner();
    assert!(answer.partitions[0].batches.len() > 500_000, "a whole batch");
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_runs_against_what_the_request_itself_does() {
    let (broker, channel) = start().await;
    for validate_only in [true, false] {
        let created = codes(create(&channel, &["t", "u", "t"], validate_only).await);
        assert_eq!(created, [None, None, Some(ErrorCode::TopicExists)], "validate_only: {validate_only}");
    }
    for validate_only in [true, false] {
        let deleted = codes(delete(&channel, &["t", "t", "u"], validate_only).await);
        assert_eq!(deleted, [None, Some(ErrorCode::TopicNotFound), None], "validate_only: {validate_only}");
    }
    assert_eq!(codes(create(&channel, &["t"], false).await), [None]);
    let partition = |before_offset| v1::DeleteRecordsPartition { partition: 0, before_offset };
    let request = v1::DeleteRecordsRequest {
        topic: "t".to_owned(),
        partitions: vec![partition(0), partition(0)],
        validate_only: true,
    };
    let refused = AdminClient::new(channel.clone()).delete_records(request).await.unwrap_err();
    let refusal = Refusal::from_status(&refused);
    assert_eq!((refusal.code, refusal.outcome), (ErrorCode::InvalidRequest, None));
    assert!(refusal.message.contains("0 is given twice"), "{refusal}");
    broker.shutdown().await;
}

/// Sends bytes that are no message of the method.
async fn undecodable(channel: &Channel, path: &'static str) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    // Field 1 is no number in any of them.
    let wrong = v1::StayInGroup { member_epoch: 7, ..Default::default() };
    let codec = tonic_prost::ProstCodec::<v1::StayInGroup, v1::Header>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.server_streaming(tonic::Request::new(wrong), path, codec).await;
    match answer {
        Err(status) => status,
        Ok(mut stream) => match stream.get_mut().message().await {
            Err(status) => status,
            Ok(message) => panic!("answered {message:?}"),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_refused_with_the_whole_error() {
    let (broker, channel) = start().await;
    let paths = [
        "/corduroy.v1.Fetch/Fetch",
        "/corduroy.v1.Fetch/Consume",
        "/corduroy.v1.Admin/DescribeTopics",
        "/corduroy.v1.Groups/Heartbeat",
        "/corduroy.v1.Groups/Subscribe",
    ];
    for path in paths {
        let status = undecodable(&channel, path).await;
        assert!(status.metadata().get_bin(corduroy_api::ERROR_DETAIL_KEY).is_some(), "{path}: {status:?}");
        let refusal = Refusal::from_status(&status);
        assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{path}: {refusal}");
        assert!(refusal.message.contains("cannot be decoded"), "{path}: {refusal}");
    }
    let status = undecodable(&channel, "/corduroy.v1.Fetch/Fetsch").await;
    assert_eq!(Refusal::from_status(&status).code, ErrorCode::Unsupported);
    assert!(status.metadata().get_bin(corduroy_api::ERROR_DETAIL_KEY).is_some());
    broker.shutdown().await;
}
