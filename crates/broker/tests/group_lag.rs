//! How far groups are behind, and what retention took from them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, groups_client::GroupsClient,
    produce_client::ProduceClient,
};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::SimDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;

struct Node {
    broker: RunningBroker,
    channel: Channel,
}

impl Node {
    async fn start(configs: &[(&str, &str)]) -> Self {
        let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
        let url = format!("http://{}", broker.grpc_addr());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        let entry =
            |(key, value): &(&str, &str)| v1::ConfigEntry { key: (*key).into(), value: (*value).into() };
        let configs = configs.iter().map(entry).collect();
        let topic =
            v1::NewTopic { name: "orders".to_owned(), partition_count: 1, configs, ..Default::default() };
        let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let answer = AdminClient::new(channel.clone()).create_topics(request).await.unwrap().into_inner();
        assert_eq!(answer.topics[0].error, None);
        Self { broker, channel }
    }

    async fn produce(&self, keys: impl IntoIterator<Item = String>, timestamp_ms: Option<i64>) {
        let record = |key: String| v1::Record {
            key: Some(key.into()),
            value: Some(vec![b'x'; 400].into()),
            timestamp_ms,
            ..Default::default()
        };
        let requests: Vec<_> = keys
            .into_iter()
            .map(|key| v1::ProduceRequest {
                topic: "orders".to_owned(),
                payload: Some(v1::produce_request::Payload::Records(v1::PlainRecords {
                    records: vec![record(key)],
                })),
                ..Default::default()
            })
            .collect();
        let sent = requests.len();
        let answers = ProduceClient::new(self.channel.clone()).produce(tokio_stream::iter(requests)).await;
        let mut answers = answers.unwrap().into_inner();
        for _ in 0..sent {
            let answer = answers.message().await.unwrap().unwrap();
            assert!(matches!(answer.result, Some(v1::produce_response::Result::Ok(_))), "{answer:?}");
        }
    }

    async fn commit(&self, offset: u64) {
        let offset = v1::OffsetToCommit { topic: "orders".to_owned(), offset, ..Default::default() };
        let request = v1::CommitOffsetsRequest {
            group: "billing".to_owned(),
            offsets: vec![offset],
            ..Default::default()
        };
        loop {
            match GroupsClient::new(self.channel.clone()).commit_offsets(request.clone()).await {
                Ok(answer) => return assert_eq!(answer.get_ref().offsets[0].error, None),
                // Being loaded.
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn partition(&self) -> v1::GroupPartition {
        let request = v1::DescribeGroupsRequest { groups: vec!["billing".to_owned()] };
        let answer = GroupsClient::new(self.channel.clone()).describe_groups(request).await.unwrap();
        answer.into_inner().groups[0].partitions[0].clone()
    }

    async fn lag_records(&self) -> u64 {
        self.partition().await.lag_records.unwrap()
    }

    async fn delete_records(&self, before_offset: u64) {
        let partitions = vec![v1::DeleteRecordsPartition { partition: 0, before_offset }];
        let request =
            v1::DeleteRecordsRequest { topic: "orders".to_owned(), partitions, validate_only: false };
        let answer = AdminClient::new(self.channel.clone()).delete_records(request).await.unwrap();
        assert_eq!(answer.get_ref().partitions[0].error, None);
    }

    async fn findings(&self) -> Vec<String> {
        self.broker.refresh_group_lag().await;
        let request = v1::DescribeClusterRequest {};
        let answer = ClusterClient::new(self.channel.clone()).describe_cluster(request).await.unwrap();
        answer.into_inner().findings.into_iter().map(|finding| finding.message).collect()
    }

    /// The value of a series in /metrics.
    async fn metric(&self, series: &str) -> Option<f64> {
        let mut socket = tokio::net::TcpStream::connect(self.broker.http_addr()).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn numbered(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| n.to_string())
}

#[tokio::test]
async fn lag_is_what_can_still_be_received_and_how_old_the_first_of_it_is() {
    let node = Node::start(&[]).await;
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    let hour_ago = hour_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let hour_ago = i64::try_from(hour_ago).unwrap();
    node.produce(numbered(5), Some(hour_ago)).await;
    node.produce(numbered(5), None).await;
    node.commit(2).await;
    let partition = node.partition().await;
    assert_eq!(partition.lag_records, Some(8));
    assert!((3_600_000..3_700_000).contains(&partition.lag_ms.unwrap()), "{partition:?}");
    node.commit(5).await;
    assert!(node.partition().await.lag_ms.unwrap() < 3_000_000);
    node.commit(10).await;
    let partition = node.partition().await;
    assert_eq!((partition.lag_records, partition.lag_ms), (Some(0), Some(0)));

    node.commit(3).await;
    node.broker.refresh_group_lag().await;
    let labels = "{group=\"billing\",topic=\"orders\"}";
    assert_eq!(node.metric(&format!("brokerd_group_lag_records{labels}")).await, Some(7.0));
    assert!(node.metric(&format!("brokerd_group_lag_seconds{labels}")).await.unwrap() >= 3_600.0);
    assert_eq!(node.metric("brokerd_group_members{group=\"billing\"}").await, Some(0.0));
    let commits = "brokerd_group_commits_total{group=\"billing\",result=\"ok\"}";
    assert_eq!(node.metric(commits).await, Some(4.0));
    node.broker.crash();
}

#[tokio::test]
async fn a_position_beyond_the_end_is_reported_and_is_not_caught_up() {
    let node = Node::start(&[]).await;
    // Of an empty partition, too.
    for produced in [0_u64, 5] {
        node.produce(numbered(u32::try_from(produced).unwrap()), None).await;
        node.commit(produced).await;
        assert_eq!(node.partition().await.lag_records, Some(0));
        assert_eq!(node.findings().await, Vec::<String>::new());
        node.commit(produced + 4).await;
        let partition = node.partition().await;
        assert_eq!((partition.lag_records, partition.lag_ms), (None, None));
        let findings = node.findings().await;
        let wanted = format!("position {} in orders/0 lies beyond the end, {produced}", produced + 4);
        assert!(findings.iter().any(|finding| finding.contains(&wanted)), "{findings:?}");
    }
    node.broker.crash();
}

#[tokio::test]
async fn what_compaction_removed_is_no_lag() {
    let node = Node::start(&[
        ("cleanup.policy", "compact"),
        ("segment.bytes", "64KiB"),
        ("max.message.bytes", "16KiB"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ])
    .await;
    // One key over and over, then others to seal its segments.
    node.produce((0..300).map(|_| "same".to_owned()), None).await;
    node.produce((0..300).map(|n| format!("other-{n}")), None).await;
    node.commit(0).await;
    assert_eq!(node.lag_records().await, 600);
    assert!(node.broker.compact().await > 0);
    let left = node.lag_records().await;
    assert!((301..600).contains(&left), "{left}");
    // In the middle of what was removed, no less can be received than from its end.
    node.commit(50).await;
    assert_eq!(node.lag_records().await, left);
    node.commit(600).await;
    assert_eq!(node.lag_records().await, 0);
    node.broker.crash();
}

#[tokio::test]
async fn a_position_below_the_log_start_is_reported_everywhere() {
    let node = Node::start(&[]).await;
    node.produce(numbered(100), None).await;
    node.commit(10).await;
    assert_eq!(node.findings().await, Vec::<String>::new());
    node.delete_records(40).await;
    let partition = node.partition().await;
    assert_eq!(partition.offset.unwrap().lost_offset_count, 30);
    assert_eq!(partition.lag_records, Some(60), "what is gone cannot be received");
    let findings = node.findings().await;
    assert!(findings[0].contains("group billing: 30 offsets of orders/0 were deleted"), "{findings:?}");
    let lost = "brokerd_group_lost_offsets_total{group=\"billing\",topic=\"orders\"}";
    assert_eq!(node.metric(lost).await, Some(30.0));
    node.delete_records(50).await;
    node.findings().await;
    assert_eq!(node.metric(lost).await, Some(40.0), "each offset once");
    node.commit(50).await;
    assert_eq!(node.findings().await, Vec::<String>::new());
    node.broker.crash();
}
