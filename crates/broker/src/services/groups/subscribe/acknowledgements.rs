//! What a program is done with, on its way to being committed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use corduroy_api::{Refusal, v1};
use corduroy_group::{CommitOffset, GroupError, MemberEpoch, TopicPartition};
use corduroy_types::{ErrorCode, Offset};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    super::{offsets, wire},
    assignment::{MemberAssignment, Verdict},
    membership::Membership,
};

/// Acknowledgements that wait to be committed or answered, at most. With them nothing more is taken from the client.
const WAITING_MAX: usize = 8;

/// In the order in which they came. Those that came while others were being committed are committed together.
#[derive(Default)]
pub(super) struct Acknowledgements {
    waiting: VecDeque<v1::Acknowledgement>,
    committing: Option<BoxFuture<'static, Committed>>,
    answers: VecDeque<v1::CommitOffsetsResponse>,
    in_flight: usize,
}

/// Some acknowledgements that are being committed together.
struct Round {
    answers: Vec<v1::CommitOffsetsResponse>,
    /// For each offset that goes to the coordinator, where the result about it is.
    places: Vec<ResultPlace>,
    offsets: Vec<CommitOffset>,
    /// How far this round goes in each partition.
    reached: BTreeMap<TopicPartition, Offset>,
}

struct ResultPlace {
    answer: usize,
    result: usize,
    at: TopicPartition,
    offset: Offset,
}

/// The end of a round.
struct Committed {
    round: Round,
    results: Result<Vec<Result<(), GroupError>>, Refusal>,
}

/// What came of a round for the member.
pub(super) struct Outcome {
    /// The partitions that are released with it.
    pub(super) released: BTreeSet<TopicPartition>,
    /// Why nothing was committed.
    pub(super) refusal: Option<Refusal>,
}

impl Acknowledgements {
    /// Whether another one can be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() + self.in_flight + self.answers.len() < WAITING_MAX
    }

    /// Whether all are committed, or refused.
    pub(super) fn are_committed(&self) -> bool {
        self.waiting.is_empty() && self.committing.is_none()
    }

    /// Whether an answer waits to be sent.
    pub(super) fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(super) fn next_answer(&mut self) -> Option<v1::CommitOffsetsResponse> {
        self.answers.pop_front()
    }

    /// Takes one in.
    ///
    /// # Errors
    /// It has too many offsets.
    pub(super) fn push(&mut self, acknowledgement: v1::Acknowledgement) -> Result<(), Refusal> {
        offsets::check_count(acknowledgement.offsets.len())?;
        self.waiting.push_back(acknowledgement);
        Ok(())
    }

    /// Begins to commit what waits, unless something is being committed.
    pub(super) fn commit(
        &mut self,
        membership: &Arc<Membership>,
        assignment: &MemberAssignment,
        epoch: MemberEpoch,
    ) {
        if self.committing.is_some() || self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.in_flight = waiting.len();
        let mut round = Round::of(membership, assignment, waiting);
        let membership = Arc::clone(membership);
        let committing = async move {
            let results = match round.offsets.is_empty() {
                true => Ok(Vec::new()),
                false => membership.commit(epoch, std::mem::take(&mut round.offsets)).await,
            };
            Committed { round, results }
        };
        self.committing = Some(committing.boxed());
    }

    /// Waits for what is being committed.
    pub(super) async fn next(&mut self, assignment: &mut MemberAssignment) -> Outcome {
        let Some(committing) = &mut self.committing else { return std::future::pending().await };
        let Committed { mut round, results } = committing.await;
        self.committing = None;
        self.in_flight = 0;
        let mut outcome = Outcome { released: BTreeSet::new(), refusal: None };
        let results = results.unwrap_or_else(|refusal| {
            round.refuse(&refusal);
            outcome.refusal = Some(refusal);
            Vec::new()
        });
        for (at, offset) in round.settle(results) {
            if assignment.committed(at, offset) {
                outcome.released.insert(at);
            }
        }
        self.answers.extend(round.answers);
        outcome
    }
}

impl Round {
    fn of(
        membership: &Membership,
        assignment: &MemberAssignment,
        waiting: impl IntoIterator<Item = v1::Acknowledgement>,
    ) -> Self {
        let mut round =
            Self { answers: Vec::new(), places: Vec::new(), offsets: Vec::new(), reached: BTreeMap::new() };
        for acknowledgement in waiting {
            let mut results = Vec::with_capacity(acknowledgement.offsets.len());
            for one in acknowledgement.offsets {
                let (topic, partition) = (one.topic.clone(), one.partition);
                let judged = offsets::to_commit(&membership.engine, one)
                    .and_then(|offset| round.judge(membership, assignment, &topic, offset));
                let error = match judged {
                    Ok(offset) => {
                        let (answer, result) = (round.answers.len(), results.len());
                        let (at, offset_to) = (offset.partition, offset.offset);
                        round.reached.insert(at, offset_to);
                        round.places.push(ResultPlace { answer, result, at, offset: offset_to });
                        round.offsets.push(offset);
                        None
                    }
                    Err(refusal) => Some(refusal.into()),
                };
                results.push(v1::CommittedResult { topic, partition, error });
            }
            round.answers.push(v1::CommitOffsetsResponse { offsets: results });
        }
        round
    }

    /// Whether an acknowledged offset is to be committed.
    fn judge(
        &self,
        membership: &Membership,
        assignment: &MemberAssignment,
        topic: &str,
        offset: CommitOffset,
    ) -> Result<CommitOffset, Refusal> {
        let (at, to) = (offset.partition, offset.offset);
        let verdict = match (assignment.judge(at, to), self.reached.get(&at)) {
            (Verdict::Commit, Some(reached)) if to < *reached => Verdict::Behind(*reached),
            (verdict, _) => verdict,
        };
        match verdict {
            Verdict::Commit => Ok(offset),
            Verdict::Behind(reached) => Err(wire::invalid(format!(
                "offset {to} of topic {topic}, partition {}, lies before {reached}, where the group is already; it \
                 stays there",
                at.partition
            ))),
            Verdict::NotSent(end) => Err(wire::invalid(format!(
                "offset {to} of topic {topic}, partition {}, was not sent on this stream, which is at {end}",
                at.partition
            ))),
            Verdict::NotAssigned => {
                let (group, member) = (membership.group.clone(), membership.member.clone());
                let error = GroupError::NotAssigned { group, member, partition: at };
                Err(Refusal::new(ErrorCode::PartitionNotAssigned, error.to_string()))
            }
        }
    }

    /// Refuses all that was to be committed.
    fn refuse(&mut self, refusal: &Refusal) {
        for place in std::mem::take(&mut self.places) {
            self.report(&place, refusal.clone());
        }
    }

    /// Takes in what became of each. Returns what is committed now.
    fn settle(&mut self, results: Vec<Result<(), GroupError>>) -> Vec<(TopicPartition, Offset)> {
        let mut committed = Vec::with_capacity(results.len());
        for (place, result) in std::mem::take(&mut self.places).into_iter().zip(results) {
            match result {
                Ok(()) => committed.push((place.at, place.offset)),
                Err(error) => self.report(&place, Refusal::new(error.code(), error.to_string())),
            }
        }
        committed
    }

    fn report(&mut self, place: &ResultPlace, refusal: Refusal) {
        let answer = self.answers.get_mut(place.answer);
        if let Some(result) = answer.and_then(|answer| answer.offsets.get_mut(place.result)) {
            result.error = Some(refusal.into());
        }
    }
}
