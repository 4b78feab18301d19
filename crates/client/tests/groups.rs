//! Members of a group that come and go, against the real broker.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

mod group_support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use corduroy_client::{
    CloseError, Commit, ErrorCode, Event, GroupConsumer, HookError, Offset, OffsetSpec, OffsetToCommit,
    PartitionIndex, Rebalance, RebalanceHook, Record, TopicPartition,
};
use corduroy_testing::Broker;
use group_support::{
    GROUP, LONG, SESSION, TOPIC, broker, broker_that_returns, builder, client, committed, describe, member,
    next, place, produce, until, until_committed, until_stable, value,
};
use tokio::sync::{Semaphore, mpsc};

/// Reads and finishes messages until each partition was read to its end.
async fn read_all(consumers: &mut [&mut GroupConsumer], ends: &BTreeMap<u32, u32>) -> Vec<(u32, u64)> {
    let mut seen = Vec::new();
    let mut left: u32 = ends.values().sum();
    let all = async {
        while left > 0 {
            for consumer in consumers.iter_mut() {
                for message in consumer.next_batch(100, Duration::from_millis(5)).await.unwrap() {
                    seen.push(place(&message));
                    message.done();
                    left = left.saturating_sub(1);
                }
            }
        }
    };
    tokio::time::timeout(LONG, all).await.unwrap();
    seen
}

#[tokio::test]
async fn who_comes_next_goes_on_where_the_last_one_closed() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..10).await;
    let mut consumer = member(broker.client()).await;
    for expected in 0..5 {
        let message = next(&mut consumer).await;
        assert_eq!(value(&message), expected);
        assert!(message.is_held());
        message.done();
    }
    let unfinished = next(&mut consumer).await;
    let error = consumer.close(Duration::ZERO).await.unwrap_err();
    let CloseError::NotDone { count: 1, committed: done_so_far } = error else { panic!("{error}") };
    assert_eq!(done_so_far.iter().map(|(_, offset)| offset.get()).collect::<Vec<_>>(), [5]);
    assert!(!unfinished.is_held());
    // Too late.
    unfinished.done();
    assert_eq!(committed(&broker).await[&0], 5);
    until_stable(&broker, 0).await;
    let mut consumer = member(broker.client()).await;
    assert_eq!(value(&next(&mut consumer).await), 5);
}

#[tokio::test]
async fn two_share_and_when_one_closes_the_other_has_all() {
    let broker = broker(4).await;
    let mut first = member(broker.client()).await;
    let mut second = member(broker.client()).await;
    until_stable(&broker, 2).await;
    until("halves", || async { first.assignment().len() == 2 && second.assignment().len() == 2 }).await;
    for partition in 0..4 {
        produce(&broker, partition, 0..5).await;
    }
    let ends = (0..4).map(|partition| (partition, 5)).collect();
    let mut seen = read_all(&mut [&mut first, &mut second], &ends).await;
    seen.sort_unstable();
    let all: Vec<_> = (0..4).flat_map(|partition| (0..5).map(move |offset| (partition, offset))).collect();
    assert_eq!(seen, all, "each exactly once");
    let theirs: BTreeSet<_> = second.assignment().iter().map(|p| p.partition.0).collect();
    let closed = second.close(LONG).await.unwrap();
    assert_eq!(closed.iter().map(|(_, offset)| offset.get()).collect::<Vec<_>>(), [5, 5]);
    until("all partitions", || async { first.assignment().len() == 4 }).await;
    for partition in &theirs {
        produce(&broker, *partition, 5..6).await;
    }
    for _ in &theirs {
        let message = next(&mut first).await;
        assert!(theirs.contains(&message.partition().0));
        assert_eq!(message.offset().get(), 5);
    }
}

#[tokio::test]
async fn a_killed_members_partitions_go_to_another_when_its_session_ends() {
    let broker = broker(2).await;
    produce(&broker, 0, 0..20).await;
    produce(&broker, 1, 0..20).await;
    let url = broker.url().to_owned();
    // In a runtime of its own, which is torn down.
    let killed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (seen_tx, seen_rx) = tokio::sync::oneshot::channel();
    killed.spawn(async move {
        let client = corduroy_client::Client::builder(url).connect().await.unwrap();
        let mut consumer = member(&client).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 10 {
            let message = next(&mut consumer).await;
            seen.insert(place(&message));
            message.done();
        }
        let committed = consumer.commit().await.unwrap();
        // These are never done.
        while seen.len() < 15 {
            seen.insert(place(&next(&mut consumer).await));
        }
        seen_tx.send((seen, committed)).unwrap();
        std::future::pending::<()>().await;
    });
    let (seen, done) = seen_rx.await.unwrap();
    killed.shutdown_background();
    let done: BTreeMap<_, _> = done.iter().map(|(p, offset)| (p.partition.0, offset.get())).collect();
    assert_eq!(done.values().sum::<u64>(), 10);
    let mut heir = member(broker.client()).await;
    let rest: BTreeMap<_, _> = done.iter().map(|(p, at)| (*p, 20 - u32::try_from(*at).unwrap())).collect();
    let mut again = read_all(&mut [&mut heir], &rest).await;
    again.sort_unstable();
    let expected: Vec<_> = done.iter().flat_map(|(p, at)| (*at..20).map(|offset| (*p, offset))).collect();
    assert_eq!(again, expected, "nothing is skipped, and only what was not committed comes again");
    assert!(seen.len() == 15);
}

/// Reports the calls of a hook to a test.
struct Reports(mpsc::UnboundedSender<(&'static str, BTreeSet<u32>)>);

fn indexes(partitions: &[TopicPartition]) -> BTreeSet<u32> {
    partitions.iter().map(|partition| partition.partition.0).collect()
}

impl RebalanceHook for Reports {
    async fn assigned(
        &self,
        _: &Rebalance<'_>,
        new: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, OffsetSpec)>, HookError> {
        self.0.send(("assigned", indexes(new)))?;
        Ok(Vec::new())
    }

    async fn revoking(&self, cx: &Rebalance<'_>, going: &[TopicPartition]) -> Result<(), HookError> {
        cx.commit().await?;
        self.0.send(("revoking", indexes(going)))?;
        Ok(())
    }

    async fn lost(&self, gone: &[TopicPartition]) {
        let _ = self.0.send(("lost", indexes(gone)));
    }
}

#[tokio::test]
async fn hooks_are_called_in_order_and_a_revoked_partition_waits_for_its_messages() {
    let broker = broker(2).await;
    produce(&broker, 0, 0..3).await;
    produce(&broker, 1, 0..3).await;
    let (call_tx, mut calls) = mpsc::unbounded_channel();
    let (client, mut events) = client(&broker);
    let mut first = builder(&client).rebalance(Reports(call_tx)).build().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(next(&mut first).await);
    }
    assert_eq!(calls.recv().await.unwrap(), ("assigned", [0, 1].into()));
    let mut second = member(broker.client()).await;
    // One is to go, and does not as long as its messages are not done.
    until("the revocation", || async { first.assignment().len() == 1 }).await;
    let stays = first.assignment()[0].partition.0;
    let goes = 1 - stays;
    produce(&broker, stays, 3..6).await;
    for offset in 3..6 {
        let message = next(&mut first).await;
        assert_eq!(place(&message), (stays, offset), "the other partition goes on");
        message.done();
    }
    assert!(second.assignment().is_empty());
    assert!(calls.try_recv().is_err());
    for message in &held {
        assert!(message.is_held());
        message.done();
    }
    assert_eq!(calls.recv().await.unwrap(), ("revoking", [goes].into()));
    let revoked = events
        .until(|event| match event {
            Event::Revoked { partitions, .. } => Some(indexes(partitions)),
            _ => None,
        })
        .await;
    assert_eq!(revoked, [goes].into());
    produce(&broker, goes, 3..4).await;
    let message = next(&mut second).await;
    assert_eq!(place(&message), (goes, 3), "everything before was committed");
    assert!(held.iter().all(|message| message.is_held() == (message.partition().0 == stays)));
    message.done();
    // Removed from the group: what it has is lost, and it joins again.
    broker.client().admin().remove_member("billing", first.member_id()).await.unwrap();
    assert_eq!(calls.recv().await.unwrap(), ("lost", [stays].into()));
    assert!(held.iter().all(|message| !message.is_held()));
    let next_call = tokio::time::timeout(LONG, calls.recv()).await.unwrap().unwrap();
    assert_eq!(next_call.0, "assigned");
    second.close(LONG).await.unwrap();
    until("everything", || async { first.assignment().len() == 2 }).await;
    first.close(LONG).await.unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| calls.try_recv().ok()).collect();
    assert_eq!(rest.last(), Some(&("revoking", [0, 1].into())));
}

/// Stops in each call until the test lets it go on.
struct Stops(Reports, Arc<Semaphore>);

impl Stops {
    async fn go_on(&self) {
        self.1.acquire().await.unwrap().forget();
    }
}

impl RebalanceHook for Stops {
    async fn assigned(
        &self,
        cx: &Rebalance<'_>,
        new: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, OffsetSpec)>, HookError> {
        let chosen = self.0.assigned(cx, new).await;
        self.go_on().await;
        chosen
    }

    async fn revoking(&self, cx: &Rebalance<'_>, going: &[TopicPartition]) -> Result<(), HookError> {
        let result = self.0.revoking(cx, going).await;
        self.go_on().await;
        result
    }
}

#[tokio::test]
async fn a_partition_that_is_revoked_before_it_is_read_is_never_read() {
    for commit in [Commit::Processed { every: Duration::from_millis(20) }, Commit::BeforeHandling] {
        let broker = broker(2).await;
        produce(&broker, 0, 0..3).await;
        produce(&broker, 1, 0..3).await;
        let (call_tx, mut calls) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(0));
        let hook = Stops(Reports(call_tx), Arc::clone(&turns));
        let mut first = builder(broker.client()).commit(commit).rebalance(hook).build().await.unwrap();
        assert_eq!(calls.recv().await.unwrap(), ("assigned", [0, 1].into()));
        let mut second = member(broker.client()).await;
        until("a revocation", || async {
            describe(&broker).await.members.iter().any(|member| !member.revoking.is_empty())
        })
        .await;
        turns.add_permits(1);
        let (what, goes) = calls.recv().await.unwrap();
        assert_eq!((what, goes.len()), ("revoking", 1));
        let read: BTreeSet<_> = first.assignment().iter().map(|p| p.partition.0).collect();
        assert_eq!(read, &BTreeSet::from([0, 1]) - &goes);
        let stays = *read.first().unwrap();
        for offset in 0..3 {
            let message = next(&mut first).await;
            assert_eq!(place(&message), (stays, offset));
        }
        assert!(first.next_batch(10, Duration::ZERO).await.unwrap().is_empty());
        turns.add_permits(100);
        for offset in 0..3 {
            assert_eq!(place(&next(&mut second).await), (*goes.first().unwrap(), offset));
        }
    }
}

#[tokio::test]
async fn closing_before_anything_is_read_calls_the_hook_nevertheless() {
    let broker = broker(1).await;
    let (call_tx, mut calls) = mpsc::unbounded_channel();
    let turns = Arc::new(Semaphore::new(0));
    let hook = Stops(Reports(call_tx), Arc::clone(&turns));
    let consumer = builder(broker.client()).rebalance(hook).build().await.unwrap();
    assert_eq!(calls.recv().await.unwrap(), ("assigned", [0].into()));
    let closing = tokio::spawn(consumer.close(LONG));
    turns.add_permits(100);
    closing.await.unwrap().unwrap();
    assert_eq!(calls.recv().await.unwrap(), ("revoking", [0].into()));
}

#[tokio::test]
async fn a_topic_that_is_deleted_before_it_is_begun_holds_up_no_other() {
    let broker = broker(1).await;
    broker.topic("brief", 1).await.unwrap();
    produce(&broker, 0, 0..1).await;
    let (call_tx, mut calls) = mpsc::unbounded_channel();
    let turns = Arc::new(Semaphore::new(0));
    let hook = Stops(Reports(call_tx), Arc::clone(&turns));
    let mut consumer = builder(broker.client()).topics(["brief"]).rebalance(hook).build().await.unwrap();
    assert_eq!(calls.recv().await.unwrap().0, "assigned");
    broker.client().admin().delete_topics(["brief"]).await.unwrap();
    turns.add_permits(100);
    assert_eq!(next(&mut consumer).await.topic().as_str(), TOPIC);
}

#[tokio::test]
async fn a_program_that_never_finishes_holds_a_partition_for_half_the_rebalance_time() {
    let broker = broker(2).await;
    produce(&broker, 0, 0..1).await;
    produce(&broker, 1, 0..1).await;
    let timeout = Duration::from_secs(1);
    let mut first = builder(broker.client()).rebalance_timeout(timeout).build().await.unwrap();
    let _held = [next(&mut first).await, next(&mut first).await];
    let mut second = member(broker.client()).await;
    // It comes again, because it was not done.
    assert_eq!(next(&mut second).await.offset().get(), 0);
    assert_eq!(describe(&broker).await.members.len(), 2, "the first was not removed for it");
    assert_eq!(first.assignment().len(), 1);
}

#[tokio::test]
async fn heartbeats_go_on_while_a_message_takes_longer_than_the_session() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..2).await;
    let (client, mut events) = client(&broker);
    let mut consumer = member(&client).await;
    let message = next(&mut consumer).await;
    let since = Instant::now();
    let id = consumer.member_id().to_owned();
    until("two sessions", || async {
        let described = describe(&broker).await;
        assert!(described.members.iter().any(|member| member.id == id), "removed");
        since.elapsed() > SESSION * 2
    })
    .await;
    message.done();
    until_committed(&broker, 0, 1).await;
    assert_eq!(next(&mut consumer).await.offset().get(), 1);
    assert!(!events.now().iter().any(|event| matches!(event, Event::Lost { .. })));
}

#[tokio::test]
async fn a_restart_of_the_broker_within_the_session_moves_nothing() {
    let mut broker = broker_that_returns(2).await;
    let (call_tx, mut calls) = mpsc::unbounded_channel();
    let (client, _events) = client(&broker);
    let patient = builder(&client).session_timeout(LONG).rebalance(Reports(call_tx));
    let mut consumer = patient.build().await.unwrap();
    until("everything", || async { consumer.assignment().len() == 2 }).await;
    assert_eq!(calls.recv().await.unwrap().0, "assigned");
    produce(&broker, 0, 0..5).await;
    let kept = next(&mut consumer).await;
    until_stable(&broker, 1).await;
    let before = describe(&broker).await;
    broker.restart().await.unwrap();
    produce(&broker, 1, 0..5).await;
    kept.done();
    let mut seen = vec![place(&kept)];
    while seen.len() < 10 {
        let message = next(&mut consumer).await;
        seen.push(place(&message));
        message.done();
    }
    seen.sort_unstable();
    let all: Vec<_> = (0..2).flat_map(|partition| (0..5).map(move |offset| (partition, offset))).collect();
    assert_eq!(seen, all, "each exactly once");
    assert!(kept.is_held());
    let committed = consumer.commit().await.unwrap();
    assert_eq!(committed.iter().map(|(_, offset)| offset.get()).collect::<Vec<_>>(), [5, 5]);
    let after = describe(&broker).await;
    assert_eq!(after.group_epoch, before.group_epoch);
    assert_eq!(after.members[0].id, before.members[0].id);
    assert_eq!(after.members[0].member_epoch, before.members[0].member_epoch);
    assert!(calls.try_recv().is_err(), "no hook was called");
}

#[tokio::test]
async fn a_static_member_comes_back_to_its_partitions_and_no_one_notices() {
    let broker = broker(4).await;
    let (call_tx, mut calls) = mpsc::unbounded_channel();
    let patient = || builder(broker.client()).session_timeout(LONG);
    let other = patient().rebalance(Reports(call_tx)).build().await.unwrap();
    let named = patient().instance("billing-1").build().await.unwrap();
    until_stable(&broker, 2).await;
    until("halves", || async { other.assignment().len() == 2 && named.assignment().len() == 2 }).await;
    let before: BTreeSet<_> = named.assignment().iter().map(|p| p.partition).collect();
    let epoch = describe(&broker).await.group_epoch;
    let drained: Vec<_> = std::iter::from_fn(|| calls.try_recv().ok()).collect();
    assert!(!drained.is_empty());
    named.close(LONG).await.unwrap();
    let named = patient().instance("billing-1").build().await.unwrap();
    until("its partitions", || async { named.assignment().len() == 2 }).await;
    let after: BTreeSet<_> = named.assignment().iter().map(|p| p.partition).collect();
    assert_eq!(after, before);
    until_stable(&broker, 2).await;
    assert_eq!(describe(&broker).await.group_epoch, epoch);
    assert!(calls.try_recv().is_err(), "the other one was not called");
    assert_eq!(other.assignment().len(), 2);
}

#[tokio::test]
async fn of_two_that_share_an_instance_the_older_one_stops() {
    let broker = broker(2).await;
    let named = || builder(broker.client()).instance("billing-1");
    let (call_tx, mut calls) = mpsc::unbounded_channel();
    let mut first = named().rebalance(Reports(call_tx)).build().await.unwrap();
    until("everything", || async { first.assignment().len() == 2 }).await;
    let second = named().build().await.unwrap();
    let error = tokio::time::timeout(LONG, first.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::FencedInstance);
    assert!(error.is_final());
    assert!(first.next().await.is_none());
    assert!(first.is_ended());
    assert_eq!(calls.recv().await.unwrap().0, "assigned");
    assert_eq!(calls.recv().await.unwrap(), ("lost", [0, 1].into()));
    until("everything", || async { second.assignment().len() == 2 }).await;
    assert_eq!(first.commit().await.unwrap().len(), 0, "nothing is left to commit");
    first.close(LONG).await.unwrap();
    assert_eq!(describe(&broker).await.members[0].id, second.member_id());
}

#[tokio::test]
async fn dropping_leaves_the_group_with_only_finished_work_committed() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..5).await;
    let patient = builder(broker.client()).session_timeout(LONG).commit(Commit::Processed { every: LONG });
    let mut consumer = patient.build().await.unwrap();
    next(&mut consumer).await.done();
    let held = next(&mut consumer).await;
    drop(consumer);
    until_stable(&broker, 0).await;
    assert_eq!(committed(&broker).await[&0], 1);
    assert!(!held.is_held());
}

#[tokio::test]
async fn close_ends_in_time_when_the_broker_is_gone() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..2).await;
    let mut consumer = member(broker.client()).await;
    next(&mut consumer).await.done();
    let held = next(&mut consumer).await;
    broker.stop().await;
    let closed = tokio::time::timeout(LONG, consumer.close(Duration::from_millis(10))).await.unwrap();
    assert!(closed.is_err());
    held.done();
}

#[tokio::test]
async fn topics_that_come_later_are_read_too() {
    let broker = broker(1).await;
    let consumer = broker.client().consumer().group("all").pattern("or.*").topics(["later"]);
    let mut consumer = consumer.build().await.unwrap();
    until("the first", || async { consumer.assignment().len() == 1 }).await;
    broker.topic("later", 1).await.unwrap();
    broker.topic("orphans", 1).await.unwrap();
    broker.topic("other", 1).await.unwrap();
    until("the others", || async { consumer.assignment().len() == 3 }).await;
    produce(&broker, 0, 0..1).await;
    assert_eq!(next(&mut consumer).await.topic().as_str(), TOPIC);
    broker.client().admin().delete_topics(["orphans"]).await.unwrap();
    until("one fewer", || async { consumer.assignment().len() == 2 }).await;
    produce(&broker, 0, 1..2).await;
    assert_eq!(value(&next(&mut consumer).await), 1, "no error comes of the deleted topic");
}

#[tokio::test]
async fn a_member_says_its_time_outs_whatever_the_broker_would_use() {
    let broker = Broker::start_with(|config| {
        config.groups.session_timeout = Duration::from_secs(2);
        config.groups.rebalance_timeout = Duration::from_secs(3);
    });
    let broker = broker.await.unwrap();
    broker.topic(TOPIC, 1).await.unwrap();
    let _consumer = broker.client().consumer().group(GROUP).topics([TOPIC]).build().await.unwrap();
    let member = &describe(&broker).await.members[0];
    assert_eq!((member.session_timeout_ms, member.rebalance_timeout_ms), (45_000, 60_000));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anybody_is_asked() {
    let broker = broker(1).await;
    let consumer = || broker.client().consumer();
    for (builder, says) in [
        (consumer().group("").topics([TOPIC]), "no name"),
        (consumer().group("g"), "topics or a pattern"),
        (consumer().group("g\n").topics([TOPIC]), "not shown"),
        (consumer().group("g").topics([TOPIC]).session_timeout(Duration::from_millis(10)), "session_timeout"),
        (consumer().group("g").topics([TOPIC]).instance("x".repeat(300)), "300 bytes"),
        (consumer().group("g").topics([TOPIC]).in_flight_max(0), "in_flight_max"),
    ] {
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
        assert!(error.to_string().contains(says), "{error}");
    }
    // And the broker's own rules come through.
    let error = consumer().group("g").pattern("(").build().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_reported() {
    let broker = broker(1).await;
    let (client, mut events) = client(&broker);
    let mut consumer = builder(&client).topics(["ordres"]).build().await.unwrap();
    let (topic, error) = events
        .until(|event| match event {
            Event::TopicMissing { group, topic, error } if **group == *GROUP => {
                Some((topic.clone(), error.clone()))
            }
            _ => None,
        })
        .await;
    assert_eq!((topic.as_str(), error.code()), ("ordres", ErrorCode::TopicNotFound));
    assert!(error.hint().contains("did you mean \"orders\"?"), "{}", error.hint());
    // It is read from when it is there.
    broker.topic("ordres", 1).await.unwrap();
    let producer = broker.client().producer().build().await.unwrap();
    producer.send(Record::to("ordres").value("1")).await.unwrap();
    assert_eq!(next(&mut consumer).await.topic().as_str(), "ordres");
}

#[tokio::test]
async fn a_position_beyond_the_end_is_an_event_and_an_error() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..3).await;
    let admin = broker.client().admin();
    let beyond = OffsetToCommit::new(TOPIC, PartitionIndex(0), Offset::new(7).unwrap());
    for result in admin.commit_offsets(GROUP, [beyond]).await.unwrap() {
        result.unwrap();
    }
    let (client, mut events) = client(&broker);
    let mut consumer = member(&client).await;
    let error = tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    let found = events
        .until(|event| match event {
            Event::PositionBeyondEnd { position, end, .. } => Some((position.get(), end.get())),
            _ => None,
        })
        .await;
    assert_eq!(found, (7, 3));
}

#[tokio::test]
async fn a_consumer_that_is_dropped_with_uncommitted_work_says_so() {
    let broker = broker(1).await;
    produce(&broker, 0, 0..3).await;
    let (client, mut events) = client(&broker);
    let seldom = Commit::Processed { every: LONG };
    for closes in [true, false] {
        let mut consumer = builder(&client).commit(seldom).build().await.unwrap();
        produce(&broker, 0, 3..6).await;
        let first = next(&mut consumer).await;
        for message in [first, next(&mut consumer).await] {
            message.done();
        }
        let is_told = |event: &Event| match event {
            Event::NotClosed { uncommitted_count, .. } => Some(*uncommitted_count),
            _ => None,
        };
        if closes {
            consumer.close(LONG).await.unwrap();
            assert_eq!(events.now().iter().find_map(is_told), None);
        } else {
            drop(consumer);
            assert_eq!(events.until(is_told).await, 2);
            // The runtime goes on, so it is committed nevertheless.
            until_committed(&broker, 0, 4).await;
        }
    }
    // With nothing to lose there is nothing to call_tx.
    drop(builder(&client).commit(seldom).build().await.unwrap());
    until_stable(&broker, 0).await;
    assert!(!events.now().iter().any(|event| matches!(event, Event::NotClosed { .. })));
}

#[tokio::test]
async fn a_commit_that_fails_is_reported_while_it_is_tried_and_when_the_member_stops() {
    let mut broker = broker_that_returns(1).await;
    let (client, mut events) = client(&broker);
    let mut consumer = builder(&client).session_timeout(LONG).build().await.unwrap();
    produce(&broker, 0, 0..3).await;
    next(&mut consumer).await.done();
    until_committed(&broker, 0, 1).await;
    for restarts in [true, false] {
        let message = next(&mut consumer).await;
        broker.power().cut();
        message.done();
        events.until(|event| matches!(event, Event::CommitDelayed { .. }).then_some(())).await;
        if restarts {
            broker.restart_after_power_loss().await.unwrap();
            until_committed(&broker, 0, 2).await;
        }
    }
    let error = consumer.close(Duration::ZERO).await.unwrap_err();
    let CloseError::Commit(error) = error else { panic!("{error}") };
    assert!(error.is_retriable(), "{error}");
    let found = events.until(|event| match event {
        Event::CommitFailed { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(found.await, error);
}
