//! A read that meets damage is refused, counted, and seen in the cluster's state.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corduroy_api::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, fetch_client::FetchClient,
    produce_client::ProduceClient, produce_request::Payload,
};
use corduroy_broker::{
    Broker, RunningBroker,
    config::{BrokerConfig, Watermark},
};
use corduroy_log::RealDisk;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::transport::Channel;

async fn connect(broker: &RunningBroker) -> Channel {
    Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap()
}

async fn produce(channel: Channel, count: u64) {
    let request = |correlation_id| v1::ProduceRequest {
        correlation_id,
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Records(v1::PlainRecords {
            records: vec![v1::Record { value: Some(vec![7; 60_000].into()), ..Default::default() }],
        })),
        ..Default::default()
    };
    let requests = tokio_stream::iter((0..count).map(request).collect::<Vec<_>>());
    let mut answers = ProduceClient::new(channel).produce(requests).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        let result = answer.result;
        assert!(matches!(result, Some(v1::produce_response::Result::Ok(_))), "{result:?}");
    }
}

async fn fetch(channel: Channel, offset: u64) -> v1::FetchedPartition {
    let partition = v1::FetchPartition { topic: "t".to_owned(), offset, ..Default::default() };
    let request = v1::FetchRequest { partitions: vec![partition], ..Default::default() };
    FetchClient::new(channel).fetch(request).await.unwrap().into_inner().partitions.remove(0)
}

async fn cluster(channel: Channel) -> v1::DescribeClusterResponse {
    ClusterClient::new(channel)
        .describe_cluster(v1::DescribeClusterRequest::default())
        .await
        .unwrap()
        .into_inner()
}

async fn describe(channel: Channel) -> v1::DescribedPartition {
    let request = v1::DescribeTopicsRequest { names: vec!["t".to_owned()] };
    let answer = AdminClient::new(channel).describe_topics(request).await.unwrap().into_inner();
    answer.topics.into_iter().next().unwrap().partitions.remove(0)
}

async fn refused_reads(broker: &RunningBroker) -> u64 {
    let mut stream = TcpStream::connect(broker.http_addr()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let wanted = "brokerd_log_corruption_total{action=\"read_refused\"} ";
    text.lines().find_map(|line| line.strip_prefix(wanted)).unwrap().parse().unwrap()
}

/// The partition's first segment file.
fn first_segment(dir: &std::path::Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.ends_with("00000000000000000000.log") {
                found.push(path);
            }
        }
    }
    // The metadata's own log is the smaller one.
    found.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[tokio::test]
async fn a_read_of_damaged_bytes_is_counted_and_the_state_is_not_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut config = BrokerConfig::for_tests(&data);
    // However full this machine is.
    config.storage.disk_low_watermark = Watermark::Bytes(0);
    config.storage.disk_block_watermark = Watermark::Bytes(0);
    let broker = Broker::start(config.clone(), RealDisk::shared()).await.unwrap();
    let channel = connect(&broker).await;
    // Damage in a segment that is sealed, so that no recovery takes it for a torn tail.
    let small = v1::ConfigEntry { key: "segment.bytes".to_owned(), value: "1MiB".to_owned() };
    let topic =
        v1::NewTopic { name: "t".to_owned(), partition_count: 1, configs: vec![small], ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = AdminClient::new(channel.clone()).create_topics(request).await.unwrap().into_inner();
    assert_eq!(created.topics[0].error, None);
    produce(channel, 50).await;
    assert!(broker.shutdown().await);

    let path = first_segment(&data);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.get_mut(300).unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();

    config.storage.scrub_bytes_per_second = 0; // a read is to be the first to find it
    let broker = Broker::start(config, RealDisk::shared()).await.unwrap();
    let channel = connect(&broker).await;
    assert_eq!(cluster(channel.clone()).await.health(), v1::HealthState::Healthy);
    let fetched = fetch(channel.clone(), 0).await;
    assert_eq!(fetched.error.unwrap().code(), v1::ErrorCode::Corrupt);
    assert_eq!(refused_reads(&broker).await, 1);
    let state = cluster(channel.clone()).await;
    assert_eq!(state.health(), v1::HealthState::Degraded);
    let finding = state.findings.first().unwrap();
    assert!(finding.message.starts_with("t/0: ") && finding.message.contains("offset 0"), "{finding:?}");

    let described = describe(channel.clone()).await;
    let error = described.error.unwrap();
    assert_eq!((error.code(), error.outcome()), (v1::ErrorCode::Corrupt, v1::Outcome::Unspecified));
    assert!(error.next_good_offset.is_some_and(|next| next > 0), "{error:?}");

    // Once the records are deleted there is nothing left to say.
    let before = v1::DeleteRecordsPartition { partition: 0, before_offset: 40 };
    let request =
        v1::DeleteRecordsRequest { topic: "t".to_owned(), partitions: vec![before], ..Default::default() };
    AdminClient::new(channel.clone()).delete_records(request).await.unwrap();
    assert_eq!(describe(channel.clone()).await.error, None);
    assert_eq!(cluster(channel).await.health(), v1::HealthState::Healthy);
    broker.shutdown().await;
}
