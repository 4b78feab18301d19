//! What a replica does where its log and its partition contradict each other.

use std::sync::Arc;

use corduroy_api::v1::{self, admin_client::AdminClient, cluster_client::ClusterClient};
use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_log::SimDisk;
use corduroy_types::{Acks, ErrorCode, PartitionIndex, TimestampMs, TopicName};
use std::time::Duration;
use tonic::transport::Channel;

use super::{AppendRequest, Replica, WhyClosed};
use crate::{Broker, RunningBroker, config::BrokerConfig};

async fn with_topic() -> (RunningBroker, Arc<Replica>) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let mut admin = AdminClient::new(connect(&broker).await);
    let created = admin.create_topics(request).await.unwrap().into_inner();
    assert_eq!(created.topics[0].error, None);
    let topic = broker.engine.replicas().topics().get(&TopicName::new("t").unwrap()).unwrap();
    let replica = topic.replica(PartitionIndex(0)).unwrap();
    (broker, replica)
}

async fn connect(broker: &RunningBroker) -> Channel {
    Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap()
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1_000);
    let pushed = builder.push(TimestampMs(1), None, Some(b"value"), []).unwrap();
    assert_eq!(pushed, PushOutcome::Added);
    Batch::parse(builder.build().unwrap()).unwrap()
}

fn request() -> AppendRequest {
    let timeout = Duration::from_secs(30);
    AppendRequest { acks: Acks::Quorum, timeout, expected_offset: None, memory: None }
}

/// Ends once `is_so` of the replica.
async fn until(broker: &RunningBroker, is_so: impl Fn() -> bool) {
    let mut changed = broker.engine.replicas().follow_topics();
    while !is_so() {
        changed.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_contradiction_ends_the_leadership_and_the_next_epoch_is_led() {
    let (broker, replica) = with_topic().await;
    let clock = broker.engine.clock();
    let first_epoch = replica.leader_epoch();
    // The log takes a batch that the partition knows nothing of.
    let appended = replica.with_log(|log, _| log.append_at(batch(), first_epoch, None, clock.now()));
    appended.unwrap().unwrap();
    replica.ask_for_round();
    until(&broker, || replica.leader_epoch() > first_epoch && replica.is_led()).await;

    let pending = replica.append(clock, batch(), request()).unwrap();
    assert_eq!(pending.base_offset.get(), 1, "the batch that was appended past the partition stays");
    let acknowledged = pending.acknowledged().await.unwrap();
    assert_eq!(acknowledged.leader_epoch, replica.leader_epoch());
    let describe = v1::DescribeClusterRequest::default();
    let state = ClusterClient::new(connect(&broker).await).describe_cluster(describe).await.unwrap();
    assert_eq!(state.into_inner().findings, [], "it is led again");
    broker.shutdown().await;
}

#[tokio::test]
async fn a_closed_log_says_why() {
    let (broker, replica) = with_topic().await;
    let clock = broker.engine.clock();
    drop(replica.retire(WhyClosed::ShuttingDown, clock));
    assert_eq!(replica.cursors().unwrap_err().code, ErrorCode::ShuttingDown);
    let refused = replica.append(clock, batch(), request()).err().unwrap();
    assert_eq!(refused.code, ErrorCode::ShuttingDown);
    broker.shutdown().await;

    let (broker, replica) = with_topic().await;
    drop(replica.retire(WhyClosed::TopicDeleted, broker.engine.clock()));
    assert_eq!(replica.cursors().unwrap_err().code, ErrorCode::TopicNotFound);
    broker.shutdown().await;
}
