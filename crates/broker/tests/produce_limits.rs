//! What is too large for the broker is an answer, and the stream goes on.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{
    self, admin_client::AdminClient, produce_client::ProduceClient, produce_request::Payload,
    produce_response,
};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::SimDisk;
use tonic::transport::Channel;

async fn start() -> (RunningBroker, Channel) {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let channel =
        Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap();
    let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    (broker, channel)
}

/// A plain request of `records` records of `bytes` each.
fn request(correlation_id: u64, records: usize, bytes: usize) -> v1::ProduceRequest {
    let record = v1::Record { value: Some(vec![7; bytes].into()), ..Default::default() };
    v1::ProduceRequest {
        correlation_id,
        topic: "t".to_owned(),
        partition: Some(0),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record; records] })),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_plain_request_above_the_produce_limit_is_refused_and_the_requests_behind_it_are_served() {
    let (broker, channel) = start().await;
    let requests = [
        request(1, 1, 10),
        request(2, 2, 1024 * 1024),
        request(3, 1, 10),
        request(4, 1, 32 * 1024 * 1024),
        request(u64::MAX, 2_000, 1024),
        request(6, 1, 10),
    ];
    let stream = ProduceClient::new(channel).produce(tokio_stream::iter(requests)).await.unwrap();
    let mut stream = stream.into_inner();
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    while let Some(answer) = stream.message().await.unwrap() {
        match answer.result.unwrap() {
            produce_response::Result::Ok(ack) => {
                acknowledged.push((answer.correlation_id, ack.appended.first().unwrap().base_offset));
            }
            produce_response::Result::Error(error) => {
                assert_eq!(error.code(), v1::ErrorCode::BatchTooLarge);
                assert_eq!(error.outcome(), v1::Outcome::NotWritten);
                assert!(!error.retriable && error.hint.contains("fewer records"), "{error:?}");
                refused.push(answer.correlation_id);
            }
        }
    }
    acknowledged.sort_unstable();
    assert_eq!(acknowledged, [(1, 0), (3, 1), (6, 2)]);
    assert_eq!(refused, [2, 4, u64::MAX]);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_request_above_limits_request_max_bytes_ends_its_stream_with_the_reason() {
    let (broker, channel) = start().await;
    let requests = [request(1, 1, 10), request(2, 1, 65 * 1024 * 1024), request(3, 1, 10)];
    let stream = ProduceClient::new(channel).produce(tokio_stream::iter(requests)).await.unwrap();
    let mut stream = stream.into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().correlation_id, 1);
    let Err(status) = stream.message().await else { panic!("the stream goes on") };
    assert!(status.message().contains("the limit is 64MiB"), "{status}");
    broker.shutdown().await;
}
