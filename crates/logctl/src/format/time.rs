//! Timestamps as text, in UTC.

use std::io::Write as _;

use corduroy_types::TimestampMs;
use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

/// Refuses a strftime format that cannot print.
pub(crate) fn check_strftime(format: &str) -> Result<(), jiff::Error> {
    let epoch = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    strtime::format(format, &epoch).map(drop)
}

fn timestamp(time: TimestampMs) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.0).ok()
}

/// Appends `2026-11-20T09:00:00.123Z`, or the milliseconds where no calendar reaches.
pub(crate) fn write_rfc3339(time: TimestampMs, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = match timestamp(time) {
        Some(timestamp) => write!(out, "{timestamp}"),
        None => write!(out, "{time}"),
    };
}

/// Appends a time by a checked strftime format, or the milliseconds where no calendar reaches.
pub(crate) fn write_strftime(time: TimestampMs, format: &str, out: &mut Vec<u8>) {
    let zoned = timestamp(time).map(|timestamp| timestamp.to_zoned(TimeZone::UTC));
    let text = zoned.and_then(|zoned| strtime::format(format, &zoned).ok());
    out.extend_from_slice(text.unwrap_or_else(|| time.to_string()).as_bytes());
}

/// Reads RFC 3339.
pub(crate) fn read_rfc3339(text: &[u8]) -> Option<TimestampMs> {
    let text = std::str::from_utf8(text).ok()?;
    let timestamp = text.parse::<Timestamp>().ok();
    timestamp.map(|timestamp| TimestampMs(timestamp.as_millisecond()))
}

/// Reads a time by a strftime format; without an offset in it, in UTC.
pub(crate) fn read_strftime(text: &[u8], format: &str) -> Option<TimestampMs> {
    let parsed = strtime::parse(format, text).ok()?;
    let timestamp = parsed.to_timestamp().ok().or_else(|| {
        let zoned = match parsed.to_datetime() {
            Ok(time) => time.to_zoned(TimeZone::UTC),
            Err(_) => parsed.to_date().ok()?.to_zoned(TimeZone::UTC),
        };
        zoned.ok().map(|zoned| zoned.timestamp())
    })?;
    Some(TimestampMs(timestamp.as_millisecond()))
}
