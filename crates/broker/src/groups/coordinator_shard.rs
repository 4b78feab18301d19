//! The coordinator of one partition of `__groups`: it decides under a lock, and appends the records of what it
//! decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use corduroy_api::Refusal;
use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_group::{
    Coordinator, GroupConfig, GroupError, GroupName, MemberId, Now, RebalanceCause, Record,
};
use corduroy_types::{Acks, ErrorCode, LeaderEpoch, MonotonicMs, Offset, PartitionIndex};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{
    engine::{AppendRequest, Clock, PendingAck, Replica},
    metrics::{Metrics, RebalanceReason},
};

/// The records of one decision are one batch, however large.
const DECISION_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// A decision waits for its commit round without a time-out. If the wait ended early, the coordinator would not
/// know whether the decision holds.
const NO_TIMEOUT: Duration = Duration::MAX;

/// One partition of `__groups` on this broker.
pub(crate) struct CoordinatorShard {
    pub(super) replica: Arc<Replica>,
    pub(super) config: GroupConfig,
    clock: Clock,
    state: Mutex<LoadState>,
    /// Counts how often the state was dropped. A waiter for a durable decision stops waiting then.
    dropped: watch::Sender<u64>,
    /// Whether loading has succeeded or failed at least once.
    tried: watch::Sender<bool>,
    load_wanted: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// What is known of the partition's groups.
enum LoadState {
    /// Nothing. It has to be loaded; after a failure, not before the given time.
    Unloaded { not_before_ms: u64, failure: Option<Box<Refusal>> },
    /// Its records are being read.
    Loading { failure: Option<Box<Refusal>> },
    /// Everything.
    Ready(Box<Ready>),
}

struct Ready {
    coordinator: Coordinator,
    /// It leads in this epoch only.
    epoch: LeaderEpoch,
    /// Where its last record ends. An append at another offset means that records were lost, or that another
    /// writer appended.
    end: Offset,
    /// What wakes the requests that wait for changes, by group and member.
    news: BTreeMap<GroupName, BTreeMap<MemberId, Arc<Notify>>>,
}

/// When a decision may be answered.
enum Durable {
    /// When this append is acknowledged.
    Append(PendingAck),
    /// When everything before this offset is committed, in this epoch.
    Until(Offset, LeaderEpoch),
}

impl Ready {
    /// Wakes the members that these records may concern: those whose assignment changes, those that were removed,
    /// and those that wait for partitions that others may have released.
    fn tell_news(&self, records: &[Record]) {
        let mut groups = BTreeSet::new();
        for record in records {
            let (group, member) = match record {
                Record::Committed { .. } | Record::Group { .. } => continue,
                Record::Member { group, member, .. }
                | Record::Target { group, member, .. }
                | Record::Current { group, member, .. } => (group, member),
            };
            groups.insert(group);
            self.wake(group, member);
        }
        for group in groups {
            self.coordinator.unsettled(group).for_each(|member| self.wake(group, member));
        }
    }

    fn wake(&self, group: &GroupName, member: &MemberId) {
        if let Some(news) = self.news.get(group).and_then(|of_group| of_group.get(member)) {
            news.notify_waiters();
        }
    }
}

impl CoordinatorShard {
    /// Which partition of `__groups` it coordinates.
    pub(super) fn index(&self) -> PartitionIndex {
        self.replica.index()
    }

    pub(super) fn new(
        replica: Arc<Replica>,
        config: GroupConfig,
        clock: Clock,
        (load_wanted, metrics): (Arc<Notify>, Arc<Metrics>),
    ) -> Self {
        let state = Mutex::new(LoadState::Unloaded { not_before_ms: 0, failure: None });
        Self {
            replica,
            config,
            clock,
            state,
            dropped: watch::Sender::new(0),
            tried: watch::Sender::new(false),
            load_wanted,
            metrics,
        }
    }

    /// Decides, and waits until the decision and all before it are durable.
    ///
    /// # Errors
    /// The coordinator's refusal. `COORDINATOR_LOADING` while there is no coordinator, and when the decision may
    /// not hold because the partition's log has stopped: ask again.
    pub(crate) async fn decide<T>(
        &self,
        decide: impl FnOnce(&mut Coordinator, Now, &mut Vec<Record>) -> Result<T, GroupError>,
    ) -> Result<T, Refusal> {
        let (answer, durable) = self.decide_now(decide)?;
        self.wait_durable(durable).await?;
        answer.map_err(refuse)
    }

    /// Decides without a caller that waits for the answer. `None` while there is no coordinator.
    pub(super) fn decide_unasked<T>(
        &self,
        decide: impl FnOnce(&mut Coordinator, Now, &mut Vec<Record>) -> T,
    ) -> Option<T> {
        let decided = self.decide_now(|coordinator, now, records| Ok(decide(coordinator, now, records)));
        decided.ok()?.0.ok()
    }

    /// Returns what would be decided about one group, and changes nothing.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub(crate) fn check<T>(
        &self,
        group: &GroupName,
        decide: impl FnOnce(&mut Coordinator, Now, &mut Vec<Record>) -> Result<T, GroupError>,
    ) -> Result<T, Refusal> {
        let mut trial = self.with_ready(|ready| ready.coordinator.only(group))?;
        decide(&mut trial, self.now(), &mut Vec::new()).map_err(refuse)
    }

    /// Reads what is durable.
    ///
    /// # Errors
    /// `COORDINATOR_LOADING`.
    pub(crate) async fn read<T>(&self, read: impl FnOnce(&Coordinator) -> T) -> Result<T, Refusal> {
        let read = self.decide(|coordinator, _, _| Ok(read(coordinator)));
        read.await
    }

    /// What wakes when there may be a change for a member of a group. Take it before you read the state.
    ///
    /// # Errors
    /// `COORDINATOR_LOADING`.
    pub(crate) fn news_for(&self, group: &GroupName, member: &MemberId) -> Result<Arc<Notify>, Refusal> {
        self.with_ready(|ready| {
            let of_group = ready.news.entry(group.clone()).or_default();
            Arc::clone(of_group.entry(member.clone()).or_default())
        })
    }

    /// Waits until the first attempt to load has succeeded or failed.
    pub(super) async fn first_loaded(&self) {
        // An error would mean that `self` is gone.
        let mut tried = self.tried.subscribe();
        let _tried = tried.wait_for(|tried| *tried).await;
    }

    fn with_ready<T>(&self, use_ready: impl FnOnce(&mut Ready) -> T) -> Result<T, Refusal> {
        self.ready(&mut self.state.lock()).map(use_ready)
    }

    fn ready<'a>(&self, state: &'a mut LoadState) -> Result<&'a mut Ready, Refusal> {
        if matches!(state, LoadState::Ready(ready) if !self.leads_in(ready.epoch)) {
            self.drop_state(state);
        }
        match state {
            LoadState::Ready(ready) => Ok(ready),
            LoadState::Unloaded { failure, .. } | LoadState::Loading { failure } => {
                Err(self.not_loaded(failure.as_deref()))
            }
        }
    }

    fn decide_now<T>(
        &self,
        decide: impl FnOnce(&mut Coordinator, Now, &mut Vec<Record>) -> Result<T, GroupError>,
    ) -> Result<(Result<T, GroupError>, Durable), Refusal> {
        let mut state = self.state.lock();
        let ready = self.ready(&mut state)?;
        let mut records = Vec::new();
        let answer = decide(&mut ready.coordinator, self.now(), &mut records);
        match self.write(ready, &records) {
            Ok(durable) => Ok((answer, durable)),
            Err(refusal) => {
                // The coordinator holds what the log does not.
                self.drop_state(&mut state);
                Err(refusal)
            }
        }
    }

    /// Appends what was decided, and wakes the members it concerns.
    fn write(&self, ready: &mut Ready, records: &[Record]) -> Result<Durable, Refusal> {
        for (group, cause) in ready.coordinator.take_rebalances() {
            self.metrics.groups.rebalanced(group.as_str(), reason(cause));
        }
        if records.is_empty() {
            return Ok(Durable::Until(ready.end, ready.epoch));
        }
        let count = records.len();
        let batch = encode(records, self.clock)?;
        let request = AppendRequest {
            acks: Acks::Quorum,
            timeout: NO_TIMEOUT,
            expected_offset: Some(ready.end),
            memory: None,
        };
        let pending = self.replica.append(self.clock, batch, request).map_err(not_durable)?;
        ready.end = pending.base_offset().saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        ready.tell_news(records);
        Ok(Durable::Append(pending))
    }

    async fn wait_durable(&self, durable: Durable) -> Result<(), Refusal> {
        match durable {
            Durable::Append(pending) => {
                let acknowledged = pending.acknowledged().await;
                acknowledged.map(drop).map_err(not_durable).inspect_err(|_| self.load_wanted.notify_one())
            }
            Durable::Until(end, epoch) => self.wait_until(end, epoch).await,
        }
    }

    async fn wait_until(&self, end: Offset, epoch: LeaderEpoch) -> Result<(), Refusal> {
        let mut dropped = self.dropped.subscribe();
        let mut high_watermark = self.replica.watch_high_watermark();
        loop {
            let is_there = *high_watermark.borrow_and_update() >= end;
            // Checked after the read, so that the high watermark is one of this epoch.
            if !self.leads_in(epoch) {
                return Err(loading(None));
            }
            if is_there {
                return Ok(());
            }
            let gone = tokio::select! {
                moved = high_watermark.changed() => moved.is_err(),
                _ = dropped.changed() => true,
            };
            if gone {
                return Err(loading(None));
            }
        }
    }

    pub(super) fn leads_in(&self, epoch: LeaderEpoch) -> bool {
        self.replica.leader_epoch() == epoch && self.replica.failure().is_none()
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic: MonotonicMs(self.clock.monotonic_ms()), wall: self.clock.now() }
    }

    /// Whether it has to be loaded now. A caller that gets `true` has to load it.
    pub(super) fn begin_loading(&self) -> bool {
        let mut state = self.state.lock();
        match &mut *state {
            LoadState::Unloaded { not_before_ms, failure } if *not_before_ms <= self.clock.monotonic_ms() => {
                let failure = failure.take();
                *state = LoadState::Loading { failure };
                true
            }
            _ => false,
        }
    }

    /// Begins to decide with a coordinator that has taken in everything below `end`.
    ///
    /// # Errors
    /// Its first decision could not be written.
    pub(super) async fn begin(
        &self,
        coordinator: Coordinator,
        epoch: LeaderEpoch,
        end: Offset,
        begin: impl FnOnce(&mut Coordinator, Now, &mut Vec<Record>),
    ) -> Result<(), Refusal> {
        let durable = {
            let mut state = self.state.lock();
            let mut ready = Ready { coordinator, epoch, end, news: BTreeMap::new() };
            let mut records = Vec::new();
            begin(&mut ready.coordinator, self.now(), &mut records);
            let durable = self.write(&mut ready, &records)?;
            *state = LoadState::Ready(Box::new(ready));
            durable
        };
        self.tried.send_replace(true);
        self.wait_durable(durable).await
    }

    /// Loading has failed, and is tried again after `again_after`. Returns whether the failure is another one
    /// than before.
    pub(super) fn loading_failed(&self, failure: Refusal, again_after: Duration) -> bool {
        let mut state = self.state.lock();
        let known = match &*state {
            LoadState::Loading { failure } => failure.clone(),
            LoadState::Unloaded { .. } | LoadState::Ready(_) => None,
        };
        let is_news = known.is_none_or(|known| known.message != failure.message);
        let wait_ms = u64::try_from(again_after.as_millis()).unwrap_or(u64::MAX);
        let not_before_ms = self.clock.monotonic_ms().saturating_add(wait_ms);
        *state = LoadState::Unloaded { not_before_ms, failure: Some(Box::new(failure)) };
        self.dropped.send_modify(|count| *count += 1);
        self.tried.send_replace(true);
        is_news
    }

    /// Drops a coordinator whose log has stopped, and wakers that nothing waits on.
    pub(super) fn tidy(&self) {
        let _unless_ready = self.with_ready(|ready| {
            ready.news.retain(|_, of_group| {
                of_group.retain(|_, news| Arc::strong_count(news) > 1);
                !of_group.is_empty()
            });
        });
    }

    /// Why nothing is decided, and whether that passes soon.
    fn not_loaded(&self, failure: Option<&Refusal>) -> Refusal {
        let Some(failure) = failure else { return loading(None) };
        let (topic, partition) = (self.replica.topic(), self.replica.index());
        let text = format!("the groups in {topic}/{partition} cannot be loaded: {}", failure.message);
        match failure.code {
            // It does not pass until an operator decides.
            ErrorCode::Corrupt => Refusal::new(ErrorCode::PartitionOffline, text).with_hint(format!(
                "suspect the disk; to go on without what is damaged: \
                 logctl partition recover {topic}:{partition} --accept-data-loss"
            )),
            ErrorCode::PartitionOffline => Refusal::new(ErrorCode::PartitionOffline, text),
            _ => loading(Some(&failure.message)),
        }
    }

    fn drop_state(&self, state: &mut LoadState) {
        if let LoadState::Ready(ready) = &*state {
            ready.news.values().flat_map(BTreeMap::values).for_each(|news| news.notify_waiters());
        }
        *state = LoadState::Unloaded { not_before_ms: 0, failure: None };
        self.dropped.send_modify(|count| *count += 1);
        self.load_wanted.notify_one();
    }
}

fn encode(records: &[Record], clock: Clock) -> Result<Batch, Refusal> {
    let internal = |error: &dyn std::fmt::Display| Refusal::new(ErrorCode::Internal, error.to_string());
    let mut builder = BatchBuilder::new(Compression::None, DECISION_BYTES_MAX);
    for record in records {
        let (key, value) = record.encode();
        let pushed = builder.push(clock.now(), Some(&key), value.as_deref(), []).map_err(|e| internal(&e))?;
        if pushed == PushOutcome::Full {
            return Err(internal(&format_args!(
                "a change of groups takes more than {DECISION_BYTES_MAX} bytes"
            )));
        }
    }
    let bytes = builder.build().map_err(|e| internal(&e))?;
    Batch::parse(bytes).map_err(|e| internal(&e))
}

fn reason(cause: RebalanceCause) -> RebalanceReason {
    match cause {
        RebalanceCause::Joined => RebalanceReason::Joined,
        RebalanceCause::Left => RebalanceReason::Left,
        RebalanceCause::SessionEnded => RebalanceReason::SessionEnded,
        RebalanceCause::RebalanceTimedOut => RebalanceReason::RebalanceTimedOut,
        RebalanceCause::Removed => RebalanceReason::Removed,
        RebalanceCause::Subscription => RebalanceReason::Subscription,
        RebalanceCause::Topics => RebalanceReason::Topics,
    }
}

/// The coordinator's refusal, as clients see it.
fn refuse(error: GroupError) -> Refusal {
    Refusal::new(error.code(), error.to_string())
}

fn loading(failure: Option<&str>) -> Refusal {
    let text = match failure {
        None => "the broker is reading the groups' state".to_owned(),
        Some(failure) => format!("the groups' state cannot be read: {failure}"),
    };
    Refusal::new(ErrorCode::CoordinatorLoading, text)
}

/// The decision may or may not hold. Every request of a group can be sent again.
fn not_durable(cause: Refusal) -> Refusal {
    match cause.code {
        ErrorCode::ShuttingDown => Refusal::new(cause.code, cause.message),
        _ => Refusal::new(ErrorCode::CoordinatorLoading, format!("not durable: {}", cause.message)),
    }
}
