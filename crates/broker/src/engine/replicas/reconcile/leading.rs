//! Leading: in the epochs that the image has for this broker. A new epoch is proposed where the last one has ended.

use std::sync::Arc;

use corduroy_metadata::{ElectLeaders, Election, Image};
use corduroy_types::LeaderEpoch;

use crate::engine::{
    Replica, Replicas,
    replica::{Claim, EpochError, begin_and_lead},
};

impl Replicas {
    /// Leads in all partitions that are open and not led, in epochs that were not led before.
    pub(super) async fn lead_open(self: &Arc<Self>) {
        let now_ms = self.context.clock.monotonic_ms();
        let mut due = Vec::new();
        self.for_each(|replica| {
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
            let replicas = Arc::clone(self);
            // The log of the metadata may hang: what can be led without it is not kept waiting.
            tokio::spawn(async move { replicas.elect(ended).await });
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
        match self.metadata.propose(ElectLeaders { elections }).await {
            Ok(elected) => {
                for ((Claim { replica, .. }, _), epoch) in claimed.iter().zip(elected.answer) {
                    if let Err(error) = epoch {
                        replica.leading_failed(&EpochError::elect(&error), self.context.clock);
                    }
                }
            }
            Err(refusal) => {
                let error = EpochError::elect(&refusal.message);
                claimed
                    .iter()
                    .for_each(|(claim, _)| claim.replica.leading_failed(&error, self.context.clock));
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
        for (replica, error) in begin_and_lead(&self.commits, self.context.clock, replicas).await {
            replica.leading_failed(&error, self.context.clock);
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
