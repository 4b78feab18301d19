//! Where assigned partitions begin to be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, LeaderEpoch, Offset};
use v1::groups_client::GroupsClient;

use super::{
    Commit, GroupConsumeError,
    core::{Core, Start},
    deliver::is_gone,
    heartbeat_task::is_passing,
    offsets::{Part, names, to_wire},
    window::CommitPosition,
};
use crate::{
    ClientError, ConsumeError, Event, OffsetSpec, TopicPartition, backoff::Backoff, client::Repeat,
    consumer::resolve_each,
};

/// The most partitions in one request.
const REQUEST_PARTITIONS_MAX: usize = 10_000;

/// How far the group has come in a partition.
#[derive(Debug, Clone, Copy)]
struct Committed {
    offset: Option<Offset>,
    epoch: Option<LeaderEpoch>,
    log_start: Offset,
    high_watermark: Offset,
}

/// Where to begin, and which event reports it.
#[derive(Debug, Default)]
struct Chosen {
    starts: Vec<Start>,
    events: Vec<Event>,
    errors: Vec<GroupConsumeError>,
}

impl Core {
    /// Finds where the group goes on in partitions, begins there where it never was, and reads them. Retries what
    /// may pass for as long as it takes, and reports what will not to the user.
    pub(crate) async fn open(self: &Arc<Self>, parts: BTreeSet<Part>) {
        let Chosen { starts, events, errors } = self.find_starts(&parts).await;
        let begun = {
            let mut state = self.state.lock();
            let begun = state.begin(starts, &self.signals);
            // What cannot be read, because its topic is gone, does not hold its revocation up.
            state.opening.retain(|part| !parts.contains(part));
            begun
        };
        for event in events {
            self.client.events.emit(event);
        }
        self.state.lock().errors.extend(errors);
        self.signals.notify_all();
        if !begun.is_empty() {
            let (group, partitions) = (Arc::clone(&self.options.group), names(&begun));
            self.client.events.emit(Event::Assigned { group, partitions });
        }
    }

    async fn find_starts(self: &Arc<Self>, parts: &BTreeSet<Part>) -> Chosen {
        let mut backoff = Backoff::default();
        let (committed, mut errors) = loop {
            match self.fetch_committed(parts).await {
                Ok(found) => break found,
                Err(error) if is_passing(error.code()) => {
                    if !self.wait_after(&error, &mut backoff, parts).await {
                        return Chosen::default();
                    }
                }
                Err(error) => return Chosen::nothing(parts, &error),
            }
        };
        self.until(|state| state.losing == 0).await;
        let specs = match self.ask_hook(&committed).await {
            Ok(specs) => specs,
            Err(error) => {
                errors.push(error);
                return Chosen { errors, ..Chosen::default() };
            }
        };
        let mut chosen = loop {
            match self.choose(&committed, &specs).await {
                Ok(chosen) => break chosen,
                Err(error) if is_passing(error.code()) => {
                    if !self.wait_after(&error, &mut backoff, parts).await {
                        break Chosen::default();
                    }
                }
                Err(error) => break Chosen::nothing(committed.keys(), &error),
            }
        };
        if self.options.commit != Commit::Never {
            self.commit_starts(&mut chosen).await;
        }
        chosen.errors.extend(errors);
        chosen
    }

    /// Waits before the next attempt; returns whether any of the partitions is still wanted then.
    async fn wait_after(&self, error: &ClientError, backoff: &mut Backoff, parts: &BTreeSet<Part>) -> bool {
        tracing::debug!(group = %self.options.group, %error, "where to begin cannot be found yet; trying again");
        tokio::time::sleep(backoff.next()).await;
        let state = self.state.lock();
        parts.iter().any(|part| state.is_coming(part))
    }

    /// What the group has committed; partitions that cannot be begun with are left out, with their errors.
    async fn fetch_committed<'a>(
        &self,
        parts: &'a BTreeSet<Part>,
    ) -> Result<(BTreeMap<Part, Committed>, Vec<GroupConsumeError>), ClientError> {
        let by_name = |part: &'a Part| ((part.name.topic.as_str(), part.name.partition.0), part);
        let parts: BTreeMap<_, _> = parts.iter().map(by_name).collect();
        let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
        let all: Vec<_> = parts.values().copied().collect();
        for some in all.chunks(REQUEST_PARTITIONS_MAX) {
            let topics = to_wire(some.iter().copied());
            let request = v1::FetchOffsetsRequest { group: self.options.group.to_string(), topics };
            let answer = self
                .client
                .control(Repeat::Reads, |channel| {
                    let request = request.clone();
                    async move { GroupsClient::new(channel).fetch_offsets(request).await }
                })
                .await?;
            for offset in answer.offsets {
                let Some(part) = parts.get(&(offset.topic.as_str(), offset.partition)) else { continue };
                match offset.error {
                    None => drop(found.insert((*part).clone(), read_committed(&offset)?)),
                    Some(error) => {
                        let refusal = Refusal::from(error);
                        if is_passing(refusal.code) {
                            return Err(refusal.into());
                        }
                        errors.extend(cannot_begin(part, Offset::ZERO, refusal));
                    }
                }
            }
        }
        Ok((found, errors))
    }

    /// Calls the hook for new partitions, which says where to begin.
    async fn ask_hook(
        self: &Arc<Self>,
        committed: &BTreeMap<Part, Committed>,
    ) -> Result<BTreeMap<Part, OffsetSpec>, GroupConsumeError> {
        let Some(hook) = &self.options.hook else { return Ok(BTreeMap::new()) };
        let _turn = self.hook_calls.lock().await;
        let parts: Vec<_> = {
            let mut state = self.state.lock();
            let still: Vec<_> = committed.keys().filter(|part| state.is_coming(part)).cloned().collect();
            state.hooked.extend(still.iter().cloned());
            still
        };
        if parts.is_empty() {
            return Ok(BTreeMap::new());
        }
        let new = names(&parts);
        let chosen = hook.assigned(&super::Rebalance::new(self), &new).await;
        let chosen = chosen.map_err(|error| GroupConsumeError::Hook {
            message: error.to_string(),
            partitions: new.clone(),
        })?;
        let part = |name: &TopicPartition| parts.iter().find(|part| part.name == *name).cloned();
        Ok(chosen.into_iter().filter_map(|(name, spec)| Some((part(&name)?, spec))).collect())
    }

    async fn choose(
        &self,
        committed: &BTreeMap<Part, Committed>,
        chosen: &BTreeMap<Part, OffsetSpec>,
    ) -> Result<Chosen, ClientError> {
        let mut result = Chosen::default();
        let mut open = Vec::new();
        for (part, known) in committed {
            match (chosen.get(part), known.offset) {
                (Some(spec), offset) => open.push((part, *spec, offset)),
                (None, None) => open.push((part, self.options.start_of(part), None)),
                (None, Some(offset)) => {
                    self.go_on(part, *known, offset, &mut result);
                }
            }
        }
        let places =
            open.iter().map(|(part, spec, _)| (part.name.topic.as_str(), part.name.partition, *spec));
        let found = resolve_each(&self.client, places).await?;
        for ((part, _, committed), found) in open.into_iter().zip(found) {
            let position = match found {
                Ok(position) => position,
                Err(error) if is_passing(error.code()) => return Err(error),
                Err(error) => {
                    let position = committed.unwrap_or(Offset::ZERO);
                    result.errors.extend(cannot_begin(part, position, error.refusal().clone()));
                    continue;
                }
            };
            let start = Start { part: part.clone(), position, epoch: None, committed, stopped: false };
            result.starts.push(start);
        }
        Ok(result)
    }

    /// Goes on at a committed offset, if the records from there on are still there.
    fn go_on(&self, part: &Part, known: Committed, offset: Offset, result: &mut Chosen) {
        let Committed { epoch, log_start, high_watermark, .. } = known;
        let mut start =
            Start { part: part.clone(), position: offset, epoch, committed: Some(offset), stopped: false };
        if offset < log_start {
            let lost = self.position_lost(part, offset, log_start);
            match self.resume_at(log_start, Some(high_watermark)) {
                None => {
                    start.stopped = true;
                    result.errors.push(GroupConsumeError::PositionLost(lost));
                }
                Some(resumed_at) => {
                    start.position = resumed_at;
                    result.events.push(Event::PositionLost { lost, resumed_at });
                }
            }
        }
        result.starts.push(start);
    }

    /// Commits where reading begins, so that there is a position before there is a record; retries for as long as
    /// the partitions are ours.
    async fn commit_starts(self: &Arc<Self>, chosen: &mut Chosen) {
        let Chosen { starts, errors, .. } = chosen;
        let mut backoff = Backoff::default();
        loop {
            let due: Vec<_> = {
                let state = self.state.lock();
                let is_due =
                    |start: &&Start| state.is_coming(&start.part) && start.committed != Some(start.position);
                let place = |start: &Start| CommitPosition { offset: start.position, epoch: start.epoch };
                starts.iter().filter(is_due).map(|start| (start.part.clone(), place(start))).collect()
            };
            if due.is_empty() {
                return;
            }
            let committed = self.send_commit(&due).await;
            let mut again = false;
            for ((part, place), result) in due.iter().zip(committed) {
                let Some(start) = starts.iter_mut().find(|start| start.part == *part) else { continue };
                match result {
                    Ok(()) => start.committed = Some(place.offset),
                    Err(refusal) if is_passing(refusal.code) => again = true,
                    Err(refusal) => {
                        self.state.lock().opening.remove(part);
                        errors.extend(cannot_begin(part, place.offset, refusal));
                    }
                }
            }
            if again {
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

impl Chosen {
    /// Partitions with which nothing can be begun, because of an error about all of them.
    fn nothing<'a>(parts: impl IntoIterator<Item = &'a Part>, error: &ClientError) -> Self {
        let errors =
            parts.into_iter().filter_map(|part| cannot_begin(part, Offset::ZERO, error.refusal().clone()));
        Self { errors: errors.collect(), ..Self::default() }
    }
}

/// The error of a partition that cannot be begun with: nothing where it is gone or another one's by now,
/// for the coordinator sees to that.
fn cannot_begin(part: &Part, position: Offset, refusal: Refusal) -> Option<GroupConsumeError> {
    let is_left = matches!(
        refusal.code,
        ErrorCode::PartitionNotAssigned | ErrorCode::UnknownMember | ErrorCode::FencedMember
    );
    if is_left || is_gone(refusal.code) {
        tracing::debug!(partition = %part.name, error = %refusal, "assigned, but not to be read");
        return None;
    }
    let TopicPartition { topic, partition } = part.name.clone();
    Some(ConsumeError::new(topic, partition, position, refusal).into())
}

fn read_committed(offset: &v1::GroupOffset) -> Result<Committed, ClientError> {
    let valid = |value: u64| {
        Offset::new(value).ok_or_else(|| ClientError::unexpected(format!("{value} is no offset")))
    };
    Ok(Committed {
        offset: offset.offset.map(valid).transpose()?,
        epoch: offset.leader_epoch.and_then(LeaderEpoch::new),
        log_start: valid(offset.log_start)?,
        high_watermark: valid(offset.high_watermark)?,
    })
}
