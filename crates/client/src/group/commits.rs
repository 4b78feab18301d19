//! Committing offsets.

use std::sync::{Arc, atomic::Ordering};

use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, LeaderEpoch};
use tokio::time::Instant;
use v1::groups_client::GroupsClient;

use super::{
    Commit, CommitError, Offsets,
    core::{Core, Slot},
    offsets::Part,
    window::CommitPosition,
};
use crate::{backoff::Backoff, client::Repeat};

/// The most offsets in one request.
const REQUEST_OFFSETS_MAX: usize = 10_000;

/// Which partitions to commit.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    All,
    These(Vec<Part>),
}

impl Core {
    /// Commits what is done now.
    pub(crate) async fn commit_done(self: &Arc<Self>) -> Result<Offsets, CommitError> {
        if self.options.commit == Commit::Never {
            let refusal =
                Refusal::new(ErrorCode::InvalidRequest, "this consumer was built with Commit::Never");
            return Err(CommitError::new(
                refusal.with_hint("Build it with another `commit`, or commit elsewhere."),
                Vec::new(),
            ));
        }
        let until = Instant::now() + self.client.request_timeout;
        self.commit(Which::All, until).await
    }

    /// Commits what is done in some partitions, trying until then. Once begun it runs to its end, even if no one
    /// waits for it: otherwise an older commit could come behind a newer.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        which: Which,
        until: Instant,
    ) -> Result<Offsets, CommitError> {
        let core = Arc::clone(self);
        let run = async move {
            let _turn = core.commits.lock().await;
            let mut backoff = Backoff::default();
            loop {
                let due = core.due(&which);
                let failed = core.commit_once(&due).await;
                let Some((refusal, _)) = failed.first().cloned() else { return Ok(core.committed(&which)) };
                let wait = backoff.next();
                if !failed.iter().all(|(refusal, _)| refusal.code.is_retriable())
                    || Instant::now() + wait > until
                {
                    let partitions = failed.into_iter().map(|(_, part)| part.name).collect();
                    return Err(CommitError::new(refusal, partitions));
                }
                tokio::time::sleep(wait).await;
            }
        };
        tokio::spawn(run).await.unwrap_or_else(|_| Err(CommitError::closed()))
    }

    /// Commits these offsets, and counts as done what is below them.
    pub(crate) async fn commit_these(self: &Arc<Self>, offsets: &Offsets) -> Result<(), CommitError> {
        let mut items = Vec::new();
        {
            let state = self.state.lock();
            for (name, offset) in offsets.iter() {
                let Some((part, slot)) = state.slots.iter().find(|(part, _)| part.name == *name) else {
                    let refusal = Refusal::new(
                        ErrorCode::PartitionNotAssigned,
                        format!(
                            "partition {name} is not assigned to this member of group {}",
                            self.options.group
                        ),
                    );
                    return Err(CommitError::new(refusal, vec![name.clone()]));
                };
                let known = slot.track.place();
                let epoch = known.epoch.filter(|_| known.offset <= offset);
                items.push((Arc::clone(&slot.track), (part.clone(), CommitPosition { offset, epoch })));
            }
        }
        let core = Arc::clone(self);
        let run = async move {
            let _turn = core.commits.lock().await;
            // What was lost or sought in during the wait, and perhaps given again, is to go on from where it is now.
            let (held, gone): (Vec<_>, Vec<_>) = items.into_iter().partition(|(track, _)| track.is_held());
            let (tracks, items): (Vec<_>, Vec<_>) = held.into_iter().unzip();
            let mut failed = core.commit_once(&items).await;
            for (track, (part, place)) in tracks.iter().zip(&items) {
                if !failed.iter().any(|(_, failed)| failed == part) {
                    track.done_below(place.offset);
                }
            }
            failed.extend(gone.into_iter().map(|(_, (part, _))| (superseded(&part), part)));
            let Some((refusal, _)) = failed.first().cloned() else { return Ok(()) };
            Err(CommitError::new(refusal, failed.into_iter().map(|(_, part)| part.name).collect()))
        };
        tokio::spawn(run).await.unwrap_or_else(|_| Err(CommitError::closed()))
    }

    /// Commits what a message waits for. Returns whether it may go out, or never will.
    pub(crate) async fn commit_clearing(self: &Arc<Self>) -> Result<(), Refusal> {
        let _turn = self.commits.lock().await;
        let waiting =
            self.state.lock().clearing.as_ref().map(|clearing| (clearing.part.clone(), clearing.to));
        let Some((part, to)) = waiting else { return Ok(()) };
        let failed = self.commit_once(&[(part.clone(), to)]).await;
        let mut state = self.state.lock();
        match failed.into_iter().next() {
            None => {
                if let Some(slot) = state.slots.get_mut(&part) {
                    slot.cleared_to = slot.cleared_to.max(to.offset);
                }
            }
            Some((refusal, _)) if refusal.code.is_retriable() => return Err(refusal),
            Some((refusal, _)) => {
                tracing::debug!(partition = %part.name, error = %refusal, "not committed, so not handed out");
                state.stop_reading([&part]);
            }
        }
        drop(state);
        self.signals.notify_all();
        Ok(())
    }

    /// What is done and not committed.
    fn due(&self, which: &Which) -> Vec<(Part, CommitPosition)> {
        let mut state = self.state.lock();
        state.settle();
        let wanted = |part: &Part| match which {
            Which::All => true,
            Which::These(parts) => parts.contains(part),
        };
        // What was committed before handling is taken back only where handling ends.
        let may_go_back = self.options.commit != Commit::BeforeHandling || state.closing;
        let is_due = |slot: &Slot| may_go_back || slot.place.is_none();
        let slots = state.slots.iter().filter(|(part, slot)| wanted(part) && is_due(slot));
        slots
            .map(|(part, slot)| (part, slot.track.place(), slot.committed))
            .filter(|(_, place, committed)| Some(place.offset) != *committed)
            .map(|(part, place, _)| (part.clone(), place))
            .collect()
    }

    /// How many offsets are done and not committed, where commits are automatic; at least one where that is not known.
    pub(crate) fn uncommitted_count(&self) -> u64 {
        if !matches!(self.options.commit, Commit::Processed { .. }) {
            return 0;
        }
        let state = self.state.lock();
        let count = |slot: &Slot| {
            let done = slot.track.place().offset;
            slot.committed.map_or(1, |committed| done.distance_from(committed.min(done)))
        };
        state.slots.values().map(count).sum()
    }

    /// What is committed.
    pub(crate) fn committed(&self, which: &Which) -> Offsets {
        let state = self.state.lock();
        let wanted = |part: &Part| match which {
            Which::All => true,
            Which::These(parts) => parts.contains(part),
        };
        let slots = state.slots.iter().filter(|(part, _)| wanted(part));
        slots.filter_map(|(part, slot)| Some((part.name.clone(), slot.committed?))).collect()
    }

    /// One attempt. Notes what is committed by it; returns what is not.
    async fn commit_once(&self, items: &[(Part, CommitPosition)]) -> Vec<(Refusal, Part)> {
        let results = self.send_commit(items).await;
        let mut state = self.state.lock();
        let mut failed = Vec::new();
        for ((part, place), result) in items.iter().zip(results) {
            let slot = state.slots.get_mut(part);
            match result {
                Ok(()) => {
                    if let Some(slot) = slot {
                        slot.committed = Some(place.offset);
                    }
                }
                Err(refusal) => {
                    // It may have been committed nevertheless.
                    if let Some(slot) = slot {
                        slot.committed = None;
                    }
                    failed.push((refusal, part.clone()));
                }
            }
        }
        failed
    }

    /// Sends offsets to commit; one result for each.
    pub(crate) async fn send_commit(&self, items: &[(Part, CommitPosition)]) -> Vec<Result<(), Refusal>> {
        let mut results = Vec::with_capacity(items.len());
        for items in items.chunks(REQUEST_OFFSETS_MAX) {
            let request = v1::CommitOffsetsRequest {
                group: self.options.group.to_string(),
                member: Some(v1::MemberIdentity {
                    member: self.options.member.clone(),
                    member_epoch: self.epoch.load(Ordering::Acquire),
                }),
                offsets: items.iter().map(|(part, place)| to_commit(part, *place)).collect(),
                validate_only: false,
            };
            let answer = self
                .client
                .control(Repeat::Never, |channel| {
                    let request = request.clone();
                    async move { GroupsClient::new(channel).commit_offsets(request).await }
                })
                .await;
            match answer {
                Ok(answer) if answer.offsets.len() == items.len() => {
                    let result =
                        |item: v1::CommittedResult| item.error.map_or(Ok(()), |error| Err(error.into()));
                    results.extend(answer.offsets.into_iter().map(result));
                }
                Ok(answer) => {
                    let message =
                        format!("the broker answered {} items to {}", answer.offsets.len(), items.len());
                    let refusal = Refusal::new(ErrorCode::UnexpectedAnswer, message);
                    results.extend(items.iter().map(|_| Err(refusal.clone())));
                }
                Err(error) => results.extend(items.iter().map(|_| Err(error.refusal().clone()))),
            }
        }
        results
    }
}

/// Why an offset is not committed that was waited with for too long.
fn superseded(part: &Part) -> Refusal {
    let message = format!("partition {} was lost or sought in before its offset was committed", part.name);
    Refusal::new(ErrorCode::PartitionNotAssigned, message)
}

fn to_commit(part: &Part, place: CommitPosition) -> v1::OffsetToCommit {
    v1::OffsetToCommit {
        topic: part.name.topic.to_string(),
        topic_id: part.topic_id.clone(),
        partition: part.name.partition.0,
        offset: place.offset.get(),
        leader_epoch: place.epoch.map(LeaderEpoch::get),
        metadata: String::new(),
    }
}
