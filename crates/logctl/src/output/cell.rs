//! One value in a table: units and relative times for people, plain numbers and RFC 3339 for everything else.

use corduroy_types::TimestampMs;
use jiff::Timestamp;

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Text(String),
    Count(u64),
    Bytes(u64),
    DurationMs(u64),
    Time(TimestampMs),
    /// A difference: `+5`, `-3`.
    Change(i64),
    /// There is no value.
    Nothing,
}

impl Cell {
    /// The cell of a text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Whether it is a number, which stands at the right.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Bytes(_) | Self::DurationMs(_) | Self::Change(_))
    }

    /// As people read it. `now` is what relative times count from.
    pub(crate) fn for_people(&self, now: TimestampMs) -> String {
        match self {
            Self::Count(count) => human_count(*count),
            Self::Bytes(bytes) => human_bytes(*bytes),
            Self::DurationMs(duration_ms) => human_duration(*duration_ms),
            Self::Time(time) => relative(*time, now),
            Self::Change(change) => signed(*change, &human_count(change.unsigned_abs())),
            other => other.plain(),
        }
    }

    /// As scripts read it.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(number) | Self::Bytes(number) | Self::DurationMs(number) => number.to_string(),
            Self::Time(time) => {
                Timestamp::from_millisecond(time.0).map_or_else(|_| time.to_string(), |time| time.to_string())
            }
            Self::Change(change) => signed(*change, &change.unsigned_abs().to_string()),
            Self::Nothing => "-".to_owned(),
        }
    }
}

fn signed(change: i64, digits: &str) -> String {
    match change {
        0 => "0".to_owned(),
        1.. => format!("+{digits}"),
        _ => format!("-{digits}"),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `2 records`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The same with `1,234,567 records`.
pub(crate) fn human_counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", human_count(count)) }
}

/// `1 of 1 record was`, `2 of 3 records were`.
pub(crate) fn part_of(part: u64, total: u64, noun: &str) -> String {
    format!("{part} of {} {}", counted(total, noun), if part == 1 { "was" } else { "were" })
}

/// A size with one decimal: `4.5 MiB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // Tenths of the unit, in integers, so that nothing is rounded up into the next unit by accident.
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{bytes} {name}") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

/// A duration in its two greatest units: `4 ms`, `3.1 s`, `2m 5s`, `3d 4h`.
pub(crate) fn human_duration(duration_ms: u64) -> String {
    let seconds = duration_ms / 1000;
    match duration_ms {
        0..1_000 => format!("{duration_ms} ms"),
        1_000..60_000 => format!("{seconds}.{} s", duration_ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn relative(time: TimestampMs, now: TimestampMs) -> String {
    let distance_ms = now.0.abs_diff(time.0);
    let coarse_ms = if distance_ms < 60_000 { distance_ms / 1000 * 1000 } else { distance_ms };
    match (distance_ms, time > now) {
        (0..1_000, _) => "now".to_owned(),
        (_, true) => format!("in {}", human_duration(coarse_ms)),
        (_, false) => format!("{} ago", human_duration(coarse_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_units() {
        assert_eq!(human_count(0), "0");
        assert_eq!(human_count(1_234_567), "1,234,567");
        assert_eq!((counted(1, "record"), counted(0, "record")), ("1 record".into(), "0 records".into()));
        assert_eq!(human_counted(1_000, "record"), "1,000 records");
        assert_eq!(part_of(1, 1, "record"), "1 of 1 record was");
        assert_eq!(part_of(2, 3, "record"), "2 of 3 records were");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(4_718_592), "4.5 MiB");
        assert_eq!(human_bytes(u64::MAX), "15.9 EiB");
        assert_eq!(human_duration(3_140), "3.1 s");
        assert_eq!(human_duration(125_000), "2m 5s");
        assert_eq!(human_duration(100 * 3_600_000), "4d 4h");
    }

    #[test]
    fn times_are_relative_for_people_and_absolute_for_scripts() {
        let now = TimestampMs(1_795_165_200_000);
        assert_eq!(Cell::Time(now.minus_ms(180_000)).for_people(now), "3m 0s ago");
        assert_eq!(Cell::Time(now.plus_ms(5_400)).for_people(now), "in 5.0 s");
        assert_eq!(Cell::Time(now).plain(), "2026-11-20T09:00:00Z");
        assert_eq!(Cell::Bytes(4_718_592).plain(), "4718592");
    }

    #[test]
    fn a_change_has_a_sign() {
        let shown = |change| (Cell::Change(change).plain(), Cell::Change(change).for_people(TimestampMs(0)));
        assert_eq!(shown(1_500), ("+1500".to_owned(), "+1,500".to_owned()));
        assert_eq!(shown(-3), ("-3".to_owned(), "-3".to_owned()));
        assert_eq!(shown(0).0, "0");
        assert_eq!(shown(i64::MIN).0, "-9223372036854775808");
    }
}
