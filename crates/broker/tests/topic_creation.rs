//! What a topic's creation costs on the disk.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{self, admin_client::AdminClient};
use corduroy_broker::{Broker, config::BrokerConfig};
use corduroy_log::{
    SimDisk,
    disk::{SimCall, SimRecord},
};
use tonic::transport::Channel;

async fn create(channel: &Channel, name: &str, partition_count: u32) {
    let topic = v1::NewTopic { name: name.to_owned(), partition_count, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    assert_eq!(created.into_inner().topics.remove(0).error, None);
}

/// The syncs of directories, and of files outside the journal, which has marks to write at any time.
fn syncs(calls: &[SimRecord]) -> (usize, usize) {
    let count = |kind| {
        let is_own = |record: &&SimRecord| record.call == kind && !record.path.starts_with("/data/journal");
        calls.iter().filter(is_own).count()
    };
    (count(SimCall::SyncDir), count(SimCall::Sync))
}

#[tokio::test]
async fn a_topic_costs_as_many_syncs_however_many_partitions_it_has() {
    let disk = SimDisk::new();
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(disk.clone())).await.unwrap();
    let channel =
        Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap();
    // The first change makes the metadata's own files.
    create(&channel, "first", 1).await;
    let mut costs = Vec::new();
    for (name, partition_count) in [("small", 2), ("large", 300)] {
        disk.record();
        create(&channel, name, partition_count).await;
        costs.push(syncs(&disk.take_record()));
    }
    let [small, large] = costs[..] else { panic!("{costs:?}") };
    assert_eq!(small.0, large.0, "one sync for each directory above the partitions");
    assert!(large.0 <= 3, "{large:?}");
    assert!(large.1 <= 2, "the change of the metadata alone: {large:?}");
    broker.shutdown().await;
}
