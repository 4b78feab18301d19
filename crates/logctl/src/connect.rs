//! From the chosen brokers to a client.

use std::future::Future;

use corduroy_client::{Client, ClientError};
use corduroy_types::ErrorCode;
use tokio::runtime::Runtime;

use crate::{context::Target, error::CliError, settings::Settings};

/// The runtime that carries the client: one thread for the network beside the one that runs the command.
///
/// # Errors
/// `INTERNAL` where the system gives no thread.
pub(crate) fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorCode::Internal, format!("no thread can be started: {error}")))
}

/// Refuses addresses that can never be dialled.
///
/// # Errors
/// `INVALID_ADDRESS`.
pub(crate) fn check_urls(servers: &[String]) -> Result<(), CliError> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    Client::builder(servers).connect_lazy().map(drop).map_err(|error| from_client(&error))
}

/// Connects once and goes away again.
///
/// # Errors
/// Why no broker answered.
pub(crate) fn try_brokers(settings: &Settings, target: &Target) -> Result<(), CliError> {
    wait(connect(settings, target))?.map(drop)
}

/// Runs one future to its end on a runtime of its own.
///
/// # Errors
/// As [`runtime`].
pub(crate) fn wait<F: Future>(future: F) -> Result<F::Output, CliError> {
    Ok(runtime()?.block_on(future))
}

/// A client of the chosen brokers that has reached one of them.
///
/// # Errors
/// Why none could be reached, naming who chose them.
pub(crate) async fn connect(settings: &Settings, target: &Target) -> Result<Client, CliError> {
    let connecting = Client::builder(target.servers.as_slice())
        .client_id("logctl")
        .request_timeout(settings.timeout)
        .connect();
    connecting.await.map_err(|error| from_client(&error).in_context(&target.describe()))
}

/// One of our errors for one of the client's.
pub(crate) fn from_client(error: &ClientError) -> CliError {
    let refusal = error.refusal();
    let mut ours = CliError::new(error.code(), error.message().to_owned()).caused_by(error);
    if !error.hint().is_empty() {
        ours = ours.with_hint(error.hint());
    }
    ours.outcome = refusal.outcome;
    let offsets = [
        ("log_start", refusal.log_start),
        ("high_watermark", refusal.high_watermark),
        ("next_good_offset", refusal.next_good_offset),
    ];
    for (key, offset) in offsets {
        if let Some(offset) = offset {
            ours = ours.with_detail(key, offset.get());
        }
    }
    ours
}
