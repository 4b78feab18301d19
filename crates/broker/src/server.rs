//! The gRPC server: which services it has, and its transport's limits.

use std::{future::Future, sync::Arc, time::Duration};

use corduroy_api::v1;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;

use crate::services::{AdminService, ClusterService, FetchService, GroupsService, ProduceService, Shared};

/// The most bytes of a request that carries no records.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;
/// HTTP/2 flow control: what a client may send before the broker has taken it, and so what a connection can cost
/// that sends into streams which nobody reads yet. Larger windows made no difference that could be measured on one
/// machine, up to 1 GB/s.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// A body that waits for its charge holds one frame back, so frames are small beside messages.
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
    set_serving(&reporter).await;
    tokio::spawn(report_stopping(Arc::clone(&shared), reporter));
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

const HEALTH_NAMES: [&str; 3] = ["", "Data", "Admin"];

async fn set_serving(reporter: &HealthReporter) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
}

/// NOT_SERVING from the moment the drain begins.
async fn report_stopping(shared: Arc<Shared>, reporter: HealthReporter) {
    shared.stopping().await;
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
    }
}
