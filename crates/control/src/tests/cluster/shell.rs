//! What a broker does with the actions of its voter and of the partition that is its metadata log.

use corduroy_partition::{Action as LogAction, Agreement, Event as LogEvent, NotLeading, Push};
use corduroy_types::{BrokerId, EpochEntry, LeaderEpoch, MonotonicMs};

use super::{
    history::{Checked, Rec, broken},
    network::Frame,
    node::{Op, at, voter_id},
    world::{Todo, World},
};
use crate::{Action, Candidacy, ChangeRefused, Event, Message, StepDownReason, VoterId, Voters};

const fn node_of(id: VoterId) -> usize {
    id.broker.0 as usize
}

impl World {
    pub(super) fn step_voter(&mut self, id: usize, event: Event) {
        let node = &mut self.nodes[id];
        let mut out = Vec::new();
        let position = node.position();
        node.voter.step(MonotonicMs(self.now), position, event, &mut out);
        self.todo.extend(out.into_iter().map(|action| (id, Todo::Voter(action))));
    }

    pub(super) fn step_log(&mut self, id: usize, event: LogEvent, received: Option<(Push, Vec<Rec>)>) {
        let mut out = Vec::new();
        self.nodes[id].partition.step(MonotonicMs(self.now), event, &mut out);
        self.todo.extend(out.into_iter().map(|action| (id, Todo::Log(action, received.clone()))));
    }

    /// Performs all that was asked for.
    pub(super) fn settle(&mut self) -> Checked {
        while let Some((id, todo)) = self.todo.pop_front() {
            match todo {
                Todo::Voter(action) => self.act_for_voter(id, action)?,
                Todo::Log(action, received) => self.act_for_log(id, action, received)?,
            }
        }
        Ok(())
    }

    fn act_for_voter(&mut self, id: usize, action: Action) -> Checked {
        match action {
            Action::Persist { ballot } => {
                self.nodes[id].ops.push_back(Op::Persist(ballot));
                let Some(epoch) = ballot.promised else { return Ok(()) };
                self.step_log(id, LogEvent::Fence { epoch }, None);
            }
            Action::Send { to, message } => {
                self.check_said(id, node_of(to), &message)?;
                self.network.send(self.now, (id, node_of(to)), message, &mut self.draw);
            }
            Action::BeginEpoch { epoch, incarnation, voters } => {
                self.history.won(epoch.get(), (id, incarnation))?;
                self.reached.won += 1;
                self.nodes[id].ops.push_back(Op::Lead(epoch, incarnation, voters));
            }
            Action::Follow { epoch, leader } => {
                self.step_log(id, LogEvent::Follow { epoch, leader: leader.broker }, None);
            }
            Action::StepDown { reason, .. } => {
                match reason {
                    StepDownReason::NoQuorum => self.reached.lost_quorum += 1,
                    StepDownReason::Removed => self.reached.leader_removed += 1,
                    StepDownReason::Contradiction => {}
                }
                self.step_log(id, LogEvent::Stop { reason: NotLeading::Resigned }, None);
            }
            Action::AppendVoters { epoch, voters } => self.append_voters(id, epoch, voters)?,
            Action::SetReplicas { epoch, voters } => {
                self.step_log(id, LogEvent::ReplicaSet { epoch, replicas: voters.brokers() }, None);
            }
            Action::RefuseChange(refused) => match refused {
                ChangeRefused::NotActivated => self.reached.change_before_activation += 1,
                ChangeRefused::ChangeOpen => self.reached.change_while_open += 1,
                _ => {}
            },
            Action::Contradiction(invariant) => {
                return broken("invariant", format!("voter {id}: {invariant}"));
            }
        }
        Ok(())
    }

    fn append_voters(&mut self, id: usize, epoch: LeaderEpoch, voters: Voters) -> Checked {
        if self.nodes[id].partition.epoch() != Some(epoch) {
            return Ok(());
        }
        // V6, as it is written down: the set before is committed, and so is the beginning of the epoch.
        let last = self.nodes[id].log.iter().rposition(|rec| rec.voters.is_some());
        if last.is_some_and(|last| last >= self.history.committed.len()) {
            return broken("V6", format!("node {id} changes the voters while a change is not committed"));
        }
        if self.nodes[id].partition.check_end().is_err() {
            return broken("V6", format!("node {id} changes the voters before {epoch} is activated"));
        }
        let Some(offset) = self.append(id, Some(voters.clone()))? else { return Ok(()) };
        self.reached.voters_changed += usize::from(last.is_some());
        self.step_voter(id, Event::VotersAppended { offset: at(offset), voters });
        Ok(())
    }

    /// What a node says is what it has promised durably (rules R1, V2).
    fn check_said(&mut self, id: usize, to: usize, message: &Message) -> Checked {
        match message {
            Message::AskVote(Candidacy { epoch, .. })
            | Message::VoteAnswer { epoch, is_yes: true, .. }
            | Message::Heartbeat { epoch, .. } => self.check_durable(id, *epoch)?,
            _ => {}
        }
        match message {
            Message::AskVote(candidacy) => {
                if self.nodes[id].sets().in_force().is_none() {
                    return broken("V8", format!("node {id} stands, and knows of no voters"));
                }
                self.reached.stood += 1;
                self.history.voted(id, candidacy.epoch.get(), (id, candidacy.incarnation))
            }
            Message::VoteAnswer { epoch, incarnation, is_yes, promised } => match is_yes {
                true => self.history.voted(id, epoch.get(), (to, *incarnation)),
                false => {
                    self.reached.voted_no += usize::from(*promised == Some(*epoch));
                    Ok(())
                }
            },
            Message::Heartbeat { epoch, has_quorum, .. } => {
                self.reached.weak_heartbeats += usize::from(!has_quorum);
                self.history.said(id, epoch.get())
            }
            Message::StandNow { .. } => {
                self.reached.asked_to_stand += 1;
                Ok(())
            }
            Message::PreVoteAnswer { is_yes: false, .. } => {
                self.reached.pre_vote_refused += 1;
                Ok(())
            }
            Message::HeartbeatAnswer { epoch, promised, .. } => {
                self.reached.leader_is_behind += usize::from(*promised > Some(*epoch));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a node says of an epoch, it has promised durably (rule R1).
    fn check_durable(&self, id: usize, epoch: LeaderEpoch) -> Checked {
        let node = &self.nodes[id];
        // Without that rule, what follows from it is looked for.
        if node.rules.persists_first && node.ballot.promised < Some(epoch) {
            return broken("R1", format!("node {id} speaks in {epoch}, and that promise is not durable"));
        }
        Ok(())
    }

    pub(super) fn note_message(&mut self, _from: usize, to: usize, message: &Message) {
        if let Message::VoteAnswer { incarnation, is_yes: true, .. } = message
            && *incarnation != self.nodes[to].incarnation
        {
            self.reached.votes_for_an_earlier_run += 1;
        }
    }

    /// A log became shorter: which sets of voters went with that?
    pub(super) fn note_cut(&mut self, id: usize, before: usize) {
        self.reached.cut += usize::from(self.nodes[id].log.len() < before);
    }

    fn act_for_log(&mut self, id: usize, action: LogAction, received: Option<(Push, Vec<Rec>)>) -> Checked {
        match action {
            LogAction::Promise { epoch } => {
                if self.nodes[id].voter.ballot().promised < Some(epoch) {
                    self.reached.promised_for_the_stream += 1;
                    self.step_voter(id, Event::PromiseNeeded { epoch });
                    // The voter's ballot comes first.
                    self.settle()?;
                }
                self.nodes[id].ops.push_back(Op::Promise(epoch));
            }
            LogAction::Reconcile { epoch, agreement } => {
                self.nodes[id].ops.push_back(Op::Reconcile(epoch, agreement))
            }
            LogAction::Adopt { epoch, entry } => self.nodes[id].ops.push_back(Op::Adopt(epoch, entry)),
            LogAction::Connect { leader } => {
                let between = (leader.0 as usize, id);
                self.network.stream(self.now, between, Frame::Connected, &mut self.draw);
            }
            LogAction::SendHello { to, hello } => self.stream(id, to, Frame::Hello(hello)),
            LogAction::SendWelcome { to, welcome } => self.stream(id, to, Frame::Welcome(welcome)),
            LogAction::SendAck { to, ack } => {
                self.check_durable(id, ack.epoch)?;
                self.history.said(id, ack.epoch.get())?;
                self.stream(id, to, Frame::Ack(ack));
            }
            LogAction::CloseStream { peer } => self.network.break_stream(self.now, id, peer.0 as usize),
            LogAction::Push { to, push, up_to } => self.push(id, to, push, up_to.get() as usize),
            LogAction::Replicate { from } => {
                let (push, records) = received.expect("it answers a push");
                self.replicate(id, from.get() as usize, push.from.get() as usize, &records);
            }
            LogAction::HighWatermark(high_watermark) => {
                let end = high_watermark.get() as usize;
                let node = &self.nodes[id];
                let epoch = node.partition.current_epoch().map_or(0, LeaderEpoch::get);
                self.history.committed(id, epoch, &node.log, end)?;
                self.step_voter(id, Event::Committed { high_watermark });
            }
            LogAction::Activated { epoch } => self.step_voter(id, Event::Activated { epoch }),
            LogAction::LeadershipEnded { epoch, .. } => self.step_voter(id, Event::Ended { epoch }),
            LogAction::Contradiction(invariant) => {
                return broken("invariant", format!("log {id}: {invariant}"));
            }
            LogAction::VisibleRecordsLost { from, to } => {
                return broken("I5", format!("node {id} has lost what was committed from {from} to {to}"));
            }
            LogAction::Quarantined { cut_to, high_watermark } => {
                return broken("I5", format!("node {id} would be cut at {cut_to}, below {high_watermark}"));
            }
            LogAction::RaiseLogStart { .. } => return broken("R20", "nothing is removed here"),
            LogAction::Answer { .. }
            | LogAction::Report(_)
            | LogAction::RefuseFence(_)
            | LogAction::InSync(_)
            | LogAction::ReplicaClean { .. }
            | LogAction::Resign { .. } => {}
        }
        Ok(())
    }

    fn stream(&mut self, from: usize, to: BrokerId, frame: Frame) {
        self.network.stream(self.now, (from, to.0 as usize), frame, &mut self.draw);
    }

    fn push(&mut self, from: usize, to: BrokerId, push: Push, up_to: usize) {
        let begin = push.from.get() as usize;
        let end = up_to.min(begin + 3);
        let records: Vec<Rec> = self.nodes[from].log[begin..end].to_vec();
        let bytes = records.len() as u64 * 100;
        self.stream(from, to, Frame::Push(push, records));
        self.step_log(from, LogEvent::Pushed { to, end: at(end), bytes }, None);
    }

    fn replicate(&mut self, id: usize, from: usize, first: usize, records: &[Rec]) {
        let node = &mut self.nodes[id];
        assert_eq!(node.log.len(), from, "a follower appends at its end");
        let new = &records[from - first..];
        node.log.extend_from_slice(new);
        for (nth, rec) in new.iter().enumerate() {
            if let Some(voters) = rec.voters.clone() {
                self.step_voter(id, Event::VotersAppended { offset: at(from + nth), voters });
            }
        }
    }

    /// The shell performs the oldest operation on log and journal. Each of them makes the log durable first.
    pub(super) fn perform(&mut self, id: usize) -> Checked {
        let node = &mut self.nodes[id];
        let Some(op) = node.ops.pop_front() else { return Ok(()) };
        node.durable = node.log.len();
        match op {
            Op::Persist(ballot) => {
                if ballot.promised < node.ballot.promised {
                    return broken("V2", format!("the promise of node {id} goes back"));
                }
                node.ballot = ballot;
                self.step_voter(id, Event::Persisted { ballot });
            }
            Op::Promise(epoch) => {
                let log = node.log_state();
                self.step_log(id, LogEvent::Promised { epoch, log }, None);
            }
            Op::Reconcile(epoch, Agreement { log_end, history, .. }) => {
                let (end, before) = (log_end.get() as usize, node.log.len());
                let voters_cut = node.log.iter().skip(end).filter(|rec| rec.voters.is_some()).count();
                node.log.truncate(end);
                node.durable = end;
                node.history = history;
                self.reached.voters_cut += voters_cut;
                self.note_cut(id, before);
                self.step_voter(id, Event::LogCut { log_end });
                let log = self.nodes[id].log_state();
                self.step_log(id, LogEvent::Reconciled { epoch, log }, None);
            }
            Op::Adopt(epoch, entry) => {
                // Where the log was changed since it was asked for, another event says so.
                if at(node.log.len()) != entry.start || node.partition.current_epoch() != Some(epoch) {
                    return Ok(());
                }
                node.history.push(entry).expect("epochs follow each other");
                self.step_log(id, LogEvent::Adopted { epoch, entry }, None);
            }
            Op::Lead(epoch, incarnation, voters) => {
                if !node.partition.may_lead(epoch, incarnation) || node.voter.ballot().promised != Some(epoch)
                {
                    self.reached.overtaken_before_its_entry += 1;
                    self.step_voter(id, Event::Ended { epoch });
                    return self.settle();
                }
                node.history.push(EpochEntry { epoch, start: at(node.log.len()) }).expect("epochs follow");
                self.history.check_leader(epoch.get(), &self.nodes[id].log)?;
                self.reached.led += 1;
                let log = self.nodes[id].log_state();
                self.step_log(id, LogEvent::Lead { epoch, replicas: voters.brokers(), log }, None);
                self.step_voter(id, Event::Begun { epoch });
            }
        }
        self.settle()
    }

    /// Whether a node votes, as the leader has it.
    pub(super) fn votes(&self, leader: usize, id: usize) -> bool {
        self.nodes[leader].voter.voters().is_some_and(|voters| voters.contains(voter_id(id)))
    }
}
