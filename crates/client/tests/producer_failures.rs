//! What a producer makes of refusals, broken streams, silence and full buffers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use std::time::Duration;

use corduroy_client::{Acks, Compression, Delivery, ErrorCode, Outcome, Producer, Record, SendErrorKind};
use support::FakeBroker;

/// Large enough for a batch of its own at `batch_bytes(1024)`, and recognised by its number.
fn large(n: usize) -> Record {
    Record::to("t").partition(0).value(format!("{n}{}", "x".repeat(900)))
}

fn number(value: &str) -> usize {
    value.trim_end_matches('x').parse().unwrap()
}

async fn enqueue_large(producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for n in 0..count {
        deliveries.push(producer.enqueue(large(n)).await.unwrap());
    }
    // The last batch is not full: a flush that has begun keeps it from gathering.
    assert!(futures_util::poll!(Box::pin(producer.flush())).is_pending());
    deliveries
}

#[tokio::test]
async fn without_numbers_a_batch_whose_stream_breaks_is_unknown_and_handed_back() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().acks(Acks::One).build().await.unwrap();
    let record = Record::to("t").key("k").value("v").header("h", "x").null_header("n");
    let delivery = producer.enqueue(record.clone()).await.unwrap();
    fake.request().await.break_stream();
    let error = delivery.await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (SendErrorKind::Disconnected, Outcome::Unknown));
    assert_eq!(error.code(), ErrorCode::Unavailable);
    let back = error.into_record().unwrap();
    assert!(back.timestamp_ms().is_some());
    assert_eq!(back.clone().timestamp(back.timestamp_ms().unwrap()), back);
    assert_eq!(back.key_bytes(), record.key_bytes());
    assert_eq!(back.value_bytes(), record.value_bytes());
    assert_eq!(back.headers().collect::<Vec<_>>(), record.headers().collect::<Vec<_>>());
    assert_eq!(back.partition_index().unwrap().0, 0);

    // The producer goes on over a new stream.
    let delivery = producer.enqueue(Record::to("t").value("next")).await.unwrap();
    let request = fake.request().await;
    assert_eq!(request.values(), ["next"]);
    request.ack(5);
    assert_eq!(delivery.await.unwrap().offset.get(), 5);
}

#[tokio::test]
async fn records_gather_while_a_batch_is_in_flight() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().build().await.unwrap();
    let first = producer.enqueue(Record::to("t").value("0")).await.unwrap();
    let request = fake.request().await;
    assert_eq!(request.values(), ["0"], "with nothing in flight a batch leaves at once");
    let mut rest = Vec::new();
    for n in 1..=10 {
        rest.push(producer.enqueue(Record::to("t").value(n.to_string())).await.unwrap());
    }
    request.ack(0);
    assert_eq!(first.await.unwrap().offset.get(), 0);
    let request = fake.request().await;
    assert_eq!(request.values().len(), 10);
    request.ack(1);
    for (n, delivery) in rest.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset.get(), n as u64 + 1);
    }
}

#[tokio::test]
async fn with_linger_a_batch_leaves_when_it_is_old_enough_or_full() {
    let mut fake = FakeBroker::start(1).await;
    let builder = fake.client().producer().batch_bytes(1024);
    let old = builder.clone().linger(Duration::from_millis(20)).build().await.unwrap();
    let _delivery = old.enqueue(Record::to("t").value("1")).await.unwrap();
    let _second = old.enqueue(Record::to("t").value("2")).await.unwrap();
    assert_eq!(fake.request().await.values()[0], "1");
    let full = builder.linger(Duration::from_secs(3600)).build().await.unwrap();
    let _first = full.enqueue(large(0)).await.unwrap();
    let _second = full.enqueue(large(1)).await.unwrap();
    loop {
        let values = fake.request().await.values();
        if values[0].len() > 1 {
            assert_eq!(number(&values[0]), 0);
            break;
        }
    }
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let mut fake = FakeBroker::start(2).await;
    let producer = fake.client().producer().batch_bytes(1024).build().await.unwrap();
    let mut deliveries = enqueue_large(&producer, 3).await;
    deliveries.push(producer.enqueue(Record::to("t").partition(1).value("9")).await.unwrap());
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(fake.request().await);
    }
    for request in requests.iter().rev() {
        let n = number(&request.values()[0]) as u64;
        request.ack(100 * n);
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.unwrap().offset.get());
    }
    assert_eq!(offsets, [0, 100, 200, 900]);
}

#[tokio::test]
async fn no_more_batches_are_in_flight_than_allowed() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).max_in_flight(2).build().await.unwrap();
    let deliveries = enqueue_large(&producer, 20).await;
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..20 {
        let request = fake.request().await;
        assert_eq!(number(&request.values()[0]), n);
        waiting.push_back((n as u64, request));
        // The client cannot know that the third may come before the first is answered.
        assert!(waiting.len() <= 2);
        if waiting.len() == 2 {
            let (n, request) = waiting.pop_front().unwrap();
            request.ack(n);
        }
    }
    let (n, request) = waiting.pop_front().unwrap();
    request.ack(n);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[tokio::test]
async fn refused_batches_are_sent_again_in_their_order() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).build().await.unwrap();
    let deliveries = enqueue_large(&producer, 4).await;
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(fake.request().await);
    }
    // Whatever the order of the answers.
    for index in [2, 0, 3, 1] {
        requests[index].refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    }
    for n in 0..4 {
        let request = fake.request().await;
        assert_eq!(number(&request.values()[0]), n);
        request.ack(n as u64);
    }
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset.get(), n as u64);
    }
}

#[tokio::test]
async fn without_numbers_a_batch_that_was_overtaken_is_not_sent_again() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().acks(Acks::One).batch_bytes(1024).build().await.unwrap();
    let mut deliveries = enqueue_large(&producer, 3).await.into_iter();
    let requests = [fake.request().await, fake.request().await, fake.request().await];
    requests[0].refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    requests[1].ack(0);
    requests[2].refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    let error = deliveries.next().unwrap().await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (SendErrorKind::Overtaken, Outcome::NotWritten));
    assert_eq!(deliveries.next().unwrap().await.unwrap().offset.get(), 0);
    let again = fake.request().await;
    assert_eq!(number(&again.values()[0]), 2);
    again.ack(1);
    assert_eq!(deliveries.next().unwrap().await.unwrap().offset.get(), 1);
}

#[tokio::test]
async fn a_refusal_for_good_fails_that_batch_alone() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).build().await.unwrap();
    let mut deliveries = enqueue_large(&producer, 2).await.into_iter();
    fake.request().await.refuse(ErrorCode::InvalidTimestamp, Outcome::NotWritten);
    fake.request().await.ack(0);
    let error = deliveries.next().unwrap().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (SendErrorKind::Refused, ErrorCode::InvalidTimestamp));
    assert_eq!(error.outcome(), Outcome::NotWritten);
    deliveries.next().unwrap().await.unwrap();
    // No one took its delivery, and flush still knows.
    let error = producer.flush().await.unwrap_err();
    assert_eq!((error.failed_count, error.unknown_count), (1, 0));
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn an_answer_without_an_outcome_or_about_something_else_is_unknown() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().acks(Acks::One).build().await.unwrap();
    let delivery = producer.enqueue(Record::to("t").value("1")).await.unwrap();
    fake.request().await.ack_counting(0, 2);
    let error = delivery.await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::UnexpectedAnswer, Outcome::Unknown));
    let delivery = producer.enqueue(Record::to("t").value("1")).await.unwrap();
    fake.request().await.refuse(ErrorCode::TimedOut, Outcome::Unknown);
    assert_eq!(delivery.await.unwrap_err().outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn silence_ends_with_the_delivery_timeout() {
    let mut fake = FakeBroker::start(1).await;
    let producer =
        fake.client().producer().delivery_timeout(Duration::from_millis(50)).build().await.unwrap();
    let sent = producer.enqueue(Record::to("t").value("1")).await.unwrap();
    let request = fake.request().await;
    let gathered = producer.enqueue(Record::to("t").value("2")).await.unwrap();
    let error = sent.await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (SendErrorKind::TimedOut, Outcome::Unknown));
    // It left when the first was given up, or was given up too; either way there is an end.
    assert!(gathered.await.is_err());
    // A late answer changes nothing.
    request.ack(0);
    let delivery = producer.enqueue(Record::to("t").value("3")).await.unwrap();
    loop {
        let request = fake.request().await;
        if request.values() == ["3"] {
            request.ack(7);
            break;
        }
    }
    // On a slow machine even this may be overdue; it must end.
    let _ = delivery.await;
}

#[tokio::test]
async fn without_a_broker_nothing_is_written() {
    let mut fake = FakeBroker::start(1).await;
    let producer =
        fake.client().producer().delivery_timeout(Duration::from_millis(50)).build().await.unwrap();
    producer.prepare("t").await.unwrap();
    fake.kill();
    let error = producer.send(Record::to("t").value("1")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (SendErrorKind::TimedOut, Outcome::NotWritten));
    assert_eq!(error.record().unwrap().value_bytes().unwrap(), "1");
    assert!(error.is_retriable());
    let error = producer.send(Record::to("other").value("1")).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::Unavailable, Outcome::NotWritten));
}

#[tokio::test]
async fn a_full_buffer_pushes_back_and_loses_nothing() {
    let mut fake = FakeBroker::start(1).await;
    let producer =
        fake.client().producer().buffer_bytes(1 << 20).batch_bytes(64 * 1024).build().await.unwrap();
    producer.prepare("t").await.unwrap();
    let record = |n: usize| Record::to("t").value(format!("{n}{}", "x".repeat(10_000)));
    let mut accepted = 0;
    let refused = loop {
        match producer.try_enqueue(record(accepted)) {
            Ok(delivery) => drop(delivery),
            Err(error) => break error,
        }
        accepted += 1;
    };
    assert_eq!(refused.kind(), SendErrorKind::BufferFull);
    assert_eq!(refused.into_record().unwrap(), record(accepted));
    assert!((90..=104).contains(&accepted), "{accepted}");

    // One waits for room and is dropped: it was never accepted. Another one waits and gets it.
    let mut dropped = Box::pin(producer.enqueue(record(999)));
    assert!(futures_util::poll!(&mut dropped).is_pending());
    drop(dropped);
    let waiting = tokio::spawn({
        let (producer, last) = (producer.clone(), record(accepted));
        async move { producer.enqueue(last).await.unwrap().await.unwrap() }
    });
    let mut got = Vec::new();
    while got.len() <= accepted {
        let request = fake.request().await;
        let values = request.values();
        request.ack(got.len() as u64);
        got.extend(values.iter().map(|value| number(value)));
    }
    let last = waiting.await.unwrap();
    assert_eq!(last.offset.get(), accepted as u64);
    assert_eq!(got, (0..=accepted).collect::<Vec<_>>());
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn try_enqueue_says_when_the_topic_is_not_there_yet() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().build().await.unwrap();
    let error = producer.try_enqueue(Record::to("t").value("1")).unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::TopicNotReady);
    producer.prepare("t").await.unwrap();
    let delivery = producer.try_enqueue(Record::to("t").value("1")).unwrap();
    fake.request().await.ack(0);
    delivery.await.unwrap();
    // A wrong name is refused by a later call.
    let error = loop {
        let error = producer.try_enqueue(Record::to("tt").value("1")).unwrap_err();
        if error.kind() != SendErrorKind::TopicNotReady {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.code(), ErrorCode::TopicNotFound);
}

#[tokio::test]
async fn close_hands_back_what_was_not_delivered() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).max_in_flight(2).build().await.unwrap();
    let deliveries = enqueue_large(&producer, 5).await;
    let requests = [fake.request().await, fake.request().await];
    requests[0].ack(0);
    // Its place in flight is taken by the third.
    let third = fake.request().await;
    assert_eq!(number(&third.values()[0]), 2);
    let undelivered = producer.close(Duration::ZERO).await.unwrap_err();
    let ends: Vec<_> = undelivered
        .records
        .iter()
        .map(|(record, error)| {
            let value = record.value_bytes().unwrap();
            (number(std::str::from_utf8(value).unwrap()), error.outcome())
        })
        .collect();
    use Outcome::{NotWritten, Unknown};
    assert_eq!(ends, [(1, Unknown), (2, Unknown), (3, NotWritten), (4, NotWritten)]);
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.is_ok(), n == 0);
    }
}

#[tokio::test]
async fn dropped_futures_and_producers_lose_no_record() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().build().await.unwrap();
    producer.prepare("t").await.unwrap();
    let mut sending = Box::pin(producer.send(Record::to("t").value("1")));
    assert!(futures_util::poll!(&mut sending).is_pending());
    drop(sending);
    let request = fake.request().await;
    assert_eq!(request.values(), ["1"]);
    drop(producer.enqueue(Record::to("t").value("2")).await.unwrap());
    drop(producer);
    request.ack(0);
    let request = fake.request().await;
    assert_eq!(request.values(), ["2"]);
    request.ack(1);
}

#[tokio::test]
async fn a_broker_that_comes_back_is_used_again() {
    let mut fake = FakeBroker::start(1).await;
    let (event_tx, mut event_rx) = tokio::sync::mpsc::unbounded_channel();
    let client = fake.builder().on_event(move |event| event_tx.send(event).unwrap()).connect_lazy().unwrap();
    let producer = client.producer().build().await.unwrap();
    let first = producer.enqueue(Record::to("t").value("1")).await.unwrap();
    fake.request().await.ack(0);
    first.await.unwrap();
    fake.kill();
    let lost = event_rx.recv().await.unwrap();
    assert!(matches!(lost, corduroy_client::Event::Disconnected { .. }), "{lost:?}");
    let second = producer.enqueue(Record::to("t").value("2")).await.unwrap();
    fake.serve().await;
    fake.request().await.ack(1);
    assert_eq!(second.await.unwrap().offset.get(), 1);
    let back = event_rx.recv().await.unwrap();
    assert!(matches!(back, corduroy_client::Event::Reconnected { .. }), "{back:?}");
}

#[test]
fn a_batch_that_is_being_compressed_when_the_runtime_ends_has_an_end() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let [delivery] = runtime.block_on(async {
        let fake = FakeBroker::start(1).await;
        let producer = fake.client().producer().compression(Compression::Gzip).build().await.unwrap();
        producer.prepare("t").await.unwrap();
        // An id is there once a batch was sent.
        let mut fake = fake;
        let first = producer.enqueue(Record::to("t").value("small")).await.unwrap();
        fake.request().await.ack(0);
        first.await.unwrap();
        // Nothing is compressed while this holds the only thread for it.
        tokio::task::spawn_blocking(move || released.recv());
        let delivery = producer.enqueue(Record::to("t").value(vec![b'a'; 100_000])).await.unwrap();
        // The task takes the batch meanwhile. If it has not yet, the batch has to end all the same.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        [delivery]
    });
    runtime.shutdown_background();
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = other.block_on(delivery).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (SendErrorKind::Closed, Outcome::NotWritten));
    drop(release);
}
