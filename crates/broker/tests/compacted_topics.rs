//! What a compacted topic refuses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{
    self, admin_client::AdminClient, fetch_client::FetchClient, produce_client::ProduceClient,
};
use corduroy_broker::{Broker, config::BrokerConfig};
use corduroy_log::SimDisk;
use tonic::transport::Channel;

async fn delete_records(channel: &Channel, policy: &str) -> Option<v1::Error> {
    let mut admin = AdminClient::new(channel.clone());
    let config = v1::ConfigEntry { key: "cleanup.policy".to_owned(), value: policy.to_owned() };
    let name = policy.replace(',', "-");
    let configs = vec![config];
    let topic = v1::NewTopic { name: name.clone(), partition_count: 1, configs, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    admin.create_topics(request).await.unwrap();
    let before = v1::DeleteRecordsPartition { partition: 0, before_offset: 0 };
    let request = v1::DeleteRecordsRequest { topic: name, partitions: vec![before], ..Default::default() };
    admin.delete_records(request).await.unwrap().into_inner().partitions.remove(0).error
}

#[tokio::test]
async fn records_are_deleted_only_where_the_policy_has_delete() {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let channel =
        Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap();
    for (policy, deletes) in [("delete", true), ("compact", false), ("compact,delete", true)] {
        let error = delete_records(&channel, policy).await;
        assert_eq!(error.is_none(), deletes, "{policy}: {error:?}");
        assert!(error.is_none_or(|error| error.message.contains("cleanup.policy is compact")));
    }
    broker.shutdown().await;
}

/// All records of partition 0 of a topic.
async fn read(channel: &Channel, topic: &str) -> Vec<v1::Record> {
    let (mut records, mut offset) = (Vec::new(), 0);
    loop {
        let partition = v1::FetchPartition { topic: topic.to_owned(), offset, ..Default::default() };
        let request = v1::FetchRequest {
            partitions: vec![partition],
            form: v1::RecordForm::Plain.into(),
            ..Default::default()
        };
        let answer = FetchClient::new(channel.clone()).fetch(request).await.unwrap().into_inner();
        let fetched = answer.partitions.into_iter().next().unwrap();
        assert_eq!(fetched.error, None);
        if fetched.next_offset == offset {
            return records;
        }
        (offset, _) = (fetched.next_offset, records.extend(fetched.records));
    }
}

#[tokio::test]
async fn counts_of_records_are_counts() {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let channel =
        Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap();
    let mut admin = AdminClient::new(channel.clone());
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "64KiB"),
        ("max.message.bytes", "32KiB"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    let config =
        |(key, value): (&str, &str)| v1::ConfigEntry { key: key.to_owned(), value: value.to_owned() };
    let configs = configs.map(config).to_vec();
    let topic = v1::NewTopic { name: "c".to_owned(), partition_count: 1, configs, ..Default::default() };
    admin.create_topics(v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() }).await.unwrap();
    let request = |n: u64| v1::ProduceRequest {
        correlation_id: n,
        topic: "c".to_owned(),
        partition: Some(0),
        payload: Some(v1::produce_request::Payload::Records(v1::PlainRecords {
            records: vec![v1::Record {
                key: Some(format!("k{}", n % 7).into()),
                value: Some(vec![7; 20_000].into()),
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let requests = tokio_stream::iter((0..40).map(request).collect::<Vec<_>>());
    let mut answers = ProduceClient::new(channel.clone()).produce(requests).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    assert!(broker.compact().await > 0);
    let records = read(&channel, "c").await;
    assert!(records.len() < 20, "{}", records.len());
    let count = records.len() as u64;
    let listed = admin.list_topics(v1::ListTopicsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.topics[0].record_count, count);
    let request = v1::DescribeTopicsRequest { names: vec!["c".to_owned()] };
    let described = admin.describe_topics(request).await.unwrap().into_inner();
    assert_eq!(described.topics[0].partitions[0].record_count, count);
    for before_end in 0..count + 3 {
        let spec = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::BeforeEnd(before_end)) };
        let partition = v1::ListOffsetsPartition { topic: "c".to_owned(), partition: 0, spec: Some(spec) };
        let request = v1::ListOffsetsRequest { partitions: vec![partition] };
        let found = FetchClient::new(channel.clone()).list_offsets(request).await.unwrap().into_inner();
        let at = found.offsets[0].offset;
        let behind = records.iter().filter(|record| record.offset >= at).count() as u64;
        assert_eq!(behind, before_end.min(count), "{before_end} before the end is {at}");
    }
    broker.shutdown().await;
}
