//! Tools find the API by asking the broker, in either version of the question.

use std::sync::Arc;

use corduroy_broker::{Broker, config::BrokerConfig};
use corduroy_log::SimDisk;
use tonic::transport::Channel;
use tonic_reflection::pb::{v1, v1alpha};

/// The services that a reflection client of one version lists.
macro_rules! services {
    ($version:ident, $channel:expr) => {{
        use $version::{
            ServerReflectionRequest as Request, server_reflection_client::ServerReflectionClient as Client,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = Request { host: String::new(), message_request };
        let mut client = Client::new($channel);
        let answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
        match answers.into_inner().message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        }
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_tell_every_service() {
    let broker = Broker::start(BrokerConfig::for_tests("/data"), Arc::new(SimDisk::new())).await.unwrap();
    let channel: Channel =
        Channel::from_shared(format!("http://{}", broker.grpc_addr())).unwrap().connect().await.unwrap();
    for services in [services!(v1, channel.clone()), services!(v1alpha, channel.clone())] {
        for wanted in
            ["corduroy.v1.Produce", "corduroy.v1.Fetch", "corduroy.v1.Admin", "grpc.health.v1.Health"]
        {
            assert!(services.iter().any(|service| service == wanted), "{wanted} is not in {services:?}");
        }
    }
    broker.shutdown().await;
}
