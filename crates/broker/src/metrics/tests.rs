use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use corduroy_types::{ErrorCode, Outcome, Ratio, TopicName};

use super::*;
use crate::generated::assert_is_generated;

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

/// Metrics on which everything that can happen has happened once.
pub(super) fn busy() -> Metrics {
    let metrics = Metrics::new();
    let orders = metrics.data.topic(&name("orders"));
    orders.records_in.inc_by(3);
    metrics.data.produce_rejected(&orders, ErrorCode::BatchTooLarge);
    metrics.data.produce_failed(Outcome::NotWritten);
    for &api in Api::ALL {
        metrics.requests.api(api).begin().finish(None);
    }
    metrics.groups.commits("billing", CommitResult::Ok, 1);
    metrics.groups.rebalanced("billing", RebalanceReason::Joined);
    metrics.groups.lost("billing", "orders", 1);
    let sample = ScrapeSample {
        retention_blocked_partitions: 2,
        expiry_held: std::time::Duration::from_secs(7_200),
        compaction_dirty_bytes: 5_000,
        compaction_dirty_ratio_max: Ratio::HALF,
        compaction_failed_partitions: 1,
        disks: vec![DiskSample {
            dir: "./brokerd-data".into(),
            space: Some(corduroy_log::disk::Space { free_bytes: 60, total_bytes: 100 }),
            state: DiskState::Low,
        }],
        topics: vec![TopicSample { name: name("orders"), bytes: 7 }],
        partitions: vec![PartitionSample {
            topic: name("orders"),
            partition: 0,
            log_start: 1,
            high_watermark: 9,
        }],
        groups: vec![GroupSample {
            group: "billing".into(),
            state: "stable",
            member_count: 2,
            topics: vec![GroupTopicSample { topic: "orders".into(), lag_records: 5, lag_ms: 1_500 }],
        }],
        partitions_led: 1,
        partitions_offline: 2,
        segments: 1,
        oldest_round: std::time::Duration::from_millis(1_500),
        memory: vec![("tail_cache", 1), ("receive", 2), ("fetch", 3)],
    };
    metrics.set_sampler(move || sample.clone());
    metrics
}

/// The series of an exposition: lines that are no comment.
fn series(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn requests_are_counted_timed_and_followed() {
    let metrics = Metrics::new();
    let fetch = metrics.requests.api(Api::Fetch);
    let first = fetch.begin();
    let second = fetch.begin();
    assert_eq!(fetch.inflight.get(), 2);
    first.finish(Some(ErrorCode::TopicNotFound));
    drop(second);
    assert_eq!(fetch.inflight.get(), 0);
    let text = metrics.encode();
    assert!(text.contains("brokerd_requests_total{api=\"fetch\",code=\"TOPIC_NOT_FOUND\"} 1\n"), "{text}");
    assert!(text.contains("brokerd_requests_total{api=\"fetch\",code=\"CANCELLED\"} 1\n"), "{text}");
    assert!(text.contains("brokerd_request_seconds_count{api=\"fetch\",phase=\"total\"} 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn paths_name_their_rpc() {
    assert_eq!(Api::of_path("/corduroy.v1.Produce/Produce"), Some(Api::Produce));
    assert_eq!(Api::of_path("/corduroy.v1.Admin/AlterTopicConfigs"), Some(Api::AlterTopicConfigs));
    for other in
        ["", "/", "/corduroy.v1.Produce/", "/grpc.health.v1.Health/Check", "/corduroy.v1.Fetch/fetch"]
    {
        assert_eq!(Api::of_path(other), None, "{other}");
    }
}

#[test]
fn states_are_sampled_at_each_scrape() {
    let text = busy().encode();
    for line in [
        "brokerd_disk_state{dir=\"./brokerd-data\"} 1\n",
        "brokerd_topic_bytes{topic=\"orders\",tier=\"local\"} 7\n",
        "brokerd_partition_high_offset{topic=\"orders\",partition=\"0\"} 9\n",
        "brokerd_memory_bytes{pool=\"fetch\"} 3\n",
        "brokerd_records_in_total{topic=\"orders\"} 3\n",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_deleted_topic_leaves_no_series() {
    let metrics = busy();
    metrics.set_sampler(ScrapeSample::default);
    assert!(series(&metrics.encode()).any(|line| line.contains("orders")));
    metrics.data.remove_topic(&name("orders"));
    metrics.groups.forget_topic("orders");
    assert_eq!(series(&metrics.encode()).find(|line| line.contains("orders")), None);
}

#[test]
fn groups_cost_a_bounded_number_of_series_and_leave_none() {
    let metrics = busy();
    let of_groups =
        |metrics: &Metrics| series(&metrics.encode()).filter(|line| line.contains("group=\"g")).count();
    let groups = GroupMetrics::GROUPS_MAX + 10;
    let names: Vec<String> = (0..groups).map(|n| format!("g{n}")).collect();
    for group in &names {
        metrics.groups.rebalanced(group, RebalanceReason::Joined);
        metrics.groups.lost(group, "orders", 1);
    }
    let topics = vec![GroupTopicSample { topic: "orders".into(), lag_records: 1, lag_ms: 1 }];
    let sample =
        |group: String| GroupSample { group, state: "empty", member_count: 1, topics: topics.clone() };
    let groups = names.into_iter().map(sample).collect();
    let sample = ScrapeSample { groups, ..ScrapeSample::default() };
    metrics.set_sampler(move || sample.clone());
    // Members, three states, lag in records and seconds, and two counters.
    assert!(of_groups(&metrics) <= 8 * GroupMetrics::GROUPS_MAX);
    let other = "brokerd_group_lag_records{group=\"__other\",topic=\"__other\"} 10\n";
    assert!(metrics.encode().contains(other), "the other ten are one");
    metrics.set_sampler(ScrapeSample::default);
    metrics.groups.retain(|group| group == "billing");
    assert_eq!(of_groups(&metrics), 0);
}

#[test]
fn a_thousand_topics_cost_a_bounded_number_of_series() {
    let metrics = busy();
    let base = series(&metrics.encode()).count();
    let names: Vec<TopicName> = (0..1_000).map(|n| name(&format!("t{n}"))).collect();
    for name in &names {
        metrics.data.topic(name).bytes_in.inc();
    }
    let topics = names.into_iter().map(|name| TopicSample { name, bytes: 1 }).collect();
    let sample = ScrapeSample { topics, ..ScrapeSample::default() };
    metrics.set_sampler(move || sample.clone());
    let grown = series(&metrics.encode()).count().saturating_sub(base);
    assert!(grown <= 6 * 1_000, "{grown} series for 1000 topics");
}

#[test]
fn topics_beyond_the_cap_share_their_series() {
    let metrics = Metrics::new();
    for n in 0..DataMetrics::TOPICS_MAX + 5 {
        metrics.data.topic(&name(&format!("t{n}"))).records_in.inc();
    }
    let text = metrics.encode();
    assert!(text.contains("brokerd_records_in_total{topic=\"__other\"} 5\n"));
    let topics = series(&text).filter(|line| line.starts_with("brokerd_records_in_total")).count();
    assert_eq!(topics, DataMetrics::TOPICS_MAX + 1);
}

#[test]
fn the_documentation_lists_what_is_exported() {
    assert_is_generated("docs/metrics.md", &documentation(&busy().encode()));
}

const HEAD: &str = "\
# Metrics of brokerd

<!-- Generated from what /metrics exports; a test compares it. UPDATE_DOCS=1 rewrites it. -->

`listen.http` serves them at `/metrics`: in the OpenMetrics text format to scrapers that ask for it (`Accept`), else in the
text format 0.0.4 of Prometheus, with the same names. Times are in seconds, sizes in bytes. No label
holds a client's id. Partitions have series of their own only with `metrics.partition_level = \"all\"`. Each topic costs
six series, and one more for each reason for which produce requests to it were refused; topics beyond 10,000 share the
label `topic=\"__other\"`.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
";

fn documentation(exposition: &str) -> String {
    let mut kinds = Vec::new();
    let mut helps = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            kinds.push((name, help));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            helps.insert((name, kinds.len()), kind);
        } else if let Some((name, rest)) = line.split_once('{') {
            let inside = rest.split_once('}').map_or("", |(inside, _)| inside);
            let names = inside.split("\",").filter_map(|pair| pair.split_once('=')).map(|(label, _)| label);
            labels.entry(name).or_default().extend(names.filter(|label| *label != "le"));
        }
    }
    let mut out = String::from(HEAD);
    for (place, (name, help)) in kinds.iter().enumerate() {
        let kind = helps.get(&(*name, place + 1)).copied().unwrap_or("unknown");
        let (exported, suffixes): (String, &[&str]) = match kind {
            "counter" => (format!("{name}_total"), &["_total"]),
            "info" => (format!("{name}_info"), &["_info"]),
            "histogram" => ((*name).to_owned(), &["_bucket", "_count", "_sum"]),
            _ => ((*name).to_owned(), &[""]),
        };
        let labels: BTreeSet<&str> = suffixes
            .iter()
            .filter_map(|suffix| labels.get(format!("{name}{suffix}").as_str()))
            .flatten()
            .copied()
            .collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "| `{exported}` | {kind} | {labels} | {help} |");
    }
    out
}
