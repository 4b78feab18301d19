//! What `/metrics` exports is valid: the older format by a foreign parser, OpenMetrics by its rules. (The only parser of
//! OpenMetrics in Rust has a licence that `deny.toml` does not allow.)

use std::collections::{BTreeMap, BTreeSet};

use super::{Exposition, tests::busy};

/// One sample line.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

/// A family: its samples stand together, under its name and one of its type's suffixes.
struct FamilyText<'a> {
    kind: &'a str,
    samples: Vec<Sample<'a>>,
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn sample(line: &str) -> Sample<'_> {
    let name_end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(name_end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at + 1,
                    (_, '\\') => match chars.next().expect("an escape").1 {
                        'n' => value.push('\n'),
                        escaped @ ('"' | '\\') => value.push(escaped),
                        other => panic!("\\{other} in {line}"),
                    },
                    (_, other) => value.push(other),
                }
            };
            labels.push((label, value));
            rest = &quoted[end..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    Sample { name, labels, value: value.parse().unwrap_or_else(|_| panic!("no number in {line}")) }
}

/// Reads an OpenMetrics text as the specification says, or panics.
fn parse(text: &str) -> BTreeMap<&str, FamilyText<'_>> {
    let body = text.strip_suffix("# EOF\n").expect("its end mark");
    let mut families: BTreeMap<&str, FamilyText<'_>> = BTreeMap::new();
    let (mut current, mut described) = ("", BTreeSet::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(described.insert(name) && !families.contains_key(name), "two families {name}");
            assert!(!help.is_empty() && is_name(name), "{line}");
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            assert!(["counter", "gauge", "histogram", "info", "unknown"].contains(&kind), "{line}");
            let before = families.insert(name, FamilyText { kind, samples: Vec::new() });
            assert!(before.is_none(), "two families {name}");
            current = name;
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let family = families.get_mut(current).expect("a type before samples");
            let sample = sample(line);
            let suffix = sample.name.strip_prefix(current);
            let suffix = suffix.unwrap_or_else(|| panic!("{} among the samples of {current}", sample.name));
            let allowed: &[&str] = match family.kind {
                "counter" => &["_total", "_created"],
                "histogram" => &["_bucket", "_count", "_sum", "_created"],
                "info" => &["_info"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line} in a family of type {}", family.kind);
            family.samples.push(sample);
        }
    }
    families
}

/// Every name that a family's samples may have is its own.
fn assert_no_clash(families: &BTreeMap<&str, FamilyText<'_>>) {
    let mut names = BTreeSet::new();
    for (name, family) in families {
        let suffixes: &[&str] = match family.kind {
            "counter" => &["", "_total", "_created"],
            "histogram" => &["", "_bucket", "_count", "_sum", "_created"],
            "info" => &["", "_info"],
            _ => &[""],
        };
        for suffix in suffixes {
            assert!(names.insert(format!("{name}{suffix}")), "{name}{suffix} belongs to two families");
        }
    }
}

fn assert_is_histogram(name: &str, samples: &[Sample<'_>]) {
    let series = |sample: &Sample<'_>| {
        let labels: Vec<_> = sample.labels.iter().filter(|(label, _)| *label != "le").cloned().collect();
        format!("{labels:?}")
    };
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let (_, le) = sample.labels.iter().find(|(label, _)| *label == "le").expect("le");
        buckets.entry(series(sample)).or_default().push((le.parse().expect("a bound"), sample.value));
    }
    for (series_of, buckets) in &buckets {
        let ascending = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        assert!(ascending, "{name}{series_of}: {buckets:?}");
        let (bound, all) = buckets.last().expect("a bucket");
        assert!(bound.is_infinite(), "{name}{series_of} has no +Inf");
        let is_count = |sample: &&Sample<'_>| sample.name.ends_with("_count") && series(sample) == *series_of;
        let count = samples.iter().find(is_count).expect("a count").value;
        assert_eq!(count.to_bits(), all.to_bits(), "{name}{series_of}");
    }
}

#[test]
fn what_is_exported_is_valid_openmetrics() {
    let text = busy().encode_as(Exposition::OpenMetrics);
    let families = parse(&text);
    assert!(families.len() > 40);
    assert_no_clash(&families);
    for (name, family) in &families {
        let mut series = BTreeSet::new();
        for sample in &family.samples {
            let mut labels = sample.labels.clone();
            labels.sort();
            let names: BTreeSet<_> = labels.iter().map(|(label, _)| *label).collect();
            assert_eq!(names.len(), labels.len(), "{name}: a label twice");
            assert!(series.insert((sample.name, format!("{labels:?}"))), "{name}: {labels:?} twice");
            assert!(family.kind != "counter" || sample.value >= 0.0, "{name} {}", sample.value);
        }
        if family.kind == "histogram" {
            assert_is_histogram(name, &family.samples);
        }
    }
}

#[test]
#[should_panic(expected = "two families brokerd_connections")]
fn one_name_for_two_families_is_found() {
    parse(
        "# HELP brokerd_connections Open.\n# TYPE brokerd_connections gauge\nbrokerd_connections 1\n\
         # HELP brokerd_connections All.\n# TYPE brokerd_connections counter\nbrokerd_connections_total 1\n# EOF\n",
    );
}

#[test]
fn a_foreign_parser_reads_the_older_format_and_finds_the_same() {
    let metrics = busy();
    let text = metrics.encode_as(Exposition::Prometheus);
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scraped = prometheus_parse::Scrape::parse(lines).unwrap();
    let value = |name: &str, label: Option<(&str, &str)>| {
        let found = scraped.samples.iter().find(|sample| {
            sample.metric == name && label.is_none_or(|(key, value)| sample.labels.get(key) == Some(value))
        });
        &found.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).value
    };
    use prometheus_parse::Value;
    assert!(
        matches!(value("brokerd_records_in_total", Some(("topic", "orders"))), Value::Counter(n) if (n - 3.0).abs() < 0.1)
    );
    assert!(matches!(value("brokerd_disk_state", None), Value::Gauge(n) if (n - 1.0).abs() < 0.1));
    assert!(matches!(value("brokerd_build_info", None), Value::Gauge(_)));
    assert!(
        matches!(value("brokerd_request_seconds", Some(("api", "fetch"))), Value::Histogram(buckets) if !buckets.is_empty())
    );
    // Whatever has no type there was not understood.
    let untyped: Vec<_> = scraped
        .samples
        .iter()
        .filter(|sample| matches!(sample.value, Value::Untyped(_)))
        .map(|sample| sample.metric.as_str())
        .filter(|name| !name.ends_with("_count") && !name.ends_with("_sum"))
        .collect();
    assert_eq!(untyped, Vec::<&str>::new());
    let openmetrics = metrics.encode();
    for family in parse(&openmetrics).values() {
        for sample in family.samples.iter().filter(|sample| !sample.name.ends_with("_bucket")) {
            let known = text.lines().any(|line| line.starts_with(sample.name));
            assert!(known, "{} is only in OpenMetrics", sample.name);
        }
    }
}
