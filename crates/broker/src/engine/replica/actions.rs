//! Performing what the partition's state machine decides.

use corduroy_partition::{Action, Event, MonotonicMs, NotLeading};
use corduroy_types::LeaderEpoch;

use super::{Replica, ReplicaState, append::Ack, refusals};
use crate::engine::Clock;

impl Replica {
    /// Gives one event to the state machine and performs what it decides.
    pub(super) fn step(&self, state: &mut ReplicaState, event: Event, clock: Clock) {
        let mut actions = std::mem::take(&mut state.actions);
        state.partition.step(MonotonicMs(clock.monotonic_ms()), event, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::HighWatermark(offset) => {
                    self.readable.send_replace(offset);
                }
                Action::Answer { request, result } => {
                    if let Some(waiting) = state.waiting.remove(&request) {
                        let answer = result
                            .map(|ack| Ack {
                                durable_replicas: ack.durable_replicas,
                                leader_epoch: ack.epoch,
                            })
                            .map_err(|reason| refusals::unknown(&self.identity, &reason));
                        // The caller may no longer wait. The append is made all the same.
                        let _asker_gone = waiting.send(answer);
                    }
                }
                Action::Contradiction(invariant) => {
                    let (topic, partition) = (&self.identity.topic, self.identity.index);
                    tracing::error!(event = "B0222", %topic, %partition, %invariant, "an invariant is broken");
                }
                Action::LeadershipEnded { epoch, reason } => self.leadership_ended(epoch, reason),
                Action::VisibleRecordsLost { from, to } => {
                    tracing::error!(
                        event = "B0207", topic = %self.identity.topic, partition = %self.identity.index, %from, %to,
                        "records that could be read are gone: the disk lost what it had confirmed"
                    );
                    self.readable.send_replace(from);
                }
                Action::Activated { .. } | Action::InSync(_) => {}
                // What other brokers are to hear or have said: this one has no connections to them.
                Action::Promise { .. }
                | Action::Report(_)
                | Action::RefuseFence(_)
                | Action::Connect { .. }
                | Action::SendHello { .. }
                | Action::Reconcile { .. }
                | Action::Adopt { .. }
                | Action::Replicate { .. }
                | Action::RaiseLogStart { .. }
                | Action::SendAck { .. }
                | Action::SendWelcome { .. }
                | Action::Push { .. }
                | Action::CloseStream { .. }
                | Action::ReplicaClean { .. }
                | Action::Resign { .. }
                | Action::Quarantined { .. } => {
                    tracing::debug!(topic = %self.identity.topic, partition = %self.identity.index, ?action, "no peers");
                }
            }
        }
        state.actions = actions;
    }

    /// Says why the leadership has ended. The partition is led again in a new epoch as soon as it can be, which `status`
    /// waits for.
    fn leadership_ended(&self, epoch: LeaderEpoch, reason: NotLeading) {
        let (topic, partition) = (&self.identity.topic, self.identity.index);
        match reason {
            NotLeading::Contradiction => {
                tracing::warn!(%topic, %partition, %epoch, %reason, "leadership ended");
                *self.not_led.lock() = Some(reason.to_string());
            }
            // Reported where it was found.
            NotLeading::StorageFailed
            | NotLeading::NotYet
            | NotLeading::ShuttingDown
            | NotLeading::TopicDeleted
            | NotLeading::Superseded
            | NotLeading::Following
            | NotLeading::Transferring
            | NotLeading::Resigned
            | NotLeading::Quarantined => {
                tracing::debug!(%topic, %partition, %epoch, %reason, "leadership ended");
            }
        }
    }
}
