//! Consumers of groups against the real broker.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

use std::time::Duration;

use corduroy_client::{Client, Commit, GroupConsumer, Message, Producer, Record};
use corduroy_testing::Broker;

const LONG: Duration = Duration::from_secs(30);

async fn broker(partitions: u32) -> Broker {
    let broker = Broker::start().await.unwrap();
    broker.topic("orders", partitions).await.unwrap();
    broker
}

async fn produce(client: &Client, partition: u32, values: std::ops::Range<u32>) {
    let producer: Producer = client.producer().build().await.unwrap();
    for value in values {
        let record = Record::to("orders").partition(partition).value(value.to_string());
        producer.send(record).await.unwrap();
    }
}

async fn member(client: &Client) -> GroupConsumer {
    let consumer = client.consumer().group("billing").topics(["orders"]);
    consumer.commit(Commit::Processed { every: Duration::from_millis(50) }).build().await.unwrap()
}

async fn next(consumer: &mut GroupConsumer) -> Message {
    tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap().unwrap()
}

fn value(message: &Message) -> u32 {
    std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_comes_next_goes_on_where_the_last_one_closed() {
    let broker = broker(1).await;
    produce(broker.client(), 0, 0..10).await;
    let mut consumer = member(broker.client()).await;
    for expected in 0..5 {
        let message = next(&mut consumer).await;
        assert_eq!(value(&message), expected);
        assert!(message.is_held());
        message.done();
    }
    let unfinished = next(&mut consumer).await;
    drop(unfinished);
    let error = consumer.close(Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("1 messages were not done"), "{error}");
    let mut consumer = member(broker.client()).await;
    assert_eq!(value(&next(&mut consumer).await), 5);
}
