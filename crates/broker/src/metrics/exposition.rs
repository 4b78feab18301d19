//! The two text formats in which metrics are served, and which one a scraper asks for.

use std::fmt::Write as _;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older format of Prometheus, 0.0.4: for scrapers and people that do not ask for OpenMetrics.
    Prometheus,
}

impl Exposition {
    /// The one that an `Accept` header prefers.
    pub fn accepted(accept: Option<&str>) -> Self {
        let quality_of = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',').map(media_range);
            ranges.filter(|(name, _)| *name == wanted).map(|(_, quality)| quality).fold(0.0, f32::max)
        };
        let openmetrics = quality_of("application/openmetrics-text");
        if openmetrics > 0.0 && openmetrics >= quality_of("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its MIME type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// `text/plain;version=0.0.4;q=0.3` → its name and quality. A quality that is no number is the default, 1.
fn media_range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=")).and_then(|quality| quality.parse().ok());
    (name, quality.unwrap_or(1.0))
}

/// Turns the OpenMetrics text of our own registry into the older format. There a family's name is that of its samples, so
/// counters and infos have their suffix in it; info is a gauge, and quotes in help texts are not escaped.
pub(super) fn to_prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                same => ("", same),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(out, "# HELP {name}{suffix} {}", text.replace("\\\"", "\""));
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                          q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (Some(prometheus), Exposition::OpenMetrics),
            (Some("application/openmetrics-text"), Exposition::OpenMetrics),
            (Some("text/plain, application/openmetrics-text;q=0.2"), Exposition::Prometheus),
            (Some("application/openmetrics-text;q=0"), Exposition::Prometheus),
            (Some("text/plain;version=0.0.4"), Exposition::Prometheus),
            (Some("*/*"), Exposition::Prometheus),
            (Some("q=,;;,"), Exposition::Prometheus),
            (None, Exposition::Prometheus),
        ] {
            assert_eq!(Exposition::accepted(accept), format, "{accept:?}");
        }
    }
}
