//! Performs what the schedule decides: one task for each record that is being handled.

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    OnFailure, RunSummary, Workers,
    dead_letter::DeadLetters,
    error::{FailedRecord, HandlerError, HandlerPanic, RunError},
    schedule::{LaneId, Schedule, Start},
};
use crate::{
    GroupConsumeError, GroupConsumer, Message, RecordMeta, SendError,
    backoff::random,
    consumer::Source,
    event::{Event, EventSink},
};

/// How many records are taken in before anything else gets its turn.
const AT_ONCE: usize = 64;

/// What a task ends with.
enum Ended {
    /// A handler.
    Handler(Result<(), HandlerError>),
    /// The writing of a dead letter.
    DeadLetter(FailedRecord, Result<Option<RecordMeta>, SendError>),
}

/// A run under way.
pub(super) struct Runner<H> {
    group: Arc<str>,
    handler: Arc<H>,
    workers: Workers,
    dead_letters: Option<DeadLetters>,
    events: EventSink,
    schedule: Schedule<Arc<Source>, Message>,
    tasks: JoinSet<Ended>,
    lanes: HashMap<Id, LaneId>,
    began: Instant,
    /// Whether the consumer waits for room in its buffer.
    is_patient: bool,
    summary: RunSummary,
    /// Nothing more comes.
    has_ended: bool,
    /// Why the run is to stop.
    failure: Option<RunError>,
}

impl<H, F, E> Runner<H>
where
    H: Fn(Message) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<HandlerError>,
{
    pub(super) fn new(
        consumer: &GroupConsumer,
        workers: Workers,
        dead_letters: Option<DeadLetters>,
        handler: H,
    ) -> Self {
        Self {
            group: Arc::clone(&consumer.options().group),
            events: consumer.client().shared.events.clone(),
            handler: Arc::new(handler),
            schedule: Schedule::new(workers.count, workers.records_limit()),
            workers,
            dead_letters,
            tasks: JoinSet::new(),
            lanes: HashMap::new(),
            began: Instant::now(),
            is_patient: false,
            summary: RunSummary::default(),
            has_ended: false,
            failure: None,
        }
    }

    /// Handles records until there are none any more, something fails for good, or `shutdown` resolves.
    pub(super) async fn run(&mut self, consumer: &mut GroupConsumer, shutdown: impl Future) {
        let mut shutdown = pin!(shutdown);
        let signals = consumer.signals();
        while self.failure.is_none() && !(self.has_ended && self.schedule.is_empty()) {
            self.start_all();
            self.set_patient(consumer);
            let wake = self.schedule.next_wake().map(|at| self.began + at);
            tokio::select! {
                _ = &mut shutdown => return,
                Some(joined) = self.tasks.join_next_with_id() => self.ended(joined),
                () = signals.going.notified() => self.schedule.sweep(keep),
                () = sleep_until(wake.unwrap_or(self.began)), if wake.is_some() => {}
                next = consumer.next(), if self.schedule.room() > 0 && !self.has_ended => {
                    self.take(next);
                    self.take_what_is_at_hand(consumer);
                }
            }
            while let Some(joined) = self.tasks.try_join_next_with_id() {
                self.ended(joined);
            }
        }
    }

    /// Lets what is running come to its end, within the time given, and starts nothing more.
    pub(super) async fn finish(mut self) -> (RunSummary, Option<RunError>) {
        self.schedule.stop(Message::give_back);
        let until = Instant::now() + self.workers.stop_within;
        while let Ok(Some(joined)) = timeout_at(until, self.tasks.join_next_with_id()).await {
            self.ended(joined);
        }
        // Who is cancelled here has not done its record.
        self.tasks.shutdown().await;
        for lane in std::mem::take(&mut self.lanes).into_values() {
            self.give_back(lane);
        }
        (self.summary, self.failure)
    }

    fn take(&mut self, next: Option<Result<Message, GroupConsumeError>>) {
        match next {
            Some(Ok(message)) => {
                self.schedule.add(Arc::clone(message.source()), message.key_bytes(), message);
            }
            Some(Err(error)) => self.failure = Some(error.into()),
            None => self.has_ended = true,
        }
    }

    /// Takes what needs no waiting for, so that there is one round of everything for many records.
    fn take_what_is_at_hand(&mut self, consumer: &mut GroupConsumer) {
        for _ in 0..AT_ONCE {
            if self.schedule.room() == 0 || self.has_ended || self.failure.is_some() {
                return;
            }
            let Some(next) = consumer.next().now_or_never() else { return };
            self.take(next);
        }
    }

    /// Who has no records gets one however much is held; who has some waits until there is room.
    fn set_patient(&mut self, consumer: &GroupConsumer) {
        let is_patient = !self.schedule.is_empty();
        if is_patient != self.is_patient {
            self.is_patient = is_patient;
            consumer.set_patient(is_patient);
        }
    }

    fn start_all(&mut self) {
        let now = self.began.elapsed();
        while let Some(Start { lane, record, .. }) = self.schedule.start(now, keep) {
            let handler = Arc::clone(&self.handler);
            // Called inside of the task, so that a panic on the way to the future is caught, too.
            let task =
                self.tasks.spawn(async move { Ended::Handler(handler(record).await.map_err(Into::into)) });
            self.lanes.insert(task.id(), lane);
        }
    }

    fn ended(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, ended),
            Err(error) => {
                let id = error.id();
                let error: HandlerError = match error.try_into_panic() {
                    Ok(payload) => HandlerPanic::new(payload.as_ref()).into(),
                    Err(cancelled) => cancelled.into(),
                };
                (id, Ended::Handler(Err(error)))
            }
        };
        let Some(lane) = self.lanes.remove(&id) else { return };
        match ended {
            Ended::Handler(Ok(())) => {
                self.summary.handled += 1;
                self.done(lane);
            }
            Ended::Handler(Err(error)) => self.handler_failed(lane, error),
            Ended::DeadLetter(record, Ok(Some(meta))) => {
                self.summary.dead_lettered += 1;
                self.events.emit(Event::RecordDeadLettered { record, dead_letter: meta });
                self.done(lane);
            }
            // Someone else gets the partition.
            Ended::DeadLetter(_, Ok(None)) => self.give_back(lane),
            Ended::DeadLetter(record, Err(error)) => {
                let (record, source) = (Box::new(record), Box::new(error));
                self.fail(lane, RunError::DeadLetter { record, source });
            }
        }
    }

    fn handler_failed(&mut self, lane: LaneId, error: HandlerError) {
        let Some((message, attempts)) = self.schedule.under_way(lane) else { return };
        let record = FailedRecord::new(&self.group, message, attempts, &error);
        let retry_in = self.workers.retry.wait_after(attempts, random());
        let goes_on = message.is_wanted() && !self.schedule.is_stopped();
        if !message.is_held() || (retry_in.is_some() && !goes_on) {
            // It comes again, to whom has the partition then.
            self.give_back(lane);
        } else if let Some(retry_in) = retry_in {
            self.summary.retried += 1;
            self.schedule.retry(lane, self.began.elapsed() + retry_in);
            self.events.emit(Event::HandlerFailed { record, retry_in });
        } else {
            self.give_up(lane, record, error);
        }
    }

    /// A record was tried for the last time.
    fn give_up(&mut self, lane: LaneId, record: FailedRecord, error: HandlerError) {
        match (&self.workers.on_failure, &self.dead_letters) {
            (OnFailure::Skip, _) => {
                self.summary.skipped += 1;
                self.events.emit(Event::RecordSkipped { record });
                self.done(lane);
            }
            (OnFailure::DeadLetter(_), Some(letters)) if letters.topic() != record.topic.as_str() => {
                let Some((message, _)) = self.schedule.under_way(lane) else { return };
                let (letters, message) = (letters.clone(), message.clone());
                self.schedule.part(lane);
                let task = self.tasks.spawn(async move {
                    let written = letters.write(message, &record).await;
                    Ended::DeadLetter(record, written)
                });
                self.lanes.insert(task.id(), lane);
            }
            // A dead letter in the topic for dead letters would come back for ever.
            (OnFailure::Stop | OnFailure::DeadLetter(_), _) => {
                self.fail(lane, RunError::Handler { record: Box::new(record), source: error });
            }
        }
    }

    /// The record under way in a lane is not done, and the run stops. Of several errors the first is returned.
    fn fail(&mut self, lane: LaneId, error: RunError) {
        self.give_back(lane);
        self.failure.get_or_insert(error);
    }

    fn done(&mut self, lane: LaneId) {
        if let Some(message) = self.schedule.finish(lane) {
            message.done();
        }
    }

    /// The record under way in a lane comes again.
    fn give_back(&mut self, lane: LaneId) {
        if let Some(message) = self.schedule.finish(lane) {
            message.give_back();
        }
    }
}

/// Whether to begin with a message; if not, no one is to wait for it.
fn keep(message: &Message) -> bool {
    let is_wanted = message.is_wanted();
    if !is_wanted {
        message.give_back();
    }
    is_wanted
}
