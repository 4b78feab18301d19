//! Places in a partition as people write them: `start`, `end`, `42`, `-10`, `@2026-11-20`, `@-15m`.

use std::str::FromStr;

use corduroy_client::OffsetSpec;
use corduroy_types::{Offset, TimestampMs, parse_duration_ms};
use jiff::{Timestamp, civil, tz::TimeZone};

/// A place in a partition. Times are resolved to offsets by the broker, once, when the command begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetArg {
    /// The first record there is.
    Start,
    /// The high watermark when the command began.
    End,
    /// That very offset.
    Offset(Offset),
    /// That many records before the end, but not before the start.
    BeforeEnd(u64),
    /// The first record with that time or a later one.
    Time(TimestampMs),
    /// The same, that many milliseconds before the command began.
    Ago(u64),
}

/// A text that names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidOffsetArg {
    /// None of the forms.
    #[error(
        "{0:?} is no place; write start, end, an offset, -N (N before the end), @2026-11-20, @RFC3339 or @-15m{hint}",
        hint = meant(.0)
    )]
    Form(String),
    /// Behind the `@` is no time.
    #[error(
        "{0:?} is no time; write @2026-11-20, @2026-11-20T09:00:00Z, @1796084116384 (milliseconds) or @-15m"
    )]
    Time(String),
    /// A number out of range.
    #[error("offset {0} is out of range; the greatest is {max}", max = Offset::MAX)]
    Range(String),
}

/// The place that other systems, and people, call so.
pub(crate) fn meant(text: &str) -> String {
    let place = match text.to_ascii_lowercase().as_str() {
        "earliest" => "start", // Kafka
        "latest" => "end",     // Kafka
        "beginning" | "begin" | "first" | "oldest" | "smallest" => "start",
        "newest" | "last" | "largest" | "now" => "end",
        _ => return String::new(),
    };
    format!("; did you mean {place:?}?")
}

impl OffsetArg {
    /// The same place with a relative time made absolute.
    pub(crate) fn at(self, now: TimestampMs) -> Self {
        match self {
            Self::Ago(duration_ms) => Self::Time(now.minus_ms(duration_ms)),
            other => other,
        }
    }
}

impl From<OffsetArg> for OffsetSpec {
    /// A place made absolute by [`OffsetArg::at`]; a relative time that was not is the end.
    fn from(place: OffsetArg) -> Self {
        match place {
            OffsetArg::Start => Self::Start,
            OffsetArg::End | OffsetArg::Ago(_) => Self::End,
            OffsetArg::Offset(offset) => Self::Offset(offset),
            OffsetArg::BeforeEnd(count) => Self::BeforeEnd(count),
            OffsetArg::Time(time) => Self::Time(time),
        }
    }
}

impl FromStr for OffsetArg {
    type Err = InvalidOffsetArg;

    fn from_str(text: &str) -> Result<Self, InvalidOffsetArg> {
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time).ok_or_else(|| InvalidOffsetArg::Time(text.to_owned()));
        }
        let (before_end, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidOffsetArg::Form(text.to_owned()));
        }
        let number = digits.parse::<u64>().ok().and_then(Offset::new);
        match number {
            None => Err(InvalidOffsetArg::Range(text.to_owned())),
            Some(count) if before_end => Ok(Self::BeforeEnd(count.get())),
            Some(offset) => Ok(Self::Offset(offset)),
        }
    }
}

/// Fewer digits than in 1973 are no time in milliseconds but one in seconds, or a year.
const MILLIS_DIGITS_MIN: usize = 12;

/// What follows the `@`: `-15m`, a date (midnight, local time), a date and time with or without an offset, or
/// milliseconds since 1970.
fn parse_time(text: &str) -> Option<OffsetArg> {
    if let Some(ago) = text.strip_prefix('-') {
        let has_unit = ago.ends_with(|c: char| c.is_ascii_alphabetic());
        return parse_duration_ms(ago).ok().filter(|_| has_unit).map(OffsetArg::Ago);
    }
    let is_number = text.len() >= MILLIS_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return text.parse().ok().map(|millis| OffsetArg::Time(TimestampMs(millis)));
    }
    let local = |time: civil::DateTime| time.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp());
    let is_date = text.len() == "2026-11-20".len();
    let timestamp = if is_date {
        text.parse::<civil::Date>().ok().and_then(|date| local(date.to_datetime(civil::Time::midnight())))
    } else {
        let absolute = text.parse::<Timestamp>().ok();
        absolute.or_else(|| text.parse::<civil::DateTime>().ok().and_then(local))
    };
    timestamp.map(|timestamp| OffsetArg::Time(TimestampMs(timestamp.as_millisecond())))
}

/// The clock of this machine.
pub(crate) fn now() -> TimestampMs {
    TimestampMs(Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::new(value).unwrap()
    }

    #[test]
    fn every_form_is_read() {
        let cases = [
            ("start", OffsetArg::Start),
            ("end", OffsetArg::End),
            ("0", OffsetArg::Offset(Offset::ZERO)),
            ("9223372036854775807", OffsetArg::Offset(Offset::MAX)),
            ("-10", OffsetArg::BeforeEnd(10)),
            ("@-15m", OffsetArg::Ago(900_000)),
            ("@2026-11-20T09:00:00Z", OffsetArg::Time(TimestampMs(1_795_165_200_000))),
            ("@2026-11-20T09:00Z", OffsetArg::Time(TimestampMs(1_795_165_200_000))),
            ("@2026-11-20T09:00:00.5+01:00", OffsetArg::Time(TimestampMs(1_795_161_600_500))),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        assert!(matches!("@2026-11-20".parse(), Ok(OffsetArg::Time(_))));
        assert_eq!("@1796084116384".parse(), Ok(OffsetArg::Time(TimestampMs(1_796_084_116_384))));
    }

    #[test]
    fn everything_else_is_refused_with_the_forms() {
        for text in [
            "",
            "-",
            "begin",
            "first",
            "+5",
            "1.5",
            "-1x",
            "0x10",
            "@",
            "@-15",
            "@-",
            "@1796084116",
            "@99999999999999999999",
            "@yesterday",
            "@2026-13-01",
        ] {
            let error = text.parse::<OffsetArg>().unwrap_err().to_string();
            assert!(error.contains("@-15m"), "{text}: {error}");
        }
        assert!(matches!("9223372036854775808".parse::<OffsetArg>(), Err(InvalidOffsetArg::Range(_))));
    }

    #[test]
    fn words_of_other_systems_lead_to_ours() {
        let kafka = [("earliest", "start"), ("Latest", "end")];
        for (word, place) in kafka.into_iter().chain([("beginning", "start"), ("newest", "end")]) {
            let error = word.parse::<OffsetArg>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("; did you mean {place:?}?")), "{error}");
        }
    }

    #[test]
    fn relative_times_count_from_now() {
        assert_eq!(OffsetArg::Ago(1_000).at(TimestampMs(5_000)), OffsetArg::Time(TimestampMs(4_000)));
        assert_eq!(OffsetArg::Start.at(TimestampMs(5_000)), OffsetArg::Start);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<OffsetArg>();
            let _ = format!("@{text}").parse::<OffsetArg>();
        }

        #[test]
        fn offsets_read_back(value in 0..=i64::MAX as u64) {
            prop_assert_eq!(value.to_string().parse(), Ok(OffsetArg::Offset(offset(value))));
            prop_assert_eq!(format!("-{value}").parse(), Ok(OffsetArg::BeforeEnd(value)));
        }
    }
}
