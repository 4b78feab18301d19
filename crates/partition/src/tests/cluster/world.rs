//! The cluster: replicas, streams between them, a controller that decides in one step, and clients that append.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use corduroy_types::{Acks, BrokerId, EpochEntry, EpochHistory, Incarnation};

use super::history::{History, Rec, check_matching};
use super::node::{Node, Op, Round, broker};
use crate::tests::{at, epoch};
use crate::{Ack, Action, Agreement, BatchSpan, Event, Hello, MonotonicMs, Push, Report, RequestId, Welcome};

/// One message of a stream.
#[derive(Clone, Debug)]
enum Message {
    Connected,
    Hello(Hello),
    Welcome(Welcome),
    Push(Push, Vec<Rec>),
    Ack(Ack),
    Disconnected,
}

/// What the controller has recorded. Replicas receive it in this order, each at its own pace.
#[derive(Clone, Copy, Debug)]
enum Decision {
    ElectionStarted(u32),
    LeaderElected(u32, usize, Incarnation),
}

/// What the controller knows, committed.
#[derive(Debug, Default)]
struct Controller {
    epoch: u32,
    leader: Option<(usize, Incarnation)>,
    decisions: Vec<Decision>,
    reports: BTreeMap<usize, Report>,
}

/// Situations that random runs have to reach.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    acknowledged: usize,
    cut: usize,
    dead_branch_without_records: usize,
    adopted_while_streaming: usize,
    led_again: usize,
    lost_unsynced: usize,
    election_abandoned: usize,
    unknown: usize,
}

impl Reached {
    pub(super) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.cut += other.cut;
        self.dead_branch_without_records += other.dead_branch_without_records;
        self.adopted_while_streaming += other.adopted_while_streaming;
        self.led_again += other.led_again;
        self.lost_unsynced += other.lost_unsynced;
        self.election_abandoned += other.election_abandoned;
        self.unknown += other.unknown;
    }

    pub(super) fn assert_all(&self) {
        let Self {
            acknowledged,
            cut,
            dead_branch_without_records,
            adopted_while_streaming,
            led_again,
            lost_unsynced,
            election_abandoned,
            unknown,
        } = self;
        let counts = [
            acknowledged,
            cut,
            dead_branch_without_records,
            adopted_while_streaming,
            led_again,
            lost_unsynced,
            election_abandoned,
            unknown,
        ];
        assert!(counts.iter().all(|count| **count > 0), "{self:?}");
        assert!(*acknowledged > 1_000, "{self:?}");
    }
}

pub(super) struct World {
    nodes: Vec<Node>,
    /// From one replica to another, in order.
    streams: BTreeMap<(usize, usize), VecDeque<Message>>,
    controller: Controller,
    history: History,
    waiting: BTreeMap<u64, (usize, Rec)>,
    /// How many decisions each replica has heard.
    heard: Vec<usize>,
    /// Until when nothing reaches a replica.
    isolated_until: Vec<u64>,
    now: u64,
    next_value: u64,
    next_incarnation: u64,
    pub(super) reached: Reached,
}

impl World {
    pub(super) fn new(replicas: usize) -> Self {
        let incarnation = |id| Incarnation(id as u64 + 1);
        Self {
            nodes: (0..replicas).map(|id| Node::new(id, incarnation(id))).collect(),
            streams: BTreeMap::new(),
            controller: Controller::default(),
            history: History::default(),
            waiting: BTreeMap::new(),
            heard: vec![0; replicas],
            isolated_until: vec![0; replicas],
            now: 0,
            next_value: 0,
            next_incarnation: replicas as u64,
            reached: Reached::default(),
        }
    }

    fn set(&self) -> Arc<[BrokerId]> {
        (0..self.nodes.len()).map(broker).collect()
    }

    /// E: how many replicas an election has to hear.
    fn election_size(&self) -> usize {
        self.nodes.len() - (self.nodes.len() / 2 + 1) + 1
    }

    /// One of the things that can happen now.
    pub(super) fn step(&mut self, choice: u32) {
        let (kind, rest) = (choice % 1_000, (choice / 1_000) as usize);
        let node = rest % self.nodes.len();
        let rest = rest / self.nodes.len();
        match kind {
            0..420 => self.deliver(rest),
            420..580 => self.perform(node),
            580..700 => self.round(node),
            700..790 => self.append(node),
            790..900 => self.learn(node),
            900..940 => self.elect(),
            940..943 => self.begin_election(),
            943..946 => self.crash(node, rest),
            946..970 => self.restart(node),
            970..972 => self.fail_log(node),
            972..975 => self.reset(node, rest),
            975..978 => self.isolated_until[node] = self.now + (rest % 2_000) as u64,
            _ => self.pass_time(rest),
        }
        self.check();
    }

    fn check(&self) {
        let logs: Vec<&[Rec]> = self.nodes.iter().map(|node| &node.log[..]).collect();
        check_matching(&logs);
    }

    fn deliver(&mut self, which: usize) {
        let reaches = |id: usize| self.isolated_until[id] <= self.now;
        let busy = self.streams.iter().filter(|(_, queue)| !queue.is_empty()).map(|(at, _)| *at);
        let busy: Vec<_> = busy.filter(|(from, to)| reaches(*from) && reaches(*to)).collect();
        let Some(&(from, to)) = busy.get(which % busy.len().max(1)) else { return };
        let Some(message) = self.streams.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return };
        if !self.nodes[to].is_up {
            return;
        }
        let event = match message {
            Message::Connected => Event::Connected { leader: broker(from) },
            Message::Disconnected => Event::Disconnected { peer: broker(from) },
            Message::Hello(hello) => Event::Hello { from: broker(from), hello },
            Message::Welcome(welcome) => Event::Welcomed { from: broker(from), welcome },
            Message::Ack(ack) => Event::Acked { from: broker(from), ack },
            Message::Push(push, records) => {
                let base = push.from.get();
                let span = |(nth, rec): (usize, &Rec)| BatchSpan {
                    base: at(base + nth as u64),
                    end: at(base + nth as u64 + 1),
                    epoch: epoch(rec.epoch),
                };
                let batches = records.iter().enumerate().map(span).collect();
                let event = Event::Received { from: broker(from), push, batches };
                let actions = self.nodes[to].step(self.now, event);
                return self.act(to, actions, Some((push, records)));
            }
        };
        let actions = self.nodes[to].step(self.now, event);
        self.act(to, actions, None);
    }

    fn send(&mut self, from: usize, to: BrokerId, message: Message) {
        self.streams.entry((from, to.0 as usize)).or_default().push_back(message);
    }

    /// A stream breaks: what is on its way is lost, and both ends notice.
    fn break_stream(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let queue = self.streams.entry((from, to)).or_default();
            queue.clear();
            queue.push_back(Message::Disconnected);
        }
    }

    fn reset(&mut self, a: usize, b: usize) {
        let b = b % self.nodes.len();
        if a != b {
            self.break_stream(a, b);
        }
    }

    fn act(&mut self, id: usize, actions: Vec<Action>, received: Option<(Push, Vec<Rec>)>) {
        for action in actions {
            match action {
                Action::Promise { epoch } => self.nodes[id].ops.push_back(Op::Promise(epoch)),
                Action::Reconcile { epoch, agreement } => {
                    self.nodes[id].ops.push_back(Op::Reconcile(epoch, agreement));
                }
                Action::Adopt { epoch, entry } => self.nodes[id].ops.push_back(Op::Adopt(epoch, entry)),
                Action::Report(report) => {
                    self.controller.reports.insert(id, report);
                }
                Action::Connect { leader } => self.send(leader.0 as usize, broker(id), Message::Connected),
                Action::SendHello { to, hello } => self.send(id, to, Message::Hello(hello)),
                Action::SendWelcome { to, welcome } => self.send(id, to, Message::Welcome(welcome)),
                Action::SendAck { to, ack } => self.send(id, to, Message::Ack(ack)),
                Action::CloseStream { peer } => self.break_stream(id, peer.0 as usize),
                Action::Push { to, push, up_to } => self.push(id, to, push, up_to.get()),
                Action::Replicate { from } => {
                    let (push, records) = received.as_ref().expect("it answers a push");
                    let skipped = (from.get() - push.from.get()) as usize;
                    let node = &mut self.nodes[id];
                    assert_eq!(node.log.len() as u64, from.get());
                    node.log.extend(&records[skipped..]);
                }
                Action::HighWatermark(to) => self.committed(id, to.get() as usize),
                Action::Answer { request, result } => {
                    let Some((offset, rec)) = self.waiting.remove(&request.0) else {
                        panic!("{request:?} is answered twice")
                    };
                    match result {
                        Ok(_) => {
                            self.history.acknowledged(offset, rec);
                            self.reached.acknowledged += 1;
                        }
                        Err(_) => self.reached.unknown += 1,
                    }
                }
                Action::Contradiction(invariant) => panic!("replica {id}: {invariant}"),
                Action::VisibleRecordsLost { from, to } => panic!("replica {id} lost {from} to {to}"),
                Action::Quarantined { .. } => panic!("replica {id} would cut committed records"),
                Action::RaiseLogStart { .. } => panic!("nothing is removed here"),
                Action::LeadershipEnded { .. }
                | Action::RefuseFence(_)
                | Action::Activated { .. }
                | Action::InSync(_)
                | Action::ReplicaClean { .. }
                | Action::Resign { .. } => {}
            }
        }
    }

    fn committed(&mut self, id: usize, high_watermark: usize) {
        let node = &self.nodes[id];
        for offset in 0..high_watermark {
            let rec = *node.log.get(offset).expect("the high watermark is within the log");
            self.history.committed(id, offset, rec);
        }
    }

    fn push(&mut self, from: usize, to: BrokerId, push: Push, up_to: u64) {
        let node = &self.nodes[from];
        let (begin, end) = (push.from.get() as usize, (up_to as usize).min(push.from.get() as usize + 3));
        let records: Vec<Rec> = node.log[begin..end].to_vec();
        let bytes = records.len() as u64 * 100;
        self.send(from, to, Message::Push(push, records));
        let actions = self.nodes[from].step(self.now, Event::Pushed { to, end: at(end as u64), bytes });
        self.act(from, actions, None);
    }

    /// The shell performs the oldest operation on a log.
    fn perform(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        if !node.is_up || node.round.is_some() {
            return;
        }
        let Some(op) = node.ops.pop_front() else { return };
        // Each of them makes the log durable first.
        node.durable = node.log.len();
        let event = match op {
            Op::Promise(epoch) => {
                node.promised = node.promised.max(Some(epoch));
                Event::Promised { epoch, log: node.log_state() }
            }
            Op::Reconcile(epoch, agreement) => {
                let Agreement { log_end, history, .. } = agreement;
                let log_end = log_end.get() as usize;
                if log_end < node.log.len() {
                    self.reached.cut += 1;
                }
                let drops = |entry: &&EpochEntry| !history.entries().contains(entry);
                let dropped = node.history.entries().iter().filter(drops);
                self.reached.dead_branch_without_records +=
                    dropped.filter(|entry| entry.start.get() as usize == node.log.len()).count();
                node.log.truncate(log_end);
                node.durable = log_end;
                node.history = history;
                Event::Reconciled { epoch, log: node.log_state() }
            }
            Op::Adopt(epoch, entry) => {
                // Where the log was changed since it was asked for, another event says so.
                if node.log.len() as u64 != entry.start.get() || node.partition.current_epoch() != Some(epoch)
                {
                    return;
                }
                self.reached.adopted_while_streaming += 1;
                push(&mut node.history, entry);
                Event::Adopted { epoch, entry }
            }
            Op::Lead(epoch, incarnation) => {
                if !node.partition.may_lead(epoch, incarnation) {
                    return;
                }
                let entry = EpochEntry { epoch, start: at(node.log.len() as u64) };
                push(&mut node.history, entry);
                self.history.led(epoch.get(), id, incarnation);
                self.history.check_leader(epoch.get(), &node.log);
                self.reached.led_again += 1;
                let (replicas, log) = (self.set(), self.nodes[id].log_state());
                Event::Lead { epoch, replicas, log }
            }
        };
        let actions = self.nodes[id].step(self.now, event);
        self.act(id, actions, None);
    }

    /// A round of writes begins, or ends.
    fn round(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        if !node.is_up {
            return;
        }
        let Some(Round { epoch, end }) = node.round.take() else {
            let epoch = node.partition.current_epoch();
            node.round = Some(Round { epoch, end: node.log.len() });
            return;
        };
        node.durable = node.durable.max(end.min(node.log.len()));
        let Some(epoch) = epoch else { return };
        let durable_end = at(node.durable as u64);
        let actions = node.step(self.now, Event::Counted { epoch, counted_end: durable_end, durable_end });
        self.act(id, actions, None);
    }

    fn append(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        if !node.is_up {
            return;
        }
        let Ok(epoch) = node.partition.check_produce(None) else { return };
        let rec = Rec { epoch: epoch.get(), value: self.next_value };
        let offset = node.log.len();
        self.history.wrote(offset, rec);
        self.waiting.insert(self.next_value, (offset, rec));
        node.log.push(rec);
        let acks = if self.next_value.is_multiple_of(3) { Acks::All } else { Acks::Quorum };
        let event = Event::Appended {
            request: RequestId(self.next_value),
            epoch,
            base: at(offset as u64),
            end: at(offset as u64 + 1),
            acks,
            deadline: MonotonicMs(self.now + 5_000),
        };
        self.next_value += 1;
        let actions = node.step(self.now, event);
        self.act(id, actions, None);
    }

    fn begin_election(&mut self) {
        if self.controller.leader.is_none() && self.controller.epoch > 0 {
            self.reached.election_abandoned += 1;
        }
        self.controller.epoch += 1;
        self.controller.leader = None;
        self.controller.decisions.push(Decision::ElectionStarted(self.controller.epoch));
    }

    /// The controller names a leader once enough replicas have reported.
    fn elect(&mut self) {
        let Controller { epoch: current, leader: None, .. } = self.controller else { return };
        let needed = self.election_size();
        let (nodes, reports) = (&self.nodes, &self.controller.reports);
        // Its registration says which run of a replica is the present one.
        let valid = reports.iter().filter(|(id, report)| {
            report.epoch.get() == current && nodes[**id].incarnation == report.incarnation
        });
        let valid: Vec<_> = valid.collect();
        if valid.len() < needed {
            return;
        }
        let greatest = valid.iter().max_by_key(|(id, report)| (report.last_epoch, report.log_end, **id));
        self.controller.leader = greatest.map(|(id, report)| (**id, report.incarnation));
        let decided = self.controller.leader.map(|(id, run)| Decision::LeaderElected(current, id, run));
        self.controller.decisions.extend(decided);
    }

    /// A replica receives the next thing that the controller has decided, or the last one again.
    fn learn(&mut self, id: usize) {
        let decisions = &self.controller.decisions;
        if !self.nodes[id].is_up || decisions.is_empty() || self.isolated_until[id] > self.now {
            return;
        }
        let next = self.heard[id].min(decisions.len() - 1);
        self.heard[id] = next + 1;
        let event = match decisions[next] {
            Decision::ElectionStarted(number) => Event::Fence { epoch: epoch(number) },
            Decision::LeaderElected(number, leader, incarnation) if leader == id => {
                self.nodes[id].ops.push_back(Op::Lead(epoch(number), incarnation));
                return;
            }
            Decision::LeaderElected(number, leader, _) => {
                Event::Follow { epoch: epoch(number), leader: broker(leader) }
            }
        };
        let actions = self.nodes[id].step(self.now, event);
        self.act(id, actions, None);
    }

    fn incarnation(&mut self) -> Incarnation {
        self.next_incarnation += 1;
        Incarnation(self.next_incarnation)
    }

    fn crash(&mut self, id: usize, kept: usize) {
        if !self.nodes[id].is_up {
            return;
        }
        let before = self.nodes[id].log.len();
        self.nodes[id].crash(kept % 4);
        self.reached.lost_unsynced += usize::from(self.nodes[id].log.len() < before);
        // What waited there is never answered.
        let node = &mut self.nodes[id];
        let actions = node.step(self.now, Event::Stop { reason: crate::NotLeading::ShuttingDown });
        let answers = actions.into_iter().filter(|action| matches!(action, Action::Answer { .. }));
        let answers = answers.collect();
        self.act(id, answers, None);
        for peer in (0..self.nodes.len()).filter(|peer| *peer != id) {
            self.break_stream(id, peer);
        }
    }

    fn restart(&mut self, id: usize) {
        if !self.nodes[id].is_up {
            let incarnation = self.incarnation();
            self.nodes[id].restart(incarnation);
            // It reads the decisions again, from its last snapshot on.
            self.heard[id] = self.heard[id].saturating_sub(4);
        }
    }

    fn fail_log(&mut self, id: usize) {
        if self.nodes[id].is_up {
            let incarnation = self.incarnation();
            let actions = self.nodes[id].fail(self.now, incarnation);
            self.act(id, actions, None);
        }
    }

    fn pass_time(&mut self, ms: usize) {
        self.now += (ms % 700) as u64;
        for id in 0..self.nodes.len() {
            if self.nodes[id].is_up {
                let actions = self.nodes[id].step(self.now, Event::Tick);
                self.act(id, actions, None);
            }
        }
    }

    /// Everything runs again: one election succeeds, and all replicas come to hold the same.
    pub(super) fn heal(&mut self) {
        for id in 0..self.nodes.len() {
            self.restart(id);
        }
        self.isolated_until.fill(0);
        self.begin_election();
        for round in 0..2_000 {
            self.elect();
            for id in 0..self.nodes.len() {
                self.learn(id);
                self.perform(id);
                self.round(id);
            }
            for which in 0..20 {
                self.deliver(which);
            }
            self.check();
            if round % 10 == 0 {
                self.pass_time(10);
            }
            if self.has_converged() {
                break;
            }
        }
        assert!(self.has_converged(), "the replicas do not come to agree: {}", self.describe());
        for (offset, rec) in &self.history.acknowledged {
            for node in &self.nodes {
                assert_eq!(node.log.get(*offset), Some(rec), "the record acknowledged at {offset} is lost");
            }
        }
    }

    fn has_converged(&self) -> bool {
        let Some((leader, _)) = self.controller.leader else { return false };
        let log = &self.nodes[leader].log;
        self.nodes[leader].partition.check_end().is_ok()
            && self.nodes.iter().all(|node| {
                node.log == *log
                    && node.history.last() == self.nodes[leader].history.last()
                    && node.partition.cursors().high_watermark() == at(log.len() as u64)
            })
    }

    fn describe(&self) -> String {
        let one = |node: &Node| {
            let epochs: Vec<_> = node.log.iter().map(|rec| rec.epoch).collect();
            format!("\n  {}: {epochs:?} {:?} {:?}", node.id, node.history, node.partition)
        };
        format!("{:?}{}", self.controller, self.nodes.iter().map(one).collect::<String>())
    }
}

fn push(history: &mut EpochHistory, entry: EpochEntry) {
    history.push(entry).expect("epochs follow each other");
}
