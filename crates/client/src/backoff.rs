//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double from 20 ms to 2 s, each shortened at random by up to a half, so that many clients that lost
/// the same broker do not come back at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let half = u64::try_from(wait.as_micros() / 2).unwrap_or(u64::MAX).max(1);
        wait - Duration::from_micros(random() % half)
    }

    /// Begins again with short waits, after something worked.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A number that differs from call to call; not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!(first <= FIRST && first >= FIRST / 2);
        let last = (0..100).map(|_| backoff.next()).last().unwrap();
        assert!(last <= LONGEST && last >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
