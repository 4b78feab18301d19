//! When something that failed is tried again.

/// The wait after the first failure; it doubles with each one after that.
const FIRST_WAIT_MS: u64 = 1_000;
/// The longest wait.
const LONGEST_WAIT_MS: u64 = 30_000;

/// Failures in a row of one thing that is tried until it succeeds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Retry {
    failures: u32,
    /// Monotonic.
    not_before_ms: u64,
}

impl Retry {
    /// Whether it is to be tried now.
    pub(in crate::engine) fn is_due(self, now_ms: u64) -> bool {
        now_ms >= self.not_before_ms
    }

    /// It has failed.
    pub(in crate::engine) fn failed(&mut self, now_ms: u64) {
        let doubled = FIRST_WAIT_MS.saturating_mul(1_u64.checked_shl(self.failures).unwrap_or(u64::MAX));
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms.saturating_add(doubled.min(LONGEST_WAIT_MS));
    }

    /// It has succeeded: after the next failure the wait is short again. Returns whether it had failed before.
    pub(in crate::engine) fn succeeded(&mut self) -> bool {
        std::mem::take(self).failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_again_after_a_success() {
        let mut retry = Retry::default();
        let mut now_ms = 5;
        let mut waits = Vec::new();
        assert!(retry.is_due(0));
        for _ in 0..70 {
            retry.failed(now_ms);
            let wait_ms = (1..).find(|wait_ms| retry.is_due(now_ms + wait_ms)).unwrap();
            waits.push(wait_ms);
            now_ms += wait_ms;
        }
        assert_eq!(
            waits.iter().take(6).copied().collect::<Vec<_>>(),
            [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
        );
        assert!(waits.iter().skip(6).all(|wait_ms| *wait_ms == 30_000));
        assert!(retry.succeeded() && !retry.succeeded());
        assert!(retry.is_due(0));
        retry.failed(0);
        assert!(retry.is_due(1_000) && !retry.is_due(999));
    }
}
