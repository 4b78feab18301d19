//! Runs that end, and partitions that change hands meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use corduroy_client::{GroupMember, Message, PartitionIndex, Record, Workers};
use tokio::sync::{Notify, watch};

use crate::support::*;

/// Partition and offset.
fn place(message: &Message) -> (u32, u64) {
    (message.partition().0, message.offset().get())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_shut_down_and_begun_again_leave_nothing_out() {
    const RECORDS: usize = 600;
    let dice = Arc::new(Dice::new());
    let broker = broker_with("t", 2).await;
    let keys: Vec<String> = (0..RECORDS).map(|_| format!("k{}", dice.below(20))).collect();
    let values: Vec<String> = (0..RECORDS).map(|at| at.to_string()).collect();
    let records: Vec<_> = keys.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    produce(&broker, &records).await;
    let done = Seen::new();
    let handled = Arc::new(AtomicU64::new(0));
    let mut runs = 0;
    while done.all().iter().collect::<BTreeSet<_>>().len() < RECORDS {
        runs += 1;
        assert!(runs < 200, "it does not get on");
        let until = done.all().len() + 1 + usize::try_from(dice.below(60)).unwrap();
        let (seen, limit, handler_dice) = (done.clone(), handled.clone(), Arc::clone(&dice));
        let ending = watch::Sender::new(false);
        let is_ending = ending.subscribe();
        let handler = move |message: Message| {
            let (seen, limit, dice) = (seen.clone(), limit.clone(), Arc::clone(&handler_dice));
            let mut ending = is_ending.clone();
            async move {
                dice.work(50).await;
                // What begins when it is enough waits for the end of the run, which finds it at work.
                if seen.all().len() >= until {
                    drop(ending.wait_for(|ending| *ending).await);
                }
                seen.push((place(&message), message.key().unwrap().to_vec()));
                limit.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(())
            }
        };
        let enough = async {
            tokio::select! {
                _ = done.count(until) => {}
                caught_up = broker.caught_up("g") => caught_up.unwrap(),
            }
            ending.send_replace(true);
        };
        let workers = Workers::by_key(6).records_max(50);
        let before = handled.load(Ordering::Relaxed);
        let summary = consumer(broker.client()).await.run_until(enough, workers, handler).await.unwrap();
        let after = handled.load(Ordering::Relaxed);
        assert_eq!(summary.handled, after - before, "a handler that began was waited for");
    }
    assert!(runs > 3, "it was not interrupted");
    // What the last run did behind something that it had not done is not committed: it comes once more.
    let handler = {
        let done = done.clone();
        move |message: Message| {
            done.push((place(&message), message.key().unwrap().to_vec()));
            async { Ok::<_, Infallible>(()) }
        }
    };
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), Workers::by_key(6), handler);
    run.await.unwrap();
    assert_eq!(broker.caught_up("g").await, Ok(()));
    // A key's records come in their order; one that comes again is one that came before.
    let mut furthest: BTreeMap<Vec<u8>, BTreeSet<(u32, u64)>> = BTreeMap::new();
    for (place, key) in done.all() {
        let seen = furthest.entry(key).or_default();
        let last = seen.last().copied();
        assert!(seen.contains(&place) || last.is_none_or(|last| last < place), "{place:?} behind {last:?}");
        seen.insert(place);
    }
}

#[tokio::test]
async fn what_a_dropped_run_had_not_finished_is_not_committed() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("b", "b0"), ("a", "a1")]).await;
    let seen = Seen::new();
    let handler = {
        let seen = seen.clone();
        move |message: Message| {
            let seen = seen.clone();
            async move {
                seen.push(text(&message));
                if text(&message) == "b0" {
                    pending::<()>().await;
                }
                Ok::<_, Infallible>(())
            }
        }
    };
    let run = tokio::spawn(consumer(broker.client()).await.run(Workers::by_key(2), handler));
    seen.count(3).await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    let again = Seen::new();
    let handler = {
        let again = again.clone();
        move |message: Message| {
            let again = again.clone();
            async move {
                again.push(text(&message));
                Ok::<_, Infallible>(())
            }
        }
    };
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), Workers::by_key(2), handler);
    run.await.unwrap();
    assert!(again.all().contains(&"b0".to_owned()), "{:?}", again.all());
}

#[tokio::test]
async fn a_handler_that_does_not_end_in_time_is_cancelled_and_its_record_comes_again() {
    let broker = broker_with("t", 1).await;
    produce(&broker, &[("a", "a0"), ("b", "b0"), ("a", "a1")]).await;
    let seen = Seen::new();
    let handler = {
        let seen = seen.clone();
        move |message: Message| {
            let seen = seen.clone();
            async move {
                seen.push(text(&message));
                if text(&message) == "b0" {
                    pending::<()>().await;
                }
                Ok::<_, Infallible>(())
            }
        }
    };
    let shutdown = async { drop(seen.count(3).await) };
    let workers = Workers::by_key(2).stop_within(Duration::from_millis(50));
    let run = consumer(broker.client()).await.run_until(shutdown, workers, handler);
    let summary = tokio::time::timeout(20 * SECOND, run).await.expect("no one waits for b0").unwrap();
    assert_eq!(summary.handled, 2);
    assert_eq!(committed(&broker).await[&PartitionIndex(0)].get(), 1, "a1 is done, but not b0 before it");
    let group = broker.client().admin().describe_group("g").await.unwrap();
    assert!(group.members.is_empty(), "the member has left");
}

/// Partitions that go to a second run while the first is at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_share_a_topic_and_nothing_is_left_out() {
    const RECORDS: usize = 800;
    let dice = Arc::new(Dice::new());
    let broker = broker_with("t", 4).await;
    let keys: Vec<String> = (0..RECORDS).map(|_| format!("k{}", dice.below(40))).collect();
    let values: Vec<String> = (0..RECORDS).map(|at| at.to_string()).collect();
    let records: Vec<_> = keys.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    produce(&broker, &records[..RECORDS / 2]).await;

    // Who handled what, in order; and the keys that are being handled.
    let seen: Seen<(u8, (u32, u64), Vec<u8>)> = Seen::new();
    let busy = Arc::new(Mutex::new(HashSet::new()));
    let handler = |who: u8| {
        let (seen, busy, dice) = (seen.clone(), Arc::clone(&busy), Arc::clone(&dice));
        move |message: Message| {
            let (seen, busy, dice) = (seen.clone(), Arc::clone(&busy), Arc::clone(&dice));
            async move {
                let key = message.key().unwrap().to_vec();
                // A partition goes over only when what runs of it has ended.
                assert!(busy.lock().unwrap().insert(key.clone()), "{key:?} is handled twice at once");
                dice.work(50).await;
                busy.lock().unwrap().remove(&key);
                seen.push((who, place(&message), key));
                Ok::<_, Infallible>(())
            }
        }
    };
    let stop = watch::Sender::new(false);
    let stopped = || {
        let mut stop = stop.subscribe();
        async move { drop(stop.wait_for(|stop| *stop).await) }
    };
    let workers = || Workers::by_key(4).records_max(100);
    let first = consumer(broker.client()).await.run_until(stopped(), workers(), handler(1));
    let first = tokio::spawn(first);
    seen.count(50).await;
    let second = consumer(broker.client()).await.run_until(stopped(), workers(), handler(2));
    let second = tokio::spawn(second);
    let has_two = |member: &GroupMember| member.assigned.len() == 2 && member.revoking.is_empty();
    group_until(&broker, |group| group.members.len() == 2 && group.members.iter().all(has_two)).await;
    produce(&broker, &records[RECORDS / 2..]).await;
    assert_eq!(broker.caught_up("g").await, Ok(()));
    stop.send_replace(true);
    let handled = first.await.unwrap().unwrap().handled + second.await.unwrap().unwrap().handled;

    let seen = seen.all();
    assert_eq!(handled, seen.len() as u64);
    let places: BTreeSet<_> = seen.iter().map(|(_, place, _)| *place).collect();
    assert_eq!(places.len(), RECORDS, "every record was handled");
    assert!([1, 2].iter().all(|who| seen.iter().any(|(by, ..)| by == who)), "both had something to do");
    // Each member handles a key in its order.
    let mut last: BTreeMap<(u8, &[u8]), (u32, u64)> = BTreeMap::new();
    for (who, place, key) in &seen {
        let before = last.insert((*who, key), *place);
        assert!(before.is_none_or(|before| before < *place), "{who}: {place:?} behind {before:?}");
    }
}

#[tokio::test]
async fn what_waits_for_a_worker_is_given_up_at_once_when_its_partition_goes() {
    const RECORDS: usize = 500;
    let broker = broker_with("t", 2).await;
    // In the partition that the second member gets: of two, the last.
    let producer = broker.client().producer().build().await.unwrap();
    for at in 0..RECORDS {
        let record = Record::to("t").partition(1).key("k").value(at.to_string());
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let go_on = Arc::new(Notify::new());
    let seen: Seen<(u8, u64)> = Seen::new();
    let handler = |who: u8| {
        let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
        move |message: Message| {
            let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
            async move {
                if who == 1 {
                    go_on.notified().await;
                }
                seen.push((who, message.offset().get()));
                Ok::<_, Infallible>(())
            }
        }
    };
    let workers = || Workers::by_key(2).records_max(RECORDS);
    let first = tokio::spawn(consumer(broker.client()).await.run(workers(), handler(1)));
    go_on.notify_one();
    seen.count(1).await;
    // The first run has one record running and all others waiting behind it. It gets one done for each look at
    // the group.
    let second = tokio::spawn(consumer(broker.client()).await.run(workers(), handler(2)));
    group_until(&broker, |group| group.members.iter().any(|member| !member.revoking.is_empty())).await;
    group_until(&broker, |_| {
        go_on.notify_one();
        seen.all().iter().any(|(who, _)| *who == 2)
    })
    .await;
    let seen = seen.all();
    let offsets = |by| seen.iter().filter(move |(who, _)| *who == by).map(|(_, offset)| *offset);
    let by_first = offsets(1).count();
    assert!(by_first < RECORDS, "what was waiting was handled before the partition went");
    assert_eq!(offsets(2).next(), Some(by_first as u64), "it goes on behind what was done");
    first.abort();
    second.abort();
}
