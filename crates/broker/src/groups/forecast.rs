//! Whether retention will overtake a group before it has read what is there.

use std::time::Duration;

use corduroy_types::{Offset, TimestampMs};

/// Over a shorter time than this no rate can be measured.
const WINDOW_MS_MIN: u64 = 60_000;

/// A group and its partition at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// On a monotonic clock.
    pub(super) at_ms: u64,
    pub(super) now: TimestampMs,
    /// The time of the first record that the group has not read; now if it has read all of them.
    pub(super) frontier: TimestampMs,
    pub(super) position: Offset,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    /// Bytes of the whole log.
    pub(super) bytes: u64,
}

/// What retention deletes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) retention_ms: Option<u64>,
    pub(super) retention_bytes: Option<u64>,
}

/// How soon retention overtakes a group that continues at the rate between these two moments; `None`: never, or
/// unknown.
pub(super) fn overtaken_in(before: &Progress, now: &Progress, limits: Limits) -> Option<Duration> {
    let window_ms = now.at_ms.saturating_sub(before.at_ms);
    if window_ms < WINDOW_MS_MIN || now.frontier >= now.now {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    let window = window_ms as f64;
    let by_time = limits.retention_ms.and_then(|limit_ms| by_time_ms(before, now, limit_ms, window));
    let by_size = limits.retention_bytes.and_then(|limit| by_size_ms(before, now, limit, window));
    let first = match (by_time, by_size) {
        (Some(time), Some(size)) => time.min(size),
        (time, size) => time.or(size)?,
    };
    Duration::try_from_secs_f64(first / 1_000.0).ok()
}

/// The first unread record is deleted when it is `limit_ms` old. Meanwhile the group advances to younger records.
#[expect(clippy::cast_precision_loss, reason = "a forecast")]
fn by_time_ms(before: &Progress, now: &Progress, limit_ms: u64, window_ms: f64) -> Option<f64> {
    let age_ms = now.now.0.saturating_sub(now.frontier.0) as f64;
    let gained_ms = now.frontier.0.saturating_sub(before.frontier.0) as f64;
    let loses_per_ms = 1.0 - gained_ms / window_ms;
    (loses_per_ms > 0.0).then(|| ((limit_ms as f64 - age_ms) / loses_per_ms).max(0.0))
}

/// A full log's start moves as fast as its end.
#[expect(clippy::cast_precision_loss, reason = "a forecast")]
fn by_size_ms(before: &Progress, now: &Progress, limit_bytes: u64, window_ms: f64) -> Option<f64> {
    let written = now.log_end.distance_from(before.log_end.min(now.log_end)) as f64 / window_ms;
    let read = now.position.distance_from(before.position.min(now.position)) as f64 / window_ms;
    let offsets = now.log_end.distance_from(now.log_start.min(now.log_end));
    if written <= read || offsets == 0 {
        return None;
    }
    let bytes_per_offset = now.bytes as f64 / offsets as f64;
    let room_bytes = limit_bytes.saturating_sub(now.bytes) as f64;
    let full_in_ms = room_bytes / (written * bytes_per_offset).max(f64::MIN_POSITIVE);
    let ahead = now.position.distance_from(now.log_start.min(now.position)) as f64;
    // position + read * t = log start + written * (t - full_in_ms)
    Some((ahead + written * full_in_ms) / (written - read))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    fn progress(at_ms: u64, frontier_ms: u64, position: u64, log: (u64, u64)) -> Progress {
        let time = |ms: u64| TimestampMs(i64::try_from(ms).unwrap());
        Progress {
            at_ms,
            now: time(1_000 * HOUR + at_ms),
            frontier: time(1_000 * HOUR + frontier_ms),
            position: Offset::new(position).unwrap(),
            log_start: Offset::new(log.0).unwrap(),
            log_end: Offset::new(log.1).unwrap(),
            bytes: (log.1 - log.0) * 100,
        }
    }

    fn hours(forecast: Option<Duration>) -> Option<f64> {
        forecast.map(|time| (time.as_secs_f64() / 360.0).round() / 10.0)
    }

    #[test]
    fn a_group_that_stands_still_is_overtaken_when_its_first_unread_record_is_too_old() {
        let week = Limits { retention_ms: Some(168 * HOUR), retention_bytes: None };
        let before = progress(0, 0, 10, (0, 100));
        let now = progress(2 * HOUR, 0, 10, (0, 200));
        assert_eq!(hours(overtaken_in(&before, &now, week)), Some(166.0));
    }

    #[test]
    fn a_group_that_keeps_up_is_not() {
        let hour = Limits { retention_ms: Some(HOUR), retention_bytes: Some(20_000) };
        // A little behind, always as much.
        let before = progress(0, 0, 90, (0, 100));
        let now = progress(10 * MINUTE, 10 * MINUTE, 190, (0, 200));
        assert_eq!(overtaken_in(&before, &now, hour), None);
        // Everything read: its frontier is now.
        let ended = Progress { frontier: now.now, ..now };
        assert_eq!(overtaken_in(&progress(0, 0, 10, (0, 100)), &ended, hour), None);
    }

    #[test]
    fn a_slow_group_loses_the_difference() {
        let day = Limits { retention_ms: Some(24 * HOUR), retention_bytes: None };
        // Half as fast as time: it has used one of 24 hours, and loses half an hour each hour.
        let before = progress(0, 0, 0, (0, 100));
        let now = progress(2 * HOUR, HOUR, 50, (0, 200));
        assert_eq!(hours(overtaken_in(&before, &now, day)), Some(46.0));
    }

    #[test]
    fn a_full_log_takes_the_oldest_as_fast_as_it_is_written() {
        let size = Limits { retention_ms: None, retention_bytes: Some(20_000) };
        // 100 offsets an hour are written, 50 read, 100 lie between log start and position.
        let before = progress(0, 0, 50, (0, 100));
        let now = progress(HOUR, 1, 100, (0, 200));
        assert_eq!(hours(overtaken_in(&before, &now, size)), Some(2.0));
        // With room for as much again, it first has to fill up.
        let size = Limits { retention_ms: None, retention_bytes: Some(40_000) };
        assert_eq!(hours(overtaken_in(&before, &now, size)), Some(6.0));
    }

    #[test]
    fn a_short_look_says_nothing() {
        let hour = Limits { retention_ms: Some(HOUR), retention_bytes: None };
        assert_eq!(overtaken_in(&progress(0, 0, 0, (0, 9)), &progress(59_999, 0, 0, (0, 9)), hour), None);
    }
}
