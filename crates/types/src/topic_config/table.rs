//! The table of all topic configs.
//!
//! A range may only widen in later versions: values within it are stored with topics and read again at start.

use super::{
    form::{Form, Lens, Unit},
    key::ConfigKey,
};
use crate::{GIB, KIB, MIB};

const DAY_MS: u64 = 86_400_000;
/// A hundred years: beyond it "unlimited" is meant.
const DURATION_MAX_MS: u64 = 36_500 * DAY_MS;
/// One EiB: beyond it "unlimited" is meant.
const SIZE_MAX: u64 = 1 << 60;

macro_rules! lens {
    ($field:ident) => {
        Lens { get: |config| &config.$field, get_mut: |config| &mut config.$field }
    };
}

macro_rules! words {
    ($field:ident, $words:literal) => {
        Form::Word {
            words: $words,
            read: |config| config.$field.as_str(),
            write: |config, word| word.parse().map(|value| config.$field = value).is_ok(),
        }
    };
}

/// Every topic config, in the order of the keys.
pub static TOPIC_CONFIGS: &[ConfigKey] = &[
    ConfigKey {
        key: "cleanup.policy",
        form: words!(cleanup_policy, "compact, compact,delete, delete"),
        summary: "What becomes of old records: retention deletes them (delete), or of each key the last stays (compact).",
        effect: "With compact, records need a key from the next append on, and stored records without one go.",
    },
    ConfigKey {
        key: "delete.retention.ms",
        form: Form::Number { unit: Unit::Ms, range: 0..=DURATION_MAX_MS, field: lens!(delete_retention_ms) },
        summary: "How long a null value, which deletes its key, can still be read once compaction has met it.",
        effect: "Applies to what compaction meets from now on. Readers that fall behind by more may miss deletions.",
    },
    ConfigKey {
        key: "description",
        form: Form::Text { chars_max: 1_000, field: lens!(description) },
        summary: "What the topic is for, in its owner's words.",
        effect: "Shown when the topic is described; nothing else depends on it.",
    },
    ConfigKey {
        key: "durability",
        form: words!(durability, "sync, background"),
        summary: "When bytes count as written: on stable storage (sync), or in the page cache (background).",
        effect: "Applies from the next append on. With background a power cut may lose acknowledged records.",
    },
    ConfigKey {
        key: "max.compaction.lag.ms",
        form: Form::Limit {
            unit: Unit::Ms,
            range: 1_000..=DURATION_MAX_MS,
            field: lens!(max_compaction_lag_ms),
        },
        summary: "How long a superseded record may stay, however little there is to compact; only with compact.",
        effect: "Applies at the next look. Segments then span at most half of it, and short spans make many small files.",
    },
    ConfigKey {
        key: "max.message.bytes",
        form: Form::Small { unit: Unit::Bytes, range: KIB..=64 * MIB, field: lens!(max_message_bytes) },
        summary: "The largest record batch that is taken, measured as it was sent, so after compression.",
        effect: "Applies from the next append on; larger batches that are stored already stay readable.",
    },
    ConfigKey {
        key: "message.timestamp.after.max.ms",
        form: Form::Limit {
            unit: Unit::Ms,
            range: 0..=DURATION_MAX_MS,
            field: lens!(message_timestamp_after_max_ms),
        },
        summary: "How far a record's timestamp may lie after the broker's clock; not looked at with LogAppendTime.",
        effect: "Applies from the next append on. A timestamp far ahead would keep its segment from time retention.",
    },
    ConfigKey {
        key: "message.timestamp.before.max.ms",
        form: Form::Limit {
            unit: Unit::Ms,
            range: 0..=DURATION_MAX_MS,
            field: lens!(message_timestamp_before_max_ms),
        },
        summary: "How far a record's timestamp may lie before the broker's clock; not looked at with LogAppendTime.",
        effect: "Applies from the next append on. Bound it where old timestamps would be deleted at once by retention.",
    },
    ConfigKey {
        key: "message.timestamp.type",
        form: words!(message_timestamp_type, "CreateTime, LogAppendTime"),
        summary: "Whose clock timestamps come from: the producer's (CreateTime), or the leader's (LogAppendTime).",
        effect: "Applies from the next append on; stored records keep the timestamps they have.",
    },
    ConfigKey {
        key: "min.cleanable.dirty.ratio",
        form: Form::Ratio { field: lens!(min_cleanable_dirty_ratio) },
        summary: "How much of a partition is not compacted yet when it is compacted again; only with compact.",
        effect: "Applies at the next look. Lower keeps fewer superseded records and copies more often.",
    },
    ConfigKey {
        key: "min.compaction.lag.ms",
        form: Form::Number {
            unit: Unit::Ms,
            range: 0..=DURATION_MAX_MS,
            field: lens!(min_compaction_lag_ms),
        },
        summary: "How long every record can be read before compaction may remove it; only with compact.",
        effect: "Applies at the next look.",
    },
    ConfigKey {
        key: "retention.bytes",
        form: Form::Limit { unit: Unit::Bytes, range: 1..=SIZE_MAX, field: lens!(retention_bytes) },
        summary: "How large each partition may get; the oldest segments beyond it are deleted.",
        effect: "Lowering it deletes whole segments at the next retention check; they cannot be brought back.",
    },
    ConfigKey {
        key: "retention.ms",
        form: Form::Limit { unit: Unit::Ms, range: 1..=DURATION_MAX_MS, field: lens!(retention_ms) },
        summary: "How old records may get, by timestamp; segments whose newest record is older are deleted.",
        effect: "Lowering it deletes whole segments at the next retention check; they cannot be brought back.",
    },
    ConfigKey {
        key: "segment.bytes",
        form: Form::Small { unit: Unit::Bytes, range: 64 * KIB..=GIB, field: lens!(segment_bytes) },
        summary: "How large a segment file grows before the next begins; retention deletes whole segments.",
        effect: "Applies from the next append on; segments that exist keep their size.",
    },
    ConfigKey {
        key: "segment.ms",
        form: Form::Number { unit: Unit::Ms, range: 1_000..=DURATION_MAX_MS, field: lens!(segment_ms) },
        summary: "How much time a segment spans, by record timestamps, before the next begins.",
        effect: "Applies from the next append on; short spans make many small files.",
    },
    ConfigKey {
        key: "validate.compressed",
        form: Form::Flag { field: lens!(validate_compressed) },
        summary: "Whether compressed batches are decompressed at the append to check every record in them.",
        effect: "Applies from the next append on. Without it a faulty producer's compressed records are found by consumers.",
    },
];

/// The keys of [`TOPIC_CONFIGS`], for completions and suggestions.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is an error")]
pub const CONFIG_KEYS: [&str; TOPIC_CONFIGS.len()] = {
    let mut keys = [""; TOPIC_CONFIGS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = TOPIC_CONFIGS[at].key;
        at += 1;
    }
    keys
};
