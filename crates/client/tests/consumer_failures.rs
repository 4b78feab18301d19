//! What a consumer makes of broken streams, errors and damage.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use bytes::{Bytes, BytesMut};
use corduroy_api::Refusal;
use corduroy_client::{Client, ConsumeError, Consumer, ErrorCode, Message, Offset, OffsetSpec};
use support::{FakeBroker, batch, compressed, emptied};

async fn consumer(fake: &FakeBroker) -> Consumer {
    fake.client().consumer().topics(["t"]).build().await.unwrap()
}

async fn value(consumer: &mut Consumer) -> String {
    let message = consumer.next().await.unwrap().unwrap();
    String::from_utf8(message.value().unwrap().to_vec()).unwrap()
}

async fn error(consumer: &mut Consumer) -> ConsumeError {
    consumer.next().await.unwrap().map(|message: Message| message.offset()).unwrap_err()
}

#[tokio::test]
async fn a_lost_stream_is_read_on_without_a_gap_or_a_repeat() {
    let mut fake = FakeBroker::start(1).await;
    let mut consumer = consumer(&fake).await;
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 0)]);
    stream.send(0, batch(0, ["a", "b"]), 2);
    assert_eq!(value(&mut consumer).await, "a");
    stream.break_stream();
    // The second record was here already; reading goes on behind it.
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 2)]);
    // A batch may begin before the offset asked for.
    stream.send(0, batch(1, ["b", "c"]), 3);
    assert_eq!(value(&mut consumer).await, "b");
    assert_eq!(value(&mut consumer).await, "c");
    fake.kill();
    fake.serve().await;
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 3)]);
    stream.send(0, batch(3, ["d"]), 4);
    assert_eq!(value(&mut consumer).await, "d");
    assert_eq!(consumer.position("t", 0), Offset::new(4));
}

#[tokio::test]
async fn gaps_that_compaction_left_are_passed() {
    let mut fake = FakeBroker::start(1).await;
    let mut consumer = consumer(&fake).await;
    let stream = fake.consume().await;
    stream.send(0, Bytes::new(), 10);
    stream.send(0, batch(12, ["x"]), 20);
    assert_eq!(value(&mut consumer).await, "x");
    assert_eq!(consumer.position("t", 0), Offset::new(13));
    stream.break_stream();
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 13)]);
    // A batch of which compaction has left the header, alone and before another.
    stream.send(0, emptied(20, ["a", "b", "c"]), 23);
    stream.send(0, [emptied(23, ["d"]), batch(30, ["y"])].concat().into(), 31);
    stream.send(0, [emptied(31, ["e"]), batch(32, ["z"])].concat().into(), 33);
    assert_eq!(value(&mut consumer).await, "y");
    let records = consumer.next_records().await.unwrap().unwrap();
    assert_eq!(records.iter().count(), 1);
    assert_eq!(consumer.position("t", 0), Offset::new(33));
    stream.send(0, emptied(40, ["f"]), 41);
    stream.send(0, Bytes::new(), 50);
    stream.break_stream();
    // What was passed over is not asked for again.
    let next = tokio::spawn(async move { value(&mut consumer).await });
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 50)]);
    stream.send(0, batch(50, ["last"]), 51);
    assert_eq!(next.await.unwrap(), "last");
}

#[tokio::test]
async fn a_passing_error_of_one_partition_is_waited_out() {
    let mut fake = FakeBroker::start(2).await;
    let mut consumer = consumer(&fake).await;
    let stream = fake.consume().await;
    stream.send(1, batch(0, ["one"]), 1);
    stream.refuse(0, Refusal::new(ErrorCode::FencedLeaderEpoch, "stale"));
    assert_eq!(value(&mut consumer).await, "one");
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 0), (1, 1)]);
    stream.send(0, batch(0, ["zero"]), 1);
    assert_eq!(value(&mut consumer).await, "zero");
}

/// A consumer with the least buffer gets a message that becomes 48 MB: no more of it is held at one time than the buffer
/// and one batch.
#[tokio::test]
async fn a_message_that_becomes_much_is_decompressed_as_there_is_room() {
    let mut fake = FakeBroker::start(1).await;
    let builder = fake.client().consumer().topics(["t"]).buffer_bytes(1 << 20);
    let mut consumer = builder.until(OffsetSpec::Offset(Offset::new(24).unwrap())).build().await.unwrap();
    let stream = fake.consume().await;
    let batches: Vec<_> = (0..24).map(|n| compressed(n, &vec![b'a'; 2_000_000])).collect();
    let damaged = fake_damage(batches.last().unwrap());
    // All but the last in one message; then a stream that breaks while messages of it wait.
    stream.send(0, batches[..23].concat().into(), 23);
    for n in 0..10 {
        let message = consumer.next().await.unwrap().unwrap();
        assert_eq!((message.offset().get(), message.value().unwrap().len()), (n, 2_000_000));
    }
    consumer.seek("t", 0, OffsetSpec::Offset(Offset::new(20).unwrap())).await.unwrap();
    let stream = fake.consume().await;
    assert_eq!(stream.starts(), [(0, 20)]);
    stream.send(0, [&batches[20..23].concat()[..], &damaged].concat().into(), 24);
    for n in 20..23 {
        assert_eq!(consumer.next().await.unwrap().unwrap().offset().get(), n);
    }
    let failure = error(&mut consumer).await;
    assert_eq!((failure.code(), failure.position.get()), (ErrorCode::Corrupt, 23));
}

fn fake_damage(batch: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(batch.as_ref());
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    bytes.freeze()
}

#[tokio::test]
async fn damage_is_reported_with_where_to_go_on() {
    let mut fake = FakeBroker::start(2).await;
    let mut consumer = consumer(&fake).await;
    let stream = fake.consume().await;
    let mut refusal = Refusal::new(ErrorCode::Corrupt, "bad bytes");
    refusal.next_good_offset = Offset::new(7);
    stream.send(0, batch(0, ["a"]), 1);
    stream.refuse(0, refusal);
    assert_eq!(value(&mut consumer).await, "a");
    let failure = error(&mut consumer).await;
    assert_eq!((failure.code(), failure.position.get()), (ErrorCode::Corrupt, 1));
    let next = failure.next_good_offset().unwrap();
    // The other partition is not touched.
    stream.send(1, batch(0, ["b"]), 1);
    assert_eq!(value(&mut consumer).await, "b");
    consumer.seek("t", 0, OffsetSpec::Offset(next)).await.unwrap();
    assert_eq!(fake.consume().await.starts(), [(0, 7), (1, 1)]);
}

#[tokio::test]
async fn bytes_that_were_damaged_on_the_way_are_never_handed_out() {
    let mut fake = FakeBroker::start(1).await;
    let mut consumer = consumer(&fake).await;
    let stream = fake.consume().await;
    let mut bytes = BytesMut::from(batch(0, ["good"]).as_ref());
    let good = bytes.len();
    bytes.extend_from_slice(&batch(1, ["bad"]));
    let last = bytes.len() - 2;
    assert!(last > good);
    bytes[last] ^= 1;
    stream.send(0, bytes.freeze(), 2);
    assert_eq!(value(&mut consumer).await, "good");
    let failure = error(&mut consumer).await;
    assert_eq!((failure.code(), failure.position.get()), (ErrorCode::Corrupt, 1));
    assert!(consumer.next().await.is_none());
}

#[tokio::test]
async fn connecting_to_no_one_says_so() {
    let mut fake = FakeBroker::start(1).await;
    fake.builder().connect().await.unwrap();
    fake.kill();
    let url = format!("http://{}", fake.address);
    let error = loop {
        // The listener goes away with its runtime, in the background.
        match Client::builder(&url).connect().await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.message().contains(&url), "{error}");
}

#[tokio::test]
async fn the_first_address_that_answers_is_used() {
    let fake = FakeBroker::start(1).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let no_listener = gone.local_addr().unwrap();
    drop(gone);
    let urls = format!("http://{no_listener},http://{}", fake.address);
    Client::builder(urls).connect().await.unwrap();
}
