//! The two clocks: the wall's for timestamps, a monotonic one for deadlines.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corduroy_types::TimestampMs;

/// Where time comes from. The pure cores get it as an argument from here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// The wall clock, for record timestamps and retention. It may jump.
    pub(crate) fn now(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds since the broker began, for deadlines. It never jumps.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
