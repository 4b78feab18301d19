//! A compacted topic, from the client's side.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "tests")]

use std::collections::BTreeMap;

use corduroy_client::{NewTopic, Offset, OffsetSpec, Record};
use corduroy_log::disk::SimCall;
use corduroy_testing::Broker;

const KEYS: u32 = 20;

async fn topic(broker: &Broker, name: &str, policy: &str) {
    let new = NewTopic::named(name)
        .partitions(1)
        .config("cleanup.policy", policy)
        .config("segment.bytes", "64KiB")
        .config("max.message.bytes", "16KiB")
        .config("delete.retention.ms", "0");
    broker.client().admin().create_topic(new).await.unwrap();
}

/// Produces values for a few keys over and over, and a null value for each fifth; returns what is left of them.
async fn fill(broker: &Broker, name: &str, rounds: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let producer = broker.client().producer().build().await.unwrap();
    let mut last = BTreeMap::new();
    for round in 0..rounds {
        for key in 0..KEYS {
            let (name_of_key, value) = (format!("k{key}"), format!("{round}/{key}/{}", "x".repeat(1_000)));
            let mut record = Record::to(name).key(name_of_key.clone());
            if key % 5 == 4 && round + 1 < rounds / 2 {
                last.remove(name_of_key.as_bytes());
            } else if key % 5 == 4 {
                continue;
            } else {
                record = record.value(value.clone());
                last.insert(name_of_key.into_bytes(), value.into_bytes());
            }
            producer.send(record).await.unwrap();
        }
    }
    last
}

async fn replay(broker: &Broker, name: &str) -> (usize, BTreeMap<Vec<u8>, Vec<u8>>) {
    let records = broker.records(name).await.unwrap();
    let mut known = BTreeMap::new();
    for record in &records {
        let key = record.key().unwrap().to_vec();
        match record.value() {
            Some(value) => drop(known.insert(key, value.to_vec())),
            None => drop(known.remove(&key)),
        }
    }
    (records.len(), known)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_value_of_each_key_stays_through_restarts() {
    let mut broker = Broker::start().await.unwrap();
    topic(&broker, "state", "compact").await;
    let last = fill(&broker, "state", 20).await;
    let (before, known) = replay(&broker, "state").await;
    assert_eq!(known, last);
    assert_eq!(broker.compact().await, 1);
    assert_eq!(broker.compact().await, 0, "nothing is due any more");
    let (after, known) = replay(&broker, "state").await;
    assert_eq!(known, last);
    assert!(after < before / 2, "{after} of {before}");
    // From the midst of a gap, and by time.
    let start = OffsetSpec::Offset(Offset::new(3).unwrap());
    let consumer = broker.client().consumer().topics(["state"]).start(start).until(OffsetSpec::End);
    let mut consumer = consumer.build().await.unwrap();
    let mut count = 0;
    while let Some(message) = consumer.next().await {
        assert!(message.unwrap().offset().get() >= 3);
        count += 1;
    }
    assert!(count > 0);
    broker.restart().await.unwrap();
    assert_eq!(replay(&broker, "state").await, (after, last.clone()));
    broker.restart_after_power_loss().await.unwrap();
    assert_eq!(replay(&broker, "state").await, (after, last));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_need_a_key() {
    let broker = Broker::start().await.unwrap();
    topic(&broker, "state", "compact,delete").await;
    let producer = broker.client().producer().build().await.unwrap();
    let refused = producer.send(Record::to("state").value("no key")).await.unwrap_err();
    assert!(refused.to_string().contains("key"), "{refused}");
    producer.send(Record::to("state").key("k").value("v")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_that_cannot_be_compacted_leaves_the_others_to_be() {
    let broker = Broker::start().await.unwrap();
    for name in ["bad", "good"] {
        topic(&broker, name, "compact").await;
    }
    let (bad, good) = (fill(&broker, "bad", 12).await, fill(&broker, "good", 12).await);
    // The first file that a pass makes cannot be renamed.
    broker.disk().fail_nth(SimCall::Rename, 0);
    assert_eq!(broker.compact().await, 1);
    let findings = broker.client().admin().describe_cluster().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.message.contains("not compacted")), "{findings:?}");
    assert_eq!(replay(&broker, "bad").await.1, bad);
    assert_eq!(replay(&broker, "good").await.1, good);
}
