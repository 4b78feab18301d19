//! A caller who goes away in the middle of a change leaves a broker that agrees with itself, and starts again.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]
mod support;

use std::{collections::BTreeMap, time::Duration};

use corduroy_api::v1::{self, admin_client::AdminClient};
use corduroy_testing::Broker;
use support::{Random, stub};
use tonic::Request;

/// A request that is given up after a random moment, at most 2 ms.
fn hurried<T>(message: T, random: &mut Random) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_micros(random.below(2_000)));
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_change_is_made_whole_or_not_at_all() {
    let seed = 0xCA_4CE1;
    let mut random = Random(seed);
    let mut broker = Broker::start().await.unwrap();
    let mut admin = AdminClient::new(stub::connect(broker.url()).await);
    let create = |name: &str| v1::CreateTopicsRequest {
        topics: vec![v1::NewTopic {
            name: name.to_owned(),
            partition_count: 1,
            if_not_exists: true,
            ..Default::default()
        }],
        validate_only: false,
    };
    let grow = |name: &str, partition_count| v1::AddPartitionsRequest {
        topic: name.to_owned(),
        partition_count,
        validate_only: false,
    };
    let mut expected = BTreeMap::new();
    for n in 0..150 {
        let name = format!("t{n}");
        // Given up or not: the outcome of these is no one's business.
        let _given_up = admin.create_topics(hurried(create(&name), &mut random)).await;
        let created = admin.create_topics(create(&name)).await.unwrap().into_inner().topics.remove(0);
        assert_eq!(created.error, None, "seed {seed:#x}, {name}");
        let _given_up = admin.add_partitions(hurried(grow(&name, 2), &mut random)).await;
        admin.add_partitions(grow(&name, 3)).await.unwrap();
        expected.insert(name, 3);
    }
    for restarts in 0..2 {
        let mut admin = AdminClient::new(stub::connect(broker.url()).await);
        let listed = admin.list_topics(v1::ListTopicsRequest::default()).await.unwrap().into_inner().topics;
        let listed: BTreeMap<_, _> =
            listed.into_iter().map(|topic| (topic.name, topic.partition_count)).collect();
        assert_eq!(listed, expected, "seed {seed:#x}, after {restarts} restarts");
        broker.restart_after_power_loss().await.unwrap();
    }
}
