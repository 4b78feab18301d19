//! What tests of groups share: a broker with one topic, clients whose events can be waited for, and members.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{collections::BTreeMap, ops::Range, time::Duration};

use corduroy_client::{
    Client, Commit, Event, GroupConsumer, GroupConsumerBuilder, GroupDescription, GroupState, Message, Record,
};
use corduroy_testing::Broker;
use tokio::sync::mpsc;

/// Nothing takes so long unless it never comes.
pub const LONG: Duration = Duration::from_secs(30);
pub const SESSION: Duration = Duration::from_secs(1);
pub const GROUP: &str = "billing";
pub const TOPIC: &str = "orders";

pub async fn broker(partitions: u32) -> Broker {
    let broker = Broker::start().await.unwrap();
    broker.topic(TOPIC, partitions).await.unwrap();
    broker
}

/// A broker that comes back at the same address.
pub async fn broker_that_returns(partitions: u32) -> Broker {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = Broker::start_with(|config| config.listen.grpc = port).await.unwrap();
    broker.topic(TOPIC, partitions).await.unwrap();
    broker
}

/// Events of a client, to be waited for.
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    pub async fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(&self.0.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONG, found).await.unwrap()
    }

    /// Those that are there already.
    pub fn now(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

pub fn client(broker: &Broker) -> (Client, Events) {
    let (event_tx, events) = mpsc::unbounded_channel();
    let client = Client::builder(broker.url()).on_event(move |event| drop(event_tx.send(event)));
    (client.connect_lazy().unwrap(), Events(events))
}

/// Partitions and values `0..`, one record each.
pub async fn produce(broker: &Broker, partition: u32, values: Range<u32>) {
    let producer = broker.client().producer().build().await.unwrap();
    for value in values {
        producer.send(Record::to(TOPIC).partition(partition).value(value.to_string())).await.unwrap();
    }
}

pub fn builder(client: &Client) -> GroupConsumerBuilder {
    client
        .consumer()
        .group(GROUP)
        .topics([TOPIC])
        .session_timeout(SESSION)
        .commit(Commit::Processed { every: Duration::from_millis(20) })
}

pub async fn member(client: &Client) -> GroupConsumer {
    builder(client).build().await.unwrap()
}

pub async fn next(consumer: &mut GroupConsumer) -> Message {
    tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap().unwrap()
}

pub fn value(message: &Message) -> u32 {
    std::str::from_utf8(message.value().unwrap()).unwrap().parse().unwrap()
}

pub fn place(message: &Message) -> (u32, u64) {
    (message.partition().0, message.offset().get())
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let all = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(LONG, all).await.is_ok(), "never came: {what}");
}

pub async fn describe(broker: &Broker) -> GroupDescription {
    broker.client().admin().describe_group(GROUP).await.unwrap()
}

/// Waits until the group has so many members and nothing is to be settled.
pub async fn until_stable(broker: &Broker, members: usize) {
    until("a stable group", || async {
        let described = describe(broker).await;
        described.members.len() == members
            && (described.state == GroupState::Stable
                || (members == 0 && described.state == GroupState::Empty))
    })
    .await;
}

/// What is committed, by partition.
pub async fn committed(broker: &Broker) -> BTreeMap<u32, u64> {
    let offsets = broker.client().admin().fetch_offsets(GROUP).await.unwrap();
    offsets.into_iter().filter_map(|o| Some((o.partition.0, o.committed?.offset.get()))).collect()
}

pub async fn until_committed(broker: &Broker, partition: u32, offset: u64) {
    until("a commit", || async { committed(broker).await.get(&partition) == Some(&offset) }).await;
}
