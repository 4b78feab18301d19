//! The memory for produce requests: a request that waits for it gets it in the end, and none can keep it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;

use corduroy_api::v1::{self, admin_client::AdminClient, produce_client::ProduceClient, produce_response};
use corduroy_broker::{Broker, RunningBroker, config::BrokerConfig};
use corduroy_log::SimDisk;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

/// Ten times what may be in flight.
const REQUESTS: u64 = 100;
const VALUE_BYTES: usize = 100 * 1024;
const INFLIGHT_BYTES: u64 = 1024 * 1024;

async fn start() -> (RunningBroker, Channel) {
    let mut config = BrokerConfig::for_tests("/data");
    config.limits.inflight_produce_bytes = INFLIGHT_BYTES;
    let broker = Broker::start(config, Arc::new(SimDisk::new())).await.unwrap();
    let channel = connect(&broker).await;
    let topic = v1::NewTopic { name: "t".to_owned(), partition_count: 1, ..Default::default() };
    let request = v1::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    AdminClient::new(channel.clone()).create_topics(request).await.unwrap();
    (broker, channel)
}

async fn connect(broker: &RunningBroker) -> Channel {
    Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap()
}

fn request(correlation_id: u64) -> v1::ProduceRequest {
    let record = v1::Record { value: Some(vec![7; VALUE_BYTES].into()), ..Default::default() };
    v1::ProduceRequest {
        correlation_id,
        topic: "t".to_owned(),
        partition: Some(0),
        acks: v1::Acks::Quorum.into(),
        payload: Some(v1::produce_request::Payload::Records(v1::PlainRecords { records: vec![record] })),
        ..Default::default()
    }
}

/// Opens a stream and sends `count` requests into it, as fast as they are taken.
async fn produce(channel: Channel, count: u64) -> Streaming<v1::ProduceResponse> {
    let (requests, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        for correlation_id in 0..count {
            if requests.send(request(correlation_id)).await.is_err() {
                return;
            }
        }
    });
    ProduceClient::new(channel).produce(ReceiverStream::new(stream)).await.unwrap().into_inner()
}

async fn acknowledged(mut answers: Streaming<v1::ProduceResponse>) -> u64 {
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.result {
            Some(produce_response::Result::Ok(_)) => count += 1,
            other => panic!("request {} was not acknowledged: {other:?}", answer.correlation_id),
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_may_send_more_than_fits_into_memory() {
    let (broker, channel) = start().await;
    assert_eq!(acknowledged(produce(channel, REQUESTS).await).await, REQUESTS);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_reads_no_answers_keeps_no_memory_from_others() {
    let (broker, channel) = start().await;
    // Its answers stay unread in the stream; the requests before them were appended all the same.
    let unread = produce(connect(&broker).await, REQUESTS).await;
    assert_eq!(acknowledged(produce(channel, REQUESTS).await).await, REQUESTS);
    drop(unread);
    broker.shutdown().await;
}
