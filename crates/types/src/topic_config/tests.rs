use proptest::prelude::*;

use super::*;
use crate::ErrorCode;

fn config() -> impl Strategy<Value = TopicConfig> {
    const DURATION_MAX_MS: u64 = 36_500 * 86_400_000;
    let limit = |least, most| proptest::option::of(least..=most);
    (
        (any::<bool>(), any::<bool>(), any::<bool>()),
        (limit(1, DURATION_MAX_MS), limit(1, 1 << 60)),
        (1_u32 << 16..=1 << 30, 1_000..=DURATION_MAX_MS, 1_u32 << 10..=1 << 26),
        (limit(0, DURATION_MAX_MS), limit(0, DURATION_MAX_MS)),
        "\\PC{0,60}",
        (0..3_u8, 0..=DURATION_MAX_MS, limit(1_000, DURATION_MAX_MS), 0..=DURATION_MAX_MS, 0..=1_000_u64),
    )
        .prop_map(|(flags, retention, sizes, bounds, description, compaction)| TopicConfig {
            cleanup_policy: [CleanupPolicy::Delete, CleanupPolicy::Compact, CleanupPolicy::CompactAndDelete]
                [usize::from(compaction.0)],
            delete_retention_ms: compaction.1,
            max_compaction_lag_ms: compaction.2,
            min_compaction_lag_ms: compaction.3.min(compaction.2.unwrap_or(u64::MAX)),
            min_cleanable_dirty_ratio: crate::Ratio::of(compaction.4, 1_000),
            durability: if flags.0 { Durability::Sync } else { Durability::Background },
            retention_ms: retention.0,
            retention_bytes: retention.1,
            segment_bytes: sizes.0.max(sizes.2),
            segment_ms: sizes.1,
            max_message_bytes: sizes.2,
            message_timestamp_type: if flags.1 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            message_timestamp_before_max_ms: bounds.0,
            message_timestamp_after_max_ms: bounds.1,
            validate_compressed: flags.2,
            description: description.into(),
        })
}

proptest! {
    #[test]
    fn what_is_described_reads_back(config in config()) {
        let entries: Vec<_> = config.entries().collect();
        let again = TopicConfig::from_entries(entries.iter().map(|entry| (entry.key, entry.value.as_str())));
        prop_assert_eq!(again, Ok(config));
    }

    #[test]
    fn any_text_is_taken_or_refused_without_change(key in 0..CONFIG_KEYS.len(), text in "\\PC{0,40}|-?[0-9]{1,22}[a-zA-Z]{0,3}") {
        let mut config = TopicConfig::default();
        match config.set(CONFIG_KEYS[key], &text) {
            Err(error) => {
                prop_assert_eq!(error.code(), ErrorCode::InvalidConfigValue);
                prop_assert_eq!(config, TopicConfig::default());
            }
            Ok(()) => {
                let canonical = config.get(CONFIG_KEYS[key]).unwrap();
                let again = TOPIC_CONFIGS[key].canonical(&text).unwrap();
                prop_assert_eq!(&canonical, &again);
                prop_assert_eq!(TOPIC_CONFIGS[key].canonical(&canonical), Ok(again));
            }
        }
    }
}

#[test]
fn the_table_is_ordered_and_described() {
    assert!(CONFIG_KEYS.is_sorted());
    for key in TOPIC_CONFIGS {
        assert!(key.summary().ends_with('.') && key.effect().ends_with('.'), "{}", key.key());
        assert!(explain_topic_config(key.key()).unwrap().contains(&key.form_text()));
        for word in key.words() {
            assert_eq!(key.canonical(word).as_deref(), Ok(word));
        }
    }
    assert_eq!(TopicConfig::from_entries([]), Ok(TopicConfig::default()));
    assert!(TopicConfig::default().entries().all(|entry| entry.value == entry.default_value));
    assert_eq!(explain_topic_config("retention"), None);
}

#[test]
fn people_write_units_and_read_them_back() {
    let mut config = TopicConfig::default();
    for (key, text, canonical) in [
        ("retention.ms", "604800000", "7d"),
        ("retention.ms", "-1", "unlimited"),
        ("retention.ms", "24h", "1d"),
        ("retention.bytes", "unlimited", "unlimited"),
        ("segment.bytes", "67108864", "64MiB"),
        ("max.message.bytes", "2 mib", "2MiB"),
        ("durability", "background", "background"),
        ("validate.compressed", "false", "false"),
        ("message.timestamp.after.max.ms", "0", "0ms"),
        ("cleanup.policy", "delete,compact", "compact,delete"),
        ("min.cleanable.dirty.ratio", "0.50", "0.5"),
    ] {
        config.set(key, text).unwrap();
        assert_eq!(config.get(key).as_deref(), Ok(canonical));
    }
    config.unset("retention.ms").unwrap();
    assert_eq!(config.get("retention.ms").as_deref(), Ok("7d"));
}

#[test]
fn errors_say_what_would_be_right() {
    let mut config = TopicConfig::default();
    let text = |error: TopicConfigError| error.to_string();
    let unknown = text(config.set("retention.hours", "7").unwrap_err());
    assert_eq!(unknown, r#"no topic config is called "retention.hours"; did you mean "retention.ms"?"#);
    assert!(
        text(config.set("zzz", "7").unwrap_err())
            .contains("the keys are: cleanup.policy, delete.retention.ms,")
    );
    let range = text(config.set("segment.bytes", "1KiB").unwrap_err());
    assert_eq!(
        range,
        "segment.bytes cannot be \"1KiB\"; it takes a size from 64KiB to 1GiB \
         (bytes, or with a unit like 64KiB or 256MiB)"
    );
    assert!(text(config.set("durability", "Sync").unwrap_err()).ends_with("one of: sync, background"));
    assert!(text(config.set("description", "a\nb").unwrap_err()).contains("without control characters"));
    assert!(text(config.set("description", &"x".repeat(5_000)).unwrap_err()).len() < 300);
}

#[test]
fn a_batch_must_fit_into_a_segment() {
    let error = TopicConfig::from_entries([("segment.bytes", "64KiB")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfigValue);
    assert!(error.to_string().starts_with("segment.bytes 64KiB contradicts max.message.bytes 1MiB;"));
    assert!(TopicConfig::from_entries([("segment.bytes", "64KiB"), ("max.message.bytes", "64KiB")]).is_ok());
    let lags = [("max.compaction.lag.ms", "1h"), ("min.compaction.lag.ms", "2h")];
    let error = TopicConfig::from_entries(lags).unwrap_err();
    assert!(error.to_string().starts_with("max.compaction.lag.ms 1h contradicts min.compaction.lag.ms 2h;"));
}
