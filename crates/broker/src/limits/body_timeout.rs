//! How long a message that has begun may take to arrive.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The longest pause within a message, and what every message is allowed to take.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longer messages may take longer, but not come slower than this.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;

/// Counts the time in which a message was waited for; time in which nobody asked for it is the broker's own.
#[derive(Debug, Default)]
pub(super) struct Patience {
    left: Duration,
    waiting_since: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// A message of `bytes` begins.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.left = PAUSE_MAX + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        self.waiting_since = None;
    }

    /// Some of it arrived.
    pub(super) fn arrived(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            let waited = since.elapsed();
            // A longer wait would have ended the message if anybody had asked for it.
            if waited < PAUSE_MAX {
                self.left = self.left.saturating_sub(waited);
            }
        }
    }

    /// Waits; ready when the message took too long or paused too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let until = now + self.left.min(PAUSE_MAX);
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            pause.as_mut().reset(until);
        }
        pause.as_mut().poll(cx)
    }
}
