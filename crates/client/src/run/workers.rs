//! Options of a run.

use std::time::Duration;

use corduroy_types::ErrorCode;

use super::retry::Retry;
use crate::ClientError;

const WORKERS_MAX: usize = 100_000;
const RECORDS_MAX: usize = 1_000_000;
const STOP_WITHIN_MAX: Duration = Duration::from_hours(24);

/// How records are handled: by how many workers, and what happens when a handler fails.
///
/// ```
/// use corduroy_client::{OnFailure, Retry, Workers};
///
/// let workers = Workers::by_key(16)
///     .retry(Retry::exponential(3))
///     .on_failure(OnFailure::DeadLetter("orders.dead".into()));
/// # drop(workers);
/// ```
#[derive(Debug, Clone)]
#[must_use = "workers do nothing until something runs with them"]
pub struct Workers {
    pub(super) count: usize,
    pub(super) retry: Retry,
    pub(super) on_failure: OnFailure,
    records_max: Option<usize>,
    pub(super) stop_within: Duration,
}

/// What becomes of a record whose handler has failed for the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The run stops with an error that names the record; the record comes again when someone reads on. The default.
    #[default]
    Stop,
    /// The record counts as done. It is counted, and reported as [`Event::RecordSkipped`](crate::Event::RecordSkipped).
    Skip,
    /// The record is written to this topic, and counts as done when that is acknowledged by the quorum. The topic has to
    /// exist. See [`dead_letter`](crate::dead_letter) for the headers that say where it came from.
    DeadLetter(String),
}

impl OnFailure {
    /// [`OnFailure::DeadLetter`] with this topic.
    #[must_use]
    pub fn dead_letter(topic: impl Into<String>) -> Self {
        Self::DeadLetter(topic.into())
    }
}

impl Workers {
    /// So many records at once, 1 to 100,000, and of the records of one partition with the same key only one, in the
    /// order of the partition. Records without a key count as records of one key, each partition for itself: their order
    /// in the partition is kept, too. To have such records handled in parallel, produce them with keys that differ.
    pub fn by_key(count: usize) -> Self {
        Self {
            count,
            retry: Retry::none(),
            on_failure: OnFailure::Stop,
            records_max: None,
            stop_within: Duration::from_secs(30),
        }
    }

    /// How often a record is tried: once by default. Between attempts its key waits and others go on.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What becomes of a record after the last attempt: [`OnFailure::Stop`] by default.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How many records may be in the run at once: with a worker, waiting for one, or waiting to be tried again. 1,024 by
    /// default, or four for each worker where that is more; at least the number of workers, at most 1,000,000. It is how
    /// far the others may get ahead of one slow key. The consumer's `buffer_bytes` bounds them, too.
    pub fn records_max(mut self, records: usize) -> Self {
        self.records_max = Some(records);
        self
    }

    /// How long handlers that are running may take when the run stops: 30 s by default, at most a day. Those that take longer are
    /// cancelled at their next `await`, and their records come again.
    pub fn stop_within(mut self, within: Duration) -> Self {
        self.stop_within = within;
        self
    }

    pub(super) fn records_limit(&self) -> usize {
        self.records_max.unwrap_or_else(|| self.count.saturating_mul(4).max(1024))
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        let invalid = |message| Err(ClientError::new(ErrorCode::InvalidRequest, message));
        if !(1..=WORKERS_MAX).contains(&self.count) {
            return invalid(format!("{} workers were asked for, must be 1 to {WORKERS_MAX}", self.count));
        }
        let records = self.records_limit();
        if !(self.count..=RECORDS_MAX).contains(&records) {
            return invalid(format!(
                "records_max is {records}, must be at least the number of workers, {}, and at most {RECORDS_MAX}",
                self.count
            ));
        }
        if self.stop_within > STOP_WITHIN_MAX {
            return invalid(format!(
                "stop_within is {} s, must be at most a day",
                self.stop_within.as_secs()
            ));
        }
        self.retry.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        Workers::by_key(1).records_max(1).check().unwrap();
        Workers::by_key(WORKERS_MAX).check().unwrap();
        let wrong = [
            (Workers::by_key(0), "0 workers"),
            (Workers::by_key(WORKERS_MAX + 1), "100001 workers"),
            (Workers::by_key(16).records_max(15), "records_max is 15"),
            (Workers::by_key(16).records_max(2_000_000), "records_max is 2000000"),
            (Workers::by_key(1).stop_within(Duration::from_hours(25)), "stop_within is 90000 s"),
            (Workers::by_key(1).retry(Retry::exponential(0)), "0 attempts"),
        ];
        for (workers, words) in wrong {
            let error = workers.check().unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidRequest);
            assert!(error.message().contains(words), "{error}");
        }
    }
}
