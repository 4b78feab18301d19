//! A change of retention says what it will do to what is stored.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{
    self, admin_client::AdminClient, produce_client::ProduceClient, produce_request::Payload,
};
use corduroy_broker::{Broker, config::BrokerConfig};
use corduroy_log::SimDisk;
use tonic::transport::Channel;

async fn effect(channel: &Channel, key: &str, value: &str, validate_only: bool) -> String {
    let set = vec![v1::ConfigEntry { key: key.to_owned(), value: value.to_owned() }];
    let request =
        v1::AlterTopicConfigsRequest { topic: "t".to_owned(), set, validate_only, ..Default::default() };
    let answer = AdminClient::new(channel.clone()).alter_topic_configs(request).await.unwrap();
    answer.into_inner().changes.remove(0).effect
}

#[tokio::test]
async fn raising_retention_deletes_nothing_and_lowering_it_says_how_much() {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let channel =
        Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap();
    let small = v1::ConfigEntry { key: "segment.bytes".to_owned(), value: "1MiB".to_owned() };
    let topic =
        v1::NewTopic { name: "t".to_owned(), partition_count: 1, configs: vec![small], ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    let record = v1::Record { value: Some(vec![7; 700 * 1024].into()), ..Default::default() };
    let request = v1::ProduceRequest {
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    };
    // Each batch fills a segment alone.
    let requests = tokio_stream::iter(vec![request; 4]);
    let mut answers = ProduceClient::new(channel.clone()).produce(requests).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}

    let kept = "what is still stored is kept longer";
    assert_eq!(effect(&channel, "retention.ms", "30d", true).await, kept);
    let expired = effect(&channel, "retention.ms", "1d", true).await;
    assert_eq!(expired, "segments whose newest record is older than 1d become deletable");
    let excess = effect(&channel, "retention.bytes", "1500KiB", false).await;
    assert_eq!(excess, "about 700KiB become deletable", "whole segments, and never below the limit");
    assert_eq!(effect(&channel, "retention.bytes", "1GiB", true).await, kept);
    broker.shutdown().await;
}
