//! What a numbering producer makes of lost answers, refusals and silence.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use corduroy_client::{
    Acks, Delivery, ErrorCode, Offset, Outcome, Producer, Record, RecordMeta, Refusal, SendError,
    SendErrorKind,
};
use support::{FakeBroker, Incoming};

/// Large enough for a batch of its own at `batch_bytes(1024)`, and recognised by its number.
fn large(n: usize) -> Record {
    Record::to("t").partition(0).value(format!("{n}{}", "x".repeat(900)))
}

async fn numbering(fake: &FakeBroker) -> Producer {
    fake.client().producer().batch_bytes(1024).build().await.unwrap()
}

async fn enqueue(producer: &Producer, numbers: std::ops::Range<usize>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for n in numbers {
        deliveries.push(producer.enqueue(large(n)).await.unwrap());
    }
    // The last batch is not full: a flush that has begun keeps it from gathering.
    assert!(futures_util::poll!(Box::pin(producer.flush())).is_pending());
    deliveries
}

async fn requests(fake: &mut FakeBroker, count: usize) -> Vec<Incoming> {
    let mut requests = Vec::new();
    for _ in 0..count {
        requests.push(fake.request().await);
    }
    requests
}

fn numbers(requests: &[Incoming]) -> Vec<(i64, i16, i32)> {
    requests.iter().map(Incoming::numbers).collect()
}

async fn ends(deliveries: Vec<Delivery>) -> Vec<Result<RecordMeta, SendError>> {
    let mut ends = Vec::new();
    for delivery in deliveries {
        ends.push(delivery.await);
    }
    ends
}

fn failures(ends: &[Result<RecordMeta, SendError>]) -> Vec<(SendErrorKind, Outcome)> {
    ends.iter().map(|end| end.as_ref().unwrap_err()).map(|error| (error.kind(), error.outcome())).collect()
}

#[tokio::test]
async fn each_partition_counts_its_own_records() {
    let mut fake = FakeBroker::start(2).await;
    let producer = fake.client().producer().build().await.unwrap();
    for (partition, wanted) in [(0, (1, 0, 0)), (0, (1, 0, 3)), (1, (1, 0, 0)), (0, (1, 0, 6))] {
        let mut deliveries = Vec::new();
        // All three in one batch: nothing leaves before the task runs.
        for n in 0..3 {
            let record = Record::to("t").partition(partition).value(n.to_string());
            producer.prepare("t").await.unwrap();
            deliveries.push(producer.try_enqueue(record).unwrap());
        }
        let request = fake.request().await;
        assert_eq!((request.values().len(), request.numbers()), (3, wanted));
        request.ack(0);
        assert!(ends(deliveries).await.iter().all(|end| !end.as_ref().unwrap().duplicate));
    }
    let one = fake.client().producer().acks(Acks::One).build().await.unwrap();
    let _delivery = one.enqueue(Record::to("t").value("v")).await.unwrap();
    assert_eq!(fake.request().await.numbers(), (-1, -1, -1));
}

#[tokio::test]
async fn lost_answers_are_asked_for_again_with_the_very_same_bytes() {
    let mut fake = FakeBroker::start(1).await;
    let producer = numbering(&fake).await;
    let deliveries = enqueue(&producer, 0..3).await;
    let first = requests(&mut fake, 3).await;
    first[0].break_stream();
    let again = requests(&mut fake, 3).await;
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(again.batch().bytes(), first.batch().bytes());
    }
    // The first was written before the stream broke.
    again[0].ack_duplicate(0);
    again[1].ack(1);
    again[2].ack(2);
    let metas: Vec<_> = ends(deliveries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(metas.iter().map(|meta| meta.offset.get()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(metas.iter().map(|meta| meta.duplicate).collect::<Vec<_>>(), [true, false, false]);
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn an_unknown_answer_is_asked_for_again_and_stays_unknown_over_a_refusal() {
    let mut fake = FakeBroker::start(1).await;
    let producer = numbering(&fake).await;
    let mut deliveries = enqueue(&producer, 0..1).await;
    fake.request().await.refuse(ErrorCode::StorageFailed, Outcome::Unknown);
    fake.request().await.refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    fake.request().await.ack(3);
    assert_eq!(deliveries.remove(0).await.unwrap().offset.get(), 3);

    let mut deliveries = enqueue(&producer, 1..2).await;
    let request = fake.request().await;
    assert_eq!(request.numbers(), (1, 0, 1));
    request.refuse(ErrorCode::TimedOut, Outcome::Unknown);
    fake.request().await.refuse(ErrorCode::InvalidTimestamp, Outcome::NotWritten);
    let error = deliveries.remove(0).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::InvalidTimestamp, Outcome::Unknown));
    // What may still be on its way is shut out.
    let mut deliveries = enqueue(&producer, 2..3).await;
    let request = fake.request().await;
    assert_eq!(request.numbers(), (1, 1, 0));
    request.ack(4);
    deliveries.remove(0).await.unwrap();
}

#[tokio::test]
async fn what_is_behind_a_batch_refused_for_good_closes_ranks_in_the_same_epoch() {
    let mut fake = FakeBroker::start(1).await;
    let producer = numbering(&fake).await;
    let deliveries = enqueue(&producer, 0..4).await;
    let first = requests(&mut fake, 4).await;
    assert_eq!(numbers(&first), [(1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 0, 3)]);
    first[0].ack(0);
    first[1].refuse(ErrorCode::InvalidTimestamp, Outcome::NotWritten);
    first[2].refuse(ErrorCode::OutOfSequence, Outcome::NotWritten);
    first[3].refuse(ErrorCode::OutOfSequence, Outcome::NotWritten);
    let again = requests(&mut fake, 2).await;
    assert_eq!(numbers(&again), [(1, 0, 1), (1, 0, 2)]);
    assert_eq!(again[0].values(), first[2].values());
    again[0].ack(1);
    again[1].ack(2);
    let ends = ends(deliveries).await;
    let offsets: Vec<_> = ends.iter().map(|end| end.as_ref().ok().map(|meta| meta.offset.get())).collect();
    assert_eq!(offsets, [Some(0), None, Some(1), Some(2)]);
    assert_eq!(ends[1].as_ref().unwrap_err().outcome(), Outcome::NotWritten);
}

#[tokio::test]
async fn with_an_attempt_in_doubt_behind_it_the_ranks_close_in_the_next_epoch() {
    let mut fake = FakeBroker::start(1).await;
    let producer = numbering(&fake).await;
    let deliveries = enqueue(&producer, 0..2).await;
    let first = requests(&mut fake, 2).await;
    first[0].refuse(ErrorCode::Overloaded, Outcome::NotWritten);
    // The answer to the second one is lost.
    first[1].break_stream();
    let again = requests(&mut fake, 1).await;
    assert_eq!(numbers(&again), [(1, 0, 0)]);
    again[0].refuse(ErrorCode::InvalidTimestamp, Outcome::NotWritten);
    let request = loop {
        let request = fake.request().await;
        match request.numbers() {
            (1, 0, 1) => request.refuse(ErrorCode::OutOfSequence, Outcome::NotWritten),
            _ => break request,
        }
    };
    assert_eq!(request.numbers(), (1, 1, 0));
    request.ack(0);
    let ends = ends(deliveries).await;
    assert_eq!(failures(&ends[..1]), [(SendErrorKind::Refused, Outcome::NotWritten)]);
    assert_eq!(ends[1].as_ref().unwrap().offset.get(), 0);
}

#[tokio::test]
async fn a_batch_that_stays_unknown_hands_back_what_is_behind_it_and_shuts_out_what_comes_late() {
    let mut fake = FakeBroker::start(1).await;
    let client = fake.client();
    let builder = client.producer().batch_bytes(1024).max_in_flight(2);
    let producer = builder.delivery_timeout(Duration::from_millis(300)).build().await.unwrap();
    let deliveries = enqueue(&producer, 0..4).await;
    let silent = requests(&mut fake, 2).await;
    let ends = ends(deliveries).await;
    use Outcome::{NotWritten, Unknown};
    use SendErrorKind::{AfterUnknown, TimedOut};
    let wanted = [
        (TimedOut, Unknown),
        (AfterUnknown, Unknown),
        (AfterUnknown, NotWritten),
        (AfterUnknown, NotWritten),
    ];
    assert_eq!(failures(&ends), wanted);
    assert_eq!(ends[3].as_ref().unwrap_err().record().unwrap().value_bytes(), large(3).value_bytes());
    let error = producer.flush().await.unwrap_err();
    assert_eq!((error.failed_count, error.unknown_count), (4, 2));
    assert_eq!(error.first.kind(), TimedOut);
    // A late answer changes nothing.
    silent[0].ack(0);
    let _delivery = producer.enqueue(large(9)).await.unwrap();
    assert_eq!(fake.request().await.numbers(), (1, 1, 0));
}

#[tokio::test]
async fn a_partition_that_forgot_the_producer_is_begun_again_if_nothing_is_in_doubt() {
    let mut fake = FakeBroker::start(1).await;
    let producer = numbering(&fake).await;
    let mut deliveries = enqueue(&producer, 0..3).await;
    let first = requests(&mut fake, 3).await;
    first[0].ack(0);
    deliveries.remove(0).await.unwrap();
    first[1].refuse(ErrorCode::SequenceUnknown, Outcome::Unknown);
    first[2].refuse(ErrorCode::SequenceUnknown, Outcome::Unknown);
    let again = requests(&mut fake, 2).await;
    assert_eq!(numbers(&again), [(1, 1, 0), (1, 1, 1)]);
    assert_eq!(again[0].values(), first[1].values());
    again[0].ack(1);
    again[1].break_stream();
    // In doubt now, and it is not sent a second time.
    fake.request().await.refuse(ErrorCode::SequenceUnknown, Outcome::Unknown);
    let ends = ends(deliveries).await;
    assert_eq!(ends[0].as_ref().unwrap().offset.get(), 1);
    assert_eq!(failures(&ends[1..]), [(SendErrorKind::Refused, Outcome::Unknown)]);
}

#[tokio::test]
async fn a_gap_that_is_not_ours_is_reported_and_not_papered_over() {
    let mut fake = FakeBroker::start(1).await;
    let producer = numbering(&fake).await;
    let mut deliveries = enqueue(&producer, 0..3).await;
    let first = requests(&mut fake, 3).await;
    first[0].ack(0);
    deliveries.remove(0).await.unwrap();
    // What was acknowledged is gone.
    first[1].refuse(ErrorCode::OutOfSequence, Outcome::NotWritten);
    let ends = ends(deliveries).await;
    assert_eq!(ends[0].as_ref().unwrap_err().code(), ErrorCode::OutOfSequence);
    let wanted =
        [(SendErrorKind::Refused, Outcome::NotWritten), (SendErrorKind::AfterUnknown, Outcome::Unknown)];
    assert_eq!(failures(&ends), wanted);
    let _delivery = producer.enqueue(large(9)).await.unwrap();
    assert_eq!(fake.request().await.numbers(), (1, 1, 0));
}

#[tokio::test]
async fn when_the_epochs_are_used_up_or_taken_another_id_is_asked_for() {
    let mut fake = FakeBroker::start(1).await;
    fake.shared.first_epoch.store(i16::MAX.into(), Ordering::Relaxed);
    let producer = numbering(&fake).await;
    let mut deliveries = enqueue(&producer, 0..2).await;
    let first = requests(&mut fake, 2).await;
    assert_eq!(numbers(&first), [(1, i16::MAX, 0), (1, i16::MAX, 1)]);
    first[0].ack(0);
    deliveries.remove(0).await.unwrap();
    first[1].refuse(ErrorCode::SequenceUnknown, Outcome::Unknown);
    let again = fake.request().await;
    assert_eq!(again.numbers(), (2, i16::MAX, 0));
    again.refuse(ErrorCode::ProducerFenced, Outcome::NotWritten);
    assert_eq!(failures(&ends(deliveries).await), [(SendErrorKind::Refused, Outcome::NotWritten)]);
    let _delivery = producer.enqueue(large(9)).await.unwrap();
    assert_eq!(fake.request().await.numbers(), (3, i16::MAX, 0));
}

#[tokio::test]
async fn expected_offsets_make_batches_and_a_mismatch_names_the_next_one() {
    let mut fake = FakeBroker::start(1).await;
    let producer = fake.client().producer().build().await.unwrap();
    producer.prepare("t").await.unwrap();
    let expecting =
        |n: u64| Record::to("t").partition(0).value(n.to_string()).expect_offset(Offset::new(n).unwrap());
    let plain = || Record::to("t").partition(0).value("plain");
    let mut deliveries = Vec::new();
    for record in [expecting(7), expecting(8), plain(), plain(), expecting(11), expecting(13)] {
        deliveries.push(producer.try_enqueue(record).unwrap());
    }
    assert!(futures_util::poll!(Box::pin(producer.flush())).is_pending());
    let requests = requests(&mut fake, 4).await;
    let sent: Vec<_> = requests.iter().map(|r| (r.request.expected_offset, r.values().len())).collect();
    assert_eq!(sent, [(Some(7), 2), (None, 2), (Some(11), 1), (Some(13), 1)]);
    requests[0].ack(7);
    requests[1].ack(9);
    requests[2].ack(11);
    let mut mismatch = Refusal::new(ErrorCode::OffsetMismatch, "it is 12").with_outcome(Outcome::NotWritten);
    mismatch.next_offset = Offset::new(12);
    requests[3].refuse_with(mismatch);
    let mut ends = ends(deliveries).await;
    let error = ends.pop().unwrap().unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::OffsetMismatch, Outcome::NotWritten));
    assert_eq!(error.next_offset(), Offset::new(12));
    assert_eq!(error.record().unwrap().expected_offset(), Offset::new(13));
    assert!(ends.iter().all(Result::is_ok));

    let nowhere = Record::to("t").value("v").expect_offset(Offset::ZERO);
    assert_eq!(producer.send(nowhere).await.unwrap_err().code(), ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn no_more_may_be_in_doubt_than_a_partition_remembers() {
    let fake = FakeBroker::start(1).await;
    let error = fake.client().producer().max_in_flight(6).build().await.unwrap_err();
    assert_eq!(error.message(), "max_in_flight is 6, must be 1 to 5");
    fake.client().producer().max_in_flight(1000).acks(Acks::One).build().await.unwrap();
}
