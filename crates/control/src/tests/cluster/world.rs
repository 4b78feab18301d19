//! The cluster: nodes, what is between them, what goes wrong, and the shells that drive voter and partition together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corduroy_partition::{BatchSpan, Event as LogEvent, NotLeading, Push, RequestId};
use corduroy_types::{Acks, Incarnation, LeaderEpoch, MonotonicMs};

use super::{
    history::{Checked, History, Rec, broken, check_matching},
    network::{Arrived, Frame, Network},
    node::{Node, Round, at, broker, voter_id},
    reached::Reached,
};
use crate::{Action, Event, Generator, Timing, VoterChange, VoterId, VoterSets, Voters, vote::rules::Rules};

/// How far time goes at once.
pub(super) const QUANTUM_MS: u64 = 5;

/// What a state machine asked for, not performed yet.
#[derive(Debug)]
pub(super) enum Todo {
    Voter(Action),
    Log(corduroy_partition::Action, Option<(Push, Vec<Rec>)>),
}

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) history: History,
    pub(super) todo: VecDeque<(usize, Todo)>,
    pub(super) draw: Generator,
    pub(super) now: u64,
    pub(super) next_value: u64,
    next_incarnation: u64,
    /// When a leader could last reach a voter.
    reached_at: BTreeMap<(usize, LeaderEpoch, usize), u64>,
    pub(super) reached: Reached,
}

impl World {
    /// `voters` nodes that vote, and some that only follow at first. One voter is a cluster's first start (V8).
    pub(super) fn new(seed: u64, voters: usize, rules: Rules) -> Self {
        let mut draw = Generator::seeded(seed);
        let set = Voters::new((0..voters).map(voter_id)).unwrap();
        let founded = |id| (id < voters).then(|| set.clone());
        let nodes: Vec<_> = (0..(voters + 1).max(4))
            .map(|id| Node::new(id, founded(id), rules, draw.next_number()))
            .collect();
        let next_incarnation = nodes.len() as u64 + 1;
        let mut world = Self {
            nodes,
            network: Network::new(),
            history: History::default(),
            todo: VecDeque::new(),
            draw,
            now: 0,
            next_value: 0,
            next_incarnation,
            reached_at: BTreeMap::new(),
            reached: Reached::default(),
        };
        for id in 0..world.nodes.len() {
            world.observe(id);
        }
        world
    }

    /// Every node knows of every other one.
    fn observe(&mut self, id: usize) {
        let observers: BTreeSet<VoterId> =
            (0..self.nodes.len()).filter(|other| *other != id).map(voter_id).collect();
        self.step_voter(id, Event::Observers(observers));
    }

    pub(super) fn is_running(&self, id: usize) -> bool {
        self.nodes[id].is_up && self.nodes[id].paused_until <= self.now
    }

    pub(super) fn leaders(&self) -> impl Iterator<Item = (usize, LeaderEpoch)> {
        self.nodes.iter().filter(|node| node.is_up).filter_map(|node| Some((node.id, node.voter.leads()?)))
    }

    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.draw.below(1_000) < per_mille
    }

    pub(super) fn any(&mut self, bound: usize) -> usize {
        self.draw.below(bound as u64) as usize
    }

    /// Time goes on: what is due arrives, disks work, voters look at the clock.
    pub(super) fn pass(&mut self) -> Checked {
        self.now += QUANTUM_MS;
        loop {
            let (nodes, now) = (&self.nodes, self.now);
            let takes = |id: usize| nodes[id].paused_until <= now;
            let Some((from, to, arrived)) = self.network.next(now, takes, &mut self.draw) else { break };
            if self.nodes[to].is_up {
                self.arrive(from, to, arrived)?;
            }
        }
        for id in 0..self.nodes.len() {
            self.work(id)?;
            if self.is_running(id) {
                self.step_voter(id, Event::Tick);
                self.step_log(id, LogEvent::Tick, None);
                self.settle()?;
            }
        }
        self.check()
    }

    fn arrive(&mut self, from: usize, to: usize, arrived: Arrived) -> Checked {
        let peer = broker(from);
        let event = match arrived {
            Arrived::Message(message) => {
                self.note_message(from, to, &message);
                self.step_voter(to, Event::Received { from: voter_id(from), message });
                return self.settle();
            }
            Arrived::Frame(Frame::Connected) => LogEvent::Connected { leader: peer },
            Arrived::Frame(Frame::Disconnected) => LogEvent::Disconnected { peer },
            Arrived::Frame(Frame::Hello(hello)) => LogEvent::Hello { from: peer, hello },
            Arrived::Frame(Frame::Welcome(welcome)) => LogEvent::Welcomed { from: peer, welcome },
            Arrived::Frame(Frame::Ack(ack)) => LogEvent::Acked { from: peer, ack },
            Arrived::Frame(Frame::Push(push, records)) => {
                let base = push.from.get() as usize;
                let span = |(nth, rec): (usize, &Rec)| BatchSpan {
                    base: at(base + nth),
                    end: at(base + nth + 1),
                    epoch: LeaderEpoch::new(rec.epoch).unwrap(),
                };
                let batches = records.iter().enumerate().map(span).collect();
                self.step_log(to, LogEvent::Received { from: peer, push, batches }, Some((push, records)));
                return self.settle();
            }
        };
        self.step_log(to, event, None);
        self.settle()
    }

    /// The disk of a node does some of what it was asked for.
    fn work(&mut self, id: usize) -> Checked {
        let is_quick = !self.network.is_rough;
        while self.is_running(id) && self.nodes[id].stalled_until <= self.now {
            if !is_quick && self.chance(500) {
                break;
            }
            let has_round = self.nodes[id].round.is_some();
            if !has_round && !self.nodes[id].ops.is_empty() {
                self.perform(id)?;
            } else if has_round || self.nodes[id].durable < self.nodes[id].log.len() {
                self.round(id)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// A round of writes begins, or ends.
    fn round(&mut self, id: usize) -> Checked {
        let node = &mut self.nodes[id];
        let Some(Round { epoch, end }) = node.round.take() else {
            let epoch = node.partition.current_epoch();
            node.round = Some(Round { epoch, end: node.log.len() });
            return Ok(());
        };
        node.durable = node.durable.max(end.min(node.log.len()));
        let Some(epoch) = epoch else { return Ok(()) };
        let durable_end = at(node.durable);
        self.step_log(id, LogEvent::Counted { epoch, counted_end: durable_end, durable_end }, None);
        self.settle()
    }

    /// A leader takes a record in; `None` where it refuses.
    pub(super) fn append(&mut self, id: usize, voters: Option<Voters>) -> Checked<Option<usize>> {
        let node = &mut self.nodes[id];
        let Ok(epoch) = node.partition.check_produce(None) else { return Ok(None) };
        let rec = Rec { epoch: epoch.get(), value: self.next_value, voters };
        let offset = node.log.len();
        self.history.wrote(offset, &rec)?;
        node.log.push(rec);
        let event = LogEvent::Appended {
            request: RequestId(self.next_value),
            epoch,
            base: at(offset),
            end: at(offset + 1),
            acks: Acks::Quorum,
            deadline: MonotonicMs(self.now + 5_000),
        };
        self.next_value += 1;
        self.step_log(id, event, None);
        Ok(Some(offset))
    }

    pub(super) fn change_voters(&mut self, id: usize) -> Checked {
        let Some(voters) = self.nodes[id].voter.voters().cloned() else { return Ok(()) };
        let other = voter_id(self.any(self.nodes.len()));
        let change = match voters.contains(other) {
            true if voters.len() <= 2 => return Ok(()),
            true => VoterChange::Remove(other),
            false => VoterChange::Add(other),
        };
        self.step_voter(id, Event::ChangeVoters(change));
        self.settle()
    }

    pub(super) fn incarnation(&mut self) -> Incarnation {
        self.next_incarnation += 1;
        Incarnation(self.next_incarnation)
    }

    pub(super) fn crash(&mut self, id: usize) -> Checked {
        if !self.nodes[id].is_up {
            return Ok(());
        }
        self.reached.crashed_while_persisting += usize::from(!self.nodes[id].ops.is_empty());
        let kept = self.any(4);
        let before = self.nodes[id].log.len();
        self.nodes[id].crash(kept);
        self.note_cut(id, before);
        // What waited there is never answered.
        self.step_log(id, LogEvent::Stop { reason: NotLeading::ShuttingDown }, None);
        self.todo.clear();
        for peer in (0..self.nodes.len()).filter(|peer| *peer != id) {
            self.network.break_stream(self.now, id, peer);
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, id: usize) -> Checked {
        if self.nodes[id].is_up {
            return Ok(());
        }
        let (incarnation, seed) = (self.incarnation(), self.draw.next_number());
        self.nodes[id].restart(self.now, incarnation, seed);
        self.observe(id);
        self.settle()
    }

    /// A write or sync has failed: the log is cut at what is durable and opened again, as another run.
    pub(super) fn fail_log(&mut self, id: usize) -> Checked {
        if !self.is_running(id) {
            return Ok(());
        }
        let incarnation = self.incarnation();
        let durable_end = at(self.nodes[id].durable);
        if let Some(epoch) = self.nodes[id].partition.current_epoch() {
            self.step_log(id, LogEvent::LogFailed { epoch, durable_end }, None);
        }
        self.step_voter(id, Event::LogFailed);
        self.settle()?;
        let node = &mut self.nodes[id];
        let before = node.log.len();
        node.log.truncate(node.durable);
        node.ops.clear();
        node.round = None;
        node.incarnation = incarnation;
        // A ballot that was on its way to the journal is not there.
        self.note_cut(id, before);
        self.step_log(id, LogEvent::Reopened { incarnation, suspect: false }, None);
        self.step_voter(id, Event::LogCut { log_end: durable_end });
        self.step_voter(id, Event::Reopened { incarnation });
        self.settle()
    }

    pub(super) fn check(&mut self) -> Checked {
        let logs: Vec<&[Rec]> = self.nodes.iter().map(|node| &node.log[..]).collect();
        check_matching(&logs)?;
        self.check_quorums_of_leaders()?;
        self.check_majorities()
    }

    /// V4: a leader that reaches no quorum has stepped down within its time-out, which is below 2 T.
    fn check_quorums_of_leaders(&mut self) -> Checked {
        for (id, epoch) in self.leaders().collect::<Vec<_>>() {
            let Some(voters) = self.nodes[id].voter.voters().cloned() else { continue };
            let mut reached_at = Vec::new();
            for other in 0..self.nodes.len() {
                let is_open =
                    self.network.is_open(self.now, id, other) && self.network.is_open(self.now, other, id);
                let last = self.reached_at.entry((id, epoch, other)).or_insert(self.now);
                let is_running = self.nodes[other].is_up && self.nodes[other].paused_until <= self.now;
                if other == id || is_running && is_open {
                    *last = self.now;
                }
                // What one answered as an observer counts once it votes.
                if voters.contains(voter_id(other)) {
                    reached_at.push(*last);
                }
            }
            reached_at.sort_unstable_by(|a, b| b.cmp(a));
            let since = reached_at[voters.quorum() - 1];
            let limit_ms = 2 * Timing::default().timeout_ms + 2 * QUANTUM_MS;
            if self.now > since + limit_ms && self.is_running(id) {
                return broken("V4", format!("node {id} leads {epoch} without a quorum since {since} ms"));
            }
        }
        Ok(())
    }

    /// V6: no two nodes could be elected by majorities that have no voter in common.
    fn check_majorities(&self) -> Checked {
        let electable: Vec<_> = self.nodes.iter().filter_map(|node| self.majority_of(node)).collect();
        for (at, (a, quorum_a, for_a)) in electable.iter().enumerate() {
            for (b, quorum_b, for_b) in electable.iter().skip(at + 1) {
                if for_a.union(for_b).count() >= quorum_a + quorum_b {
                    return broken(
                        "V6",
                        format!("{a} by {for_a:?}, and {b} by {for_b:?}, could both be elected"),
                    );
                }
            }
        }
        Ok(())
    }

    /// Who would vote for this node, where that is a quorum of the set in force on it.
    fn majority_of(&self, node: &Node) -> Option<(usize, usize, BTreeSet<usize>)> {
        let of_log: VoterSets = node.sets();
        let voters = if node.is_up { node.voter.voters() } else { of_log.in_force() }?;
        let would_vote = |id: &VoterId| self.nodes[id.broker.0 as usize].position() <= node.position();
        let yes: BTreeSet<_> = voters.iter().filter(would_vote).map(|id| id.broker.0 as usize).collect();
        let counts = voters.contains(voter_id(node.id)) && yes.len() >= voters.quorum();
        counts.then_some((node.id, voters.quorum(), yes))
    }

    /// The state of all nodes, short.
    pub(super) fn describe(&self) -> String {
        let one = |node: &Node| {
            let Node { id, is_up, ballot, voter, partition, history, log, durable, ops, .. } = node;
            let brokers = voter.voters().map(Voters::brokers);
            let entries: Vec<_> =
                history.entries().iter().map(|one| (one.epoch.get(), one.start.get())).collect();
            let promised = ballot.promised.map(LeaderEpoch::get);
            let high_watermark = partition.cursors().high_watermark();
            format!(
                "\n  {id}: up={is_up} promised={promised:?} leads={:?} in {:?} votes by {brokers:?}; log 0..{} durable {durable} \
                 high watermark {high_watermark} history {entries:?} {ops:?}",
                voter.leads(),
                partition.current_epoch(),
                log.len(),
            )
        };
        format!("at {} ms:{}", self.now, self.nodes.iter().map(one).collect::<String>())
    }
}
