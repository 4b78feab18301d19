//! Events of a leadership, and of a replica that follows: what they mean for the partition's role.

use corduroy_types::LeaderEpoch;

use crate::{
    Action, BatchSpan, Event, Hello, Invariant, NotLeading, Partition, Push,
    leader::Leader,
    machine::{Role, unknown},
    waiters::Waiter,
};

impl Partition {
    /// What happens to a leader; elsewhere an append is unknown, and all else is dropped.
    pub(crate) fn handle_leader(&mut self, event: Event, out: &mut Vec<Action>) -> Result<(), Invariant> {
        match event {
            Event::Appended { request, epoch, base, end, acks, deadline } => {
                let Some(leader) = self.leading_in(epoch, request, out) else { return Ok(()) };
                let (leader, cursors) = leader;
                let appended = leader.appended(cursors, request, (base, end), acks, deadline);
                appended.inspect_err(|_| out.push(unknown(request, NotLeading::Contradiction)))
            }
            Event::Duplicate { request, epoch, base, end, acks, deadline } => {
                let Some((leader, cursors)) = self.leading_in(epoch, request, out) else { return Ok(()) };
                let waiter = Waiter { request, base, end, deadline };
                let waits = leader.duplicate(cursors, waiter, acks, out);
                waits.inspect_err(|_| out.push(unknown(request, NotLeading::Contradiction)))
            }
            Event::Hello { from, hello } => {
                self.hello(from, &hello, out);
                Ok(())
            }
            Event::Acked { from, ack } => {
                if self.is_deposed_by(ack.epoch) {
                    self.end(NotLeading::Superseded, out);
                }
                match &mut self.role {
                    Role::Leading(leader) => leader.acked(from, &ack, &mut self.cursors, out),
                    _ => Ok(()),
                }
            }
            Event::Pushed { to, end, bytes } => {
                if let Role::Leading(leader) = &mut self.role {
                    leader.pushed(to, end, bytes);
                }
                Ok(())
            }
            Event::Transfer { target, deadline } => {
                if let Role::Leading(leader) = &mut self.role {
                    leader.transfer(target, deadline, &self.cursors, out);
                }
                Ok(())
            }
            Event::Resign { reason } => {
                if let Role::Leading(leader) = &mut self.role {
                    leader.resign(reason, out);
                }
                Ok(())
            }
            Event::ReplicaSet { epoch, replicas } => match &mut self.role {
                Role::Leading(leader) if leader.epoch == epoch => {
                    leader.set_replicas(&replicas, &mut self.cursors, out)
                }
                _ => Ok(()),
            },
            Event::MinInSync(min_in_sync) => {
                self.set_min_in_sync(min_in_sync);
                match &mut self.role {
                    Role::Leading(leader) => {
                        leader.set_min_in_sync(min_in_sync);
                        leader.advance(&mut self.cursors, out)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The leadership in `epoch`; without one the request ends as unknown.
    fn leading_in(
        &mut self,
        epoch: LeaderEpoch,
        request: crate::RequestId,
        out: &mut Vec<Action>,
    ) -> Option<(&mut Leader, &mut crate::PartitionCursors)> {
        let reason = match &self.role {
            Role::Leading(leader) if leader.epoch == epoch => None,
            Role::Idle(reason) => Some(*reason),
            Role::Leading(_) | Role::Promising(_) | Role::Fenced(_) | Role::Following(_) => {
                Some(NotLeading::Superseded)
            }
        };
        out.extend(reason.map(|reason| unknown(request, reason)));
        match &mut self.role {
            Role::Leading(leader) if reason.is_none() => Some((leader, &mut self.cursors)),
            _ => None,
        }
    }

    fn hello(&mut self, from: corduroy_types::BrokerId, hello: &Hello, out: &mut Vec<Action>) {
        if self.is_deposed_by(hello.epoch) {
            self.end(NotLeading::Superseded, out);
        }
        match &mut self.role {
            // One of an older epoch learns of this one from the answer, and begins again.
            Role::Leading(leader) => leader.hello(from, hello, &self.cursors, self.incarnation, out),
            _ => out.push(Action::CloseStream { peer: from }),
        }
    }

    /// Whether another epoch than the one led here is in force elsewhere: it was promised by a replica.
    fn is_deposed_by(&self, epoch: LeaderEpoch) -> bool {
        matches!(&self.role, Role::Leading(leader) if epoch > leader.epoch)
    }

    /// What happens to a replica that follows; elsewhere it is dropped.
    pub(crate) fn handle_follower(&mut self, event: Event, out: &mut Vec<Action>) -> Result<(), Invariant> {
        let Role::Following(follower) = &mut self.role else { return Ok(()) };
        match event {
            Event::Connected { leader } if leader == follower.leader => {
                follower.connected(&self.cursors, out);
            }
            Event::Welcomed { from, welcome } if from == follower.leader => {
                if welcome.epoch > follower.epoch {
                    self.follow(welcome.epoch, from, out);
                } else if welcome.epoch == follower.epoch
                    && let Err(refused) = follower.welcomed(&welcome, &self.cursors, out)
                {
                    let (cut_to, high_watermark) = (refused.0, self.cursors.high_watermark());
                    out.push(Action::Quarantined { cut_to, high_watermark });
                    self.end(NotLeading::Quarantined, out);
                }
            }
            Event::Reconciled { epoch, log } if epoch == follower.epoch => {
                self.take_cursors(&log.ends, out)?;
                if let Role::Following(follower) = &mut self.role {
                    follower.reconciled(log, &self.cursors, out);
                }
                self.raise_to_committed(out)?;
            }
            Event::Adopted { epoch, entry } if epoch == follower.epoch => {
                follower.adopted(entry, &self.cursors, out)?;
                self.raise_to_committed(out)?;
            }
            Event::Received { from, push, batches }
                if from == follower.leader && push.epoch == follower.epoch =>
            {
                return self.received(&push, &batches, out);
            }
            _ => {}
        }
        Ok(())
    }

    fn received(
        &mut self,
        push: &Push,
        batches: &[BatchSpan],
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        let Role::Following(follower) = &mut self.role else { return Ok(()) };
        let Some(log_end) = follower.received(push, batches, &self.cursors, out) else {
            // Not what was to come next: begin again with what is here.
            out.push(Action::CloseStream { peer: follower.leader });
            follower.disconnected(out);
            return Ok(());
        };
        self.cursors = self.cursors.with_log_end(log_end).ok_or(Invariant::CursorsInOrder)?;
        self.raise_to_committed(out)?;
        if let Role::Following(follower) = &mut self.role {
            follower.received_up_to(push, &self.cursors, out);
        }
        Ok(())
    }
}
