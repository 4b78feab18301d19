//! Handlers that fail.

use std::{
    convert::Infallible,
    error::Error,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use corduroy_client::{
    ErrorCode, Event, Message, NewTopic, Offset, OnFailure, PartitionIndex, Record, Retry, RunError,
    TimestampMs, Workers, dead_letter,
};
use corduroy_log::disk::SimCall;

use crate::support::*;

fn quick(attempts: u32) -> Retry {
    Retry::exponential(attempts).first_wait(Duration::from_millis(1))
}

/// Handles everything but the record with this value, on which it fails.
fn fails_on(
    bad: &'static str,
    seen: &Seen<String>,
) -> impl Fn(Message) -> futures_util::future::BoxFuture<'static, Result<(), io::Error>> + Send + Sync + use<>
{
    let seen = seen.clone();
    move |message| {
        let seen = seen.clone();
        Box::pin(async move {
            seen.push(text(&message));
            if text(&message) == bad { Err(io::Error::other("no price")) } else { Ok(()) }
        })
    }
}

#[tokio::test]
async fn a_record_is_tried_again_until_it_succeeds() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("a", "a1")]).await;
    let (client, events) = listening(&broker);
    let seen = Seen::new();
    let attempts = Arc::new(AtomicU32::new(0));
    let handler = {
        let seen = seen.clone();
        move |message: Message| {
            let (seen, attempts) = (seen.clone(), Arc::clone(&attempts));
            async move {
                seen.push(text(&message));
                let fails = text(&message) == "a0" && attempts.fetch_add(1, Ordering::Relaxed) < 2;
                if fails { Err("not now") } else { Ok(()) }
            }
        }
    };
    let workers = Workers::by_key(4).retry(quick(3));
    let summary = consumer(&client).await.run_until(broker.caught_up("g"), workers, handler).await.unwrap();
    assert_eq!((summary.handled, summary.retried), (2, 2));
    assert_eq!(seen.all(), ["a0", "a0", "a0", "a1"], "its key waits");
    let failed: Vec<_> = (events.all().into_iter())
        .filter_map(|event| match event {
            Event::HandlerFailed { record, .. } => Some((record.offset.get(), record.attempts, record.error)),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [(0, 1, "not now".to_owned()), (0, 2, "not now".to_owned())]);
}

#[tokio::test]
async fn others_go_on_while_a_record_waits_even_with_one_worker() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("a", "a1"), ("b", "b0"), ("c", "c0")]).await;
    let seen = Seen::new();
    let hour = Duration::from_hours(1);
    let workers = Workers::by_key(1).retry(Retry::exponential(2).first_wait(hour).longest_wait(hour));
    let shutdown = async { drop(seen.count(3).await) };
    let run = consumer(broker.client()).await.run_until(shutdown, workers, fails_on("a0", &seen));
    let summary = run.await.unwrap();
    assert_eq!(seen.all(), ["a0", "b0", "c0"]);
    assert_eq!(summary.retried, 1);
    let committed = committed(&broker).await;
    assert_eq!(committed[&PartitionIndex(0)], Offset::ZERO, "nothing is committed beyond a0");
}

#[tokio::test]
async fn by_default_a_run_stops_at_a_record_that_fails_and_it_comes_again() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("b", "bad"), ("b", "b1")]).await;
    let seen = Seen::new();
    let workers = Workers::by_key(1).retry(quick(3));
    let error = consumer(broker.client()).await.run(workers, fails_on("bad", &seen)).await.unwrap_err();
    let shown = error.to_string();
    for words in ["topic \"t\"", "partition 0", "offset 1", "3 attempts", "no price"] {
        assert!(shown.contains(words), "{shown}");
    }
    let RunError::Handler { record, .. } = &error else { panic!("{error:?}") };
    assert_eq!((record.topic.as_str(), record.offset.get(), record.attempts), ("t", 1, 3));
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.to_string(), "no price", "the handler's error itself");
    assert_eq!(seen.all(), ["a0", "bad", "bad", "bad"]);
    assert_eq!(committed(&broker).await[&PartitionIndex(0)].get(), 1, "what was done is committed");

    let again = Seen::new();
    let run = consumer(broker.client()).await.run_until(
        broker.caught_up("g"),
        Workers::by_key(1),
        fails_on("nothing", &again),
    );
    assert_eq!(run.await.unwrap().handled, 2);
    assert_eq!(again.all(), ["bad", "b1"]);
}

#[tokio::test]
async fn a_record_that_is_skipped_is_counted_and_reported() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "bad"), ("a", "a1"), ("b", "b0")]).await;
    let (client, events) = listening(&broker);
    let seen = Seen::new();
    let workers = Workers::by_key(2).retry(quick(2)).on_failure(OnFailure::Skip);
    let run = consumer(&client).await.run_until(broker.caught_up("g"), workers, fails_on("bad", &seen));
    let summary = run.await.unwrap();
    assert_eq!((summary.handled, summary.retried, summary.skipped, summary.dead_lettered), (2, 1, 1, 0));
    assert_eq!(committed(&broker).await[&PartitionIndex(0)].get(), 3);
    let skipped = |event: Event| match event {
        Event::RecordSkipped { record } => Some(record),
        _ => None,
    };
    let skipped: Vec<_> = events.all().into_iter().filter_map(skipped).collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!((skipped[0].offset.get(), skipped[0].attempts), (0, 2));
    assert_eq!(skipped[0].to_string(), "topic \"t\" partition 0 offset 0 (2 attempts): no price");
}

#[tokio::test]
async fn a_dead_letter_says_where_it_comes_from_and_why() {
    let broker = broker_with("t", 1).await;
    broker.topic("t.dead", 1).await.unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    let bad = Record::to("t")
        .key("a")
        .value("bad")
        .header("trace", "7f")
        .null_header("empty")
        .header("trace", "80")
        .timestamp(TimestampMs(1_700_000_000_000));
    producer.send(Record::to("t").value("first")).await.unwrap();
    producer.send(bad).await.unwrap();
    producer.send(Record::to("t").key("a").value("a1")).await.unwrap();
    let (client, events) = listening(&broker);
    let seen = Seen::new();
    let workers = Workers::by_key(2).retry(quick(3)).on_failure(OnFailure::dead_letter("t.dead"));
    let run = consumer(&client).await.run_until(broker.caught_up("g"), workers, fails_on("bad", &seen));
    let summary = run.await.unwrap();
    assert_eq!((summary.handled, summary.retried, summary.skipped, summary.dead_lettered), (2, 2, 0, 1));
    assert_eq!(seen.all().last().unwrap(), "a1", "the rest of its key comes behind the dead letter");

    let dead = broker.records("t.dead").await.unwrap();
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!((letter.key(), letter.value()), (Some(&b"a"[..]), Some(&b"bad"[..])));
    let headers: Vec<_> =
        letter.headers().map(|(key, value)| (key, value.map(String::from_utf8_lossy))).collect();
    let headers: Vec<_> = headers.iter().map(|(key, value)| (*key, value.as_deref())).collect();
    let expected = [
        ("trace", Some("7f")),
        ("empty", None),
        ("trace", Some("80")),
        (dead_letter::TOPIC, Some("t")),
        (dead_letter::PARTITION, Some("0")),
        (dead_letter::OFFSET, Some("1")),
        (dead_letter::TIMESTAMP, Some("1700000000000")),
        (dead_letter::GROUP, Some("g")),
        (dead_letter::ATTEMPTS, Some("3")),
        (dead_letter::ERROR, Some("no price")),
    ];
    assert_eq!(headers, expected);
    assert!(letter.timestamp() > TimestampMs(1_700_000_000_000), "its own time is that of its writing");
    let skipped = events.all().into_iter().find_map(|event| match event {
        Event::RecordDeadLettered { record, dead_letter } => Some((record.offset.get(), dead_letter)),
        _ => None,
    });
    let (offset, meta) = skipped.unwrap();
    assert_eq!((offset, meta.topic.as_str(), meta.offset), (1, "t.dead", letter.offset()));
}

#[tokio::test]
async fn a_tombstone_and_a_missing_key_stay_what_they_are_as_dead_letters() {
    let broker = broker_with("t", 1).await;
    broker.topic("t.dead", 1).await.unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    producer.send(Record::to("t").key("a").tombstone()).await.unwrap();
    producer.send(Record::to("t").value("v")).await.unwrap();
    let workers = Workers::by_key(1).on_failure(OnFailure::dead_letter("t.dead"));
    let fails = |_: Message| async { Err("never") };
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), workers, fails);
    assert_eq!(run.await.unwrap().dead_lettered, 2);
    let dead = broker.records("t.dead").await.unwrap();
    let dead: Vec<_> = dead.iter().map(|letter| (letter.key(), letter.value())).collect();
    assert_eq!(dead, [(Some(&b"a"[..]), None), (None, Some(&b"v"[..]))]);
}

#[tokio::test]
async fn the_topic_for_dead_letters_has_to_be_there_before_anything_is_handled() {
    let broker = broker_with("t", 1).await;
    broker.topic("orders.dead", 1).await.unwrap();
    produce(&broker, &[("a", "a0")]).await;
    let seen = Seen::new();
    let workers = Workers::by_key(1).on_failure(OnFailure::dead_letter("order.dead"));
    let run = consumer(broker.client()).await.run(workers, fails_on("nothing", &seen));
    let error = run.await.unwrap_err();
    let RunError::Options(refused) = &error else { panic!("{error:?}") };
    assert_eq!(refused.code(), ErrorCode::TopicNotFound);
    assert!(refused.message().contains("dead letters cannot go to topic \"order.dead\""), "{refused}");
    assert!(refused.hint().contains("orders.dead"), "{}", refused.hint());
    assert!(seen.all().is_empty());

    let run = consumer(broker.client()).await.run(Workers::by_key(0), fails_on("nothing", &seen));
    let error = run.await.unwrap_err();
    assert!(matches!(&error, RunError::Options(e) if e.code() == ErrorCode::InvalidRequest), "{error:?}");
}

#[tokio::test]
async fn a_record_whose_dead_letter_is_refused_is_not_done() {
    let broker = broker_with("t", 1).await;
    // No room for the headers that a dead letter has more.
    let small = NewTopic::named("t.dead").partitions(1).config("max.message.bytes", "2000");
    broker.client().admin().create_topic(small).await.unwrap();
    let long = "x".repeat(1800);
    produce(&broker, &[("a", "a0"), ("b", &long), ("b", "b1")]).await;
    let workers = Workers::by_key(1).on_failure(OnFailure::dead_letter("t.dead"));
    let handler = |message: Message| async move {
        if message.value().is_some_and(|value| value.len() > 100) { Err("x".repeat(500)) } else { Ok(()) }
    };
    let error = consumer(broker.client()).await.run(workers, handler).await.unwrap_err();
    let RunError::DeadLetter { record, source } = &error else { panic!("{error:?}") };
    assert_eq!((record.offset.get(), record.attempts), (1, 1));
    assert!(!source.is_retriable(), "{source}");
    assert!(broker.records("t.dead").await.unwrap().is_empty());
    assert_eq!(committed(&broker).await[&PartitionIndex(0)].get(), 1);
}

#[tokio::test]
async fn a_dead_letter_that_fails_again_does_not_come_back_for_ever() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "bad")]).await;
    let seen = Seen::new();
    let workers = Workers::by_key(1).on_failure(OnFailure::dead_letter("t"));
    let error = consumer(broker.client()).await.run(workers, fails_on("bad", &seen)).await.unwrap_err();
    assert!(matches!(error, RunError::Handler { .. }), "{error:?}");
    assert_eq!(broker.records("t").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_record_is_done_only_when_its_dead_letter_is_acknowledged() {
    let broker = broker_with("t", 1).await;
    broker.topic("t.dead", 1).await.unwrap();
    produce(&broker, &[("a", "bad"), ("a", "a1"), ("b", "b0")]).await;
    let (seen, gate) = (Seen::new(), Arc::new(Mutex::new(None)));
    let handler = {
        let (seen, gate, disk) = (seen.clone(), Arc::clone(&gate), broker.disk().clone());
        move |message: Message| {
            let (seen, gate, disk) = (seen.clone(), Arc::clone(&gate), disk.clone());
            async move {
                let bad = text(&message) == "bad";
                if bad {
                    *gate.lock().unwrap() = Some(disk.hold(SimCall::Sync));
                }
                seen.push(text(&message));
                if bad { Err("no price") } else { Ok(()) }
            }
        }
    };
    let workers = Workers::by_key(1).on_failure(OnFailure::dead_letter("t.dead"));
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), workers, handler);
    let watched = async {
        // Its worker goes on with another key; its own key waits.
        assert_eq!(seen.count(2).await, ["bad", "b0"]);
        let held = gate.lock().unwrap().take().unwrap();
        let held = tokio::task::spawn_blocking(move || {
            held.wait_for(1);
            held
        });
        let held = held.await.unwrap();
        assert!(broker.records("t.dead").await.unwrap().is_empty(), "not acknowledged yet");
        assert_eq!(committed(&broker).await[&PartitionIndex(0)].get(), 0);
        assert_eq!(seen.all().len(), 2);
        held.open();
    };
    let (summary, ()) = tokio::join!(run, watched);
    assert_eq!(summary.unwrap().dead_lettered, 1);
    assert_eq!(seen.all(), ["bad", "b0", "a1"]);
    assert_eq!(broker.records("t.dead").await.unwrap().len(), 1);
    assert_eq!(committed(&broker).await[&PartitionIndex(0)].get(), 3);
}

#[tokio::test]
async fn a_panic_counts_as_a_failure() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("b", "bad"), ("c", "c0")]).await;
    let handler = |message: Message| async move {
        assert!(text(&message) != "bad", "no price for {}", text(&message));
        Ok::<_, Infallible>(())
    };
    let workers = Workers::by_key(1).retry(quick(2));
    let error = consumer(broker.client()).await.run(workers, handler).await.unwrap_err();
    let shown = error.to_string();
    for words in ["offset 1", "2 attempts", "the handler panicked: no price for bad"] {
        assert!(shown.contains(words), "{shown}");
    }
    let workers = Workers::by_key(1).on_failure(OnFailure::Skip);
    let sync_panic = |message: Message| {
        assert!(text(&message) != "bad", "on the way to the future");
        async { Ok::<_, Infallible>(()) }
    };
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), workers, sync_panic);
    let summary = run.await.unwrap();
    assert_eq!((summary.handled, summary.skipped), (1, 1));
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_stops_the_run() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("a", "a1"), ("a", "a2")]).await;
    let seen = Seen::new();
    let run = consumer(broker.client()).await.run_until(
        async { drop(seen.count(1).await) },
        Workers::by_key(1),
        fails_on("nothing", &seen),
    );
    run.await.unwrap();
    let before = committed(&broker).await[&PartitionIndex(0)];
    produce(&broker, &[("a", "a3"), ("a", "a4")]).await;
    let end = [(PartitionIndex(0), Offset::new(before.get() + 1).unwrap())];
    drop(broker.client().admin().delete_records("t", end).await.unwrap());
    let run = consumer(broker.client()).await.run(Workers::by_key(1), fails_on("nothing", &seen));
    let error = run.await.unwrap_err();
    assert!(matches!(&error, RunError::Consume(e) if e.code() == ErrorCode::PositionLost), "{error:?}");
    assert_eq!(committed(&broker).await[&PartitionIndex(0)], before, "the group's position stays");
}
