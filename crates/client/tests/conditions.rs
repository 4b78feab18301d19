//! What becomes of the records that were accepted behind one that expects an offset.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use std::time::Duration;

use corduroy_client::{Acks, Delivery, ErrorCode, Offset, Outcome, Producer, Record, Refusal, SendErrorKind};
use corduroy_testing::Broker;
use support::{FakeBroker, Incoming};

/// Large enough for a batch of its own at `batch_bytes(1024)`.
fn large(name: &str) -> Record {
    Record::to("t").partition(0).value(format!("{name}{}", "x".repeat(900)))
}

fn expecting(offset: u64) -> Record {
    large(&offset.to_string()).expect_offset(Offset::new(offset).unwrap())
}

async fn enqueue<const N: usize>(producer: &Producer, records: [Record; N]) -> Vec<Delivery> {
    producer.prepare("t").await.unwrap();
    let deliveries = records.map(|record| producer.try_enqueue(record).unwrap()).into();
    // The last batch is not full: a flush that has begun keeps it from gathering.
    assert!(futures_util::poll!(Box::pin(producer.flush())).is_pending());
    deliveries
}

async fn requests<const N: usize>(fake: &mut FakeBroker) -> [Incoming; N] {
    let mut requests = Vec::new();
    for _ in 0..N {
        requests.push(fake.request().await);
    }
    requests.try_into().unwrap()
}

fn mismatch(next: u64) -> Refusal {
    let mut refusal =
        Refusal::new(ErrorCode::OffsetMismatch, "another offset").with_outcome(Outcome::NotWritten);
    refusal.next_offset = Offset::new(next);
    refusal
}

type End = Result<u64, (SendErrorKind, ErrorCode, Outcome)>;

async fn ends(deliveries: Vec<Delivery>) -> Vec<End> {
    let mut ends = Vec::new();
    for delivery in deliveries {
        let end = delivery.await.map(|meta| meta.offset.get());
        ends.push(end.map_err(|error| (error.kind(), error.code(), error.outcome())));
    }
    ends
}

const REFUSED: End = Err((SendErrorKind::Refused, ErrorCode::OffsetMismatch, Outcome::NotWritten));
const BEHIND: End = Err((SendErrorKind::AfterRefused, ErrorCode::OffsetMismatch, Outcome::NotWritten));

#[tokio::test]
async fn behind_a_refused_condition_nothing_is_written_even_where_another_writer_made_it_true() {
    for acks in [Acks::One, Acks::Quorum, Acks::All] {
        let broker = Broker::start().await.unwrap();
        broker.topic("t", 1).await.unwrap();
        let producer = broker.client().producer().acks(acks).batch_bytes(1024).build().await.unwrap();
        let other = broker.client().producer().build().await.unwrap();
        // As many records as the first batch has, so that the second condition comes true.
        other.send(large("other")).await.unwrap();
        let deliveries = enqueue(&producer, [expecting(0), expecting(1), large("plain")]).await;
        assert_eq!(ends(deliveries).await, [REFUSED, BEHIND, BEHIND], "{acks:?}");
        assert_eq!(broker.records("t").await.unwrap().len(), 1, "{acks:?}");
        // What is accepted after the failure is a new decision.
        let deliveries = enqueue(&producer, [expecting(1), large("plain"), expecting(3)]).await;
        assert_eq!(ends(deliveries).await, [Ok(1), Ok(2), Ok(3)], "{acks:?}");
    }
}

#[tokio::test]
async fn what_is_in_flight_behind_a_refused_condition_is_shut_out_and_what_is_before_it_goes_on() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).build().await.unwrap();
    let before = enqueue(&producer, [large("before")]).await;
    let [first] = requests(&mut fake).await;
    let deliveries = enqueue(&producer, [expecting(1), expecting(2), large("plain")]).await;
    let [condition, _late, _later] = requests(&mut fake).await;
    condition.refuse_with(mismatch(5));
    assert_eq!(ends(deliveries).await, [REFUSED, BEHIND, BEHIND]);
    // What was sent before it is sent again under its old number, and only then begins the epoch that shuts out the rest.
    let next = enqueue(&producer, [expecting(6)]).await;
    first.refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    let [again] = requests(&mut fake).await;
    assert_eq!((again.numbers(), again.values()), ((1, 0, 0), first.values()));
    again.ack(5);
    assert_eq!(ends(before).await, [Ok(5)]);
    let [request] = requests(&mut fake).await;
    assert_eq!((request.numbers(), request.request.expected_offset), ((1, 1, 0), Some(6)));
    request.ack(6);
    assert_eq!(ends(next).await, [Ok(6)]);
}

#[tokio::test]
async fn with_nothing_in_flight_behind_it_a_refused_condition_uses_up_no_epoch() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).build().await.unwrap();
    for offset in 1..4 {
        let deliveries = enqueue(&producer, [expecting(offset)]).await;
        let [request] = requests(&mut fake).await;
        assert_eq!(request.numbers(), (1, 0, 0));
        request.refuse_with(mismatch(9));
        assert_eq!(ends(deliveries).await, [REFUSED]);
    }
}

#[tokio::test]
async fn without_numbers_nothing_is_sent_while_a_condition_before_it_is_open() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().acks(Acks::One).batch_bytes(1024).build().await.unwrap();
    let deliveries =
        enqueue(&producer, [large("a"), expecting(1), expecting(2), large("b"), large("c")]).await;
    let [plain, condition] = requests(&mut fake).await;
    assert_eq!([plain.request.expected_offset, condition.request.expected_offset], [None, Some(1)]);
    plain.ack(0);
    condition.refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    let [again] = requests(&mut fake).await;
    assert_eq!(again.request.expected_offset, Some(1), "a condition that is tried again is still open");
    again.ack(1);
    let [second] = requests(&mut fake).await;
    assert_eq!(second.request.expected_offset, Some(2));
    second.ack(2);
    let [third, fourth] = requests(&mut fake).await;
    third.ack(3);
    fourth.ack(4);
    assert_eq!(ends(deliveries).await, [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
}

#[tokio::test]
async fn behind_a_condition_in_doubt_nothing_is_sent_without_numbers() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().acks(Acks::One).batch_bytes(1024).build().await.unwrap();
    let deliveries = enqueue(&producer, [expecting(0), large("plain")]).await;
    let [condition] = requests(&mut fake).await;
    condition.break_stream();
    use Outcome::{NotWritten, Unknown};
    let wanted = [
        Err((SendErrorKind::Disconnected, ErrorCode::Unavailable, Unknown)),
        Err((SendErrorKind::AfterUnknown, ErrorCode::Unavailable, NotWritten)),
    ];
    assert_eq!(ends(deliveries).await, wanted);
}

#[tokio::test]
async fn whatever_ends_a_condition_ends_what_was_accepted_behind_it() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().batch_bytes(1024).build().await.unwrap();
    let deliveries = enqueue(&producer, [expecting(0), large("plain")]).await;
    let [condition, _behind] = requests(&mut fake).await;
    condition.refuse(ErrorCode::InvalidTimestamp, Outcome::NotWritten);
    let ends = ends(deliveries).await;
    let end = |kind| Err((kind, ErrorCode::InvalidTimestamp, Outcome::NotWritten));
    assert_eq!(ends, [end(SendErrorKind::Refused), end(SendErrorKind::AfterRefused)]);
}

#[tokio::test]
async fn a_condition_that_is_never_sent_ends_what_was_accepted_behind_it() {
    let mut fake = FakeBroker::start(1).await;
    let timeout = Duration::from_millis(300);
    let builder = fake.client().producer().batch_bytes(1024).delivery_timeout(timeout);
    let producer = builder.build().await.unwrap();
    producer.prepare("t").await.unwrap();
    fake.kill();
    // The records behind it are as old, and end with it or behind it.
    let deliveries = enqueue(&producer, [expecting(0), large("plain"), expecting(2)]).await;
    for end in ends(deliveries).await {
        let (kind, code, outcome) = end.unwrap_err();
        assert!(matches!(kind, SendErrorKind::TimedOut | SendErrorKind::AfterRefused), "{kind:?}");
        assert_eq!((code, outcome), (ErrorCode::TimedOut, Outcome::NotWritten));
    }
}
