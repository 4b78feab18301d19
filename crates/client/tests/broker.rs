//! The client against the real engine, in this process and in memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::{collections::HashMap, time::Duration};

use corduroy_client::{
    Acks, Compression, ErrorCode, NewTopic, Offset, OffsetSpec, Outcome, PartitionIndex, PartitionStatus,
    Record, RecordRef, SendErrorKind, TimestampMs,
};
use corduroy_testing::Broker;

async fn broker_with(topic: &str, partitions: u32) -> Broker {
    let broker = Broker::start().await.unwrap();
    broker.topic(topic, partitions).await.unwrap();
    broker
}

fn texts(messages: &[corduroy_client::Message]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8_lossy(m.value().unwrap_or_default()).into_owned()).collect()
}

#[tokio::test]
async fn a_record_comes_back_with_everything_it_had() {
    let broker = broker_with("orders", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    let record = Record::to("orders")
        .key("alice")
        .value("1 book")
        .header("trace", "7f")
        .header("trace", "80")
        .null_header("empty")
        .timestamp(TimestampMs(1_700_000_000_000));
    let meta = producer.send(record).await.unwrap();
    assert_eq!(
        (meta.topic.as_str(), meta.partition, meta.offset),
        ("orders", PartitionIndex(0), Offset::ZERO)
    );
    assert_eq!(meta.timestamp, TimestampMs(1_700_000_000_000));
    assert_eq!(meta.durable_replicas, 1);
    producer.send(Record::to("orders").key("alice").tombstone()).await.unwrap();

    let messages = broker.records("orders").await.unwrap();
    let first = &messages[0];
    assert_eq!(first.key(), Some(b"alice".as_ref()));
    assert_eq!(first.value_bytes().unwrap(), "1 book");
    assert_eq!(first.header("trace"), Some(b"80".as_ref()));
    let headers: Vec<_> = first.headers().collect();
    assert_eq!(headers, [("trace", Some(b"7f".as_ref())), ("trace", Some(b"80")), ("empty", None)]);
    assert_eq!(first.timestamp(), TimestampMs(1_700_000_000_000));
    assert_eq!(messages[1].value(), None);
    assert_eq!(messages[1].offset(), Offset::new(1).unwrap());
}

#[tokio::test]
async fn every_codec_and_acks_round_trips_in_order() {
    for (compression, acks) in [
        (Compression::None, Acks::One),
        (Compression::Gzip, Acks::Quorum),
        (Compression::Snappy, Acks::All),
        (Compression::Lz4, Acks::Quorum),
    ] {
        let broker = broker_with("t", 1).await;
        let producer =
            broker.client().producer().compression(compression).acks(acks).batch_bytes(32 * 1024).build();
        let producer = producer.await.unwrap();
        let sent: Vec<String> = (0..5_000).map(|n| format!("record {n}")).collect();
        for text in &sent {
            drop(
                producer
                    .enqueue_ref(RecordRef { value: Some(text.as_bytes()), ..RecordRef::to("t") })
                    .await
                    .unwrap(),
            );
        }
        producer.flush().await.unwrap();
        assert_eq!(texts(&broker.records("t").await.unwrap()), sent, "{compression}");
    }
}

#[tokio::test]
async fn records_of_a_key_keep_their_order_and_partition() {
    let broker = broker_with("t", 4).await;
    let producer = broker.client().producer().batch_bytes(4096).build().await.unwrap();
    for n in 0..2_000_u32 {
        let record = Record::to("t").key(format!("key {}", n % 17)).value(n.to_string());
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close(Duration::from_secs(60)).await.unwrap();
    let mut last: HashMap<Vec<u8>, (PartitionIndex, u32)> = HashMap::new();
    let messages = broker.records("t").await.unwrap();
    assert_eq!(messages.len(), 2_000);
    for message in messages {
        let key = message.key().unwrap().to_vec();
        assert_eq!(corduroy_batch::partition_for_key(&key, 4), message.partition());
        let n: u32 = std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap();
        let before = last.insert(key, (message.partition(), n));
        assert!(before.is_none_or(|(partition, before)| partition == message.partition() && before < n));
    }
}

#[tokio::test]
async fn unkeyed_records_sent_one_by_one_use_every_partition() {
    let broker = broker_with("t", 3).await;
    let producer = broker.client().producer().build().await.unwrap();
    let mut partitions = Vec::new();
    for _ in 0..3 {
        partitions.push(producer.send(Record::to("t").value("x")).await.unwrap().partition.0);
    }
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2]);
}

#[tokio::test]
async fn wrong_records_are_refused_before_anything_is_sent() {
    let broker = Broker::start().await.unwrap();
    let admin = broker.client().admin();
    admin
        .create_topic(NewTopic::named("orders").partitions(2).config("max.message.bytes", "2000"))
        .await
        .unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    for (record, code) in [
        (Record::to("ordres").value("x"), ErrorCode::TopicNotFound),
        (Record::to("no/path").value("x"), ErrorCode::InvalidTopicName),
        (Record::to("orders").partition(2).value("x"), ErrorCode::PartitionNotFound),
        (Record::to("orders").value(vec![0; 2000]), ErrorCode::RecordTooLarge),
    ] {
        let error = producer.send(record.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
        assert_eq!(error.record(), Some(&record));
        assert!(!error.is_retriable());
    }
    let error = producer.prepare("ordres").await.unwrap_err();
    assert!(error.hint().contains("did you mean \"orders\"?"), "{}", error.hint());
    // The largest record that fits does.
    producer.send(Record::to("orders").value(vec![0; 1900])).await.unwrap();
    assert_eq!(broker.records("orders").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_record_counts_as_large_as_it_is_sent() {
    let broker = Broker::start().await.unwrap();
    let small = NewTopic::named("t").partitions(1).config("max.message.bytes", "64KiB");
    broker.client().admin().create_topic(small).await.unwrap();
    let client = broker.client();
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let producer =
            client.producer().compression(compression).buffer_bytes(1 << 20).build().await.unwrap();
        let large = vec![b'a'; 900_000];
        let meta = producer.send(Record::to("t").value(large.clone())).await.unwrap();
        let stored = broker.records("t").await.unwrap().pop().unwrap();
        assert_eq!((stored.offset(), stored.value()), (meta.offset, Some(&large[..])), "{compression}");

        // What does not fit compressed either is not sent, and comes back whole; those around it are delivered.
        let noise: Vec<u8> =
            (0_u32..50_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let before = producer.enqueue(Record::to("t").value("before")).await.unwrap();
        let refused = producer.enqueue(Record::to("t").value(noise.clone())).await.unwrap();
        let behind = producer.enqueue(Record::to("t").value("behind")).await.unwrap();
        let error = refused.await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (ErrorCode::RecordTooLarge, Outcome::NotWritten));
        assert!(error.message().contains("is 65536"), "{error}");
        assert_eq!(error.into_record().unwrap().value_bytes().unwrap(), &noise);
        before.await.unwrap();
        behind.await.unwrap();

        // Its memory is bounded before it is compressed.
        let error = producer.send(Record::to("t").value(vec![b'a'; 1 << 20])).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (ErrorCode::RecordTooLarge, Outcome::NotWritten));
    }
}

#[tokio::test]
async fn a_topic_made_again_is_found_again() {
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    producer.send(Record::to("t").value("old")).await.unwrap();
    let mut consumer = broker.client().consumer().topics(["t"]).build().await.unwrap();
    consumer.next().await.unwrap().unwrap();
    broker.client().admin().delete_topics(["t"]).await.unwrap().remove(0).unwrap();
    broker.topic("t", 1).await.unwrap();
    producer.send(Record::to("t").value("new")).await.unwrap();
    assert_eq!(texts(&broker.records("t").await.unwrap()), ["new"]);
    // A consumer has offsets of the old one, so it gets an error.
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(error.code(), ErrorCode::TopicIdMismatch | ErrorCode::TopicNotFound), "{error}");
}

#[tokio::test]
async fn added_partitions_are_noticed_when_one_is_asked_for() {
    let broker = broker_with("t", 1).await;
    let admin = broker.client().admin();
    broker.client().consumer().topics(["t"]).build().await.unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    producer.prepare("t").await.unwrap();
    let added = admin.add_partitions("t", 3).await.unwrap();
    assert_eq!((added.previous_partition_count, added.partition_count), (1, 3));
    let consumer = broker.client().consumer().assign([("t", 2, OffsetSpec::Start)]).build().await.unwrap();
    assert_eq!(consumer.position("t", 2), Some(Offset::ZERO));
    // A producer that knew fewer looks again, too.
    producer.send(Record::to("t").partition(2).value("x")).await.unwrap();
    let error = producer.send(Record::to("t").partition(3).value("x")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PartitionNotFound);
    let error = broker.client().consumer().assign([("t", 3, OffsetSpec::Start)]).build().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PartitionNotFound);
}

#[tokio::test]
async fn a_consumer_of_a_topic_follows_its_growth_from_the_new_partitions_start() {
    for start in [OffsetSpec::Start, OffsetSpec::End] {
        let broker = broker_with("t", 1).await;
        let (event_tx, mut events) = tokio::sync::mpsc::unbounded_channel();
        let client =
            corduroy_client::Client::builder(broker.url()).on_event(move |event| drop(event_tx.send(event)));
        let client = client.connect().await.unwrap();
        let connected = || async { corduroy_client::Client::builder(broker.url()).connect().await.unwrap() };
        let producer = connected().await.producer().build().await.unwrap();
        let record = |partition: u32, n: u32| Record::to("t").partition(partition).value(n.to_string());
        // The client remembers the topic with one partition; the consumer is built after it has two.
        client.producer().build().await.unwrap().prepare("t").await.unwrap();
        broker.client().admin().add_partitions("t", 2).await.unwrap();
        producer.send(record(0, 0)).await.unwrap();
        let builder = client.consumer().topics(["t"]).start(start).topic_refresh(Duration::from_millis(20));
        let mut consumer = builder.build().await.unwrap();
        producer.send(record(0, 1)).await.unwrap();
        broker.client().admin().add_partitions("t", 4).await.unwrap();
        for partition in [2, 3] {
            // From a client that has not seen the topic before.
            let producer = connected().await.producer().build().await.unwrap();
            assert_eq!(producer.send(record(partition, partition)).await.unwrap().offset, Offset::ZERO);
        }
        let mut wanted: Vec<_> = ["1", "2", "3"].map(str::to_owned).into();
        if start == OffsetSpec::Start {
            wanted.insert(0, "0".to_owned());
        }
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            got.extend(texts(&[consumer.next().await.unwrap().unwrap()]));
        }
        got.sort_unstable();
        assert_eq!(got, wanted, "{start:?}");
        assert_eq!(consumer.assignment().len(), 4);
        // The places of partitions that came later can be used like those of the others.
        consumer.seek("t", 3, OffsetSpec::Start).await.unwrap();
        assert_eq!(texts(&[consumer.next().await.unwrap().unwrap()]), ["3"]);
        let corduroy_client::Event::PartitionsAdded { partitions } = events.recv().await.unwrap() else {
            panic!("another event")
        };
        assert_eq!(partitions.first().unwrap().partition, PartitionIndex(2));
    }
}

#[tokio::test]
async fn a_consumer_begins_and_ends_where_it_is_asked_to() {
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    for n in 0..10 {
        let record =
            Record::to("t").value(n.to_string()).timestamp(TimestampMs(1_700_000_000_000 + n * 1000));
        producer.send(record).await.unwrap();
    }
    let offset = |n| OffsetSpec::Offset(Offset::new(n).unwrap());
    for (from, until, expected) in [
        (OffsetSpec::Start, OffsetSpec::End, (0..10).collect::<Vec<_>>()),
        (offset(3), offset(5), vec![3, 4]),
        (OffsetSpec::BeforeEnd(2), OffsetSpec::End, vec![8, 9]),
        (OffsetSpec::Time(TimestampMs(1_700_000_006_500)), OffsetSpec::End, vec![7, 8, 9]),
        (OffsetSpec::End, OffsetSpec::End, vec![]),
        (offset(5), offset(5), vec![]),
    ] {
        let mut consumer =
            broker.client().consumer().assign([("t", 0, from)]).until(until).build().await.unwrap();
        let mut got = Vec::new();
        while let Some(message) = consumer.next().await {
            got.push(message.unwrap().offset().get());
        }
        assert_eq!(got, expected, "{from:?}..{until:?}");
        assert!(consumer.is_ended());
    }
}

#[tokio::test]
async fn whole_batches_hold_what_was_asked_for_and_no_more() {
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().linger(Duration::from_secs(60)).build().await.unwrap();
    for n in 0..10 {
        drop(producer.enqueue(Record::to("t").value(n.to_string())).await.unwrap());
    }
    producer.flush().await.unwrap();
    let offset = |n| OffsetSpec::Offset(Offset::new(n).unwrap());
    let mut consumer =
        broker.client().consumer().assign([("t", 0, offset(2))]).until(offset(7)).build().await.unwrap();
    assert_eq!(consumer.next().await.unwrap().unwrap().offset().get(), 2);
    // What was taken as a message is not in the batch that follows.
    let batch = consumer.next_records().await.unwrap().unwrap();
    let offsets: Vec<_> = batch.iter().map(|record| record.unwrap().offset.get()).collect();
    assert_eq!(offsets, [3, 4, 5, 6]);
    assert_eq!(batch.records().record_count(), 10);
    assert_eq!(batch.next_offset().get(), 7);
    assert!(consumer.next_records().await.is_none());
    assert_eq!(consumer.assignment().next().unwrap().status, PartitionStatus::Done);
}

#[tokio::test]
async fn offsets_outside_the_log_are_reported_and_never_reset() {
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    for _ in 0..5 {
        producer.send(Record::to("t").value("x")).await.unwrap();
    }
    let admin = broker.client().admin();
    let deleted = admin.delete_records("t", [(PartitionIndex(0), Offset::new(2).unwrap())]).await.unwrap();
    assert_eq!(deleted[0].as_ref().unwrap().log_start.get(), 2);
    for wrong in [0, 9] {
        let from = OffsetSpec::Offset(Offset::new(wrong).unwrap());
        let mut consumer = broker.client().consumer().assign([("t", 0, from)]).build().await.unwrap();
        let error = consumer.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
        assert_eq!(error.log_start().map(Offset::get), Some(2));
        assert_eq!(error.high_watermark().map(Offset::get), Some(5));
        assert!(consumer.next().await.is_none(), "a stopped partition has nothing more");
        consumer.seek("t", 0, OffsetSpec::Start).await.unwrap();
        assert_eq!(consumer.next().await.unwrap().unwrap().offset().get(), 2);
    }
}

#[tokio::test]
async fn paused_partitions_rest_and_go_on_where_they_were() {
    let broker = broker_with("t", 2).await;
    let producer = broker.client().producer().build().await.unwrap();
    for n in 0..20_u32 {
        producer.send(Record::to("t").partition(n % 2).value(n.to_string())).await.unwrap();
    }
    let mut consumer = broker.client().consumer().topics(["t"]).until(OffsetSpec::End).build().await.unwrap();
    consumer.pause([("t", 1)]).unwrap();
    for n in 0..10 {
        let message = consumer.next().await.unwrap().unwrap();
        assert_eq!((message.partition().0, message.offset().get()), (0, n));
    }
    assert!(!consumer.is_ended());
    consumer.resume([("t", 1)]).unwrap();
    for n in 0..10 {
        let message = consumer.next().await.unwrap().unwrap();
        assert_eq!((message.partition().0, message.offset().get()), (1, n));
    }
    assert!(consumer.next().await.is_none());
    assert!(consumer.pause([("t", 7)]).is_err());
}

#[tokio::test]
async fn a_consumer_at_the_end_sees_what_comes() {
    let broker = broker_with("t", 1).await;
    let mut consumer = broker.client().consumer().topics(["t"]).start(OffsetSpec::End).build().await.unwrap();
    let none = consumer.next_batch(10, Duration::from_millis(1)).await.unwrap();
    assert!(none.is_empty() && !consumer.is_ended());
    let producer = broker.client().producer().build().await.unwrap();
    producer.send(Record::to("t").value("hello")).await.unwrap();
    let some = consumer.next_batch(10, Duration::from_secs(60)).await.unwrap();
    assert_eq!(texts(&some), ["hello"]);
}

#[tokio::test]
async fn keeping_messages_never_stops_a_reader_who_waits() {
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    let value = vec![b'x'; 100_000];
    for _ in 0..50 {
        drop(producer.enqueue_ref(RecordRef { value: Some(&value), ..RecordRef::to("t") }).await.unwrap());
    }
    producer.flush().await.unwrap();
    let consumer = broker.client().consumer().topics(["t"]).until(OffsetSpec::End).buffer_bytes(1 << 20);
    let mut consumer = consumer.build().await.unwrap();
    let mut kept = Vec::new();
    while let Some(message) = consumer.next().await {
        kept.push(message.unwrap());
    }
    assert_eq!(kept.len(), 50);
}

#[tokio::test]
async fn admin_calls_answer_item_by_item() {
    let broker = Broker::start().await.unwrap();
    let admin = broker.client().admin();
    let made =
        admin.create_topic(NewTopic::named("a").partitions(2).config("retention.ms", "1d")).await.unwrap();
    assert_eq!((made.name.as_str(), made.partition_count, made.existed), ("a", 2, false));
    assert_eq!(admin.create_topic("a").await.unwrap_err().code(), ErrorCode::TopicExists);
    assert!(admin.create_topic("a").if_not_exists().await.unwrap().existed);
    admin.create_topic("b").validate_only().await.unwrap();
    let results = admin.create_topics([NewTopic::named("c"), NewTopic::named("..")]).await.unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().code(), ErrorCode::InvalidTopicName);

    let names: Vec<_> = admin.list_topics().await.unwrap().into_iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["a", "c"]);
    let described = admin.describe_topics(["a", "zzz"]).await.unwrap();
    let a = described[0].as_ref().unwrap();
    assert_eq!(a.partitions.len(), 2);
    assert_eq!(a.configs.iter().find(|c| c.key == "retention.ms").unwrap().value, "1d");
    assert_eq!(described[1].as_ref().unwrap_err().code(), ErrorCode::TopicNotFound);

    let changes = admin.alter_topic_configs("a").set("retention.ms", "2d").await.unwrap();
    assert_eq!((changes[0].previous_value.as_str(), changes[0].value.as_str()), ("1d", "2d"));
    let error = admin.alter_topic_configs("a").set("retention.mss", "2d").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownConfigKey);
    let found = admin
        .list_offsets([("a", PartitionIndex(0), OffsetSpec::End), ("a", PartitionIndex(9), OffsetSpec::End)]);
    let found = found.await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().offset, Offset::ZERO);
    assert_eq!(found[1].as_ref().unwrap_err().code(), ErrorCode::PartitionNotFound);
    let cluster = admin.describe_cluster().await.unwrap();
    assert_eq!((cluster.brokers.len(), cluster.topic_count), (1, 2));
    let deleted = admin.delete_topics(["a", "nope"]).await.unwrap();
    assert!(deleted[0].is_ok());
    assert_eq!(deleted[1].as_ref().unwrap_err().code(), ErrorCode::TopicNotFound);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_loss() {
    let mut broker = broker_with("t", 2).await;
    let producer = broker.client().producer().build().await.unwrap();
    for n in 0..100 {
        producer.send(Record::to("t").key(n.to_string()).value("x")).await.unwrap();
    }
    broker.restart_after_power_loss().await.unwrap();
    assert_eq!(broker.records("t").await.unwrap().len(), 100);
}

#[tokio::test]
async fn close_answers_closed_ever_after() {
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    let clone = producer.clone();
    let pending = clone.enqueue(Record::to("t").value("x")).await.unwrap();
    producer.close(Duration::from_secs(60)).await.unwrap();
    pending.await.unwrap();
    let error = clone.send(Record::to("t").value("y")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (SendErrorKind::Closed, ErrorCode::Closed));
    assert!(clone.try_enqueue(Record::to("t").value("y")).is_err());
    clone.flush().await.unwrap();
    clone.close(Duration::ZERO).await.unwrap();
    assert_eq!(broker.records("t").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_without_a_runtime_may_try_to_enqueue() {
    let broker = broker_with("orders", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    let plain = producer.clone();
    std::thread::spawn(move || {
        // The first calls are refused while the topic is looked up in the background.
        while let Err(error) = plain.try_enqueue(Record::to("orders").value("v")) {
            assert_eq!(error.kind(), SendErrorKind::TopicNotReady, "{error}");
            std::thread::yield_now();
        }
    })
    .join()
    .unwrap();
    producer.flush().await.unwrap();
    assert_eq!(broker.records("orders").await.unwrap().len(), 1);
}
