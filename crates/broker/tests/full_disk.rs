//! On a full disk what empties it goes on, out of the reserve, while produce is refused: reading as a member of a
//! group, retention, and delete-records.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::Path, sync::Arc};

use corduroy_api::{
    Refusal,
    v1::{
        self, admin_client::AdminClient, cluster_client::ClusterClient, groups_client::GroupsClient,
        heartbeat_request::Kind, produce_client::ProduceClient, produce_request::Payload,
    },
};
use corduroy_broker::{
    Broker, RunningBroker,
    config::{BrokerConfig, Watermark},
};
use corduroy_log::{Disk as _, SimDisk, disk::Kept};
use corduroy_types::{ErrorCode, MIB};
use tonic::transport::Channel;

/// More than anything here gives back, so that the disk stays full.
const WATERMARK: Watermark = Watermark::Bytes(1_024 * MIB);

struct Node {
    broker: RunningBroker,
    channel: Channel,
    disk: SimDisk,
}

impl Node {
    async fn start(disk: SimDisk) -> Self {
        let mut config = BrokerConfig::for_tests("/data");
        config.storage.disk_block_watermark = WATERMARK;
        config.storage.disk_low_watermark = WATERMARK;
        let broker = Broker::start(config, Arc::new(disk.clone())).await.unwrap();
        let url = format!("http://{}", broker.grpc_addr());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self { broker, channel, disk }
    }

    /// A broker with some segments of topic `t`.
    async fn with_segments() -> Self {
        let node = Self::start(SimDisk::new()).await;
        let config =
            |key: &str, value: &str| v1::ConfigEntry { key: key.to_owned(), value: value.to_owned() };
        let configs = vec![config("segment.bytes", "1MiB"), config("max.message.bytes", "900KiB")];
        let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, configs, ..Default::default() };
        let request = v1::CreateTopicsRequest { topics: vec![topic], validate_only: false };
        let created = node.admin().create_topics(request).await.unwrap();
        assert_eq!(created.into_inner().topics.remove(0).error, None);
        for _ in 0..8 {
            assert_eq!(node.produce().await, Ok(()));
        }
        node
    }

    /// The same with a member of group `g`, on a disk with no byte left.
    async fn full() -> (Self, u32) {
        let node = Self::with_segments().await;
        let member_epoch = node.join().await;
        node.disk.set_capacity(Some(used(&node.disk)));
        node.until_produce_is_refused().await;
        (node, member_epoch)
    }

    /// The broker looks at the space now and then. An append before it does would fail for want of room, and stop its log.
    async fn until_produce_is_refused(&self) {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let request = v1::DescribeClusterRequest::default();
        while cluster.describe_cluster(request).await.unwrap().into_inner().health()
            != v1::HealthState::Unhealthy
        {}
        assert_eq!(self.produce().await, Err(ErrorCode::DiskFull));
    }

    /// Starts it again after a power loss, with so many bytes free.
    async fn start_again(self, capacity_bytes: impl FnOnce(&SimDisk) -> Option<u64>) -> Self {
        let Self { broker, disk, .. } = self;
        broker.crash();
        disk.lose_power(Kept::Nothing);
        disk.set_capacity(capacity_bytes(&disk));
        Self::start(disk).await
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    fn groups(&self) -> GroupsClient<Channel> {
        GroupsClient::new(self.channel.clone())
    }

    /// One record that fills a good half of a segment.
    async fn produce(&self) -> Result<(), ErrorCode> {
        let record = v1::Record { value: Some(vec![7; 700 * 1024].into()), ..Default::default() };
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(0),
            payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
            ..Default::default()
        };
        let mut producer = ProduceClient::new(self.channel.clone());
        let mut answers = producer.produce(tokio_stream::iter([request])).await.unwrap().into_inner();
        match answers.message().await.unwrap().unwrap().result.unwrap() {
            v1::produce_response::Result::Ok(_) => Ok(()),
            v1::produce_response::Result::Error(error) => Err(Refusal::from(error).code),
        }
    }

    async fn join(&self) -> u32 {
        let subscription = v1::Subscription { topics: vec!["t".to_owned()], ..Default::default() };
        let join = v1::JoinGroup { subscription: Some(subscription), ..Default::default() };
        let request = v1::HeartbeatRequest {
            group: "g".to_owned(),
            member: "m".to_owned(),
            kind: Some(Kind::Join(join)),
            ..Default::default()
        };
        loop {
            match self.groups().heartbeat(request.clone()).await {
                Ok(answer) => return answer.into_inner().member_epoch,
                Err(status) => assert_loading(&status),
            }
        }
    }

    async fn commit(&self, group: &str, member_epoch: Option<u32>, offset: u64) -> Result<(), ErrorCode> {
        let member =
            member_epoch.map(|member_epoch| v1::MemberIdentity { member: "m".to_owned(), member_epoch });
        let offset = v1::OffsetToCommit { topic: "t".to_owned(), offset, ..Default::default() };
        let request = v1::CommitOffsetsRequest {
            group: group.to_owned(),
            member,
            offsets: vec![offset],
            validate_only: false,
        };
        match self.groups().commit_offsets(request).await {
            Ok(answer) => match answer.into_inner().offsets.remove(0).error {
                None => Ok(()),
                Some(error) => Err(Refusal::from(error).code),
            },
            Err(status) => Err(Refusal::from_status(&status).code),
        }
    }

    /// The same, tried again while the coordinator is loaded.
    async fn commit_when_loaded(&self, group: &str, member_epoch: Option<u32>, offset: u64) {
        loop {
            match self.commit(group, member_epoch, offset).await {
                Ok(()) => return,
                Err(code) => assert_eq!(code, ErrorCode::CoordinatorLoading, "offset {offset}"),
            }
        }
    }

    async fn committed(&self, group: &str) -> Option<u64> {
        let request = v1::FetchOffsetsRequest { group: group.to_owned(), topics: Vec::new() };
        loop {
            match self.groups().fetch_offsets(request.clone()).await {
                Ok(answer) => return answer.into_inner().offsets.first()?.offset,
                Err(status) => assert_loading(&status),
            }
        }
    }

    async fn log_start(&self) -> u64 {
        let request = v1::DescribeTopicsRequest { names: vec!["t".to_owned()] };
        let described = self.admin().describe_topics(request).await.unwrap().into_inner();
        described.topics.into_iter().next().unwrap().partitions.remove(0).log_start
    }

    async fn delete_before(&self, before_offset: u64) -> Option<v1::Error> {
        let partitions = vec![v1::DeleteRecordsPartition { partition: 0, before_offset }];
        let request = v1::DeleteRecordsRequest { topic: "t".to_owned(), partitions, validate_only: false };
        self.admin().delete_records(request).await.unwrap().into_inner().partitions.remove(0).error
    }
}

fn assert_loading(status: &tonic::Status) {
    assert_eq!(Refusal::from_status(status).code, ErrorCode::CoordinatorLoading, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_commit_and_records_are_deleted_while_produce_is_refused() {
    let (node, member_epoch) = Node::full().await;
    node.commit_when_loaded("g", Some(member_epoch), 3).await;
    node.commit_when_loaded("new", None, 5).await;
    assert_eq!((node.committed("g").await, node.committed("new").await), (Some(3), Some(5)));
    assert_eq!(node.produce().await, Err(ErrorCode::DiskFull));

    assert_eq!(node.delete_before(3).await, None);
    assert_eq!(node.log_start().await, 3);
    assert_eq!(node.produce().await, Err(ErrorCode::DiskFull));

    // A power loss takes nothing of it back, and with room again produce goes on.
    let node = node.start_again(|_| None).await;
    assert_eq!((node.committed("g").await, node.committed("new").await), (Some(3), Some(5)));
    assert_eq!(node.log_start().await, 3);
    assert_eq!(node.produce().await, Ok(()));
    assert!(node.broker.shutdown().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_goes_on() {
    for reserve_is_held in [true, false] {
        let node = Node::with_segments().await;
        let limit = v1::ConfigEntry { key: "retention.bytes".to_owned(), value: "1MiB".to_owned() };
        let request =
            v1::AlterTopicConfigsRequest { topic: "t".to_owned(), set: vec![limit], ..Default::default() };
        node.admin().alter_topic_configs(request).await.unwrap();
        let fill = |disk: &SimDisk| {
            if !reserve_is_held {
                disk.remove_file(Path::new("/data/full-disk-reserve")).unwrap();
            }
            Some(used(disk))
        };
        // A broker looks at retention when it starts, and then every half minute.
        let node = node.start_again(fill).await;
        while node.log_start().await < 6 {}
        node.until_produce_is_refused().await;
        node.broker.crash();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_groups_commit_leaves_the_part_of_the_reserve_that_deletions_need() {
    let (node, member_epoch) = Node::full().await;
    node.commit_when_loaded("g", Some(member_epoch), 3).await;
    // Another process takes what was given up, but for less than deletions may need.
    node.disk.set_capacity(Some(used(&node.disk) + MIB / 4));
    loop {
        match node.commit("g", Some(member_epoch), 4).await {
            Err(ErrorCode::DiskFull) => break,
            // Tidying up may have left a little room for a moment.
            Ok(()) => node.disk.set_capacity(Some(used(&node.disk) + MIB / 4)),
            Err(code) => assert_eq!(code, ErrorCode::CoordinatorLoading),
        }
    }
    assert_eq!(node.delete_before(3).await, None);
    assert_eq!(node.log_start().await, 3);
    assert_eq!(node.produce().await, Err(ErrorCode::DiskFull));
    // What was deleted made room for the group.
    node.disk.set_capacity(Some(used(&node.disk) + 4 * MIB));
    node.commit_when_loaded("g", Some(member_epoch), 5).await;
    assert_eq!(node.committed("g").await, Some(5));
    node.broker.crash();
}

fn used(disk: &SimDisk) -> u64 {
    let space = disk.space(Path::new("/")).unwrap();
    space.total_bytes - space.free_bytes
}
