//! The series that each topic has.

use corduroy_types::ErrorCode;
use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{Counter, labels::To};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTopic {
    topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicTo {
    topic: String,
    to: To,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicReason {
    topic: String,
    reason: &'static str,
}

/// What is counted for one topic: five series, and one for each reason for which a produce was refused.
#[derive(Clone, Debug)]
pub struct TopicMetrics {
    /// Records appended.
    pub records_in: Counter,
    /// Bytes of the batches appended, as they are stored.
    pub bytes_in: Counter,
    /// Records in the batches sent to consumers.
    pub records_out: Counter,
    /// Bytes of the batches sent to consumers, as they are stored.
    pub bytes_out: Counter,
    /// Batches that were in the log already when they came again.
    pub duplicates_dropped: Counter,
    label: String,
}

#[derive(Clone, Debug)]
pub(super) struct TopicFamilies {
    records_in: Family<OfTopic, Counter>,
    bytes_in: Family<OfTopic, Counter>,
    records_out: Family<TopicTo, Counter>,
    bytes_out: Family<TopicTo, Counter>,
    duplicates_dropped: Family<OfTopic, Counter>,
    rejected: Family<TopicReason, Counter>,
}

impl TopicFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            records_in: Family::default(),
            bytes_in: Family::default(),
            records_out: Family::default(),
            bytes_out: Family::default(),
            duplicates_dropped: Family::default(),
            rejected: Family::default(),
        };
        registry.register("records_in", "Records appended", families.records_in.clone());
        registry.register("bytes_in", "Bytes of batches appended, as stored", families.bytes_in.clone());
        registry.register(
            "records_out",
            "Records in batches sent to consumers",
            families.records_out.clone(),
        );
        registry.register(
            "bytes_out",
            "Bytes of batches sent to consumers, as stored",
            families.bytes_out.clone(),
        );
        registry.register(
            "duplicates_dropped",
            "Batches of idempotent producers that came again and were not appended again",
            families.duplicates_dropped.clone(),
        );
        registry.register(
            "produce_rejected",
            "Produce requests to existing topics that were refused, by error code",
            families.rejected.clone(),
        );
        families
    }

    pub(super) fn topic(&self, name: &str) -> TopicMetrics {
        let of = || OfTopic { topic: name.to_owned() };
        let to = || TopicTo { topic: name.to_owned(), to: To::Client };
        TopicMetrics {
            records_in: self.records_in.get_or_create_owned(&of()),
            bytes_in: self.bytes_in.get_or_create_owned(&of()),
            records_out: self.records_out.get_or_create_owned(&to()),
            bytes_out: self.bytes_out.get_or_create_owned(&to()),
            duplicates_dropped: self.duplicates_dropped.get_or_create_owned(&of()),
            label: name.to_owned(),
        }
    }

    pub(super) fn rejected(&self, topic: &TopicMetrics, code: ErrorCode) -> Counter {
        self.rejected.get_or_create_owned(&TopicReason { topic: topic.label.clone(), reason: code.name() })
    }

    pub(super) fn remove(&self, name: &str) {
        let of = OfTopic { topic: name.to_owned() };
        let to = TopicTo { topic: name.to_owned(), to: To::Client };
        self.records_in.remove(&of);
        self.bytes_in.remove(&of);
        self.duplicates_dropped.remove(&of);
        self.records_out.remove(&to);
        self.bytes_out.remove(&to);
        for code in ErrorCode::ALL {
            self.rejected.remove(&TopicReason { topic: name.to_owned(), reason: code.name() });
        }
    }
}
