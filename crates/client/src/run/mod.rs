//! Handling the records of a group with workers.

pub mod dead_letter;
mod error;
mod retry;
mod runner;
mod schedule;
mod workers;

use std::{
    fmt,
    future::{Future, pending},
    time::Duration,
};

use corduroy_types::ErrorCode;

pub use error::{FailedRecord, HandlerError, HandlerPanic, RunError};
pub use retry::Retry;
pub use workers::{OnFailure, Workers};

use self::{dead_letter::DeadLetters, runner::Runner};
use crate::{ClientError, CloseError, Commit, GroupConsumer, Message};

/// How long the last commit and leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// What a run has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Records that the handler was done with.
    pub handled: u64,
    /// Attempts that failed and were followed by another one.
    pub retried: u64,
    /// Records that failed for the last time and were skipped.
    pub skipped: u64,
    /// Records that failed for the last time and are in the topic for dead letters now.
    pub dead_lettered: u64,
}

impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handled, retried, skipped, dead_lettered } = self;
        write!(f, "{handled} handled, {retried} tried again, {skipped} skipped, {dead_lettered} dead letters")
    }
}

impl GroupConsumer {
    /// Handles records with workers, until something fails for good: at least once each, those of one partition with the same
    /// key one after the other in their order, different keys side by side.
    ///
    /// The handler is called in a task of its own for each record. What it returns decides: `Ok` makes the record done, as
    /// [`Message::done`] would; an error, or a panic, makes it wait and be tried again as [`Workers::retry`] says, while its
    /// key waits and others go on; after the last attempt [`Workers::on_failure`] holds. A record that a handler was given is
    /// committed after everything before it in its partition is done, and never before it is itself.
    ///
    /// When a partition goes to another member, its records that wait for a worker or for another attempt are given up: they
    /// come again there. What is running may end, and counts if it does so before the partition is gone. A handler can look
    /// at [`Message::is_held`] to leave off early.
    ///
    /// Dropping the future cancels all handlers at their next `await`; what they had not finished comes again.
    /// [`run_until`](Self::run_until) ends a run cleanly.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = corduroy_testing::Broker::start().await?;
    /// # broker.topic("orders", 3).await?;
    /// # broker.topic("orders.dead", 1).await?;
    /// # let client = broker.client().clone();
    /// use corduroy_client::{Message, OnFailure, Retry, Workers};
    ///
    /// async fn bill(order: Message) -> Result<(), std::str::Utf8Error> {
    ///     let order = std::str::from_utf8(order.value().unwrap_or_default())?;
    ///     println!("billing {order}");
    ///     Ok(())
    /// }
    ///
    /// let consumer = client.consumer().group("billing").topics(["orders"]).build().await?;
    /// let workers = Workers::by_key(16)
    ///     .retry(Retry::exponential(3))
    ///     .on_failure(OnFailure::dead_letter("orders.dead"));
    /// # let producer = client.producer().build().await?;
    /// # for value in [&b"1 book"[..], &[0xff]] {
    /// #     producer.send(corduroy_client::Record::to("orders").key("alice").value(value)).await?;
    /// # }
    /// let running = tokio::spawn(consumer.run(workers, bill));
    /// # broker.caught_up("billing").await?;
    /// # running.abort();
    /// # let dead = broker.records("orders.dead").await?;
    /// # assert_eq!(dead.len(), 1);
    /// # assert_eq!(dead[0].header(corduroy_client::dead_letter::ATTEMPTS), Some(&b"3"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`RunError`]; it names the record that the run stopped at. The member has left its group then.
    pub async fn run<H, F, E>(self, workers: Workers, handler: H) -> Result<RunSummary, RunError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<HandlerError>,
    {
        self.run_until(pending::<()>(), workers, handler).await
    }

    /// As [`run`](Self::run), until `shutdown` resolves: then no more records are started, those that are running may end
    /// within [`Workers::stop_within`], what is done is committed, and the member leaves its group.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = corduroy_testing::Broker::start().await?;
    /// # broker.topic("orders", 3).await?;
    /// # let client = broker.client();
    /// use std::convert::Infallible;
    ///
    /// use corduroy_client::Workers;
    ///
    /// # let shutdown = async { broker.caught_up("billing").await };
    /// # let producer = client.producer().build().await?;
    /// # producer.send(corduroy_client::Record::to("orders").key("alice").value("1 book")).await?;
    /// let consumer = client.consumer().group("billing").topics(["orders"]).build().await?;
    /// // `shutdown` is any future: `tokio::signal::ctrl_c()`, say.
    /// let summary = consumer
    ///     .run_until(shutdown, Workers::by_key(16), |order| async move {
    ///         println!("billing {:?}", order.value());
    ///         Ok::<_, Infallible>(())
    ///     })
    ///     .await?;
    /// println!("{summary}");
    /// # assert_eq!(summary.handled, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_until<H, F, E>(
        mut self,
        shutdown: impl Future,
        workers: Workers,
        handler: H,
    ) -> Result<RunSummary, RunError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<HandlerError>,
    {
        workers.check().map_err(RunError::Options)?;
        check_commits(self.options().commit)?;
        let dead_letters = match &workers.on_failure {
            OnFailure::DeadLetter(topic) => {
                Some(DeadLetters::to(topic, &self.client()).await.map_err(RunError::Options)?)
            }
            OnFailure::Stop | OnFailure::Skip => None,
        };
        let mut runner = Runner::new(&self, workers, dead_letters, handler);
        runner.run(&mut self, shutdown).await;
        let (summary, failure) = runner.finish().await;
        let closed = self.close(CLOSE_WITHIN).await;
        match (failure, closed) {
            (Some(failure), _) => Err(failure),
            (None, Err(CloseError::Commit(error))) => Err(RunError::Commit(error)),
            // What is not done comes again, and a session ends by itself.
            (None, Ok(_) | Err(CloseError::NotDone { .. } | CloseError::NotLeft { .. })) => Ok(summary),
        }
    }
}

/// Nothing but what is done may be committed, and that by itself.
fn check_commits(commit: Commit) -> Result<(), RunError> {
    if matches!(commit, Commit::Processed { .. }) {
        return Ok(());
    }
    let message =
        format!("a run commits what was handled, but the consumer was built with Commit::{commit:?}");
    let error = ClientError::new(ErrorCode::InvalidRequest, message);
    Err(RunError::Options(
        error.with_hint("Build it with Commit::Processed, or handle its messages without a run."),
    ))
}
