//! The fake's side of the wire.

use std::sync::{Arc, atomic::Ordering};

use corduroy_api::{Refusal, v1};
use corduroy_client::ErrorCode;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{Consuming, FakeTopic, Incoming, Shared};

struct Fake(Arc<Shared>);

pub async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    Server::builder()
        .add_service(v1::produce_server::ProduceServer::new(Fake(Arc::clone(&shared))))
        .add_service(v1::fetch_server::FetchServer::new(Fake(Arc::clone(&shared))))
        .add_service(v1::admin_server::AdminServer::new(Fake(Arc::clone(&shared))))
        .add_service(v1::cluster_server::ClusterServer::new(Fake(shared)))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .unwrap();
}

#[tonic::async_trait]
impl v1::produce_server::Produce for Fake {
    type ProduceStream = UnboundedReceiverStream<Result<v1::ProduceResponse, Status>>;

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let (answers, stream) = mpsc::unbounded_channel();
        let shared = Arc::clone(&self.0);
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let _ = shared.produced.send(Incoming { request, answers: answers.clone() });
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let producer_id = self.0.producer_ids.fetch_add(1, Ordering::Relaxed);
        let producer_epoch = self.0.first_epoch.load(Ordering::Relaxed);
        Ok(Response::new(v1::InitProducerResponse { producer_id, producer_epoch }))
    }
}

#[tonic::async_trait]
impl v1::fetch_server::Fetch for Fake {
    type ConsumeStream = UnboundedReceiverStream<Result<v1::ConsumeResponse, Status>>;

    async fn fetch(&self, _: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        Err(Status::unimplemented("fetch"))
    }

    async fn consume(
        &self,
        request: Request<v1::ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let (answers, stream) = mpsc::unbounded_channel();
        let _ = self.0.consumed.send(Consuming { request: request.into_inner(), answers });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let listed = |asked: v1::ListOffsetsPartition| v1::ListedOffset {
            topic: asked.topic,
            partition: asked.partition,
            ..v1::ListedOffset::default()
        };
        let offsets = request.into_inner().partitions.into_iter().map(listed).collect();
        Ok(Response::new(v1::ListOffsetsResponse { offsets }))
    }
}

fn describe(name: String, topic: Option<&FakeTopic>) -> v1::DescribedTopic {
    let Some(topic) = topic else {
        let error = Refusal::new(ErrorCode::TopicNotFound, format!("topic {name:?} does not exist"));
        return v1::DescribedTopic { name, error: Some(error.into()), ..v1::DescribedTopic::default() };
    };
    let partition = |partition| v1::DescribedPartition { partition, ..v1::DescribedPartition::default() };
    let limit = v1::TopicConfig {
        key: "max.message.bytes".to_owned(),
        value: topic.max_message_bytes.to_string(),
        ..v1::TopicConfig::default()
    };
    v1::DescribedTopic {
        name,
        topic_id: topic.id.to_vec().into(),
        partitions: (0..topic.partitions).map(partition).collect(),
        configs: vec![limit],
        ..v1::DescribedTopic::default()
    }
}

/// Calls that no test of the fake makes.
macro_rules! unimplemented_calls {
    ($($call:ident($request:ident) -> $response:ident;)+) => {
        #[tonic::async_trait]
        impl v1::admin_server::Admin for Fake {
            async fn list_topics(
                &self,
                _: Request<v1::ListTopicsRequest>,
            ) -> Result<Response<v1::ListTopicsResponse>, Status> {
                let topics = self.0.topics.lock().unwrap();
                let summary = |name: &String| v1::TopicSummary {
                    name: name.clone(),
                    ..v1::TopicSummary::default()
                };
                Ok(Response::new(v1::ListTopicsResponse { topics: topics.keys().map(summary).collect() }))
            }

            async fn describe_topics(
                &self,
                request: Request<v1::DescribeTopicsRequest>,
            ) -> Result<Response<v1::DescribeTopicsResponse>, Status> {
                let topics = self.0.topics.lock().unwrap();
                let names = request.into_inner().names.into_iter();
                let described = names.map(|name| { let topic = topics.get(&name); describe(name, topic) });
                Ok(Response::new(v1::DescribeTopicsResponse { topics: described.collect() }))
            }

            $(async fn $call(
                &self,
                _: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                Err(Status::unimplemented(stringify!($call)))
            })+
        }
    };
}

unimplemented_calls! {
    create_topics(CreateTopicsRequest) -> CreateTopicsResponse;
    delete_topics(DeleteTopicsRequest) -> DeleteTopicsResponse;
    add_partitions(AddPartitionsRequest) -> AddPartitionsResponse;
    recover_partition(RecoverPartitionRequest) -> RecoverPartitionResponse;
    list_producers(ListProducersRequest) -> ListProducersResponse;
    alter_topic_configs(AlterTopicConfigsRequest) -> AlterTopicConfigsResponse;
    delete_records(DeleteRecordsRequest) -> DeleteRecordsResponse;
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Fake {
    async fn describe_cluster(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        Ok(Response::new(v1::DescribeClusterResponse::default()))
    }

    async fn accept_journal_damage(
        &self,
        _: Request<v1::AcceptJournalDamageRequest>,
    ) -> Result<Response<v1::AcceptJournalDamageResponse>, Status> {
        Ok(Response::new(v1::AcceptJournalDamageResponse::default()))
    }

    async fn set_log_level(
        &self,
        _: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        Ok(Response::new(v1::SetLogLevelResponse::default()))
    }
}
