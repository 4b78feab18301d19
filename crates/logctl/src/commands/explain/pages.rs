//! The broker's configuration keys and metrics, from the reference pages that the broker's own tables generate: one
//! text for readers of the pages and of the command line.

const METRICS: &str = include_str!("../../../../../docs/metrics.md");
const CONFIGURATION: &str = include_str!("../../../../../docs/configuration.md");

/// What metrics of this product begin with; people may leave it out.
const PREFIX: &str = "brokerd_";
/// What a histogram's series end with.
const SERIES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A row of a reference page.
pub(super) struct Entry {
    /// `fsync_seconds` with its prefix, or `section.key`.
    pub(super) name: String,
    pub(super) text: String,
}

/// Every metric.
pub(super) fn metrics() -> impl Iterator<Item = Entry> {
    METRICS.lines().filter_map(cells).filter_map(|cells| {
        let [name, kind, labels, meaning] = cells.as_slice() else { return None };
        let labels = if labels.is_empty() { String::new() } else { format!("Labels: {labels}.\n") };
        let text =
            format!("{name}\n\n{meaning}\nType: {kind}.\n{labels}Served at /metrics of listen.http.\n");
        Some(Entry { name: name.clone(), text })
    })
}

/// Every key of the broker's configuration.
pub(super) fn config_keys() -> impl Iterator<Item = Entry> {
    let mut section = String::new();
    CONFIGURATION.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("## [").and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        }
        let cells = cells(line).filter(|_| !section.is_empty())?;
        let [key, default, accepts, doc] = cells.as_slice() else { return None };
        let name = format!("{section}.{key}");
        let text =
            format!("{name}  (configuration of brokerd)\n\n{doc}\nDefault: {default}\nAccepts: {accepts}\n");
        Some(Entry { name, text })
    })
}

/// The text for a metric or a configuration key: with or without the metrics' prefix, any series of a histogram, a
/// key with its section, or alone where only one section has it.
pub(super) fn explain(what: &str) -> Option<String> {
    let series = SERIES.iter().find_map(|suffix| what.strip_suffix(suffix));
    let mut names = [Some(what), series].into_iter().flatten();
    let is_metric =
        |entry: &Entry, name: &str| entry.name == name || entry.name.strip_prefix(PREFIX) == Some(name);
    if let Some(metric) = names.find_map(|name| metrics().find(|entry| is_metric(entry, name))) {
        return Some(metric.text);
    }
    if let Some(key) = config_keys().find(|entry| entry.name == what) {
        return Some(key.text);
    }
    let mut alone =
        config_keys().filter(|entry| entry.name.split_once('.').is_some_and(|(_, key)| key == what));
    alone.next().filter(|_| alone.next().is_none()).map(|entry| entry.text)
}

/// The cells of a table's row whose first one is code.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.strip_prefix("| `")?.strip_suffix('|')?;
    // A bar within a cell is escaped.
    let row = row.replace("\\|", "\u{1}");
    Some(row.split('|').map(|cell| cell.trim().trim_matches('`').replace('\u{1}', "|")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_pages_is_understood() {
        let rows = |page: &str| page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(metrics().count(), rows(METRICS));
        assert_eq!(config_keys().count(), rows(CONFIGURATION));
        for entry in metrics().chain(config_keys()) {
            assert_eq!(explain(&entry.name), Some(entry.text));
        }
    }

    #[test]
    fn names_may_be_short() {
        assert!(
            explain("fsync_seconds").unwrap().starts_with("brokerd_fsync_seconds\n\nTime of sync calls.\n")
        );
        assert_eq!(explain("brokerd_fsync_seconds_bucket"), explain("fsync_seconds"));
        assert!(explain("data_dir").unwrap().contains("Default: \"/var/lib/brokerd\"\n"));
        assert!(explain("security.allow_insecure").unwrap().contains("Accepts: true | false\n"));
        assert_eq!(explain("fsync"), None);
    }
}
