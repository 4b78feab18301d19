//! The task of one stream: several things go on at once, so that none holds up the heartbeat.

mod heartbeat;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use corduroy_api::{Refusal, v1};
use corduroy_group::{HeartbeatAnswer, TopicPartition};
use corduroy_member::{Member, WAIT_MS_MAX};
use corduroy_types::{ErrorCode, Offset, TopicId};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Status, Streaming};
use v1::{subscribe_request::Request, subscribe_response::Response};

use super::{
    AnswerSlot, Permitted,
    acknowledgements::{Acknowledgements, Outcome},
    assignment::{Beginning, MemberAssignment, Notice},
    membership::Membership,
    reader::{Reader, Turn},
    start_offsets, stopping,
};
use crate::services::{
    fetch,
    groups::{offsets, wire},
    push::{Read, Source},
};

/// Where a partition that was assigned cannot be found, it is looked for again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

type Opened = Result<Vec<(TopicPartition, Beginning)>, Refusal>;

/// One stream.
pub(super) struct Session {
    membership: Arc<Membership>,
    requests: Streaming<v1::SubscribeRequest>,
    answers: mpsc::Sender<Permitted>,
    assignment: MemberAssignment,
    reader: Reader,
    acknowledgements: Acknowledgements,
    /// What the program releases, when all that it acknowledged before is committed.
    releasing: Option<BTreeSet<TopicPartition>>,
    /// The client sends nothing more.
    half_closed: bool,
    /// The member of the group, and its heartbeat on the way.
    member: Member<TopicPartition>,
    began: Instant,
    heartbeat: Option<BoxFuture<'static, Result<HeartbeatAnswer, Refusal>>>,
    opening: Option<BoxFuture<'static, Opened>>,
    /// `joined`, until it is sent.
    greeting: Option<v1::Joined>,
    /// The names of the topics of its partitions, also of those that were deleted since.
    names: BTreeMap<TopicId, String>,
}

/// How a stream ends.
enum End {
    /// The client has closed its side, and everything is answered.
    Closed,
    /// The client, or the way to it, is gone.
    Gone,
    /// The member leaves, and the stream ends with the reason.
    Refused(Refusal),
    /// The stream ends with the reason. Where there is a member, this stream must not remove it.
    Silenced(Refusal),
}

impl Session {
    pub(super) fn new(
        membership: Arc<Membership>,
        requests: Streaming<v1::SubscribeRequest>,
        answers: mpsc::Sender<Permitted>,
    ) -> Self {
        let greeting = v1::Joined { member: membership.member.to_string() };
        Self {
            membership,
            requests,
            answers,
            assignment: MemberAssignment::default(),
            reader: Reader::default(),
            acknowledgements: Acknowledgements::default(),
            releasing: None,
            half_closed: false,
            member: Member::new(WAIT_MS_MAX),
            began: Instant::now(),
            heartbeat: None,
            opening: None,
            greeting: Some(greeting),
            names: BTreeMap::new(),
        }
    }

    /// Serves until the stream ends. The member is out of the group then, if that is what its end means.
    ///
    /// # Errors
    /// The status that the stream ends with.
    pub(super) async fn run(mut self) -> Result<(), Refusal> {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        self.reader.stop_all();
        let (leaves, status) = match end {
            End::Closed | End::Gone => (true, Ok(())),
            End::Refused(refusal) => (true, Err(refusal)),
            End::Silenced(refusal) => (false, Err(refusal)),
        };
        if leaves {
            // A heartbeat on its way has done what it does; a client that has not joined is no member.
            self.heartbeat = None;
            tokio::select! {
                _in_or_not = self.membership.leave() => {}
                () = self.membership.shared.stopping() => {}
            }
        }
        status
    }

    /// Begins whatever can be begun, and takes in the first thing that happens.
    async fn step(&mut self) -> Result<(), End> {
        self.release();
        if self.half_closed && self.acknowledgements.are_committed() && !self.acknowledgements.has_answer() {
            return Err(End::Closed);
        }
        self.begin_heartbeat();
        self.begin_opening();
        // Where reading was overtaken, what is committed is about to be beyond what the program has.
        if !self.assignment.is_overtaken() {
            let epoch = self.epoch().unwrap_or_default();
            self.acknowledgements.commit(&self.membership, &self.assignment, epoch);
        }
        let takes_requests =
            !self.half_closed && self.releasing.is_none() && self.acknowledgements.has_room();
        let has_use_for_place = self.has_message() || (self.reader.is_ready() && !self.half_closed);
        let (membership, due_at) = (Arc::clone(&self.membership), self.heartbeat_due_at());
        tokio::select! {
            biased;
            () = membership.displaced() => Err(End::Silenced(displaced(&membership))),
            () = membership.shared.stopping() => Err(End::Silenced(stopping())),
            () = self.answers.closed() => Err(End::Gone),
            answered = running(&mut self.heartbeat) => self.take_heartbeat(answered),
            () = sleep_until(due_at) => Ok(()),
            opened = running(&mut self.opening) => self.take_opened(opened),
            outcome = self.acknowledgements.next(&mut self.assignment) => self.take_committed(outcome),
            request = self.requests.message(), if takes_requests => self.take_request(request),
            place = self.answers.clone().reserve_owned(), if has_use_for_place => {
                self.use_place(place.map_err(|_| End::Gone)?);
                Ok(())
            }
            turn = self.reader.next() => {
                turn.into_iter().for_each(|turn| self.take_turn(turn));
                Ok(())
            }
        }
    }

    /// The coordinator has refused the member.
    fn take_refusal(&mut self, refusal: Refusal) -> Result<(), End> {
        match refusal.code {
            ErrorCode::UnknownMember | ErrorCode::FencedMember if self.member.is_joined() => {
                drop(self.member.removed(self.now_ms()));
                self.heartbeat = None;
                self.opening = None;
                self.releasing = None;
                self.reader.stop_all();
                self.assignment.lose();
                Ok(())
            }
            ErrorCode::FencedInstance | ErrorCode::ShuttingDown => Err(End::Silenced(refusal)),
            _ => Err(End::Refused(refusal)),
        }
    }

    fn begin_opening(&mut self) {
        let (None, Some(epoch), false) = (&self.opening, self.epoch(), self.assignment.opening().is_empty())
        else {
            return;
        };
        let (membership, wanted) = (Arc::clone(&self.membership), self.assignment.opening().clone());
        let opening = async move {
            let found = start_offsets::find(&membership, epoch, &wanted).await;
            if found.as_ref().is_ok_and(Vec::is_empty) {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            found
        };
        self.opening = Some(opening.boxed());
    }

    fn take_opened(&mut self, opened: Opened) -> Result<(), End> {
        self.opening = None;
        match opened {
            Ok(opened) => {
                for (at, beginning) in opened {
                    self.assignment.opened(at, beginning);
                    self.begin_reading(at);
                }
                Ok(())
            }
            Err(refusal) => self.take_refusal(refusal),
        }
    }

    fn take_committed(&mut self, outcome: Outcome) -> Result<(), End> {
        self.released(&outcome.released);
        outcome.refusal.map_or(Ok(()), |refusal| self.take_refusal(refusal))
    }

    fn take_request(&mut self, request: Result<Option<v1::SubscribeRequest>, Status>) -> Result<(), End> {
        let request = match request {
            // A stream that breaks says the same as a request that is none.
            Err(status) => return Err(End::Refused(Refusal::of_request(&status))),
            Ok(None) => {
                self.half_closed = true;
                self.reader.stop_all();
                return Ok(());
            }
            Ok(Some(request)) => request.request,
        };
        match request {
            Some(Request::Acknowledge(acknowledgement)) => {
                self.acknowledgements.push(acknowledgement).map_err(End::Refused)
            }
            Some(Request::Release(v1::Release { topics })) => {
                let count = topics.iter().map(|topic| topic.partitions.len()).sum();
                offsets::check_count(count).map_err(End::Refused)?;
                let released = wire::owned(&self.membership.engine, topics).map_err(End::Refused)?;
                self.releasing = Some(released);
                Ok(())
            }
            Some(Request::Join(_)) => {
                Err(End::Refused(wire::invalid("request: `join` comes first, and only once")))
            }
            None => Err(End::Refused(wire::invalid("request: set one of acknowledge and release"))),
        }
    }

    /// Releases what the program asked to release, once all that it acknowledged before is committed.
    fn release(&mut self) {
        if !self.acknowledgements.are_committed() {
            return;
        }
        let Some(releasing) = self.releasing.take() else { return };
        let released = releasing.into_iter().filter(|at| self.assignment.release(*at)).collect();
        self.released(&released);
    }

    fn has_message(&self) -> bool {
        let joined = self.greeting.is_some() && self.member.is_joined();
        joined || self.acknowledgements.has_answer() || (self.assignment.has_notice() && !self.half_closed)
    }

    fn use_place(&mut self, place: AnswerSlot) {
        match self.next_message() {
            Some(response) => {
                let response = v1::SubscribeResponse { response: Some(response) };
                place.send((Ok(response), None));
            }
            None => self.reader.read_next(&self.membership, place),
        }
    }

    fn next_message(&mut self) -> Option<Response> {
        if self.member.is_joined()
            && let Some(greeting) = self.greeting.take()
        {
            return Some(Response::Joined(greeting));
        }
        if let Some(answer) = self.acknowledgements.next_answer() {
            return Some(Response::Committed(answer));
        }
        if self.half_closed {
            return None;
        }
        let notice = self.assignment.next_notice()?;
        Some(match notice {
            Notice::Lost(gone) => Response::Lost(self.gone(&gone)),
            Notice::Revoked(gone) => Response::Revoked(self.gone(&gone)),
            Notice::Assigned(assigned) => {
                assigned.iter().for_each(|(at, _)| self.begin_reading(*at));
                let partition = |(at, offset): (TopicPartition, Option<Offset>)| v1::AssignedPartition {
                    topic: self.name(at),
                    topic_id: wire::id_to_wire(at.topic_id),
                    partition: at.partition.0,
                    offset: offset.map(Offset::get),
                };
                Response::Assigned(v1::Assigned { partitions: assigned.into_iter().map(partition).collect() })
            }
            Notice::PositionLost(at, missing) => {
                self.begin_reading(at);
                Response::PositionLost(v1::PositionLost {
                    topic: self.name(at),
                    partition: at.partition.0,
                    position: missing.position.get(),
                    log_start: missing.log_start.get(),
                    lost_offset_count: missing.log_start.distance_from(missing.position),
                    resumed_at: missing.resumed_at.get(),
                })
            }
            Notice::Failed(at, refusal) => {
                Response::Records(fetch::failed(&self.name(at), at.partition.0, refusal))
            }
        })
    }

    /// Begins to read a partition, if the program has heard all that comes before its records.
    fn begin_reading(&mut self, at: TopicPartition) {
        let Some(next) = self.assignment.readable(at) else { return };
        // The coordinator takes away what is gone.
        let Some(topic) = self.membership.engine.replicas().topics().by_id(at.topic_id) else { return };
        match self.membership.engine.replicas().leading_replica(&topic, at.partition) {
            Ok(replica) => self.reader.begin(at, Source::new(replica, next, None)),
            Err(refusal) => self.assignment.failed(at, refusal),
        }
    }

    fn take_turn(&mut self, turn: Turn) {
        let at = turn.at;
        let (read, place, permit, source, changed) = turn.into_parts();
        match read {
            Ok(Read::Nothing { moved }) => self.reader.go_on(at, source, (!moved).then_some(changed)),
            Ok(Read::Records(records)) => {
                if let Some(end) = records.records.last().and_then(|last| Offset::new(last.offset)) {
                    self.assignment.sent(at, end.saturating_add(1), source.next);
                    let records = v1::SubscribeResponse { response: Some(Response::Records(*records)) };
                    let (records, permit) = fetch::with_permit(records, permit);
                    place.send((Ok(records), permit));
                }
                self.reader.go_on(at, source, None);
            }
            Err(refusal) => match refusal.log_start {
                Some(log_start) if refusal.code == ErrorCode::OffsetOutOfRange && source.next < log_start => {
                    self.assignment.overtaken(at, source.next);
                }
                _ => self.assignment.failed(at, refusal),
            },
        }
    }

    fn learn_names(&mut self, assignment: &BTreeSet<TopicPartition>) {
        let topics = self.membership.engine.replicas().topics();
        let unknown = assignment.iter().filter(|at| !self.names.contains_key(&at.topic_id));
        let ids: BTreeSet<_> = unknown.map(|at| at.topic_id).collect();
        let named = ids.into_iter().filter_map(|id| Some((id, topics.by_id(id)?.name().to_string())));
        self.names.extend(named);
    }

    fn name(&self, at: TopicPartition) -> String {
        self.names.get(&at.topic_id).cloned().unwrap_or_default()
    }

    /// Partitions that the program has no more, or is to release.
    fn gone(&mut self, partitions: &[TopicPartition]) -> v1::Revoked {
        let mut topics: BTreeMap<TopicId, v1::TopicPartitions> = BTreeMap::new();
        for at in partitions {
            let topic = topics.entry(at.topic_id).or_insert_with(|| v1::TopicPartitions {
                topic: self.name(*at),
                topic_id: wire::id_to_wire(at.topic_id),
                partitions: Vec::new(),
            });
            topic.partitions.push(at.partition.0);
        }
        let had: BTreeSet<_> = self.member.owned().iter().map(|at| at.topic_id).collect();
        self.names.retain(|id, _| had.contains(id));
        v1::Revoked { topics: topics.into_values().collect() }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The end of what is under way, if anything is.
async fn running<T>(running: &mut Option<BoxFuture<'static, T>>) -> T {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

fn displaced(membership: &Membership) -> Refusal {
    let Membership { group, member, .. } = membership;
    let text = format!("another stream has joined group {group} as member {member}");
    Refusal::new(ErrorCode::FencedMember, text).with_hint("leave `member` empty: the broker draws one")
}
