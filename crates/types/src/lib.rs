//! Domain words of Corduroy: the types that every other crate speaks in.
//!
//! Everything here is a value: validated when it is built, cheap to pass on. Never: I/O, wire types.

mod acks;
mod cursor;
mod epochs;
mod error_code;
mod error_text;
mod ids;
mod ratio;
mod service_variable;
mod shown;
mod topic;
mod topic_config;
mod units;

pub use acks::{Acks, Durability, Outcome, UnknownWord};
pub use cursor::{LeaderEpoch, MonotonicMs, Offset, OutOfRange, TimestampMs};
pub use epochs::{EpochEntry, EpochHistory, EpochOrder};
pub use error_code::{ErrorCode, ExitClass, ProduceEnd};
pub use error_text::{CONFIG_CODES, CodeText, EVENT_CODES, error_text, errors_page, explain};
pub use ids::{BrokerId, Incarnation, PartitionIndex, TopicId};
pub use ratio::{NotARatio, Ratio};
pub use service_variable::is_service_variable;
pub use shown::{hidden_character, is_hidden};
pub use topic::{InvalidTopicName, TopicName};
pub use topic_config::{
    CONFIG_KEYS, CleanupPolicy, ConfigEntry, ConfigKey, TOPIC_CONFIGS, TimestampType, TopicConfig,
    TopicConfigError, UNLIMITED, explain_topic_config,
};
pub use units::{
    InvalidByteSize, InvalidDuration, about_byte_size, format_byte_size, format_duration_ms, parse_byte_size,
    parse_duration_ms,
};

/// The format version of everything below a data directory, as its `directory.toml` says. A change that an older
/// program would misread raises it; a program that finds a higher one than this leaves the directory alone.
pub const DATA_FORMAT_VERSION: u64 = 2;

/// Bytes in one KiB.
pub const KIB: u64 = 1024;
/// Bytes in one MiB.
pub const MIB: u64 = 1024 * KIB;
/// Bytes in one GiB.
pub const GIB: u64 = 1024 * MIB;

/// The nearest of `candidates` to a mistyped `word`, for "did you mean" hints.
///
/// Returns `None` when nothing is near enough to be a likely typing error (Jaro-Winkler below 0.8).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
