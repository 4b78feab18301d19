//! Proposals: commands that are decided on the image, and appended to the metadata log.

use std::{sync::Weak, time::Duration};

use corduroy_api::Refusal;
use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_metadata::{Command, Image, MetadataError, Record};
use corduroy_types::{Acks, ErrorCode, Offset, TopicId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{Applied, MetadataPlane};
use crate::engine::{AppendRequest, Clock, PendingAck, refusals};

/// Records of a change wait for their commit round without a time-out: if the wait ended early, it would not be known
/// whether the change was made.
const NO_TIMEOUT: Duration = Duration::MAX;
/// The most bytes of records that one change may write.
const CHANGE_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Proposals that wait to be decided.
pub(super) const QUEUE_MAX: usize = 1_024;
/// Proposals that are decided, and committed, together.
const TOGETHER_MAX: usize = 256;
/// How often a proposal checks whether the log is still led, while it waits for what was appended before it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long proposals wait for a log that is not led. Reopening it begins within a second.
const LED_WITHIN: Duration = Duration::from_secs(3);

/// An applied change.
#[derive(Debug)]
pub(crate) struct Proposed<A> {
    /// What the command answers.
    pub(crate) answer: A,
    /// The topics that it has changed.
    pub(crate) topics: Vec<TopicId>,
    /// The end of the log that was applied with it.
    pub(crate) end: Offset,
}

/// A command that waits to be carried out. Its type is known only to its caller and to itself.
pub(super) trait AnyProposal: Send {
    /// Decides on `image`. Returns the records to write; keeps the answer.
    fn decide(&mut self, image: &Image) -> Result<Vec<Record>, Refusal>;
    /// Answers: everything that it was decided on and wrote is applied, up to `end`.
    fn applied(self: Box<Self>, end: Offset);
    /// Refuses.
    fn refuse(self: Box<Self>, refusal: Refusal);
}

struct Proposal<C: Command> {
    command: C,
    decided: Option<C::Answer>,
    topics: Vec<TopicId>,
    caller: oneshot::Sender<Result<Proposed<C::Answer>, Refusal>>,
}

impl<C> AnyProposal for Proposal<C>
where
    C: Command + Send,
    C::Answer: Send,
{
    fn decide(&mut self, image: &Image) -> Result<Vec<Record>, Refusal> {
        let decision = image.decide(&self.command).map_err(|error| refuse(&error))?;
        self.decided = Some(decision.answer);
        self.topics = decision.records.iter().filter_map(Record::topic_id).collect();
        self.topics.sort_unstable();
        self.topics.dedup();
        Ok(decision.records)
    }

    fn applied(self: Box<Self>, end: Offset) {
        let Self { decided, topics, caller, .. } = *self;
        let undecided = || Refusal::new(ErrorCode::Internal, "the change was not decided");
        let answer = decided.map(|answer| Proposed { answer, topics, end }).ok_or_else(undecided);
        // The caller may no longer wait. The change is made all the same.
        let _caller_gone = caller.send(answer);
    }

    fn refuse(self: Box<Self>, refusal: Refusal) {
        let _caller_gone = self.caller.send(Err(refusal));
    }
}

/// See [`MetadataPlane::propose`].
pub(super) async fn propose<C>(
    queue: &mpsc::Sender<Box<dyn AnyProposal>>,
    command: C,
) -> Result<Proposed<C::Answer>, Refusal>
where
    C: Command + Send + Sync + 'static,
    C::Answer: Send + 'static,
{
    let (caller, answered) = oneshot::channel();
    let proposal = Proposal { command, decided: None, topics: Vec::new(), caller };
    let stopping = || Refusal::new(ErrorCode::ShuttingDown, "the broker is stopping");
    queue.send(Box::new(proposal)).await.map_err(|_| stopping())?;
    answered.await.unwrap_or_else(|_| Err(not_known(stopping())))
}

/// A proposal that was appended, or that depends on one that was.
struct Waiting {
    proposal: Box<dyn AnyProposal>,
    /// Why it is refused, if everything that it was decided on is applied.
    refused: Option<Refusal>,
    pending: Option<PendingAck>,
    /// What has to be applied before it is answered.
    end: Offset,
}

/// Carries proposals out in their order, until the plane is gone.
pub(super) async fn run(plane: Weak<MetadataPlane>, mut queue: mpsc::Receiver<Box<dyn AnyProposal>>) {
    while let Some(first) = queue.recv().await {
        let mut together = vec![first];
        while together.len() < TOGETHER_MAX
            && let Ok(more) = queue.try_recv()
        {
            together.push(more);
        }
        let Some(plane) = plane.upgrade() else { return };
        plane.carry_out(together).await;
    }
}

impl MetadataPlane {
    /// Decides proposals one after the other, each on what those before it write; appends all of them; and answers each
    /// once everything that it depends on is applied.
    async fn carry_out(&self, proposals: Vec<Box<dyn AnyProposal>>) {
        self.led().await;
        self.caught_up().await;
        let mut draft = self.draft();
        let mut end = self.applied.borrow().end;
        let mut waiting = Vec::with_capacity(proposals.len());
        for mut proposal in proposals {
            let (refused, pending) = match self.decide_and_append(&mut *proposal, &mut draft, &mut end) {
                Ok(pending) => (None, pending),
                Err(refusal) => (Some(refusal), None),
            };
            waiting.push(Waiting { proposal, refused, pending, end });
        }
        let mut failed: Option<Refusal> = None;
        for Waiting { proposal, refused, pending, end } in waiting {
            let applied = match failed.take() {
                Some(earlier) => Err(earlier),
                None => self.committed_and_applied(pending, end).await,
            };
            match (applied, refused) {
                (Err(failure), _) => {
                    proposal.refuse(not_known(failure.clone()));
                    failed = Some(failure);
                }
                (Ok(_), Some(refusal)) => proposal.refuse(refusal),
                (Ok(end), None) => proposal.applied(end),
            }
        }
    }

    /// Waits for a log that is being reopened after a failure, as a full disk brings one: not for long, since the failure may last.
    async fn led(&self) {
        let until = Instant::now() + LED_WITHIN;
        let may_come = || !self.context.is_stopping() && self.context.health.data_dir_lost().is_none();
        while !self.replica.is_led() && may_come() && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until everything that is in the log is applied, as long as it is led: a decision on an image that lacks
    /// some of it could contradict it.
    async fn caught_up(&self) {
        let mut applied = self.applied.subscribe();
        loop {
            let end = self.replica.with_log(|log, _| log.cursors().log_end()).unwrap_or_default();
            let Applied { end: applied_end, failure } = applied.borrow_and_update().clone();
            if applied_end >= end || failure.is_some() || !self.replica.is_led() {
                return;
            }
            let _looked = timeout(LOOK_EVERY, applied.changed()).await;
        }
    }

    fn decide_and_append(
        &self,
        proposal: &mut dyn AnyProposal,
        draft: &mut Draft,
        end: &mut Offset,
    ) -> Result<Option<PendingAck>, Refusal> {
        let records = proposal.decide(&draft.0)?;
        if records.is_empty() {
            return Ok(None);
        }
        let batch = encode(&records, self.context.clock)?;
        let next_end = end.saturating_add(batch.header().record_count.into());
        let request = AppendRequest {
            acks: Acks::Quorum,
            timeout: NO_TIMEOUT,
            // Where the log holds more than the decision was made on, nothing is written.
            expected_offset: Some(*end),
            memory: None,
        };
        let before = draft.0.clone();
        draft.apply(&records)?;
        match self.replica.append(self.context.clock, batch, request) {
            Ok(pending) => {
                *end = next_end;
                Ok(Some(pending))
            }
            Err(refusal) => {
                draft.0 = before;
                Err(match refusal.code {
                    // The decision was made on less than the log holds.
                    ErrorCode::OffsetMismatch => refusals::offline(
                        self.replica.identity(),
                        "it holds records that are not applied yet",
                    ),
                    _ => refusal.without_outcome(),
                })
            }
        }
    }

    /// Returns the end of what is applied then.
    async fn committed_and_applied(
        &self,
        pending: Option<PendingAck>,
        end: Offset,
    ) -> Result<Offset, Refusal> {
        if let Some(pending) = pending {
            pending.acknowledged().await.map_err(Refusal::without_outcome)?;
        }
        let mut applied = self.applied.subscribe();
        let applied = applied.wait_for(|applied| applied.end >= end || applied.failure.is_some()).await;
        let applied = applied.map_err(|_| refusals::stopping().without_outcome())?;
        match &applied.failure {
            Some(failure) if applied.end < end => Err(Refusal::new(ErrorCode::Internal, &**failure)),
            _ => Ok(applied.end),
        }
    }
}

/// An image of one request's own. Commands that one request holds are checked on it one after the other, each on what
/// those before it would have done.
pub(crate) struct Draft(Image);

impl Draft {
    pub(super) fn of(image: &Image) -> Self {
        Self(image.clone())
    }

    /// Checks a command, and carries it out here alone.
    ///
    /// # Errors
    /// What the command itself would be refused for.
    pub(crate) fn check<C: Command>(&mut self, command: &C) -> Result<C::Answer, Refusal> {
        let decision = self.0.decide(command).map_err(|error| refuse(&error))?;
        self.apply(&decision.records)?;
        Ok(decision.answer)
    }

    fn apply(&mut self, records: &[Record]) -> Result<(), Refusal> {
        self.0.apply_all(records).map(drop).map_err(|error| {
            Refusal::new(ErrorCode::Internal, format!("a decided record cannot be applied: {error}"))
        })
    }
}

fn encode(records: &[Record], clock: Clock) -> Result<Batch, Refusal> {
    let mut builder = BatchBuilder::new(Compression::None, CHANGE_BYTES_MAX);
    let internal = |error: &dyn std::fmt::Display| Refusal::new(ErrorCode::Internal, error.to_string());
    for record in records {
        let pushed = builder.push(clock.now(), None, Some(&record.encode()), []).map_err(|e| internal(&e))?;
        if pushed == PushOutcome::Full {
            let text = format!("the change takes more than {CHANGE_BYTES_MAX} bytes of metadata");
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
    }
    let bytes = builder.build().map_err(|e| internal(&e))?;
    Batch::parse(bytes).map_err(|e| internal(&e))
}

/// A refused command, as clients see it.
fn refuse(error: &MetadataError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

/// The wait for a change ended early.
fn not_known(refusal: Refusal) -> Refusal {
    let message = format!("it is not known whether the change was made: {}", refusal.message);
    Refusal { message, ..refusal }
}
