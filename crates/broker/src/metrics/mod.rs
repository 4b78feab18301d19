//! What the broker counts and times, and how it is exported: one registry, typed handles.
//!
//! Handles are cheap to clone and to bump: an atomic addition each. Figures that are states rather than events
//! (free disk space, bytes of a topic, memory) are read when someone scrapes: see [`ScrapeSample`].

mod data;
mod exposition;
mod groups;
pub mod labels;
mod process;
mod requests;
mod sample;
mod sample_groups;
mod storage;
mod topic;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus_client::{encoding::text::encode, registry::Registry};

pub use data::DataMetrics;
pub use exposition::Exposition;
pub use groups::GroupMetrics;
pub use labels::{
    Api, CacheResult, CommitResult, ConnectionResult, CorruptionAction, DeletedReason, Phase,
    RebalanceReason, ReloadResult,
};
pub use process::{ConfigReloads, resident_bytes};
pub use requests::{ApiMetrics, ConnectionMetrics, RequestInFlight, RequestMetrics};
pub use sample::{DiskSample, DiskState, PartitionSample, ScrapeSample, TopicSample};
pub use sample_groups::{GroupSample, GroupTopicSample};
pub use storage::StorageMetrics;
pub use topic::TopicMetrics;

/// Counts events.
pub type Counter = prometheus_client::metrics::counter::Counter;
/// Goes up and down.
pub type Gauge = prometheus_client::metrics::gauge::Gauge;
/// Times, in seconds, or sizes.
pub type Histogram = prometheus_client::metrics::histogram::Histogram;

type Sampler = Box<dyn Fn() -> ScrapeSample + Send + Sync>;

/// Every metric of one broker.
#[derive(Debug)]
pub struct Metrics {
    /// Requests: how many, how they ended, how long they took.
    pub requests: RequestMetrics,
    /// Connections to the gRPC listener.
    pub connections: ConnectionMetrics,
    /// Records in and out.
    pub data: DataMetrics,
    /// Disk, log and caches.
    pub storage: StorageMetrics,
    /// Consumer groups.
    pub groups: GroupMetrics,
    /// Loads of the configuration while the broker runs.
    pub config_reloads: ConfigReloads,
    sampler: Arc<sample::Sampled>,
    registry: Registry,
}

impl Metrics {
    /// Metrics for a broker that starts now, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        process::register_standard(&mut registry);
        let own = registry.sub_registry_with_prefix("brokerd");
        let requests = RequestMetrics::register(own);
        let connections = ConnectionMetrics::register(own);
        let data = DataMetrics::register(own);
        let storage = StorageMetrics::register(own);
        let groups = GroupMetrics::register(own);
        process::register_own(own);
        let config_reloads = ConfigReloads::register(own);
        let sampler = Arc::new(sample::Sampled { source: ArcSwapOption::empty() });
        own.register_collector(Box::new(Arc::clone(&sampler)));
        Self { requests, connections, data, storage, groups, config_reloads, sampler, registry }
    }

    /// Sets what is asked at each scrape for the figures of [`ScrapeSample`]. Until then they are absent.
    ///
    /// `sampler` runs on a thread that may block for a moment; it must not hold this `Metrics` alive.
    pub fn set_sampler(&self, sampler: impl Fn() -> ScrapeSample + Send + Sync + 'static) {
        let sampler: Sampler = Box::new(sampler);
        self.sampler.source.store(Some(Arc::new(sampler)));
    }

    /// Everything in this text format.
    pub fn encode_as(&self, format: Exposition) -> String {
        match format {
            Exposition::OpenMetrics => self.encode(),
            Exposition::Prometheus => exposition::to_prometheus(&self.encode()),
        }
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail; an encoder that gives up leaves a text without its end mark, which
        // a scraper refuses.
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Buckets for what lasts microseconds to minutes: factor 2.5 from 50 µs.
fn seconds_buckets() -> Histogram {
    Histogram::new([
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
        2.5, 10.0, 30.0,
    ])
}

#[cfg(test)]
mod openmetrics_tests;
#[cfg(test)]
mod tests;
