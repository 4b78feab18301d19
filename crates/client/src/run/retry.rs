//! How often a failing handler is called again, and when.

use std::time::Duration;

use corduroy_types::ErrorCode;

use crate::ClientError;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const ATTEMPTS_MAX: u32 = 1_000_000;

/// How often a handler is called for a record that it fails on, and how long the record waits in between.
///
/// ```
/// use std::time::Duration;
///
/// use corduroy_client::Retry;
///
/// // At most five attempts, 50 ms, 100 ms, 200 ms and 400 ms apart, each wait shortened at random by up to a half.
/// let retry = Retry::exponential(5).first_wait(Duration::from_millis(50));
/// assert_eq!(retry.attempts(), 5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a retry policy does nothing until workers have it"]
pub struct Retry {
    attempts: u32,
    first_wait: Duration,
    longest_wait: Duration,
}

impl Retry {
    /// One attempt: what fails once has failed. The default.
    pub fn none() -> Self {
        Self::exponential(1)
    }

    /// At most so many attempts, the first one included: 1 to 1,000,000. The waits between them double from
    /// [`first_wait`](Self::first_wait) to [`longest_wait`](Self::longest_wait), and each is shortened at random by up to
    /// a half, so that records that failed together are not tried together again.
    pub fn exponential(attempts: u32) -> Self {
        Self { attempts, first_wait: FIRST_WAIT, longest_wait: LONGEST_WAIT }
    }

    /// The wait before the second attempt: 100 ms by default, more than zero.
    pub fn first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// What waits do not grow beyond: 30 s by default, at most an hour.
    pub fn longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// How often a record is tried at most.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        let invalid = |message| Err(ClientError::new(ErrorCode::InvalidRequest, message));
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            return invalid(format!("retry has {} attempts, must be 1 to {ATTEMPTS_MAX}", self.attempts));
        }
        if self.first_wait.is_zero() || self.longest_wait > Duration::from_hours(1) {
            let (first, longest) = (self.first_wait.as_millis(), self.longest_wait.as_millis());
            return invalid(format!(
                "retry waits {first} ms at first and {longest} ms at most; the first must be more than zero, the most at most an hour"
            ));
        }
        Ok(())
    }

    /// How long a record waits that has failed so often; `None` when that was its last attempt.
    pub(super) fn wait_after(&self, attempts: u32, random: u64) -> Option<Duration> {
        (attempts < self.attempts).then(|| self.wait(attempts, random))
    }

    /// The wait behind an attempt, however many there may be.
    pub(super) fn wait(&self, attempts: u32, random: u64) -> Duration {
        let doubled = attempts.saturating_sub(1).min(31);
        let wait = self.first_wait.saturating_mul(1 << doubled).min(self.longest_wait);
        let half = u64::try_from(wait.as_micros() / 2).unwrap_or(u64::MAX);
        wait.saturating_sub(Duration::from_micros(random % half.saturating_add(1)))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_longest_until_attempts_are_used_up() {
        let retry = Retry::exponential(6).first_wait(10 * MS).longest_wait(50 * MS);
        let waits: Vec<_> = (1..=6).map(|attempts| retry.wait_after(attempts, 0)).collect();
        assert_eq!(waits, [Some(10 * MS), Some(20 * MS), Some(40 * MS), Some(50 * MS), Some(50 * MS), None]);
        assert_eq!(Retry::none().wait_after(1, 0), None);
        assert_eq!(Retry::exponential(u32::MAX).wait(u32::MAX, 0), LONGEST_WAIT);
    }

    #[test]
    fn a_wait_is_shortened_by_half_at_most() {
        let retry = Retry::exponential(2).first_wait(10 * MS);
        for random in [0, 1, 4_999, 5_000, 5_001, u64::MAX] {
            let wait = retry.wait_after(1, random).unwrap();
            assert!((5 * MS..=10 * MS).contains(&wait), "{random}: {wait:?}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        Retry::exponential(3).check().unwrap();
        let wrong = [
            (Retry::exponential(0), "0 attempts"),
            (Retry::exponential(3).first_wait(Duration::ZERO), "0 ms at first"),
            (Retry::exponential(3).longest_wait(Duration::from_hours(2)), "7200000 ms at most"),
        ];
        for (retry, words) in wrong {
            let error = retry.check().unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidRequest);
            assert!(error.message().contains(words), "{error}");
        }
    }
}
