//! Promises: an epoch that begins is promised durably before anything is said of it (rule R1).

use corduroy_types::{BrokerId, Incarnation, LeaderEpoch};

use crate::{
    Action, FenceRefused, Invariant, LogState, NotLeading, Partition, Report,
    follower::{Follower, Following},
    machine::Role,
};

/// A promise that is being made durable, and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promising {
    epoch: LeaderEpoch,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Report,
    Follow(BrokerId),
}

/// The replica has promised, and waits to hear who leads.
#[derive(Debug)]
pub(crate) struct Fenced {
    report: Report,
}

impl Partition {
    /// The controller begins an election in this epoch.
    pub(crate) fn fence(&mut self, epoch: LeaderEpoch, out: &mut Vec<Action>) {
        if let Some(promised) = self.promised.filter(|promised| *promised > epoch) {
            out.push(Action::RefuseFence(FenceRefused { epoch, promised }));
            return;
        }
        if self.promised == Some(epoch) {
            match &self.role {
                // The controller has not heard the report.
                Role::Fenced(fenced) if fenced.report.incarnation == self.incarnation => {
                    out.push(Action::Report(fenced.report));
                    return;
                }
                // The election is over, or its report comes once the promise is durable.
                Role::Leading(_) | Role::Following(_) => return,
                Role::Promising(promising) if matches!(promising.then, Then::Report) => return,
                Role::Idle(_) | Role::Promising(_) | Role::Fenced(_) => {}
            }
        }
        self.promise(epoch, Then::Report, out);
    }

    /// Another broker leads.
    pub(crate) fn follow(&mut self, epoch: LeaderEpoch, leader: BrokerId, out: &mut Vec<Action>) {
        if self.promised.is_some_and(|promised| epoch < promised) || leader == self.own {
            return;
        }
        match &self.role {
            Role::Following(follower) if follower.epoch == epoch => return,
            Role::Promising(promising)
                if promising.epoch == epoch && matches!(promising.then, Then::Follow(_)) =>
            {
                return;
            }
            // One epoch has one leader: another name for it contradicts the metadata.
            Role::Leading(own) if own.epoch == epoch => return,
            // It was stopped for good, or its log has to be opened first.
            Role::Idle(
                NotLeading::TopicDeleted
                | NotLeading::ShuttingDown
                | NotLeading::Quarantined
                | NotLeading::StorageFailed,
            ) => return,
            _ => {}
        }
        self.promise(epoch, Then::Follow(leader), out);
    }

    /// Steps down, and has the promise made durable.
    fn promise(&mut self, epoch: LeaderEpoch, then: Then, out: &mut Vec<Action>) {
        if let Role::Idle(NotLeading::TopicDeleted | NotLeading::ShuttingDown | NotLeading::StorageFailed) =
            &self.role
        {
            return;
        }
        self.end(NotLeading::Superseded, out);
        self.promised = Some(epoch);
        self.role = Role::Promising(Promising { epoch, then });
        out.push(Action::Promise { epoch });
    }

    /// The promise is durable, and so is the log.
    pub(crate) fn promise_is_durable(
        &mut self,
        epoch: LeaderEpoch,
        log: LogState,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        let Role::Promising(promising) = self.role else { return Ok(()) };
        if promising.epoch != epoch {
            return Ok(());
        }
        self.take_cursors(&log.ends, out)?;
        match promising.then {
            Then::Report => {
                let report = Report {
                    epoch,
                    incarnation: self.incarnation,
                    last_epoch: log.history.last().map(|entry| entry.epoch),
                    log_end: log.ends.log_end,
                    high_watermark: self.cursors.high_watermark(),
                    log_start: log.ends.log_start,
                    suspect: self.suspect,
                };
                self.role = Role::Fenced(Box::new(Fenced { report }));
                out.push(Action::Report(report));
            }
            Then::Follow(leader) => {
                let (incarnation, suspect) = (self.incarnation, self.suspect);
                let following = Following { epoch, leader, incarnation, suspect };
                self.role = Role::Following(Box::new(Follower::new(following, log, out)));
            }
        }
        Ok(())
    }

    /// The log was opened again: it is another run, which leads only in a new epoch (rule R3).
    pub(crate) fn reopened(&mut self, incarnation: Incarnation, suspect: bool, out: &mut Vec<Action>) {
        if incarnation != self.incarnation {
            self.end(NotLeading::StorageFailed, out);
            self.role = Role::Idle(NotLeading::NotYet);
        }
        self.incarnation = incarnation;
        self.suspect = suspect;
    }
}
