//! Requests and connections.

use std::{sync::OnceLock, time::Instant};

use corduroy_types::ErrorCode;
use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{
    Counter, Gauge, Histogram,
    labels::{Api, ConnectionResult, Direction, Listener, Phase},
    seconds_buckets,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiCode {
    api: Api,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiPhase {
    api: Api,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiOnly {
    api: Api,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiDirection {
    api: Api,
    dir: Direction,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfListener {
    listener: Listener,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerResult {
    listener: Listener,
    result: ConnectionResult,
}

/// The request metrics, by rpc.
#[derive(Debug)]
pub struct RequestMetrics {
    apis: Vec<ApiMetrics>,
}

/// The request metrics of one rpc.
#[derive(Debug)]
pub struct ApiMetrics {
    /// Requests begun and not ended. [`ApiMetrics::begin`] keeps it.
    pub inflight: Gauge,
    /// Bytes of requests as received, before decoding.
    pub bytes_in: Counter,
    /// Bytes of answers as sent, after encoding.
    pub bytes_out: Counter,
    api: Api,
    ok: Counter,
    totals: Family<ApiCode, Counter>,
    seconds: Family<ApiPhase, Histogram, fn() -> Histogram>,
    phases: Vec<OnceLock<Histogram>>,
}

impl RequestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let totals = Family::<ApiCode, Counter>::default();
        let seconds: Family<ApiPhase, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(seconds_buckets);
        let inflight = Family::<ApiOnly, Gauge>::default();
        let bytes = Family::<ApiDirection, Counter>::default();
        registry.register("requests", "Requests ended, by rpc and error code (OK when none)", totals.clone());
        registry.register(
            "request_seconds",
            "Time of requests, by rpc and phase: total, and for produce queue (waiting for memory), local (checks and \
             the append into memory) and fsync (waiting for stable storage)",
            seconds.clone(),
        );
        registry.register("requests_inflight", "Requests begun and not ended, by rpc", inflight.clone());
        registry.register("request_bytes", "Bytes of requests (in) and answers (out), by rpc", bytes.clone());
        let of = |&api: &Api| ApiMetrics {
            inflight: inflight.get_or_create_owned(&ApiOnly { api }),
            bytes_in: bytes.get_or_create_owned(&ApiDirection { api, dir: Direction::In }),
            bytes_out: bytes.get_or_create_owned(&ApiDirection { api, dir: Direction::Out }),
            api,
            ok: totals.get_or_create_owned(&ApiCode { api, code: "OK" }),
            totals: totals.clone(),
            seconds: seconds.clone(),
            phases: Phase::ALL.iter().map(|_| OnceLock::new()).collect(),
        };
        Self { apis: Api::ALL.iter().map(of).collect() }
    }

    /// The metrics of one rpc.
    #[expect(clippy::indexing_slicing, reason = "built from Api::ALL, in its order; a test asks for each")]
    pub fn api(&self, api: Api) -> &ApiMetrics {
        &self.apis[api as usize]
    }
}

impl ApiMetrics {
    /// Begins a request: counts it in flight until it is finished or dropped, and starts its clock.
    pub fn begin(&self) -> RequestInFlight<'_> {
        self.inflight.inc();
        RequestInFlight { api: self, since: Instant::now(), ended: false }
    }

    /// Times one phase of a request.
    #[expect(clippy::indexing_slicing, reason = "one cell for each of Phase::ALL, in its order")]
    pub fn observe(&self, phase: Phase, seconds: f64) {
        let label = || self.seconds.get_or_create_owned(&ApiPhase { api: self.api, phase });
        self.phases[phase as usize].get_or_init(label).observe(seconds);
    }

    /// Counts a request that ended; `None` means well.
    pub fn count(&self, code: Option<ErrorCode>) {
        match code {
            None => self.ok.inc(),
            Some(code) => self.totals.get_or_create(&ApiCode { api: self.api, code: code.name() }).inc(),
        };
    }
}

/// A request that was begun. Dropped without [`RequestInFlight::finish`], it counts as `CANCELLED`: its caller
/// went away.
#[derive(Debug)]
#[must_use = "a request ends when this is dropped"]
pub struct RequestInFlight<'a> {
    api: &'a ApiMetrics,
    since: Instant,
    ended: bool,
}

impl RequestInFlight<'_> {
    /// When it began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Ends it: well with `None`.
    pub fn finish(mut self, code: Option<ErrorCode>) {
        self.ended = true;
        self.api.count(code);
        self.api.observe(Phase::Total, self.since.elapsed().as_secs_f64());
    }
}

impl Drop for RequestInFlight<'_> {
    fn drop(&mut self) {
        self.api.inflight.dec();
        if !self.ended {
            self.api.totals.get_or_create(&ApiCode { api: self.api.api, code: "CANCELLED" }).inc();
        }
    }
}

/// Connections to the gRPC listener. The listener itself counts them.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    /// Connections open now.
    pub open: Gauge,
    totals: Family<ListenerResult, Counter>,
}

impl ConnectionMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let open = Family::<OfListener, Gauge>::default();
        let totals = Family::<ListenerResult, Counter>::default();
        // Not "connections": that is the family of the counter below.
        registry.register("open_connections", "Connections open now", open.clone());
        registry.register(
            "connections",
            "Connections accepted, refused at listen.max_connections, and killed for holding memory without progress",
            totals.clone(),
        );
        for &result in ConnectionResult::ALL {
            let _ = totals.get_or_create_owned(&ListenerResult { listener: Listener::Grpc, result });
        }
        Self { open: open.get_or_create_owned(&OfListener { listener: Listener::Grpc }), totals }
    }

    /// Counts a connection.
    pub fn count(&self, result: ConnectionResult) {
        self.totals.get_or_create(&ListenerResult { listener: Listener::Grpc, result }).inc();
    }
}
