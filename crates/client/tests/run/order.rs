//! Which records are handled side by side, and which one after the other.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    sync::{Arc, Mutex},
};

use corduroy_client::{Message, Record, Workers};
use tokio::sync::{Notify, Semaphore};

use crate::support::*;

/// Keys that are being handled, and how many were at once.
#[derive(Default)]
struct Busy {
    now: HashSet<Vec<u8>>,
    most: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_keep_their_order_whatever_runs_with_them() {
    const WORKERS: usize = 8;
    const RECORDS: usize = 1500;
    let dice = Arc::new(Dice::new());
    let broker = broker_with("t", 3).await;
    let keys: Vec<String> = (0..RECORDS).map(|_| format!("k{}", dice.below(30))).collect();
    let values: Vec<String> = (0..RECORDS).map(|at| at.to_string()).collect();
    let records: Vec<_> = keys.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    produce(&broker, &records).await;

    let busy = Arc::new(Mutex::new(Busy::default()));
    let seen = Seen::new();
    let handler = {
        let (busy, seen) = (Arc::clone(&busy), seen.clone());
        move |message: Message| {
            let (busy, seen, dice) = (Arc::clone(&busy), seen.clone(), Arc::clone(&dice));
            async move {
                let key = message.key().unwrap().to_vec();
                {
                    let mut busy = busy.lock().unwrap();
                    assert!(busy.now.insert(key.clone()), "two records of {key:?} at once");
                    busy.most = busy.most.max(busy.now.len());
                }
                dice.work(50).await;
                busy.lock().unwrap().now.remove(&key);
                seen.push((key, text(&message).parse::<usize>().unwrap()));
                Ok::<_, Infallible>(())
            }
        }
    };
    let run = consumer(broker.client()).await.run_until(
        broker.caught_up("g"),
        Workers::by_key(WORKERS).records_max(100),
        handler,
    );
    let summary = run.await.unwrap();
    assert_eq!((summary.handled, summary.retried), (RECORDS as u64, 0));
    let mut order: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (key, value) in seen.all() {
        order.entry(key).or_default().push(value);
    }
    assert_eq!(order.values().map(Vec::len).sum::<usize>(), RECORDS);
    assert!(order.values().all(|values| values.is_sorted_by(|a, b| a < b)), "{order:?}");
    let most = busy.lock().unwrap().most;
    assert!((2..=WORKERS).contains(&most), "{most} at once");
    let ends: u64 = committed(&broker).await.values().map(|offset| offset.get()).sum();
    assert_eq!(ends, RECORDS as u64, "everything is committed");
}

#[tokio::test]
async fn a_key_that_hangs_stops_no_other_key_within_the_bound() {
    let broker = broker_with("t", 1).await;
    produce(
        &broker,
        &[("slow", "s0"), ("slow", "s1"), ("a", "a0"), ("slow", "s2"), ("b", "b0"), ("a", "a1")],
    )
    .await;
    let go_on = Arc::new(Notify::new());
    let seen = Seen::new();
    let handler = {
        let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
        move |message: Message| {
            let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
            async move {
                seen.push(text(&message));
                if text(&message) == "s0" {
                    go_on.notified().await;
                }
                Ok::<_, Infallible>(())
            }
        }
    };
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), Workers::by_key(2), handler);
    let watched = async {
        let before = seen.count(4).await;
        assert_eq!(before, ["s0", "a0", "b0", "a1"], "s1 and s2 wait for s0");
        assert_eq!(committed(&broker).await.into_values().map(|offset| offset.get()).max(), Some(0));
        go_on.notify_one();
    };
    let (summary, ()) = tokio::join!(run, watched);
    assert_eq!(summary.unwrap().handled, 6);
    assert_eq!(seen.all()[4..], ["s1", "s2"]);
}

#[tokio::test]
async fn records_without_a_key_keep_the_order_of_their_partition() {
    let broker = broker_with("t", 2).await;
    let producer = broker.client().producer().build().await.unwrap();
    for at in 0..60_u32 {
        let record = Record::to("t").partition(at % 2).value(at.to_string());
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let seen = Seen::new();
    let handler = {
        let seen = seen.clone();
        move |message: Message| {
            let seen = seen.clone();
            async move {
                tokio::task::yield_now().await;
                seen.push(text(&message).parse::<u32>().unwrap());
                Ok::<_, Infallible>(())
            }
        }
    };
    let run = consumer(broker.client()).await.run_until(broker.caught_up("g"), Workers::by_key(8), handler);
    assert_eq!(run.await.unwrap().handled, 60);
    let (even, odd): (Vec<u32>, Vec<u32>) = seen.all().into_iter().partition(|at| at % 2 == 0);
    assert_eq!((even.len(), odd.len()), (30, 30));
    assert!(even.is_sorted() && odd.is_sorted(), "{even:?} {odd:?}");
}

#[tokio::test]
async fn no_more_records_are_taken_than_may_be_there() {
    let broker = broker_with("t", 1).await;
    let records: Vec<_> = (0..50).map(|at| format!("k{at}")).collect();
    let records: Vec<_> = records.iter().map(|key| (key.as_str(), "v")).collect();
    produce(&broker, &records).await;
    let seen = Seen::new();
    let go_on = Arc::new(Notify::new());
    let handler = {
        let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
        move |message: Message| {
            let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
            async move {
                seen.push(message.offset().get());
                go_on.notified().await;
                Ok::<_, Infallible>(())
            }
        }
    };
    let run = consumer(broker.client()).await.run_until(
        broker.caught_up("g"),
        Workers::by_key(5).records_max(5),
        handler,
    );
    let watched = async {
        // One at a time goes on, and each time one more begins.
        for done in 0..50 {
            let seen = seen.count((5 + done).min(50)).await;
            assert_eq!(seen.len(), (5 + done).min(50), "at most five at once");
            go_on.notify_one();
        }
    };
    let (summary, ()) = tokio::join!(run, watched);
    assert_eq!(summary.unwrap().handled, 50);
}

#[tokio::test]
async fn what_is_being_handled_counts_to_the_buffer_of_the_consumer() {
    const RECORDS: usize = 100;
    let broker = broker_with("t", 1).await;
    let producer = broker.client().producer().build().await.unwrap();
    for at in 0..RECORDS {
        let record = Record::to("t").key(at.to_string()).value(vec![0; 200 << 10]);
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let seen = Seen::new();
    let go_on = Arc::new(Semaphore::new(0));
    let handler = {
        let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
        move |message: Message| {
            let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
            async move {
                seen.push(message.offset().get());
                drop(go_on.acquire().await);
                Ok::<_, Infallible>(())
            }
        }
    };
    let consumer = builder(broker.client()).buffer_bytes(1 << 20).build().await.unwrap();
    let run = consumer.run_until(broker.caught_up("g"), Workers::by_key(RECORDS), handler);
    let watched = async {
        seen.count(5).await;
        // Another consumer reads everything meanwhile, so there was time for more.
        assert_eq!(broker.records("t").await.unwrap().len(), RECORDS);
        let begun = seen.all().len();
        assert!(begun < RECORDS / 2, "{begun} records of 200 KiB are held at once");
        go_on.add_permits(1);
    };
    let (summary, ()) = tokio::join!(run, watched);
    assert_eq!(summary.unwrap().handled, RECORDS as u64);
}
