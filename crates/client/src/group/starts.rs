//! Where assigned partitions begin to be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_api::{Refusal, v1};
use corduroy_types::{LeaderEpoch, Offset};
use v1::groups_client::GroupsClient;

use super::{
    Commit, GroupConsumeError,
    core::{Core, Start},
    offsets::{Part, names, to_wire},
    window::Place,
};
use crate::{
    ClientError, Event, OffsetSpec, TopicPartition, backoff::Backoff, client::Repeat, consumer::resolve,
};

/// How far the group has come in a partition.
#[derive(Debug, Clone, Copy)]
struct Committed {
    offset: Option<Offset>,
    epoch: Option<LeaderEpoch>,
    log_start: Offset,
    high_watermark: Offset,
}

/// Where to begin, and what is to be told of that.
#[derive(Debug, Default)]
struct Chosen {
    starts: Vec<Start>,
    events: Vec<Event>,
    errors: Vec<GroupConsumeError>,
}

impl Core {
    /// Finds where the group goes on in partitions, begins there where it never was, and reads them. Retries for
    /// as long as it takes.
    pub(crate) async fn open(self: &Arc<Self>, parts: BTreeSet<Part>) {
        let mut backoff = Backoff::default();
        let committed = loop {
            match self.fetch_committed(&parts).await {
                Ok(committed) => break committed,
                Err(error) => self.wait_after(&error, &mut backoff).await,
            }
        };
        self.until(|state| state.losing == 0).await;
        let chosen = match self.ask_hook(&committed).await {
            Ok(chosen) => chosen,
            Err(error) => {
                self.state.lock().opening.retain(|part| !parts.contains(part));
                return self.raise(error);
            }
        };
        let Chosen { mut starts, events, errors } = loop {
            match self.choose(&committed, &chosen).await {
                Ok(chosen) => break chosen,
                Err(error) => self.wait_after(&error, &mut backoff).await,
            }
        };
        if self.options.commit != Commit::Never {
            self.commit_starts(&mut starts).await;
        }
        let begun = {
            let mut state = self.state.lock();
            let begun = state.begin(starts, &self.signals);
            // What cannot be read, because its topic is gone, does not hold its revocation up.
            state.opening.retain(|part| !parts.contains(part));
            begun
        };
        for event in events {
            self.client.events.tell(event);
        }
        self.state.lock().errors.extend(errors);
        self.signals.tell();
        if !begun.is_empty() {
            let (group, partitions) = (Arc::clone(&self.options.group), names(&begun));
            self.client.events.tell(Event::Assigned { group, partitions });
        }
    }

    async fn wait_after(&self, error: &ClientError, backoff: &mut Backoff) {
        tracing::debug!(group = %self.options.group, %error, "where to begin cannot be found yet; trying again");
        tokio::time::sleep(backoff.next()).await;
    }

    /// What the group has committed; partitions that there are not are left out.
    async fn fetch_committed(
        &self,
        parts: &BTreeSet<Part>,
    ) -> Result<BTreeMap<Part, Committed>, ClientError> {
        let request =
            v1::FetchOffsetsRequest { group: self.options.group.to_string(), topics: to_wire(parts) };
        let answer = self
            .client
            .control(Repeat::Reads, |channel| {
                let request = request.clone();
                async move { GroupsClient::new(channel).fetch_offsets(request).await }
            })
            .await?;
        let mut found = BTreeMap::new();
        for offset in answer.offsets {
            let is_it = |part: &&Part| {
                part.name.topic.as_str() == offset.topic && part.name.partition.0 == offset.partition
            };
            let Some(part) = parts.iter().find(is_it) else { continue };
            match offset.error {
                None => drop(found.insert(part.clone(), read_committed(&offset)?)),
                Some(error) => {
                    let refusal = Refusal::from(error);
                    if refusal.code.is_retriable() {
                        return Err(refusal.into());
                    }
                    tracing::debug!(partition = %part.name, error = %refusal, "assigned, but not there");
                }
            }
        }
        Ok(found)
    }

    /// Tells the hook of new partitions, and asks where to begin.
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
                (None, None) => open.push((part, self.options.start, None)),
                (None, Some(offset)) => {
                    self.go_on(part, *known, offset, &mut result);
                }
            }
        }
        let places =
            open.iter().map(|(part, spec, _)| (part.name.topic.as_str(), part.name.partition, *spec));
        let found = resolve(&self.client, places).await?;
        for ((part, _, committed), position) in open.into_iter().zip(found) {
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
    async fn commit_starts(self: &Arc<Self>, starts: &mut [Start]) {
        let mut backoff = Backoff::default();
        loop {
            let due: Vec<_> = {
                let state = self.state.lock();
                let is_due =
                    |start: &&Start| state.is_coming(&start.part) && start.committed != Some(start.position);
                let place = |start: &Start| Place { offset: start.position, epoch: start.epoch };
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
                    Err(refusal) if refusal.code.is_retriable() => again = true,
                    Err(refusal) => {
                        // It is somebody else's by now, or gone.
                        tracing::debug!(partition = %part.name, error = %refusal, "the start was not committed");
                        self.state.lock().opening.remove(part);
                    }
                }
            }
            if again {
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
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
