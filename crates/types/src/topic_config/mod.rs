//! Topic configs: what can be chosen per topic, under Kafka's dotted names and in human units.
//!
//! One table ([`TOPIC_CONFIGS`]) holds every key with its form, range, default and meaning; parsing,
//! describing, completion and documentation all read it. A key exists here once the feature behind it does.
//! Left out on purpose: `compression.type`, because its only meaning here would be `producer`, which is what
//! always happens.

mod cleanup_policy;
mod error;
mod form;
mod key;
mod table;
mod timestamp_type;

use std::sync::Arc;

pub use cleanup_policy::CleanupPolicy;
pub use error::TopicConfigError;
pub use key::ConfigKey;
pub use table::{CONFIG_KEYS, TOPIC_CONFIGS};
pub use timestamp_type::TimestampType;

use crate::{Durability, Ratio};

/// The word for "no limit" in values; `-1`, Kafka's, is read as the same.
pub const UNLIMITED: &str = "unlimited";

/// The configs of one topic, every key with its value in force.
///
/// Sizes are in bytes, durations in milliseconds; `None` is "unlimited". Every value is within its key's
/// range. A value taken by [`TopicConfig::set`] alone may contradict another one until [`TopicConfig::check`]
/// agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicConfig {
    /// `cleanup.policy`: whether retention deletes old segments, compaction removes superseded records, or both.
    pub cleanup_policy: CleanupPolicy,
    /// `delete.retention.ms`: how long a tombstone can be read once compaction has met it.
    pub delete_retention_ms: u64,
    /// `max.compaction.lag.ms`: how long a record may stay out of compaction.
    pub max_compaction_lag_ms: Option<u64>,
    /// `min.compaction.lag.ms`: how long a record stays out of compaction at least.
    pub min_compaction_lag_ms: u64,
    /// `min.cleanable.dirty.ratio`: how much of a partition is not compacted when it is compacted again.
    pub min_cleanable_dirty_ratio: Ratio,
    /// `durability`: when bytes count as written.
    pub durability: Durability,
    /// `retention.ms`: how old records may get before their segment goes.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`: how large a partition may get before its oldest segments go.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`: how large a segment grows before the next begins. 64 KiB to 1 GiB.
    pub segment_bytes: u32,
    /// `segment.ms`: how much record time a segment spans before the next begins.
    pub segment_ms: u64,
    /// `max.message.bytes`: the largest record batch taken, as sent (compressed). 1 KiB to 64 MiB.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`: whose clock the timestamps come from.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie before the broker's clock.
    pub message_timestamp_before_max_ms: Option<u64>,
    /// `message.timestamp.after.max.ms`: how far a timestamp may lie after the broker's clock.
    pub message_timestamp_after_max_ms: Option<u64>,
    /// `validate.compressed`: whether the records inside compressed batches are checked too.
    pub validate_compressed: bool,
    /// `description`: what the topic is for, in its owner's words; empty by default.
    pub description: Arc<str>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        const MIB: u32 = 1 << 20;
        Self {
            cleanup_policy: CleanupPolicy::Delete,
            delete_retention_ms: 24 * HOUR_MS,
            max_compaction_lag_ms: None,
            min_compaction_lag_ms: 0,
            min_cleanable_dirty_ratio: Ratio::HALF,
            durability: Durability::Sync,
            retention_ms: Some(7 * 24 * HOUR_MS),
            retention_bytes: None,
            segment_bytes: 256 * MIB,
            segment_ms: 7 * 24 * HOUR_MS,
            max_message_bytes: MIB,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: None,
            message_timestamp_after_max_ms: Some(HOUR_MS),
            validate_compressed: true,
            description: Arc::from(""),
        }
    }
}

/// One key with its value in force and its built-in default, both in canonical form (`7d`, `256MiB`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub key: &'static str,
    /// The value in force.
    pub value: String,
    /// The value of a topic that sets nothing.
    pub default_value: String,
}

impl TopicConfig {
    /// The defaults with `entries` of (key, value) laid over them, later ones over earlier ones.
    ///
    /// # Errors
    /// [`TopicConfigError`]: an unknown key, a bad value, or values that contradict each other.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TopicConfigError> {
        let mut config = Self::default();
        for (key, value) in entries {
            config.set(key, value)?;
        }
        config.check()?;
        Ok(config)
    }

    /// Sets one key from its text. Units are optional: a bare number is bytes, or milliseconds.
    ///
    /// Does not compare it with other keys: call [`TopicConfig::check`] after the last change.
    ///
    /// # Errors
    /// [`TopicConfigError::UnknownKey`] or [`TopicConfigError::InvalidValue`]; the config is then unchanged.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), TopicConfigError> {
        ConfigKey::lookup(key)?.write(self, value)
    }

    /// Puts one key back to its default. [`TopicConfig::check`] applies as after [`TopicConfig::set`].
    ///
    /// # Errors
    /// [`TopicConfigError::UnknownKey`].
    pub fn unset(&mut self, key: &str) -> Result<(), TopicConfigError> {
        let key = ConfigKey::lookup(key)?;
        key.write(self, &key.default_value())
    }

    /// The canonical text of one key's value.
    ///
    /// # Errors
    /// [`TopicConfigError::UnknownKey`].
    pub fn get(&self, key: &str) -> Result<String, TopicConfigError> {
        Ok(ConfigKey::lookup(key)?.read(self))
    }

    /// Checks the rules that span several keys.
    ///
    /// # Errors
    /// [`TopicConfigError::Contradiction`] names the keys, their values and the rule.
    pub fn check(&self) -> Result<(), TopicConfigError> {
        if self.max_compaction_lag_ms.is_some_and(|most| most < self.min_compaction_lag_ms) {
            return Err(TopicConfigError::Contradiction {
                key: "max.compaction.lag.ms",
                value: ConfigKey::lookup("max.compaction.lag.ms")?.read(self),
                other_key: "min.compaction.lag.ms",
                other_value: ConfigKey::lookup("min.compaction.lag.ms")?.read(self),
                rule: "no record can be compacted before it may be: raise the one or lower the other",
            });
        }
        if self.segment_bytes < self.max_message_bytes {
            return Err(TopicConfigError::Contradiction {
                key: "segment.bytes",
                value: ConfigKey::lookup("segment.bytes")?.read(self),
                other_key: "max.message.bytes",
                other_value: ConfigKey::lookup("max.message.bytes")?.read(self),
                rule: "a record batch must fit into one segment: raise segment.bytes or lower max.message.bytes",
            });
        }
        Ok(())
    }

    /// Every key, set or not, in the order of the keys.
    pub fn entries(&self) -> impl Iterator<Item = ConfigEntry> + '_ {
        TOPIC_CONFIGS.iter().map(|key| ConfigEntry {
            key: key.key(),
            value: key.read(self),
            default_value: key.default_value(),
        })
    }
}

/// The long form of a topic config's meaning, as `logctl explain KEY` prints it; `None` for an unknown key.
pub fn explain_topic_config(key: &str) -> Option<String> {
    let key = ConfigKey::find(key)?;
    Some(format!(
        "{}\n\n{}\n{}\nValue: {}.\nDefault: {}.\n",
        key.key(),
        key.summary(),
        key.effect(),
        key.form_text(),
        match key.default_value() {
            text if text.is_empty() => "empty".to_owned(),
            text => text,
        },
    ))
}

#[cfg(test)]
mod tests;
