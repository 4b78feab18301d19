//! Leading: in the epochs that the image has for this broker, each durable in the commit journal first. A new epoch
//! is proposed where the last one has ended.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use corduroy_log::{EpochEntry, LogError, journal::JournalRequest};
use corduroy_metadata::{ElectLeaders, Election, Image};
use corduroy_types::LeaderEpoch;

use super::super::{Clock, CommitQueue, Engine, Replica};

/// Why an epoch did not begin. Nothing was appended in it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EpochError {
    /// It does not follow the log's last one.
    #[error("leader epoch {epoch} cannot begin: {reason}")]
    Refused { epoch: LeaderEpoch, reason: String },
    /// The log has stopped, or holds what is not durable yet. The same epoch can begin later.
    #[error("leader epoch {epoch} cannot begin yet: {reason}")]
    NotYet { epoch: LeaderEpoch, reason: String },
    /// No epoch was handed out.
    #[error("no new leader epoch: {0}")]
    NotElected(String),
    /// The journal has failed.
    #[error("leader epochs cannot be made durable: {0}")]
    Journal(String),
}

impl EpochError {
    fn elect(error: &impl ToString) -> Self {
        Self::NotElected(error.to_string())
    }

    fn of(epoch: LeaderEpoch, error: &LogError) -> Self {
        let reason = error.to_string();
        match error {
            LogError::Epoch(_) => Self::Refused { epoch, reason },
            _ => Self::NotYet { epoch, reason },
        }
    }
}

/// One thing that only one call at a time does with a replica.
struct Claim {
    replica: Arc<Replica>,
    flag: fn(&Replica) -> &AtomicBool,
}

impl Claim {
    fn of(replica: &Arc<Replica>, flag: fn(&Replica) -> &AtomicBool) -> Option<Self> {
        let is_free = !flag(replica).swap(true, Ordering::AcqRel);
        is_free.then(|| Self { replica: Arc::clone(replica), flag })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        (self.flag)(&self.replica).store(false, Ordering::Release);
    }
}

/// Begins an epoch in each of these replicas, with one sync for all of them, and leads in it. Returns those in which
/// it did not begin; they hold up none of the others. Where another call is at it already, that one leads.
pub(in crate::engine) async fn begin_and_lead(
    commits: &CommitQueue,
    clock: Clock,
    replicas: Vec<(Arc<Replica>, LeaderEpoch)>,
) -> Vec<(Arc<Replica>, EpochError)> {
    let mut failed = Vec::new();
    let mut begun: Vec<(Arc<Replica>, EpochEntry)> = Vec::with_capacity(replicas.len());
    let mut claimed = Vec::with_capacity(replicas.len());
    for (replica, epoch) in replicas {
        let Some(claim) = Claim::of(&replica, |replica| &replica.beginning) else { continue };
        claimed.push(claim);
        if replica.leader_epoch() >= epoch && replica.is_led() {
            continue;
        }
        // A log that is gone meanwhile leads nothing.
        match replica.with_log(|log, _| log.plan_epoch(epoch)) {
            Some(Ok(entry)) => begun.push((replica, entry)),
            Some(Err(error)) => failed.push((replica, EpochError::of(epoch, &error))),
            None => {}
        }
    }
    if begun.is_empty() {
        return failed;
    }
    let requests = begun.iter().map(|(replica, entry)| JournalRequest::BeginEpoch(replica.key(), *entry));
    let durable = commits.ask(requests.collect()).await;
    if let Err(reason) = durable.unwrap_or_else(|_| Err("the broker stops".to_owned())) {
        failed.extend(begun.into_iter().map(|(replica, _)| (replica, EpochError::Journal(reason.clone()))));
        return failed;
    }
    for (replica, entry) in begun {
        match replica.with_log(|log, _| log.begin_epoch(entry)) {
            Some(Ok(())) => replica.lead(entry.epoch, clock),
            Some(Err(error)) => failed.push((replica, EpochError::of(entry.epoch, &error))),
            None => {}
        }
    }
    failed
}

impl Engine {
    /// Leads in all partitions that are open and not led, in epochs that were not led before.
    pub(super) async fn lead_open(self: &Arc<Self>) {
        let now_ms = self.clock.monotonic_ms();
        let mut due = Vec::new();
        self.for_each_replica(|replica| {
            // The answer to a topic's creation waits for the task that opens its logs, and that task leads in them.
            let is_new = !replica.was_led() && self.local.is_under_way(replica.topic_id());
            if replica.is_open() && !replica.is_led() && !is_new && replica.retry.lock().is_due(now_ms) {
                due.push(Arc::clone(replica));
            }
        });
        // The metadata's own log first: the others' new epochs are written to it.
        if let Some(at) = due.iter().position(|replica| Arc::ptr_eq(replica, self.metadata.replica())) {
            let metadata = due.swap_remove(at);
            let epoch = metadata.leader_epoch().next().unwrap_or_default();
            self.lead_in(vec![(metadata, epoch)]).await;
        }
        if due.is_empty() {
            return;
        }
        let image = self.metadata.image();
        let (mut leading, mut ended) = (Vec::with_capacity(due.len()), Vec::new());
        for replica in due {
            match next_epoch(&image, &replica) {
                Some(Next::Begin(epoch)) => leading.push((replica, epoch)),
                Some(Next::Elect(election)) => ended.push((replica, election)),
                // Its topic is being deleted, or another broker leads.
                None => {}
            }
        }
        if !ended.is_empty() {
            let engine = Arc::clone(self);
            // The log of the metadata may hang: what can be led without it is not kept waiting.
            tokio::spawn(async move { engine.elect(ended).await });
        }
        self.lead_in(leading).await;
    }

    /// Proposes new epochs for partitions whose last one has ended. Leading in them follows once the image has them.
    async fn elect(self: Arc<Self>, ended: Vec<(Arc<Replica>, Election)>) {
        // One proposal at a time for each partition.
        let claimed: Vec<_> = ended
            .into_iter()
            .filter_map(|(replica, election)| {
                Some((Claim::of(&replica, |replica| &replica.electing)?, election))
            })
            .collect();
        if claimed.is_empty() {
            return;
        }
        let elections = claimed.iter().map(|(_, election)| *election).collect();
        match self.propose(ElectLeaders { elections }).await {
            Ok(elected) => {
                for ((Claim { replica, .. }, _), epoch) in claimed.iter().zip(elected.answer) {
                    if let Err(error) = epoch {
                        replica.leading_failed(&EpochError::elect(&error), self.clock);
                    }
                }
            }
            Err(refusal) => {
                let error = EpochError::elect(&refusal.message);
                claimed.iter().for_each(|(claim, _)| claim.replica.leading_failed(&error, self.clock));
            }
        }
    }

    /// Begins these epochs and leads in them, each partition for itself.
    pub(super) async fn lead_in(&self, replicas: Vec<(Arc<Replica>, LeaderEpoch)>) {
        if replicas.is_empty() {
            return;
        }
        let leading: Vec<_> =
            replicas.iter().map(|(replica, _)| (Arc::clone(replica), replica.was_led())).collect();
        for (replica, error) in begin_and_lead(&self.commits, self.clock, replicas).await {
            replica.leading_failed(&error, self.clock);
        }
        for (replica, was_led) in leading.iter().filter(|(replica, _)| replica.is_led()) {
            if replica.forget_failures() || *was_led {
                tracing::info!(
                    event = "B0202", topic = %replica.topic(), partition = %replica.index(),
                    epoch = %replica.leader_epoch(), "log reopened"
                );
            }
        }
        self.local.note_changed();
    }
}

/// In which epoch a partition is led next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// One that was handed out and not led yet.
    Begin(LeaderEpoch),
    /// The one that follows this one, which ended.
    Elect(Election),
}

/// `None` where this broker is not to lead.
fn next_epoch(image: &Image, replica: &Replica) -> Option<Next> {
    let (topic_id, partition) = (replica.topic_id(), replica.index());
    let described = image.topic_by_id(topic_id)?.partition(partition)?;
    if described.leader != replica.identity().own {
        return None;
    }
    let elected = described.leader_epoch;
    let begun = replica.with_log(|log, _| log.history().last())?.map(|entry| entry.epoch);
    Some(match begun.max(Some(replica.leader_epoch())) {
        Some(resigned_epoch) if resigned_epoch == elected => {
            Next::Elect(Election { topic_id, partition, resigned_epoch })
        }
        // An older one than the log's last is refused by the log, which says so.
        _ => Next::Begin(elected),
    })
}

impl Replica {
    /// Its next epoch did not begin.
    pub(super) fn leading_failed(&self, error: &EpochError, clock: Clock) {
        let (topic, partition) = (self.topic(), self.index());
        match error {
            // The metadata is older than the log: what was acknowledged since must not be written over.
            EpochError::Refused { .. } => {
                if self.take_offline(&error.to_string()) {
                    tracing::error!(event = "B0220", %topic, %partition, %error, "a partition is offline");
                }
            }
            EpochError::NotYet { .. } | EpochError::NotElected(_) | EpochError::Journal(_) => {
                tracing::warn!(%topic, %partition, %error, "a partition is open, but not led");
                *self.not_led.lock() = Some(error.to_string());
            }
        }
        self.retry.lock().failed(clock.monotonic_ms());
    }

    /// Its earlier failures count no more, since it is led. Returns whether there were any.
    fn forget_failures(&self) -> bool {
        *self.not_led.lock() = None;
        self.retry.lock().succeeded()
    }
}
