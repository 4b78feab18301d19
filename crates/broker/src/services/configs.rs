//! Topic configs between the wire and the metadata.

use std::sync::Arc;

use corduroy_api::v1;
use corduroy_metadata::{ConfigSource, Topic as Described};
use corduroy_types::{TimestampMs, TopicConfig, format_byte_size, format_duration_ms};

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

/// What a change of `key` will do to what is stored, where that can be foreseen; else empty.
pub(super) fn effect(key: &str, value: &str, topic: &Arc<Topic>, now: TimestampMs) -> String {
    let mut config = TopicConfig::default();
    if config.set(key, value).is_err() {
        return String::new();
    }
    match key {
        "retention.bytes" => config.retention_bytes.map_or_else(String::new, |limit| {
            let excess = topic
                .replicas()
                .iter()
                .map(|replica| replica.stats().bytes.saturating_sub(limit))
                .sum::<u64>();
            if excess == 0 {
                String::new()
            } else {
                format!("about {} become deletable", format_byte_size(excess))
            }
        }),
        "retention.ms" => config.retention_ms.map_or_else(String::new, |limit_ms| {
            let oldest_kept = now.minus_ms(limit_ms);
            let replicas = topic.replicas();
            let expired = replicas
                .iter()
                .filter(|replica| replica.stats().max_timestamp.is_some_and(|newest| newest < oldest_kept));
            match expired.count() {
                0 => format!(
                    "segments whose newest record is older than {} become deletable",
                    format_duration_ms(limit_ms)
                ),
                count => format!("everything in {count} partitions becomes deletable"),
            }
        }),
        "durability" if value == "background" => {
            "the newest acknowledged records may be lost in a crash or a power cut from now on".to_owned()
        }
        _ => String::new(),
    }
}
