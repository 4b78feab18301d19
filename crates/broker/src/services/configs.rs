//! Topic configs between the wire and the metadata.

use corduroy_api::v1;
use corduroy_metadata::{ConfigSource, Topic as Described};
use corduroy_types::{TimestampMs, TopicConfig, about_byte_size, format_duration_ms};

use crate::engine::Topic;

pub(super) fn pairs(entries: Vec<v1::ConfigEntry>) -> Vec<(String, String)> {
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

pub(super) fn described(topic: &Described) -> Vec<v1::TopicConfig> {
    topic
        .described_configs()
        .map(|config| v1::TopicConfig {
            key: config.key.to_owned(),
            value: config.value,
            default_value: config.default_value,
            source: match config.source {
                ConfigSource::Default => v1::ConfigSource::Default,
                ConfigSource::Topic => v1::ConfigSource::Topic,
            }
            .into(),
        })
        .collect()
}

/// What a change of `key` from `previous` to `value` will do to what is stored, where that can be foreseen; else empty.
pub(super) fn effect(key: &str, previous: &str, value: &str, topic: &Topic, now: TimestampMs) -> String {
    let (mut old, mut new) = (TopicConfig::default(), TopicConfig::default());
    if old.set(key, previous).is_err() || new.set(key, value).is_err() {
        return String::new();
    }
    match key {
        "retention.bytes" | "retention.ms" => {
            if !topic.config().cleanup_policy.deletes() {
                return "nothing while cleanup.policy is compact".to_owned();
            }
            let limits = |config: &TopicConfig| {
                [config.retention_ms, config.retention_bytes].map(|limit| limit.unwrap_or(u64::MAX))
            };
            if limits(&new) > limits(&old) {
                return "what is still stored is kept longer".to_owned();
            }
            let (ms, bytes) = match key {
                "retention.ms" => (new.retention_ms, None),
                _ => (None, new.retention_bytes),
            };
            let deletable =
                topic.replicas().iter().map(|replica| replica.deletable_bytes(ms, bytes, now)).sum();
            match (deletable, ms) {
                (0, Some(ms)) => {
                    format!(
                        "segments whose newest record is older than {} become deletable",
                        format_duration_ms(ms)
                    )
                }
                (0, None) => String::new(),
                (deletable, _) => format!("about {} become deletable", about_byte_size(deletable)),
            }
        }
        "cleanup.policy" if new.cleanup_policy.compacts() && !old.cleanup_policy.compacts() => {
            "stored records that a later one of the same key supersedes, and those without a key, are removed"
                .to_owned()
        }
        "durability" if value == "background" => {
            "the newest acknowledged records may be lost in a crash or a power cut from now on".to_owned()
        }
        _ => String::new(),
    }
}
