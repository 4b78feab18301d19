//! A broker that starts with its clock far ahead deletes nothing at once, and says so.

use std::{path::Path, sync::Arc};

use corduroy_api::v1::{
    self, admin_client::AdminClient, cluster_client::ClusterClient, produce_client::ProduceClient,
    produce_request::Payload, produce_response,
};
use corduroy_log::{Disk as _, SimDisk};
use corduroy_types::{Offset, PartitionIndex, TimestampMs, TopicName};
use tonic::transport::Channel;

use super::expiry;
use crate::{Broker, RunningBroker, config::BrokerConfig, engine::Replica};

const DAY_MS: i64 = 24 * 3_600_000;

async fn start(disk: &SimDisk) -> (RunningBroker, Channel) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(disk.clone())).await.unwrap();
    let at = format!("http://{}", broker.grpc_addr());
    let channel = Channel::from_shared(at).unwrap().connect().await.unwrap();
    (broker, channel)
}

/// A topic that keeps records for a day, with one record of this time.
async fn with_record_of(channel: &Channel, time: TimestampMs) {
    let config = |key: &str, value: &str| v1::ConfigEntry { key: key.to_owned(), value: value.to_owned() };
    let topic = v1::NewTopic {
        name: "t".to_owned(),
        partition_count: 1,
        configs: vec![config("retention.ms", "1d")],
        ..Default::default()
    };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    assert_eq!(created.into_inner().topics.remove(0).error, None);
    let record = v1::Record { value: Some("v".into()), timestamp_ms: Some(time.0), ..Default::default() };
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    };
    let mut answers = ProduceClient::new(channel.clone())
        .produce(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().result;
    assert!(matches!(answer, Some(produce_response::Result::Ok(_))), "{answer:?}");
}

fn replica(broker: &RunningBroker) -> Arc<Replica> {
    let topic = broker.engine.replicas().topics().get(&TopicName::new("t").unwrap()).unwrap();
    topic.replica(PartitionIndex(0)).unwrap()
}

async fn clock_findings(channel: Channel) -> Vec<String> {
    let request = v1::DescribeClusterRequest::default();
    let state = ClusterClient::new(channel).describe_cluster(request).await.unwrap().into_inner();
    state.findings.into_iter().map(|finding| finding.message).filter(|text| text.contains("clock")).collect()
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_deletes_nothing_at_once() {
    let disk = SimDisk::new();
    let (broker, channel) = start(&disk).await;
    // As if the record had been written now, and the broker were started with a clock that is 30 days ahead.
    let before_jump = TimestampMs(broker.engine.clock().now().0 - 30 * DAY_MS);
    with_record_of(&channel, before_jump).await;
    assert!(broker.shutdown().await);
    expiry::store(&disk, Path::new("/data"), before_jump).unwrap();

    let (broker, channel) = start(&disk).await;
    broker.engine.maintenance().retain_all().await;
    assert_eq!(
        replica(&broker).stats().segments,
        1,
        "an expired segment would have been rolled, to be removed"
    );
    assert_eq!(replica(&broker).cursors().unwrap().log_start, Offset::ZERO);
    let findings = clock_findings(channel).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(broker.shutdown().await);

    // An operator who knows that the clock is right removes what was stored; the broker was registered by that clock.
    disk.remove_file(Path::new("/data/expiry-time")).unwrap();
    let (broker, channel) = start(&disk).await;
    // The record is 30 days old. It goes once its segment is rolled and settled, in commit rounds.
    while replica(&broker).cursors().unwrap().log_start == Offset::ZERO {
        broker.engine.maintenance().retain_all().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(clock_findings(channel).await, Vec::<String>::new());
    broker.shutdown().await;
}
