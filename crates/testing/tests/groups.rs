//! Waiting for groups.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::Duration;

use corduroy_client::{Commit, ErrorCode, GroupConsumer, Offset, OffsetToCommit, PartitionIndex, Record};
use corduroy_testing::{Behind, Broker};

const NOW: Duration = Duration::ZERO;

async fn consumer(broker: &Broker) -> GroupConsumer {
    let builder = broker.client().consumer().group("billing").topics(["orders"]);
    builder.commit(Commit::Processed { every: Duration::from_millis(20) }).build().await.unwrap()
}

async fn produce(broker: &Broker, partition: u32, count: u32) {
    let producer = broker.client().producer().build().await.unwrap();
    for at in 0..count {
        producer.send(Record::to("orders").partition(partition).value(at.to_string())).await.unwrap();
    }
}

#[tokio::test]
async fn a_group_has_caught_up_when_everything_is_done_and_committed() {
    let broker = Broker::start().await.unwrap();
    broker.topic("orders", 2).await.unwrap();
    produce(&broker, 0, 3).await;
    let mut consumer = consumer(&broker).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(consumer.next().await.unwrap().unwrap());
    }
    let late = broker.caught_up_within("billing", Duration::from_millis(100)).await.unwrap_err();
    let Behind::Lagging(lagging) = &late.reason else { panic!("{late}") };
    let lags: Vec<_> = lagging.iter().map(|lag| (lag.partition.0, lag.records)).collect();
    assert_eq!(lags, [(0, Some(3))], "what was handed out is not done");
    let words = format!("partition 0: 3 records behind, read by {}", consumer.member_id());
    assert!(late.to_string().contains(&words), "{late}");

    messages.iter().for_each(corduroy_client::Message::done);
    broker.caught_up("billing").await.unwrap();
    consumer.close(Duration::from_secs(5)).await.unwrap();
    broker.caught_up_within("billing", NOW).await.unwrap();

    // It is behind again without anybody who reads.
    produce(&broker, 1, 1).await;
    let late = broker.caught_up_within("billing", NOW).await.unwrap_err();
    let words = "group billing has not caught up within 0 ms: topic \"orders\" partition 1: 1 record behind, read by no one";
    assert_eq!(late.to_string(), words);
}

#[tokio::test]
async fn a_group_that_is_not_there_yet_is_waited_for() {
    let broker = Broker::start().await.unwrap();
    broker.topic("orders", 1).await.unwrap();
    produce(&broker, 0, 1).await;
    let late = broker.caught_up_within("billing", NOW).await.unwrap_err();
    assert!(
        matches!(&late.reason, Behind::NotDescribed(e) if e.code() == ErrorCode::GroupNotFound),
        "{late}"
    );
    let reads = async {
        let mut consumer = consumer(&broker).await;
        consumer.next().await.unwrap().unwrap().done();
        consumer.close(Duration::from_secs(5)).await.unwrap();
    };
    let (caught_up, ()) = tokio::join!(broker.caught_up("billing"), reads);
    caught_up.unwrap();
}

#[tokio::test]
async fn a_group_of_commits_alone_has_caught_up_at_the_end() {
    let broker = Broker::start().await.unwrap();
    broker.topic("orders", 1).await.unwrap();
    produce(&broker, 0, 2).await;
    let commit = async |offset| {
        let offset = Offset::new(offset).unwrap();
        loop {
            let place = OffsetToCommit::new("orders", PartitionIndex(0), offset);
            match broker.client().admin().commit_offsets("billing", [place]).await {
                // The first commit of all makes the place where commits are.
                Err(error) if error.is_retriable() => tokio::task::yield_now().await,
                committed => return drop(committed.unwrap()),
            }
        }
    };
    commit(1).await;
    assert!(broker.caught_up_within("billing", NOW).await.is_err());
    commit(2).await;
    broker.caught_up_within("billing", NOW).await.unwrap();
}
