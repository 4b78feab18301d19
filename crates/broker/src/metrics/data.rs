//! Records in and out.

use std::{collections::HashMap, sync::Arc};

use corduroy_types::{ErrorCode, Outcome, TopicName};
use parking_lot::Mutex;
use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{
    Counter, Histogram,
    labels::ProduceOutcome,
    topic::{TopicFamilies, TopicMetrics},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: ProduceOutcome,
}

/// The data metrics.
#[derive(Debug)]
pub struct DataMetrics {
    /// Records in each batch that was appended.
    pub batch_records: Histogram,
    /// Produce requests that were acknowledged.
    pub produce_ok: Counter,
    produce_not_written: Counter,
    produce_unknown: Counter,
    families: TopicFamilies,
    topics: Mutex<HashMap<TopicName, Arc<TopicMetrics>>>,
    others: Mutex<Option<Arc<TopicMetrics>>>,
}

impl DataMetrics {
    /// Topics that have series of their own. Those beyond it share the label `topic="__other"`, so that the
    /// number of series has an upper limit whatever is created.
    pub const TOPICS_MAX: usize = 10_000;

    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = TopicFamilies::register(registry);
        let outcomes = Family::<OfOutcome, Counter>::default();
        let batch_records = Histogram::new([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5]);
        registry.register(
            "produce_outcome",
            "Produce requests ended: ok, not_written (refused), unknown (perhaps written)",
            outcomes.clone(),
        );
        registry.register("batch_records", "Records in each batch that was appended", batch_records.clone());
        let of = |outcome| outcomes.get_or_create_owned(&OfOutcome { outcome });
        Self {
            batch_records,
            produce_ok: of(ProduceOutcome::Ok),
            produce_not_written: of(ProduceOutcome::NotWritten),
            produce_unknown: of(ProduceOutcome::Unknown),
            families,
            topics: Mutex::new(HashMap::new()),
            others: Mutex::new(None),
        }
    }

    /// Counts a produce request that failed. One that succeeded bumps [`DataMetrics::produce_ok`].
    pub fn produce_failed(&self, outcome: Outcome) {
        match outcome {
            Outcome::NotWritten => self.produce_not_written.inc(),
            Outcome::Unknown => self.produce_unknown.inc(),
        };
    }

    /// The metrics of a topic that exists, made at the first call. Keep the handle next to the topic's
    /// partitions; never call this with a name that a client sent and that no one looked up.
    pub fn topic(&self, name: &TopicName) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock();
        if let Some(known) = topics.get(name) {
            return Arc::clone(known);
        }
        if topics.len() >= Self::TOPICS_MAX {
            let mut others = self.others.lock();
            let others = others.get_or_insert_with(|| Arc::new(self.families.topic("__other")));
            return Arc::clone(others);
        }
        let metrics = Arc::new(self.families.topic(name.as_str()));
        topics.insert(name.clone(), Arc::clone(&metrics));
        metrics
    }

    /// Forgets a topic that was deleted, with its series.
    pub fn remove_topic(&self, name: &TopicName) {
        if self.topics.lock().remove(name).is_some() {
            self.families.remove(name.as_str());
        }
    }

    /// Counts a produce request to a topic that exists which was refused.
    pub fn produce_rejected(&self, topic: &TopicMetrics, code: ErrorCode) {
        self.families.rejected(topic, code).inc();
    }
}
