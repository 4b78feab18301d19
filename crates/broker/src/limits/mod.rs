//! Protection against clients that take memory and give nothing back.
//!
//! Three rules, each with one file:
//! - A **request** is charged to the receive budget by the length that its header announces, before memory is
//!   reserved for it, until the service has found other room for it. It must keep arriving (`request`). A produce
//!   request above its limit is skipped without being kept, and is answered (`skip`, `received`);
//! - an **answer** is charged to the fetch budget from before its records are read until its last byte has been
//!   sent (`answer`);
//! - a **connection** has a share of each budget. It waits when its share is used up, and is closed when it holds
//!   a share that others wait for. An answer takes at most a part of what is free. When nothing is free it takes
//!   a little of a reserve, so that readers that take nothing do not block small answers to others (`budget`,
//!   `registry`, `io`).

mod answer;
mod body_timeout;
mod bounded;
mod budget;
mod incoming;
mod io;
mod layer;
mod received;
mod registry;
mod request;
mod scanner;
mod skip;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use tokio::net::TcpListener;

use crate::{
    config::{BrokerConfig, MemoryBudgets, REQUEST_OVERHEAD_BYTES},
    metrics::{Api, Counter, Metrics},
};

pub(crate) use answer::{AnswerPermits, Permitted};
pub(crate) use bounded::BoundedListener;
pub(crate) use budget::Permit;
pub(crate) use incoming::Incoming;
pub(crate) use layer::GuardLayer;
pub(crate) use received::{Received, Skipped};
pub(crate) use registry::Connection;

use budget::Budget;
use registry::Registry;

/// The most bytes of a request that carries no records.
const CONTROL_BYTES_MAX: u64 = 1024 * 1024;

/// The limits of one broker, shared by its listener and its services.
#[derive(Debug)]
pub(crate) struct Limits {
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    receive: Budget,
    fetch: Budget,
    request_max_bytes: u64,
    default_message_bytes: u64,
    largest_message_bytes: OnceLock<Arc<AtomicU32>>,
}

impl Limits {
    /// Budgets and limits as `config` sets them. No connection is open.
    pub(crate) fn new(config: &BrokerConfig, metrics: Arc<Metrics>) -> Arc<Self> {
        let budgets = MemoryBudgets::of(config);
        let registry = Arc::new(Registry::new(config.listen.max_connections, metrics.connections.clone()));
        Arc::new(Self {
            metrics,
            receive: Budget::new(budgets.receive_bytes, Arc::clone(&registry)),
            fetch: Budget::with_a_reserve(budgets.fetch_bytes, Arc::clone(&registry)),
            registry,
            request_max_bytes: config.limits.request_max_bytes,
            default_message_bytes: config.topic_defaults.config.max_message_bytes.into(),
            largest_message_bytes: OnceLock::new(),
        })
    }

    /// From now on a produce request may carry up to `bytes()` bytes: the largest `max.message.bytes` of any
    /// topic. Until then the default for new topics counts. Called once.
    pub(crate) fn follow_largest_message(&self, bytes: Arc<AtomicU32>) {
        let _set_once = self.largest_message_bytes.set(bytes);
    }

    /// Breaks every connection that is still open.
    pub(crate) fn close_all(&self) {
        self.registry.close_all();
    }

    /// Accepts connections, up to `listen.max_connections` at one time.
    pub(crate) fn incoming(self: &Arc<Self>, listener: TcpListener) -> Incoming {
        Incoming::new(listener, Arc::clone(self))
    }

    /// Guards every request and answer of the services below it.
    pub(crate) fn layer(self: &Arc<Self>) -> GuardLayer {
        GuardLayer::new(Arc::clone(self))
    }

    /// Room for an answer of up to `bytes` to `caller`. Take it before the records are read, reduce it to what
    /// was read, and hand it to the answer's [`AnswerPermits`]. It may be for less: read no more than
    /// [`Permit::bytes`].
    ///
    /// `None` if there is no connection to charge: the request came through no listener.
    pub(crate) async fn answer_permit(&self, caller: Option<&Arc<Connection>>, bytes: u64) -> Option<Permit> {
        Some(self.fetch.acquire_up_to(caller?.fetch_share(), bytes).await)
    }

    /// Waits for room for an answer of `bytes`, when the smallest possible answer turned out to be that large. At
    /// most a connection's share is charged.
    pub(crate) async fn whole_answer_permit(
        &self,
        caller: Option<&Arc<Connection>>,
        bytes: u64,
    ) -> Option<Permit> {
        Some(self.fetch.acquire(caller?.fetch_share(), bytes).await)
    }

    /// Bytes charged for requests that are being received.
    pub(crate) fn receiving_bytes(&self) -> u64 {
        self.receive.used_bytes()
    }

    /// Bytes charged for answers that are not yet sent.
    pub(crate) fn answering_bytes(&self) -> u64 {
        self.fetch.used_bytes()
    }

    /// The most bytes of one message that is taken into memory.
    fn request_limit(&self, rpc: Rpc) -> u64 {
        let limit = match rpc {
            Rpc::Produce => {
                let largest = self.largest_message_bytes.get().map_or(0, |bytes| bytes.load(Relaxed).into());
                self.default_message_bytes.max(largest) + REQUEST_OVERHEAD_BYTES
            }
            Rpc::Control => CONTROL_BYTES_MAX,
        };
        limit.min(self.request_max_bytes)
    }

    /// The most bytes of a message that is skipped and answered with a refusal. A larger one ends its request.
    fn skip_limit(&self, rpc: Rpc) -> u64 {
        match rpc {
            Rpc::Produce => self.request_max_bytes,
            Rpc::Control => 0,
        }
    }

    /// The counters of bytes received and sent for the rpc with this path, if it is one of ours.
    fn byte_counters(&self, path: &str) -> Option<(Counter, Counter)> {
        let metrics = self.metrics.requests.api(Api::of_path(path)?);
        Some((metrics.bytes_in.clone(), metrics.bytes_out.clone()))
    }

    fn connect(&self, peer: std::net::SocketAddr) -> Option<Arc<Connection>> {
        self.registry.open(peer, self.receive.share(), self.fetch.share())
    }
}

/// How large the requests of an rpc may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rpc {
    /// They carry records.
    Produce,
    /// They carry queries and commands.
    Control,
}

impl Rpc {
    fn of_path(path: &str) -> Self {
        match Api::of_path(path) {
            Some(Api::Produce) => Self::Produce,
            _ => Self::Control,
        }
    }
}

#[cfg(test)]
mod tests;
