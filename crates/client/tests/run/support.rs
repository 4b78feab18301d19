//! What the tests of runs share.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use corduroy_client::{
    Client, Commit, Event, GroupConsumer, GroupConsumerBuilder, GroupDescription, Message, Offset,
    PartitionIndex, Record,
};
use corduroy_testing::Broker;
use tokio::sync::watch;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn broker_with(topic: &str, partitions: u32) -> Broker {
    let broker = Broker::start().await.unwrap();
    broker.topic(topic, partitions).await.unwrap();
    broker
}

/// A consumer of topic `t` that commits often.
pub(crate) fn builder(client: &Client) -> GroupConsumerBuilder {
    client.consumer().group("g").topics(["t"]).commit(Commit::Processed { every: Duration::from_millis(20) })
}

pub(crate) async fn consumer(client: &Client) -> GroupConsumer {
    builder(client).build().await.unwrap()
}

/// Writes records `KEY=VALUE` in this order, partition by key.
pub(crate) async fn produce(broker: &Broker, records: &[(&str, &str)]) {
    let producer = broker.client().producer().build().await.unwrap();
    for (key, value) in records {
        let record = Record::to("t").key((*key).to_owned()).value((*value).to_owned());
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await.unwrap();
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.value().unwrap().to_vec()).unwrap()
}

/// What the group has committed, by partition.
pub(crate) async fn committed(broker: &Broker) -> HashMap<PartitionIndex, Offset> {
    let group = broker.client().admin().describe_group("g").await.unwrap();
    let committed = |p: &corduroy_client::GroupPartition| Some(p.offset.committed.as_ref()?.offset);
    group.partitions.iter().filter_map(|p| Some((p.offset.partition, committed(p)?))).collect()
}

/// Waits until the group is as wanted.
pub(crate) async fn group_until(broker: &Broker, mut is_so: impl FnMut(&GroupDescription) -> bool) {
    let admin = broker.client().admin();
    let waited = tokio::time::timeout(60 * SECOND, async {
        while !is_so(&admin.describe_group("g").await.unwrap()) {}
    });
    waited.await.unwrap();
}

/// A list that handlers fill and a test can wait for.
#[derive(Clone)]
pub(crate) struct Seen<T: Clone>(Arc<watch::Sender<Vec<T>>>);

impl<T: Clone> Seen<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    pub(crate) fn push(&self, item: T) {
        self.0.send_modify(|seen| seen.push(item));
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// Waits until the list is as wanted.
    pub(crate) async fn until(&self, is_so: impl FnMut(&Vec<T>) -> bool) -> Vec<T> {
        let mut is_so = is_so;
        let waited = tokio::time::timeout(60 * SECOND, async {
            self.0.subscribe().wait_for(|seen| is_so(seen)).await.unwrap().clone()
        });
        waited.await.unwrap()
    }

    pub(crate) async fn count(&self, count: usize) -> Vec<T> {
        self.until(|seen| seen.len() >= count).await
    }
}

/// A client that keeps its events.
pub(crate) fn listening(broker: &Broker) -> (Client, Seen<Event>) {
    let events = Seen::new();
    let sink = events.clone();
    let client =
        Client::builder(broker.url()).on_event(move |event| sink.push(event)).connect_lazy().unwrap();
    (client, events)
}

/// Random numbers of a seed that is printed.
pub(crate) struct Dice(Mutex<u64>);

impl Dice {
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("RUN_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => RandomState::new().hash_one(0_u8),
        };
        println!("RUN_SEED={seed}");
        Self(Mutex::new(seed))
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Work of random length: lets other tasks run fewer than `times_max` times.
    pub(crate) async fn work(&self, times_max: u64) {
        for _ in 0..self.below(times_max) {
            tokio::task::yield_now().await;
        }
    }
}
