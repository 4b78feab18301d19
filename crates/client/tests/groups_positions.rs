//! What a group commits, and where it goes on, against the real broker.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod group_support;

use std::{collections::BTreeMap, future::poll_fn, task::Poll, time::Duration};

use corduroy_client::{
    Commit, ErrorCode, Event, GroupConsumeError, GroupConsumer, HookError, NewTopic, Offset, OffsetSpec,
    Offsets, OnPositionLost, PartitionIndex, Rebalance, RebalanceHook, Record, TopicName, TopicPartition,
};
use corduroy_testing::Broker;
use group_support::{
    GROUP, LONG, TOPIC, broker, builder, client, committed, describe, member, next, place, produce, until,
    until_committed, until_stable, value,
};

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(TOPIC).unwrap(), PartitionIndex(partition))
}

fn offset(at: u64) -> Offset {
    Offset::new(at).unwrap()
}

async fn error(consumer: &mut GroupConsumer) -> GroupConsumeError {
    let next = tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap();
    next.map(|message| message.offset()).unwrap_err()
}

async fn delete_before(broker: &Broker, partition: u32, before: u64) {
    let before = [(PartitionIndex(partition), offset(before))];
    broker.client().admin().delete_records(TOPIC, before).await.unwrap();
}

#[tokio::test]
async fn the_position_moves_only_over_what_is_done() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..6).await;
    let mut consumer = member(broker.client()).await;
    let mut messages = Vec::new();
    for _ in 0..6 {
        messages.push(next(&mut consumer).await);
    }
    assert_eq!(consumer.in_flight(), 6);
    for done in [1, 3, 4] {
        messages[done].done();
        messages[done].clone().done();
    }
    assert_eq!(consumer.commit().await.unwrap().get(&at(0)), Some(offset(0)));
    messages[0].done();
    until_committed(&broker, 0, 2).await;
    messages.remove(2);
    assert_eq!(consumer.commit().await.unwrap().get(&at(0)), Some(offset(2)), "dropped, not done");
    assert_eq!(consumer.in_flight(), 2);
    let offsets = broker.client().admin().fetch_offsets(GROUP).await.unwrap();
    let stored = offsets[0].committed.clone().unwrap();
    let places = [(TOPIC, PartitionIndex(0), OffsetSpec::End)];
    let listed = broker.client().admin().list_offsets(places).await.unwrap();
    assert_eq!(stored.leader_epoch, Some(listed[0].as_ref().unwrap().leader_epoch));
}

#[tokio::test]
async fn where_nothing_was_committed_the_start_is_before_anything_is_read() {
    let broker = broker(2).await;
    produce(&broker, 0, 0..4).await;
    let consumer = builder(broker.client()).start(OffsetSpec::End).commit(Commit::Manual);
    let mut consumer = consumer.build().await.unwrap();
    until("everything", || async { consumer.assignment().len() == 2 }).await;
    assert_eq!(committed(&broker).await, BTreeMap::from([(0, 4), (1, 0)]));
    produce(&broker, 0, 4..5).await;
    assert_eq!(value(&next(&mut consumer).await), 4);
}

#[tokio::test]
async fn who_never_commits_leaves_no_trace() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..4).await;
    let mut consumer = builder(broker.client()).commit(Commit::Never).in_flight_max(1).build().await.unwrap();
    for expected in 0..4 {
        assert_eq!(value(&next(&mut consumer).await), expected);
    }
    assert_eq!(consumer.commit().await.unwrap_err().code(), ErrorCode::InvalidRequest);
    consumer.close(LONG).await.unwrap();
    assert_eq!(committed(&broker).await, BTreeMap::new());
}

#[tokio::test]
async fn manual_commits_are_the_programs_alone() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..6).await;
    let manual = || builder(broker.client()).commit(Commit::Manual);
    let mut consumer = manual().build().await.unwrap();
    for _ in 0..2 {
        next(&mut consumer).await.done();
    }
    assert_eq!(consumer.commit().await.unwrap().get(&at(0)), Some(offset(2)));
    for _ in 0..2 {
        next(&mut consumer).await.done();
    }
    consumer.close(LONG).await.unwrap();
    assert_eq!(committed(&broker).await[&0], 2, "closing commits nothing");
    let mut consumer = manual().build().await.unwrap();
    for expected in 2..4 {
        assert_eq!(value(&next(&mut consumer).await), expected);
    }
    let offsets: Offsets = [(at(0), offset(4))].into_iter().collect();
    consumer.commit_offsets(&offsets).await.unwrap();
    assert_eq!(consumer.in_flight(), 0, "what is below is done");
    assert_eq!(committed(&broker).await[&0], 4);
    let foreign: Offsets = [(at(7), offset(0))].into_iter().collect();
    let error = consumer.commit_offsets(&foreign).await.unwrap_err();
    assert_eq!((error.code(), error.partitions), (ErrorCode::PartitionNotAssigned, vec![at(7)]));
}

#[tokio::test]
async fn before_handling_everything_handed_out_is_committed_already() {
    let broker = broker(1).await;
    let producer = broker.client().producer().linger(Duration::from_millis(1)).build().await.unwrap();
    for value in 0..20 {
        drop(producer.enqueue(Record::to(TOPIC).partition(0).value(value.to_string())).await.unwrap());
    }
    producer.flush().await.unwrap();
    let mut consumer =
        builder(broker.client()).commit(Commit::BeforeHandling).in_flight_max(1).build().await.unwrap();
    for expected in 0..11 {
        let message = next(&mut consumer).await;
        assert_eq!(value(&message), expected);
        assert!(committed(&broker).await[&0] > message.offset().get());
    }
    // What was not handed out is given back.
    let closed = consumer.close(LONG).await.unwrap();
    assert_eq!(closed.get(&at(0)), Some(offset(11)));
    assert_eq!(committed(&broker).await[&0], 11);
}

#[tokio::test]
async fn no_more_than_so_many_messages_are_out_at_once() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..10).await;
    let mut consumer = builder(broker.client()).in_flight_max(3).build().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut consumer).await);
    }
    assert!(consumer.next_batch(10, Duration::ZERO).await.unwrap().is_empty());
    let waits = tokio::spawn(async move { (next(&mut consumer).await.offset().get(), consumer) });
    held[1].done();
    let (fourth, _consumer) = waits.await.unwrap();
    assert_eq!(fourth, 3);
}

#[tokio::test]
async fn a_message_that_takes_long_is_named_once() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..3).await;
    let (client, mut events) = client(&broker);
    let after = Duration::from_millis(40);
    let mut consumer = builder(&client).stuck_after(after).build().await.unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    next(&mut consumer).await.done();
    let stuck = |event: &Event| match event {
        Event::RecordStuck { group, partition, offset, since } => {
            assert_eq!((&**group, partition.clone()), (GROUP, at(0)));
            assert!(*since >= after);
            Some(offset.get())
        }
        _ => None,
    };
    assert_eq!(events.until(stuck).await, 0);
    first.done();
    assert_eq!(events.until(stuck).await, 1, "the next one, and the first no more");
    second.done();
}

#[tokio::test]
async fn a_lost_position_is_an_error_that_says_what_is_gone() {
    let broker = broker(2).await;
    produce(&broker, 0, 0..10).await;
    let mut consumer = member(broker.client()).await;
    next(&mut consumer).await.done();
    consumer.close(LONG).await.unwrap();
    delete_before(&broker, 0, 6).await;
    let mut consumer = member(broker.client()).await;
    let failure = error(&mut consumer).await;
    let GroupConsumeError::PositionLost(lost) = &failure else { panic!("{failure}") };
    assert_eq!((lost.position.get(), lost.log_start.get(), lost.lost_offset_count), (1, 6, 5));
    assert_eq!(failure.code(), ErrorCode::PositionLost);
    for word in ["E1709", GROUP, TOPIC, "partition 0", "offset 1", "starts at 6", "5 offsets"] {
        assert!(failure.to_string().contains(word), "{word:?} is not in {failure}");
    }
    assert!(!failure.is_final());
    // The other partition goes on, and the position stays.
    produce(&broker, 1, 0..1).await;
    let message = next(&mut consumer).await;
    assert_eq!(place(&message), (1, 0));
    message.done();
    consumer.commit().await.unwrap();
    assert_eq!(committed(&broker).await, BTreeMap::from([(0, 1), (1, 1)]));
    consumer.seek(TOPIC, 0, OffsetSpec::Start).await.unwrap();
    assert_eq!(place(&next(&mut consumer).await), (0, 6));
    consumer.commit().await.unwrap();
    assert_eq!(committed(&broker).await[&0], 6);
}

#[tokio::test]
async fn a_consumer_may_choose_to_go_on_behind_lost_records_and_learns_how_many() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..10).await;
    member(broker.client()).await.close(LONG).await.unwrap();
    until("the start", || async {
        let consumer = member(broker.client()).await;
        until("it", || async { consumer.assignment().len() == 1 }).await;
        consumer.close(LONG).await.is_ok()
    })
    .await;
    delete_before(&broker, 0, 4).await;
    for (choice, resumed_at) in [(OnPositionLost::Start, 4), (OnPositionLost::End, 10)] {
        let (client, mut events) = client(&broker);
        let consumer = builder(&client).on_position_lost(choice).commit(Commit::Never).build().await.unwrap();
        let resumed = events
            .until(|event| match event {
                Event::PositionLost { lost, resumed_at } => Some((lost.lost_offset_count, resumed_at.get())),
                _ => None,
            })
            .await;
        assert_eq!(resumed, (4, resumed_at));
        until("it is read", || async { consumer.position(TOPIC, 0) == Some(offset(resumed_at)) }).await;
        consumer.close(LONG).await.unwrap();
        until_stable(&broker, 0).await;
    }
}

#[tokio::test]
async fn retention_that_overtakes_a_reading_member_is_reported_too() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..5).await;
    for choice in [OnPositionLost::Fail, OnPositionLost::Start] {
        let (client, mut events) = client(&broker);
        let consumer = builder(&client).on_position_lost(choice);
        let mut consumer = consumer.commit(Commit::Never).start(OffsetSpec::Start).build().await.unwrap();
        until("it is read", || async { consumer.assignment().len() == 1 }).await;
        consumer.pause([(TOPIC, 0)]).unwrap();
        let before = consumer.position(TOPIC, 0).unwrap().get();
        delete_before(&broker, 0, before + 2).await;
        consumer.resume([(TOPIC, 0)]).unwrap();
        if choice == OnPositionLost::Fail {
            let GroupConsumeError::PositionLost(lost) = error(&mut consumer).await else { panic!() };
            assert_eq!((lost.position.get(), lost.lost_offset_count), (before, 2));
        } else {
            assert_eq!(next(&mut consumer).await.offset().get(), before + 2);
            let lost = |event: &Event| match event {
                Event::PositionLost { lost, .. } => Some(lost.lost_offset_count),
                _ => None,
            };
            assert_eq!(events.until(lost).await, 2);
        }
        consumer.close(LONG).await.unwrap();
        until_stable(&broker, 0).await;
    }
}

/// Begins where the test says.
struct Chooses(u64);

impl RebalanceHook for Chooses {
    async fn assigned(
        &self,
        _: &Rebalance<'_>,
        new: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, OffsetSpec)>, HookError> {
        if self.0 == 0 {
            return Err("no cache".into());
        }
        Ok(new.iter().map(|partition| (partition.clone(), OffsetSpec::Offset(offset(self.0)))).collect())
    }
}

#[tokio::test]
async fn a_hook_may_choose_the_start_and_if_it_fails_nothing_is_read() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..5).await;
    let mut consumer = builder(broker.client()).rebalance(Chooses(3)).build().await.unwrap();
    assert_eq!(next(&mut consumer).await.offset().get(), 3);
    assert_eq!(committed(&broker).await[&0], 3, "committed before it is read");
    consumer.close(Duration::ZERO).await.unwrap_err();
    let mut consumer = builder(broker.client()).rebalance(Chooses(0)).build().await.unwrap();
    let failure = error(&mut consumer).await;
    assert!(
        matches!(&failure, GroupConsumeError::Hook { partitions, .. } if *partitions == [at(0)]),
        "{failure}"
    );
    assert!(consumer.assignment().is_empty());
}

#[tokio::test]
async fn seeking_counts_and_what_was_handed_out_before_no_more() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..6).await;
    let mut consumer = member(broker.client()).await;
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    first.done();
    consumer.seek(TOPIC, 0, OffsetSpec::Offset(offset(4))).await.unwrap();
    assert!(!second.is_held());
    assert_eq!(consumer.in_flight(), 0);
    let fifth = next(&mut consumer).await;
    assert_eq!(fifth.offset().get(), 4);
    second.done();
    assert_eq!(consumer.commit().await.unwrap().get(&at(0)), Some(offset(4)));
    fifth.done();
    until_committed(&broker, 0, 5).await;
    assert_eq!(
        consumer.seek(TOPIC, 9, OffsetSpec::Start).await.unwrap_err().code(),
        ErrorCode::InvalidRequest
    );
}

#[tokio::test]
async fn seeking_overrules_offsets_that_wait_to_be_committed() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..4).await;
    let mut consumer = builder(broker.client()).commit(Commit::Manual).build().await.unwrap();
    for _ in 0..3 {
        next(&mut consumer).await;
    }
    let offsets: Offsets = [(at(0), offset(3))].into_iter().collect();
    let mut commit = Box::pin(consumer.commit_offsets(&offsets));
    // One poll: it stands in line, and nothing of it has run in this test's only thread.
    assert!(poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx).is_pending())).await);
    consumer.seek(TOPIC, 0, OffsetSpec::Offset(offset(1))).await.unwrap();
    let error = commit.await.unwrap_err();
    assert_eq!((error.code(), error.partitions), (ErrorCode::PartitionNotAssigned, vec![at(0)]));
    assert_eq!(committed(&broker).await[&0], 0);
    assert_eq!(
        consumer.commit().await.unwrap().get(&at(0)),
        Some(offset(1)),
        "nothing behind counts as done"
    );
    assert_eq!(next(&mut consumer).await.offset().get(), 1);
}

#[tokio::test]
async fn what_compaction_left_empty_is_passed_so_that_nothing_lags() {
    let broker = Broker::start().await.unwrap();
    let topic = NewTopic::named(TOPIC).partitions(1).config("cleanup.policy", "compact");
    let topic = topic.config("segment.bytes", "64KiB").config("max.message.bytes", "16KiB");
    broker.client().admin().create_topic(topic.config("delete.retention.ms", "0")).await.unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    for value in 0..400 {
        producer.send(Record::to(TOPIC).key("k").value(format!("{value:01000}"))).await.unwrap();
    }
    broker.compact().await;
    let mut consumer = member(broker.client()).await;
    let mut last = None;
    while last != Some(399) {
        let message = next(&mut consumer).await;
        last = Some(message.offset().get());
        message.done();
    }
    consumer.close(LONG).await.unwrap();
    let described = describe(&broker).await;
    assert_eq!((committed(&broker).await[&0], described.partitions[0].lag_records), (400, Some(0)));
}

#[tokio::test]
async fn partitions_that_are_added_later_begin_at_their_start_wherever_the_member_began() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..3).await;
    let mut consumer =
        builder(broker.client()).start(OffsetSpec::End).topics(["later"]).build().await.unwrap();
    until("the first", || async { consumer.assignment().len() == 1 }).await;
    broker.client().admin().add_partitions(TOPIC, 2).await.unwrap();
    produce(&broker, 1, 10..12).await;
    for expected in [10, 11] {
        let message = next(&mut consumer).await;
        assert_eq!((message.partition().0, value(&message)), (1, expected));
        message.done();
    }
    // A topic that is created later is one of new partitions only.
    broker.topic("later", 1).await.unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    producer.send(Record::to("later").value("20")).await.unwrap();
    assert_eq!(next(&mut consumer).await.topic().as_str(), "later");
}
