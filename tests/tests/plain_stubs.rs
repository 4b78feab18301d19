//! A program with nothing but the stubs generated from the `.proto` files produces and consumes.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod support;

use std::collections::BTreeSet;

use bytes::Bytes;
use corduroy_api::v1::{
    self, fetch_client::FetchClient, groups_client::GroupsClient, offset_spec::Spec,
    produce_client::ProduceClient, produce_request::Payload, produce_response, subscribe_request::Request,
    subscribe_response::Response,
};
use corduroy_testing::Broker;
use support::stub;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

fn record(key: Option<&str>, value: &str) -> v1::Record {
    v1::Record {
        key: key.map(|key| Bytes::from(key.to_owned())),
        value: Some(Bytes::from(value.to_owned())),
        ..Default::default()
    }
}

fn request(id: u64, topic: &str, partition: Option<u32>, records: Vec<v1::Record>) -> v1::ProduceRequest {
    v1::ProduceRequest {
        correlation_id: id,
        topic: topic.to_owned(),
        partition,
        payload: Some(Payload::Records(v1::PlainRecords { records })),
        ..Default::default()
    }
}

/// Sends requests over one stream and returns the answers, ordered by correlation id.
async fn produce(channel: Channel, requests: Vec<v1::ProduceRequest>) -> Vec<produce_response::Result> {
    let mut client = ProduceClient::new(channel);
    let stream = client.produce(tokio_stream::iter(requests)).await.expect("the stream opens").into_inner();
    let mut answers: Vec<_> = stream.map(|answer| answer.expect("the stream goes on")).collect().await;
    answers.sort_by_key(|answer| answer.correlation_id);
    answers.into_iter().map(|answer| answer.result.expect("a result")).collect()
}

fn ack(result: &produce_response::Result) -> &v1::ProduceAck {
    match result {
        produce_response::Result::Ok(ack) => ack,
        produce_response::Result::Error(error) => panic!("refused: {error:?}"),
    }
}

fn refusal(result: &produce_response::Result) -> &v1::Error {
    match result {
        produce_response::Result::Error(error) => error,
        produce_response::Result::Ok(ack) => panic!("not refused: {ack:?}"),
    }
}

#[tokio::test]
async fn keys_choose_partitions_and_order_is_kept() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 4, &[]).await;
    let records: Vec<_> = (0..100).map(|n| record(Some(&format!("key-{}", n % 7)), &n.to_string())).collect();
    let answers = produce(channel.clone(), vec![request(1, "orders", None, records)]).await;
    let mut seen = BTreeSet::new();
    for part in &ack(&answers[0]).appended {
        assert_eq!(part.record_count as usize, part.record_indexes.len());
        assert_eq!(part.durable_replicas, 1);
        seen.extend(part.record_indexes.iter().copied());
    }
    assert_eq!(seen.len(), 100, "every record has its place in the answer");

    let log = stub::read_all(broker.url(), "orders", 4).await;
    for key in 0..7 {
        let of_key = |value: &Bytes| std::str::from_utf8(value).unwrap().parse::<u32>().unwrap() % 7 == key;
        let places: Vec<_> = log.iter().filter(|(_, _, value)| of_key(value)).collect();
        let expected = corduroy_batch::partition_for_key(format!("key-{key}").as_bytes(), 4).0;
        assert!(
            places.iter().all(|(partition, ..)| *partition == expected),
            "murmur2, as Kafka's clients do it"
        );
        let values: Vec<u32> =
            places.iter().map(|(_, _, value)| std::str::from_utf8(value).unwrap().parse().unwrap()).collect();
        assert!(values.is_sorted(), "records of one key keep their order");
    }
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_never_ends_the_stream() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 1, &[("max.message.bytes", "2KiB")]).await;
    let mut corrupt = corduroy_batch::BatchBuilder::new(corduroy_batch::Compression::None, 10_000);
    let pushed = corrupt.push(corduroy_types::TimestampMs(1), None, Some(b"v"), []).unwrap();
    assert_eq!(pushed, corduroy_batch::PushOutcome::Added);
    let mut corrupt = corrupt.build().unwrap().to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let raw = |id, partition, batch| v1::ProduceRequest {
        correlation_id: id,
        topic: "orders".to_owned(),
        partition,
        payload: Some(Payload::Batch(batch)),
        ..Default::default()
    };
    let requests = vec![
        request(1, "orders", Some(0), vec![record(None, "first")]),
        request(2, "ordres", Some(0), vec![record(None, "x")]),
        request(3, "../etc", Some(0), vec![record(None, "x")]),
        request(4, "orders", Some(7), vec![record(None, "x")]),
        request(5, "orders", Some(0), vec![]),
        request(6, "orders", Some(0), vec![record(None, &"x".repeat(3_000))]),
        raw(7, Some(0), corrupt.into()),
        raw(8, Some(0), Bytes::from_static(b"no batch")),
        raw(9, None, Bytes::from_static(b"no partition")),
        v1::ProduceRequest { correlation_id: 10, topic: "orders".to_owned(), ..Default::default() },
        v1::ProduceRequest { acks: 99, ..request(11, "orders", Some(0), vec![record(None, "x")]) },
        v1::ProduceRequest {
            timeout_ms: u32::MAX,
            ..request(12, "orders", Some(0), vec![record(None, "x")])
        },
        v1::ProduceRequest {
            topic_id: Bytes::from_static(&[7; 16]),
            ..request(13, "orders", Some(0), vec![record(None, "x")])
        },
        request(14, "orders", Some(0), vec![record(None, "last")]),
    ];
    let answers = produce(channel, requests).await;
    let codes: Vec<_> = answers[1..13].iter().map(|answer| refusal(answer).code()).collect();
    use v1::ErrorCode as E;
    assert_eq!(
        codes,
        [
            E::TopicNotFound,
            E::InvalidTopicName,
            E::PartitionNotFound,
            E::InvalidRequest,
            E::RecordTooLarge,
            E::CorruptBatch,
            E::InvalidBatch,
            E::InvalidRequest,
            E::InvalidRequest,
            E::InvalidRequest,
            E::InvalidRequest,
            E::TopicIdMismatch,
        ]
    );
    for answer in &answers[1..13] {
        let error = refusal(answer);
        assert_eq!(error.outcome(), v1::Outcome::NotWritten, "{error:?}");
        assert!(!error.message.is_empty() && !error.hint.is_empty(), "{error:?}");
    }
    assert!(refusal(&answers[1]).hint.contains("orders"), "it suggests the topic that was meant");
    assert_eq!(ack(&answers[0]).appended[0].base_offset, 0);
    assert_eq!(ack(&answers[13]).appended[0].base_offset, 1, "nothing that was refused is in the log");
}

#[tokio::test]
async fn consume_says_where_it_begins_and_goes_on_with_what_comes() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 1, &[]).await;
    produce(channel.clone(), vec![request(1, "orders", Some(0), vec![record(None, "a"), record(None, "b")])])
        .await;
    let from_start = v1::ConsumeRequest {
        partitions: vec![v1::ConsumePartition {
            topic: "orders".to_owned(),
            partition: 0,
            start: Some(v1::OffsetSpec { spec: Some(Spec::BeforeEnd(1)) }),
            until: Some(v1::OffsetSpec { spec: Some(Spec::Offset(4)) }),
            ..Default::default()
        }],
        form: v1::RecordForm::Plain.into(),
        ..Default::default()
    };
    let mut stream = FetchClient::new(channel.clone()).consume(from_start).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().partition.unwrap();
    assert_eq!((first.next_offset, first.high_watermark, first.records.len()), (1, 2, 0));
    let mut values = Vec::new();
    let mut produced = false;
    while let Some(message) = stream.message().await.unwrap() {
        let partition = message.partition.unwrap();
        assert_eq!(partition.error, None);
        values.extend(partition.records.into_iter().map(|record| (record.offset, record.value.unwrap())));
        if !produced {
            produced = true;
            let more = vec![record(None, "c"), record(None, "d"), record(None, "e")];
            produce(channel.clone(), vec![request(2, "orders", Some(0), more)]).await;
        }
    }
    let expected = [(1, "b"), (2, "c"), (3, "d")].map(|(offset, value)| (offset, Bytes::from(value)));
    assert_eq!(values, expected, "nothing at or beyond `until`");
}

#[tokio::test]
async fn a_fetch_waits_for_records_and_names_ranges() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 1, &[]).await;
    let fetch = |offset, max_wait_ms| v1::FetchRequest {
        partitions: vec![v1::FetchPartition { topic: "orders".to_owned(), offset, ..Default::default() }],
        max_wait_ms,
        form: v1::RecordForm::Plain.into(),
        ..Default::default()
    };
    let mut client = FetchClient::new(channel.clone());
    let beyond = client.fetch(fetch(5, 0)).await.unwrap().into_inner().partitions.remove(0);
    let error = beyond.error.unwrap();
    assert_eq!(error.code(), v1::ErrorCode::OffsetOutOfRange);
    assert_eq!((error.log_start, error.high_watermark), (Some(0), Some(0)));
    let empty = client.fetch(fetch(0, 0)).await.unwrap().into_inner().partitions.remove(0);
    assert!(empty.error.is_none() && empty.records.is_empty());

    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.fetch(fetch(0, 300_000)).await.unwrap().into_inner() });
    produce(channel.clone(), vec![request(1, "orders", Some(0), vec![record(Some("k"), "v")])]).await;
    let fetched = waiting.await.unwrap().partitions.remove(0);
    assert_eq!(fetched.records[0].value.as_deref(), Some(&b"v"[..]));
    assert_eq!((fetched.next_offset, fetched.high_watermark), (1, 1));
    let status = client.fetch(v1::FetchRequest::default()).await.unwrap_err();
    assert_eq!(corduroy_api::Refusal::from_status(&status).code, corduroy_types::ErrorCode::InvalidRequest);
}

/// A member of the group `billing`.
struct Member {
    requests: tokio::sync::mpsc::Sender<v1::SubscribeRequest>,
    answers: tonic::Streaming<v1::SubscribeResponse>,
}

impl Member {
    async fn join(channel: Channel) -> Self {
        let subscription = v1::Subscription { topics: vec!["orders".to_owned()], ..Default::default() };
        let member_spec = v1::JoinGroup { subscription: Some(subscription), ..Default::default() };
        let join = v1::SubscribeJoin {
            group: "billing".to_owned(),
            member_spec: Some(member_spec),
            ..Default::default()
        };
        let (requests, stream) = tokio::sync::mpsc::channel(16);
        requests.send(v1::SubscribeRequest { request: Some(Request::Join(join)) }).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let answers = GroupsClient::new(channel).subscribe(stream).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn next(&mut self) -> Response {
        self.answers.message().await.unwrap().unwrap().response.unwrap()
    }

    async fn send(&self, request: Request) {
        self.requests.send(v1::SubscribeRequest { request: Some(request) }).await.unwrap();
    }

    async fn acknowledge(&self, partition: u32, offset: u64) {
        let offset =
            v1::OffsetToCommit { topic: "orders".to_owned(), partition, offset, ..Default::default() };
        self.send(Request::Acknowledge(v1::Acknowledgement { offsets: vec![offset] })).await;
    }

    /// Handles what comes until so many records did, releasing what is revoked; returns their values.
    async fn handle(&mut self, count: usize) -> Vec<Bytes> {
        let mut values = Vec::new();
        while values.len() < count {
            match self.next().await {
                Response::Records(records) => {
                    assert_eq!(records.error, None);
                    self.acknowledge(records.partition, records.next_offset).await;
                    values.extend(records.records.into_iter().map(|record| record.value.unwrap()));
                }
                Response::Revoked(revoked) => {
                    self.send(Request::Release(v1::Release { topics: revoked.topics })).await;
                }
                Response::Committed(committed) => {
                    assert!(committed.offsets.iter().all(|one| one.error.is_none()), "{committed:?}");
                }
                Response::Joined(_) | Response::Assigned(_) => {}
                other => panic!("{other:?}"),
            }
        }
        values
    }

    async fn leave(self) {
        let Self { requests, mut answers } = self;
        drop(requests);
        while answers.message().await.unwrap().is_some() {}
    }
}

#[tokio::test]
async fn members_of_a_group_need_nothing_but_the_stub() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 2, &[]).await;
    let each = |name: &str| {
        let to = |partition| {
            request(1, "orders", Some(partition), vec![record(None, &format!("{name}-{partition}"))])
        };
        vec![to(0), to(1)]
    };
    produce(channel.clone(), each("first")).await;
    let mut a = Member::join(channel.clone()).await;
    assert_eq!(a.handle(2).await.len(), 2);

    // A second member, on a connection of its own, gets one of the two partitions.
    let mut b = Member::join(stub::connect(broker.url()).await).await;
    let read = async {
        loop {
            match a.next().await {
                Response::Revoked(revoked) => {
                    a.send(Request::Release(v1::Release { topics: revoked.topics })).await;
                    return;
                }
                Response::Committed(_) | Response::Assigned(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    read.await;
    produce(channel.clone(), each("second")).await;
    let (of_a, of_b) = (a.handle(1).await, b.handle(1).await);
    let both: BTreeSet<_> = of_a.into_iter().chain(of_b).collect();
    assert_eq!(both, ["second-0", "second-1"].map(Bytes::from).into());

    // `a` leaves: `b` goes on in both, from what was committed.
    a.leave().await;
    produce(channel.clone(), each("third")).await;
    let rest: BTreeSet<_> = b.handle(2).await.into_iter().collect();
    assert_eq!(rest, ["third-0", "third-1"].map(Bytes::from).into(), "nothing again, nothing skipped");
    b.leave().await;
}

#[tokio::test]
async fn a_member_with_the_stub_shares_a_topic_with_one_of_the_rust_client() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 2, &[]).await;
    let each = |name: &str| {
        let to = |partition| {
            request(1, "orders", Some(partition), vec![record(None, &format!("{name}-{partition}"))])
        };
        vec![to(0), to(1)]
    };
    produce(channel.clone(), each("first")).await;
    let client = broker.client();
    let mut rust = client.consumer().group("billing").topics(["orders"]).build().await.unwrap();
    for _ in 0..2 {
        rust.next().await.unwrap().unwrap().done();
    }
    // The Rust member hands one partition over, with what it has done there.
    let mut plain = Member::join(stub::connect(broker.url()).await).await;
    let assigned = loop {
        if let Response::Assigned(assigned) = plain.next().await
            && let [one] = assigned.partitions.as_slice()
        {
            break one.clone();
        }
    };
    assert_eq!(assigned.offset, Some(1), "from where the other one had come");
    produce(channel.clone(), each("second")).await;
    let theirs = plain.handle(1).await.remove(0);
    let message = rust.next().await.unwrap().unwrap();
    let both: BTreeSet<_> = [theirs, message.value_bytes().unwrap()].into();
    message.done();
    assert_eq!(both, ["second-0", "second-1"].map(Bytes::from).into());

    // And the other way round.
    rust.close(std::time::Duration::from_secs(30)).await.unwrap();
    produce(channel.clone(), each("third")).await;
    let rest: BTreeSet<_> = plain.handle(2).await.into_iter().collect();
    assert_eq!(rest, ["third-0", "third-1"].map(Bytes::from).into(), "nothing again, nothing skipped");
    plain.leave().await;
    broker.caught_up("billing").await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_a_produce_stream_with_its_reason() {
    let broker = Broker::start().await.unwrap();
    let channel = stub::connect(broker.url()).await;
    stub::create_topic(channel.clone(), "orders", 1, &[]).await;
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    requests.send(request(1, "orders", Some(0), vec![record(None, "a")])).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = ProduceClient::new(channel).produce(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().expect("the stream is open");
    ack(&answer.result.unwrap());
    let (stopped, end) = tokio::join!(broker.stop(), answers.message());
    assert!(stopped);
    let refusal = corduroy_api::Refusal::from_status(&end.expect_err("its end has a reason"));
    assert_eq!(refusal.code, corduroy_types::ErrorCode::ShuttingDown, "{refusal:?}");
    drop(requests);
}
