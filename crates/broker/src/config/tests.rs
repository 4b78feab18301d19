use std::path::Path;

use super::*;
use crate::generated::assert_is_generated;

fn flag(path: &str, value: &str) -> FlagValue {
    FlagValue { flag: "--set".to_owned(), path: path.to_owned(), value: value.to_owned() }
}

/// Loads a file with this text; errors name it `brokerd.toml`.
fn load_text(text: &str, sources: Sources) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("brokerd.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources { file: Some(path), ..sources };
    let prefix = format!("{}/", dir.path().display());
    load(&sources).map_err(|errors| errors.to_string().replace(&prefix, ""))
}

#[test]
fn later_sources_win_and_each_value_knows_its_origin() {
    let sources = Sources {
        development: vec![FlagValue {
            flag: "--dev".into(),
            path: "node.data_dir".into(),
            value: "./here".into(),
        }],
        variables: vec![
            ("BROKERD_NODE__ID".into(), "3".into()),
            ("BROKERD_TOPIC_DEFAULTS__RETENTION_MS".into(), "24h".into()),
            ("HOME".into(), "/root".into()),
        ],
        flags: vec![flag("node.id", "4"), flag("topic_defaults.segment.bytes", "1MiB")],
        ..Sources::default()
    };
    let text = "[node]\nid = 2\nmemory_limit = \"1GiB\"\n[topic_defaults]\nretention.ms = \"1h\"\n";
    let loaded = load_text(text, sources).unwrap();
    assert_eq!(loaded.config.node.id.0, 4);
    assert_eq!(loaded.config.node.data_dir, Path::new("./here"));
    assert_eq!(loaded.config.node.memory_limit, Auto::Set(1 << 30));
    assert_eq!(loaded.config.topic_defaults.config.retention_ms, Some(86_400_000));
    let shown = show(&loaded, true);
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{name} =")));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{shown}")).to_owned()
    };
    assert!(line("id").ends_with("# --set"));
    assert!(line("data_dir").ends_with("# --dev"));
    assert!(line("memory_limit").ends_with("brokerd.toml:3"));
    assert!(line("retention.ms").ends_with("# environment BROKERD_TOPIC_DEFAULTS__RETENTION_MS"));
    assert!(line("max_connections").ends_with("# default"));
}

#[test]
fn every_error_is_reported_at_once_with_its_line() {
    let text = r#"id = 1
[node]
id = "seven"
data_dir = "/tmp/x"
drain_timeot = "1s"
[lissten]
grpc = "0.0.0.0:1"
[topic_defaults]
retention.hours = 24
"segment.bytes" = "2MiB"
max.message.bytes = "4MiB"
validate.compressed = 7
[limits]
request_max_bytes = "9EiB"
streams_per_connection = 0
fetch_max_bytes = 2026-01-01
"#;
    let sources = Sources {
        variables: vec![
            ("BROKERD_LISTEN__GRCP".into(), "x".into()),
            ("BROKERD_LISTEN__GRPC".into(), "0.0.0.0:9480".into()),
        ],
        flags: vec![flag("topic_defaults.partition", "3"), flag("nod.id", "3")],
        ..Sources::default()
    };
    insta::assert_snapshot!(load_text(text, sources).unwrap_err());
}

#[test]
fn broken_toml_is_reported_with_what_else_is_wrong() {
    insta::assert_snapshot!(
        load_text("[node]\nid = \nx = 1\n[node]\nid = 3\n", Sources::default()).unwrap_err()
    );
    let missing = load(&Sources { file: Some("/does/not/exist.toml".into()), ..Sources::default() });
    assert!(missing.unwrap_err().to_string().starts_with("error[C0001] /does/not/exist.toml: "));
}

#[test]
fn what_is_shown_loads_to_the_same_configuration() {
    let mut sources = Sources::default();
    for (path, value) in [
        ("node.id", "12"),
        ("node.data_dir", "/data \"quoted\""),
        ("listen.advertise", "b1:9480"),
        ("storage.disk_low_watermark", "20GiB"),
        ("storage.disk_block_watermark", "1GiB"),
        ("topic_defaults.description", "5"),
        ("topic_defaults.retention.ms", "unlimited"),
        ("topic_defaults.validate.compressed", "false"),
        ("log.level", "warn,corduroy_log=debug"),
    ] {
        sources.flags.push(flag(path, value));
    }
    let first = load(&sources).unwrap();
    let second = load_text(&show(&first, true), Sources::default()).unwrap();
    assert_eq!(first.config, second.config);
}

#[test]
fn exposed_listeners_need_a_word() {
    let sources = |insecure: &str| Sources {
        flags: vec![flag("listen.http", "[::]:9481"), flag("security.allow_insecure", insecure)],
        ..Sources::default()
    };
    let error = load(&sources("false")).unwrap_err().to_string();
    assert!(error.starts_with("error[C0020] listen.http [::]:9481 without TLS"), "{error}");
    assert!(load(&sources("true")).is_ok());
}

#[test]
fn the_reference_loads_with_every_key_uncommented() {
    let uncommented: String = reference()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let loaded = load_text(&uncommented, Sources::default()).unwrap();
    assert_eq!(loaded.config, BrokerConfig::default());
    assert!(loaded.origins().all(|(_, origin)| *origin != Origin::Default), "a key is missing");
}

#[test]
fn generated_texts_are_up_to_date() {
    assert_is_generated("config/brokerd.toml", &reference());
    assert_is_generated("docs/configuration.md", &documentation());
}

#[test]
fn codes_are_in_the_registry() {
    for name in ["C0001", "C0002", "C0003", "C0004", "C0007", "C0012", "C0020"] {
        assert_eq!(key::code(name).code, name);
    }
}
