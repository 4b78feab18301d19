//! What a compacted topic refuses.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{self, admin_client::AdminClient};
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
