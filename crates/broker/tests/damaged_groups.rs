//! A partition of `__groups` that is damaged says so, and serves its groups again once an operator has accepted the loss.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::{
    Refusal,
    v1::{self, admin_client::AdminClient, groups_client::GroupsClient},
};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::{
    SimDisk,
    disk::{Disk, OpenMode},
};
use corduroy_types::ErrorCode;
use tonic::transport::Channel;

async fn start(disk: &SimDisk) -> (RunningBroker, Channel) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(disk.clone())).await.unwrap();
    let at = format!("http://{}", broker.grpc_addr());
    let channel = Channel::from_shared(at).unwrap().connect().await.unwrap();
    (broker, channel)
}

async fn commit(channel: &Channel, offset: u64) -> Result<v1::CommitOffsetsResponse, Refusal> {
    let offset = v1::OffsetToCommit { topic: "t".to_owned(), offset, ..Default::default() };
    let request =
        v1::CommitOffsetsRequest { group: "g".to_owned(), offsets: vec![offset], ..Default::default() };
    let committed = GroupsClient::new(channel.clone()).commit_offsets(request).await;
    committed.map(tonic::Response::into_inner).map_err(|status| Refusal::from_status(&status))
}

/// Asks until the coordinator has been loaded, or has failed to load.
async fn fetch(channel: &Channel) -> Result<v1::FetchOffsetsResponse, Refusal> {
    loop {
        let request = v1::FetchOffsetsRequest { group: "g".to_owned(), ..Default::default() };
        match GroupsClient::new(channel.clone()).fetch_offsets(request).await {
            Ok(fetched) => return Ok(fetched.into_inner()),
            Err(status) => {
                let refusal = Refusal::from_status(&status);
                if refusal.code != ErrorCode::CoordinatorLoading {
                    return Err(refusal);
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_damaged_partition_of_groups_names_the_damage_and_serves_again_after_it_was_given_up() {
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    for _ in 0..20 {
        let committed = commit(&channel, 0).await.unwrap();
        assert_eq!(committed.offsets[0].error, None);
    }
    assert!(broker.shutdown().await);

    // The one segment of `__groups` that holds anything; the topic itself is empty.
    let is_groups = |path: &&std::path::PathBuf| {
        let metadata = path.starts_with(format!("/data/{}", corduroy_types::TopicId::METADATA));
        path.extension().is_some_and(|extension| extension == "log") && !metadata
    };
    let bytes = |path: &std::path::PathBuf| disk.open(path, OpenMode::Read).unwrap().len().unwrap();
    let files = disk.files();
    let segment = files.iter().filter(is_groups).find(|path| bytes(path) > 0).unwrap();
    assert!(disk.damage(segment, 80, |bytes| bytes[0] ^= 1));
    let partition: u32 = segment.parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();

    let (broker, channel) = start(&disk).await;
    let refusal = fetch(&channel).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::PartitionOffline, "{refusal}");
    let command = format!("logctl partition recover __groups:{partition} --accept-data-loss");
    assert!(refusal.hint.contains(&command), "{refusal:?}");

    let request =
        v1::RecoverPartitionRequest { topic: "__groups".to_owned(), partition, ..Default::default() };
    let recovered = AdminClient::new(channel.clone()).recover_partition(request).await.unwrap();
    assert!(!recovered.into_inner().given_up.is_empty());
    // The coordinator is loaded again by itself, which is tried every two seconds.
    let offsets = loop {
        match fetch(&channel).await {
            Ok(fetched) => break fetched.offsets,
            Err(refusal) => assert_eq!(refusal.code, ErrorCode::PartitionOffline, "{refusal}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(offsets.len(), 1, "later commits were sound");
    assert_eq!(commit(&channel, 0).await.unwrap().offsets[0].error, None);
    assert!(broker.shutdown().await);
}
