//! The gRPC server: which services it has, and its transport's limits.

use std::{future::Future, sync::Arc, time::Duration};

use corduroy_api::v1;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::services::{AdminService, ClusterService, FetchService, GroupsService, ProduceService, Shared};

/// The most bytes of a request that carries no records.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;
/// HTTP/2 flow control: what a client may send before the broker has taken it, and so what a connection can cost
/// that sends into streams which no one reads yet. Larger windows made no difference that could be measured on one
/// machine, up to 1 GB/s.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// A body that waits for its charge holds one frame back, so frames are small compared to messages.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a client opened and reset before they were looked at, and streams that it broke the rules on.
const RESET_STREAMS_MAX: usize = 64;
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until `stop` is ready, then lets requests end.
///
/// # Errors
/// The listener's own failure.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    set_status(&reporter, ServingStatus::NotServing).await;
    tokio::spawn(report(Arc::clone(&shared), reporter));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let request_max_bytes = usize::try_from(shared.config.limits.request_max_bytes).unwrap_or(usize::MAX);
    let produce = v1::produce_server::ProduceServer::new(ProduceService::new(Arc::clone(&shared)))
        .max_decoding_message_size(request_max_bytes);
    let fetch = v1::fetch_server::FetchServer::new(FetchService::new(Arc::clone(&shared)))
        .max_decoding_message_size(CONTROL_BYTES_MAX);
    let admin = v1::admin_server::AdminServer::new(AdminService::new(Arc::clone(&shared)))
        .max_decoding_message_size(CONTROL_BYTES_MAX);
    let cluster = v1::cluster_server::ClusterServer::new(ClusterService::new(Arc::clone(&shared)))
        .max_decoding_message_size(CONTROL_BYTES_MAX);
    let groups = v1::groups_server::GroupsServer::new(GroupsService::new(Arc::clone(&shared)))
        .max_decoding_message_size(CONTROL_BYTES_MAX);
    let mut router = Server::builder()
        .layer(shared.limits.layer())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(RESET_STREAMS_MAX))
        .max_concurrent_streams(shared.config.limits.streams_per_connection)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_service(health)
        .add_service(produce)
        .add_service(fetch)
        .add_service(admin)
        .add_service(cluster)
        .add_service(groups);
    // Both: many tools still ask for v1alpha alone.
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => router = router.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no gRPC reflection"),
    }
    let incoming = shared.limits.incoming(listener);
    router.serve_with_incoming_shutdown(incoming, stop).await
}

/// The names in `grpc.health.v1`: the broker as a whole, and each of its services.
const HEALTH_NAMES: [&str; 6] = [
    "",
    v1::produce_server::SERVICE_NAME,
    v1::fetch_server::SERVICE_NAME,
    v1::admin_server::SERVICE_NAME,
    v1::cluster_server::SERVICE_NAME,
    v1::groups_server::SERVICE_NAME,
];

async fn set_status(reporter: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}

/// SERVING from the end of recovery until the moment the drain begins.
async fn report(shared: Arc<Shared>, reporter: HealthReporter) {
    tokio::select! {
        () = shared.ready() => set_status(&reporter, ServingStatus::Serving).await,
        () = shared.stopping() => {}
    }
    shared.stopping().await;
    set_status(&reporter, ServingStatus::NotServing).await;
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;
    use tonic::Code;
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };

    use super::*;
    use crate::{config::BrokerConfig, health::Health, metrics::Metrics};

    fn of(service: &str) -> HealthCheckRequest {
        HealthCheckRequest { service: service.to_owned() }
    }

    #[tokio::test]
    async fn health_follows_the_broker_under_the_names_of_its_services() {
        let config = Arc::new(BrokerConfig::for_tests("/data"));
        let shared = Shared::new(config, Arc::new(Metrics::new()), Arc::new(Health::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let channel = tonic::transport::Channel::from_shared(url).unwrap().connect_lazy();
        let served = tokio::spawn(serve(Arc::clone(&shared), listener, std::future::pending()));
        let mut client = HealthClient::new(channel);
        let watched = client.watch(of("corduroy.v1.Fetch")).await.unwrap().into_inner();
        let mut watched = watched.map(|health| health.unwrap().status());
        assert_eq!(watched.next().await, Some(ServingStatus::NotServing), "recovery is not done");
        for name in HEALTH_NAMES {
            let health = client.check(of(name)).await.unwrap().into_inner();
            assert_eq!(health.status(), ServingStatus::NotServing, "{name:?} before recovery is done");
        }
        shared.set_ready();
        assert_eq!(watched.next().await, Some(ServingStatus::Serving));
        let services =
            ["Produce", "Fetch", "Groups", "Admin", "Cluster"].map(|name| format!("corduroy.v1.{name}"));
        for name in services.iter().map(String::as_str).chain([""]) {
            let begun = std::time::Instant::now();
            // One name after the other is changed.
            while client.check(of(name)).await.unwrap().into_inner().status() != ServingStatus::Serving {
                assert!(begun.elapsed() < Duration::from_secs(30), "{name:?} is not served");
            }
        }
        for name in ["Data", "Admin", "corduroy.v1.Nothing"] {
            assert_eq!(client.check(of(name)).await.unwrap_err().code(), Code::NotFound, "{name}");
        }
        shared.begin_stop();
        assert_eq!(watched.next().await, Some(ServingStatus::NotServing));
        served.abort();
    }
}
