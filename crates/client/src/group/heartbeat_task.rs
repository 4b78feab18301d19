//! The task that keeps the member in its group: it heartbeats, whatever messages are being handled.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use corduroy_api::{Refusal, v1};
use corduroy_member::{Action, Failure, HeartbeatReply, Member, Request};
use corduroy_types::{ErrorCode, PartitionIndex, TopicName};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use v1::{groups_client::GroupsClient, heartbeat_request::Kind};

use super::{
    TopicPartition,
    core::Core,
    offsets::{Part, to_wire},
};
use crate::{ClientError, backoff::Backoff, client::Repeat};

/// A command to the member.
#[derive(Debug)]
pub(crate) enum HeartbeatCommand {
    /// These partitions were released.
    Released(BTreeSet<Part>),
    /// Leave, and give up on it then.
    Leave { by: Instant },
}

/// What happens to the member.
#[derive(Debug)]
pub(crate) enum MembershipEvent {
    Do(Action<Part>),
    /// It is out for good: because of an error, or because it has left, or could not in time.
    Over {
        refusal: Option<Refusal>,
        has_left: bool,
    },
}

type Call = Pin<Box<dyn Future<Output = Result<v1::HeartbeatResponse, ClientError>> + Send>>;

pub(crate) struct HeartbeatTask {
    pub(crate) core: Arc<Core>,
    pub(crate) member: Member<Part>,
    pub(crate) join: v1::JoinGroup,
    /// How long an answer may take beyond the time that it may be held back.
    pub(crate) answer_timeout: Duration,
    pub(crate) heartbeat_commands: mpsc::UnboundedReceiver<HeartbeatCommand>,
    pub(crate) events: mpsc::UnboundedSender<MembershipEvent>,
    /// Who waits for the member to be in.
    pub(crate) joined: Option<oneshot::Sender<Result<(), ClientError>>>,
    pub(crate) born: Instant,
    pub(crate) failures: usize,
    pub(crate) backoff: Backoff,
    pub(crate) leave_by: Option<Instant>,
}

enum Event {
    HeartbeatCommand(Option<HeartbeatCommand>),
    Answered(Result<v1::HeartbeatResponse, ClientError>),
    Due,
    GiveUp,
}

impl HeartbeatTask {
    /// Runs until the member is out for good.
    pub(crate) async fn run(mut self) {
        let mut call: Option<Call> = None;
        loop {
            let (due_at, leave_by) = (self.due_at(), self.leave_by);
            let event = tokio::select! {
                biased;
                command = self.heartbeat_commands.recv() => Event::HeartbeatCommand(command),
                () = sleep_until(leave_by) => Event::GiveUp,
                answer = answer_of(&mut call) => Event::Answered(answer),
                () = sleep_until(due_at) => Event::Due,
            };
            let now = self.now();
            let over = match event {
                // Nothing is left that could take an event.
                Event::HeartbeatCommand(None) => return,
                Event::HeartbeatCommand(Some(command)) => {
                    self.obey(now, command);
                    if self.member.due_at().is_some() {
                        call = None;
                    }
                    false
                }
                Event::Due => {
                    let request = self.member.request(now);
                    call = Some(self.call(request));
                    false
                }
                Event::Answered(answer) => {
                    call = None;
                    self.heard(now, answer)
                }
                Event::GiveUp => {
                    self.over(None, false);
                    true
                }
            };
            if over {
                return;
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn due_at(&self) -> Option<Instant> {
        self.member.due_at().map(|at| self.born + Duration::from_millis(at))
    }

    fn obey(&mut self, now: u64, command: HeartbeatCommand) {
        match command {
            HeartbeatCommand::Released(parts) => self.member.released(now, &parts),
            HeartbeatCommand::Leave { by } => {
                self.leave_by = Some(by);
                self.member.leave(now, self.core.options.is_static);
            }
        }
    }

    /// Takes in an answer; returns whether it was the last.
    fn heard(&mut self, now: u64, answer: Result<v1::HeartbeatResponse, ClientError>) -> bool {
        let (actions, refusal) = match answer.and_then(read) {
            Ok(answer) => {
                self.backoff.reset();
                let actions = self.member.answered(now, answer);
                (actions, None)
            }
            Err(error) => {
                let failure = judge(error.code());
                self.report(&error, failure);
                let wait = u64::try_from(self.backoff.next().as_millis()).unwrap_or(u64::MAX);
                let wait = if failure == Failure::Removed { 0 } else { wait };
                (self.member.failed(now, failure, wait), Some(error.refusal().clone()))
            }
        };
        // Before anybody commits what the answer assigns.
        self.core.epoch.store(self.member.epoch(), Ordering::Release);
        for action in actions {
            match action {
                Action::Joined => {
                    if let Some(joined) = self.joined.take() {
                        let _ = joined.send(Ok(()));
                    }
                }
                Action::Ended => {
                    let is_out = |code| judge(code) == Failure::Removed || code == ErrorCode::FencedInstance;
                    let has_left = refusal.as_ref().is_none_or(|refusal| is_out(refusal.code));
                    self.over(refusal, has_left);
                    return true;
                }
                action => drop(self.events.send(MembershipEvent::Do(action))),
            }
        }
        false
    }

    /// Reports to what waits for the join that it may take long.
    fn report(&mut self, error: &ClientError, failure: Failure) {
        tracing::debug!(group = %self.core.options.group, %error, "heartbeat failed");
        self.failures += 1;
        let is_unreachable = matches!(error.code(), ErrorCode::Unavailable | ErrorCode::UnexpectedAnswer)
            && self.failures > self.core.client.control.address_count();
        let is_late = self.born.elapsed() >= self.core.client.request_timeout;
        let is_reported = failure == Failure::Ended || is_unreachable || is_late;
        if let Some(joined) = self.joined.take_if(|_| is_reported) {
            let _ = joined.send(Err(error.clone()));
        }
    }

    fn over(&mut self, refusal: Option<Refusal>, has_left: bool) {
        let refusal = refusal.filter(|_| self.leave_by.is_none());
        let _ = self.events.send(MembershipEvent::Over { refusal, has_left });
    }

    fn call(&self, request: Request<Part>) -> Call {
        let (kind, owned, wait_ms) = match request {
            Request::Join { again } => (Kind::Join(v1::JoinGroup { again, ..self.join.clone() }), None, 0),
            Request::Stay { epoch, owned, wait_ms } => {
                (Kind::Stay(v1::StayInGroup { member_epoch: epoch, subscription: None }), owned, wait_ms)
            }
            Request::Leave { for_restart } => (Kind::Leave(v1::LeaveGroup { for_restart }), None, 0),
        };
        let request = v1::HeartbeatRequest {
            group: self.core.options.group.to_string(),
            member: self.core.options.member.clone(),
            kind: Some(kind),
            owned: owned.map(|owned| v1::OwnedPartitions { topics: to_wire(&owned) }),
            wait_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
        };
        let client = Arc::clone(&self.core.client);
        let limit = Duration::from_millis(wait_ms) + self.answer_timeout;
        Box::pin(async move {
            let call = client.control(Repeat::Never, |channel| {
                let request = request.clone();
                async move { GroupsClient::new(channel).heartbeat(request).await }
            });
            tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let message = format!("the coordinator did not answer within {} ms", limit.as_millis());
                Err(ClientError::new(ErrorCode::TimedOut, message))
            })
        })
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn answer_of(call: &mut Option<Call>) -> Result<v1::HeartbeatResponse, ClientError> {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

/// What a refused heartbeat means for the member.
fn judge(code: ErrorCode) -> Failure {
    match code {
        ErrorCode::UnknownMember | ErrorCode::FencedMember => Failure::Removed,
        code if is_passing(code) => Failure::Again,
        _ => Failure::Ended,
    }
}

/// Whether the same may succeed later: a broker in trouble, or one that is not ours, may be better or another one the
/// next time.
pub(crate) fn is_passing(code: ErrorCode) -> bool {
    code.is_retriable()
        || matches!(code, ErrorCode::Internal | ErrorCode::StorageFailed | ErrorCode::UnexpectedAnswer)
}

fn read(answer: v1::HeartbeatResponse) -> Result<HeartbeatReply<Part>, ClientError> {
    let assignment = answer.assignment.map(|assignment| {
        let topics = assignment.topics.into_iter();
        topics
            .map(read_parts)
            .collect::<Result<Vec<_>, _>>()
            .map(|parts| parts.into_iter().flatten().collect())
    });
    Ok(HeartbeatReply {
        epoch: answer.member_epoch,
        interval_ms: answer.interval_ms.into(),
        assignment: assignment.transpose()?,
    })
}

fn read_parts(wire: v1::TopicPartitions) -> Result<Vec<Part>, ClientError> {
    let topic = TopicName::new(&wire.topic).map_err(|error| ClientError::unexpected(error.to_string()))?;
    if !matches!(wire.topic_id.len(), 0 | 16) {
        return Err(ClientError::unexpected(format!("a topic id of {} bytes", wire.topic_id.len())));
    }
    let part = |partition| Part {
        name: TopicPartition::new(topic.clone(), PartitionIndex(partition)),
        topic_id: wire.topic_id.clone(),
    };
    Ok(wire.partitions.into_iter().map(part).collect())
}
