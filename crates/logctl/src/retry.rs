//! Asking again while a broker cannot answer yet: it is starting, it is overloaded, its disk is full.
//!
//! The rule for every call: a refusal that passes by itself is retried until `--timeout` is over, unless the call may
//! have changed something already. A broker that is not there fails the call at once.

use std::{
    fmt::Write as _,
    future::Future,
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use corduroy_client::{ClientError, Refusal};
use corduroy_types::{ErrorCode, ExitClass, Outcome};
use tokio::time::Instant;

use crate::{output::human_duration, settings::Settings};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What a call does at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It changes nothing, so it may be sent again.
    Read,
    /// It may have taken effect although it failed.
    Change,
}

/// What is known of a change that failed: certainly not made, or perhaps made.
pub(crate) fn outcome(refusal: &Refusal, kind: Kind) -> Outcome {
    let decided_before = matches!(
        refusal.code,
        ErrorCode::Starting
            | ErrorCode::PartitionOffline
            | ErrorCode::NotLeader
            | ErrorCode::Overloaded
            | ErrorCode::DiskFull
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::GroupFull
    );
    match (kind, refusal.outcome) {
        (Kind::Read, _) => Outcome::NotWritten,
        (Kind::Change, Some(outcome)) => outcome,
        (Kind::Change, None) if decided_before => Outcome::NotWritten,
        (Kind::Change, None) => Outcome::Unknown,
    }
}

/// Whether the same call is sent again. `answered`: a broker has refused this very call before, so that it is there
/// and may only be restarting.
fn is_retried(refusal: &Refusal, kind: Kind, answered: bool) -> bool {
    // Where something is in the way, an operator has to act: waiting alone does not end it.
    let passes_by_itself = refusal.code.is_retriable() && refusal.code.exit_class() != ExitClass::Conflict;
    passes_by_itself
        && outcome(refusal, kind) == Outcome::NotWritten
        && match refusal.code {
            ErrorCode::Unavailable => answered,
            // The time is over by then.
            ErrorCode::TimedOut => false,
            _ => true,
        }
}

/// The same error with what a script has to know, and without advice that is about produced records.
fn finished(error: ClientError, kind: Kind) -> ClientError {
    let mut refusal = error.refusal().clone();
    if refusal.code.exit_class() != ExitClass::Unavailable {
        return error;
    }
    refusal.outcome = (kind == Kind::Change).then(|| outcome(&refusal, kind));
    if refusal.code == ErrorCode::TimedOut && refusal.hint == refusal.code.action() {
        let hint = match kind {
            Kind::Read => "wait longer with --timeout, or look at the broker: logctl status",
            Kind::Change => "the change may have been made: look before you repeat it",
        };
        hint.clone_into(&mut refusal.hint);
    }
    refusal.into()
}

/// How long calls are retried, and whether people have been informed of it.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    timeout: Duration,
    /// Set once the one line was written, or from the start where it is not wanted.
    said: Arc<AtomicBool>,
}

impl RetryPolicy {
    pub(crate) fn new(settings: &Settings) -> Self {
        let silent = settings.quiet || settings.json_errors();
        Self { timeout: settings.timeout, said: Arc::new(AtomicBool::new(silent)) }
    }

    /// Calls until it is answered, fails for good, or the time is over.
    ///
    /// # Errors
    /// The last refusal; for a change, with what is known of its outcome.
    pub(crate) async fn call<T, F>(&self, kind: Kind, ask: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut turns = Turns::new(self.timeout);
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !is_retried(error.refusal(), kind, turns.answered) || !turns.next(self, &error).await {
                return Err(finished(error, kind));
            }
        }
    }

    /// As [`call`](Self::call), for several items of which each has a result of its own: only those that were refused
    /// are sent again.
    ///
    /// # Errors
    /// Of the call as a whole.
    pub(crate) async fn call_each<I, T, F>(
        &self,
        kind: Kind,
        items: &[I],
        ask: impl Fn(Vec<I>) -> F,
    ) -> Result<Vec<Result<T, ClientError>>, ClientError>
    where
        I: Clone,
        F: Future<Output = Result<Vec<Result<T, ClientError>>, ClientError>>,
    {
        let mut turns = Turns::new(self.timeout);
        let mut results = self.call(kind, || ask(items.to_vec())).await?;
        loop {
            let retried = |result: &Result<T, ClientError>| {
                result.as_ref().err().is_some_and(|error| is_retried(error.refusal(), kind, false))
            };
            let places: Vec<usize> = results
                .iter()
                .enumerate()
                .filter(|(_, result)| retried(result))
                .map(|(place, _)| place)
                .collect();
            let first =
                places.first().and_then(|place| results.get(*place)).and_then(|result| result.as_ref().err());
            let Some(first) = first.cloned() else { break };
            if !turns.next(self, &first).await {
                break;
            }
            let again: Vec<I> = places.iter().filter_map(|place| items.get(*place)).cloned().collect();
            let answers = self.call(kind, || ask(again.clone())).await?;
            for (place, answer) in places.into_iter().zip(answers) {
                if let Some(result) = results.get_mut(place) {
                    *result = answer;
                }
            }
        }
        Ok(results.into_iter().map(|result| result.map_err(|error| finished(error, kind))).collect())
    }

    /// Says once that something is waited for.
    fn say(&self, refusal: &Refusal) {
        if self.said.swap(true, Ordering::Relaxed) {
            return;
        }
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let mut line = refusal.message.clone();
        // Writing into a String cannot fail.
        let _ = write!(line, "; waiting up to {} (--timeout)", human_duration(timeout_ms));
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// The turns of one call.
struct Turns {
    deadline: Instant,
    wait: Duration,
    answered: bool,
}

impl Turns {
    fn new(timeout: Duration) -> Self {
        Self { deadline: Instant::now() + timeout, wait: FIRST_WAIT, answered: false }
    }

    /// Waits before the next turn; `false` when the time is over.
    async fn next(&mut self, policy: &RetryPolicy, error: &ClientError) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        self.answered |= error.code() != ErrorCode::Unavailable;
        policy.say(error.refusal());
        tokio::time::sleep_until(self.deadline.min(now + self.wait)).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn refusal(code: ErrorCode) -> Refusal {
        Refusal::new(code, "not now")
    }

    fn policy(timeout: Duration) -> RetryPolicy {
        RetryPolicy { timeout, said: Arc::new(AtomicBool::new(true)) }
    }

    #[test]
    fn only_what_passes_by_itself_and_changed_nothing_is_retried() {
        let retried = |code, kind| is_retried(&refusal(code), kind, false);
        for code in [ErrorCode::Starting, ErrorCode::Overloaded, ErrorCode::DiskFull] {
            assert!(retried(code, Kind::Read) && retried(code, Kind::Change), "{code}");
        }
        for code in [ErrorCode::ShuttingDown, ErrorCode::StorageFailed, ErrorCode::CoordinatorLoading] {
            assert!(retried(code, Kind::Read) && !retried(code, Kind::Change), "{code}");
        }
        let never = [
            ErrorCode::Unavailable,
            ErrorCode::TimedOut,
            ErrorCode::GroupNotEmpty,
            ErrorCode::TopicNotFound,
            ErrorCode::InvalidConfigValue,
        ];
        for code in never {
            assert!(!retried(code, Kind::Read) && !retried(code, Kind::Change), "{code}");
        }
        let not_written = refusal(ErrorCode::ShuttingDown).with_outcome(Outcome::NotWritten);
        assert!(is_retried(&not_written, Kind::Change, false));
        let unknown = refusal(ErrorCode::Starting).with_outcome(Outcome::Unknown);
        assert!(!is_retried(&unknown, Kind::Change, false));
    }

    #[test]
    fn a_broker_that_answered_may_be_gone_for_a_moment() {
        assert!(is_retried(&refusal(ErrorCode::Unavailable), Kind::Read, true));
        assert!(!is_retried(&refusal(ErrorCode::Unavailable), Kind::Change, true));
    }

    #[test]
    fn every_change_that_may_succeed_later_has_an_outcome() {
        for code in ErrorCode::ALL.iter().filter(|code| code.exit_class() == ExitClass::Unavailable) {
            let change = finished(refusal(*code).into(), Kind::Change);
            assert!(change.refusal().outcome.is_some(), "{code}");
            let read = finished(refusal(*code).with_outcome(Outcome::NotWritten).into(), Kind::Read);
            assert_eq!(read.refusal().outcome, None, "{code}");
            assert!(!read.hint().contains("produce") || *code != ErrorCode::TimedOut, "{}", read.hint());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_answered_as_soon_as_the_broker_is_ready() {
        let calls = Cell::new(0);
        let policy = policy(Duration::from_secs(10));
        let asked = policy.call(Kind::Change, || {
            calls.set(calls.get() + 1);
            let turn = calls.get();
            async move { if turn < 4 { Err(refusal(ErrorCode::Starting).into()) } else { Ok(turn) } }
        });
        assert_eq!(asked.await, Ok(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_with_its_time() {
        let begun = Instant::now();
        let policy = policy(Duration::from_secs(3));
        let asked = policy.call(Kind::Read, || async { Err::<(), _>(refusal(ErrorCode::Starting).into()) });
        assert_eq!(asked.await.unwrap_err().code(), ErrorCode::Starting);
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn only_items_that_were_refused_are_sent_again() {
        let sent = Cell::new(Vec::new());
        let policy = policy(Duration::from_secs(10));
        let asked = policy.call_each(Kind::Change, &["a", "b", "c"], |items| {
            let mut all = sent.take();
            all.push(items.clone());
            let first = all.len() == 1;
            sent.set(all);
            async move {
                Ok(items
                    .into_iter()
                    .map(|item| match item {
                        "b" if first => Err(refusal(ErrorCode::DiskFull).into()),
                        "c" => Err(refusal(ErrorCode::TopicNotFound).into()),
                        item => Ok(item),
                    })
                    .collect())
            }
        });
        let results = asked.await.unwrap();
        let codes: Vec<_> = results.iter().map(|r| r.as_ref().map_err(ClientError::code).copied()).collect();
        assert_eq!(codes, [Ok("a"), Ok("b"), Err(ErrorCode::TopicNotFound)]);
        assert_eq!(sent.take(), [vec!["a", "b", "c"], vec!["b"]]);
    }
}
