//! How long a message may take to arrive once it has begun.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The longest pause within a message, and the least time that every message gets.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A larger message gets more time, but must not arrive slower than this.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;

/// Measures how long a message was waited for. Time in which the broker did not ask for more does not count.
#[derive(Debug, Default)]
pub(super) struct BodyTimeout {
    left: Duration,
    waiting_since: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl BodyTimeout {
    /// A message of `bytes` begins.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.left = PAUSE_MAX + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        self.waiting_since = None;
    }

    /// A part of it arrived.
    pub(super) fn arrived(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            let waited = since.elapsed();
            // A longer wait would have ended the message if the broker had asked for more.
            if waited < PAUSE_MAX {
                self.left = self.left.saturating_sub(waited);
            }
        }
    }

    /// Waits. Ready when the message, or a pause in it, took too long.
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
