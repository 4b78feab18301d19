//! The world: brokers, network, controller and clients, and the queue of what happens next. One thread, one seed.

use std::collections::BTreeMap;

use corduroy_partition::{Ack, Action, Event, Hello, MonotonicMs, Push, Report, Welcome};
use corduroy_types::{BrokerId, LeaderEpoch};

use bytes::Bytes;

use crate::broker::{Broker, NotStarted};
use crate::clients::{Clients, Reply, Request};
use crate::controller::{Command, Controller};
use crate::faults::Fault;
use crate::history::{Recorder, Truth};
use crate::net::Net;
use crate::outcome::{Coverage, Settings};
use crate::random::Random;
use crate::replica::Op;
use crate::rule::Rule;

/// A message between two replicas of a partition.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Connected,
    Hello(Hello),
    Welcome(Welcome),
    Push(Push, Bytes),
    Ack(Ack),
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum SimEvent {
    /// Of a partition, on the connection of two brokers.
    Message {
        from: usize,
        to: usize,
        generation: u64,
        partition: u32,
        message: Message,
    },
    /// A broker tries to reach the leader of a partition.
    Connect {
        broker: usize,
        run: u64,
        partition: u32,
        leader: usize,
    },
    Disconnected {
        broker: usize,
        run: u64,
        peer: usize,
        partition: u32,
        generation: u64,
    },
    Ping {
        from: usize,
        to: usize,
        sent_ms: u64,
    },
    Pong {
        from: usize,
        to: usize,
        sent_ms: u64,
        promised: Vec<Option<LeaderEpoch>>,
    },
    Command {
        to: usize,
        partition: u32,
        command: Command,
    },
    Report {
        from: usize,
        partition: u32,
        report: Report,
    },
    Resigned {
        partition: u32,
        epoch: LeaderEpoch,
    },
    Heartbeat {
        from: usize,
    },
    CommitDone {
        broker: usize,
        run: u64,
    },
    BrokerTick {
        broker: usize,
        run: u64,
    },
    ControllerTick,
    /// A start that has failed is tried again.
    Start {
        broker: usize,
    },
    Request {
        to: usize,
        op: u64,
        partition: u32,
        request: Request,
    },
    Reply {
        op: u64,
        reply: Reply,
    },
    Timeout {
        op: u64,
    },
    Turn {
        client: u32,
    },
    Fault(Fault),
    FaultEnds(Fault),
}

impl SimEvent {
    /// The broker that it happens at, which may be paused.
    fn at(&self) -> Option<usize> {
        match self {
            Self::Message { to, .. }
            | Self::Ping { to, .. }
            | Self::Pong { to, .. }
            | Self::Command { to, .. }
            | Self::Request { to, .. } => Some(*to),
            Self::Connect { broker, .. }
            | Self::Disconnected { broker, .. }
            | Self::CommitDone { broker, .. }
            | Self::BrokerTick { broker, .. } => Some(*broker),
            _ => None,
        }
    }
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now_us: u64,
    queue: BTreeMap<(u64, u64), SimEvent>,
    sequence: u64,
    pub(crate) random: Random,
    pub(crate) settings: Settings,
    pub(crate) net: Net,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) controller: Controller,
    pub(crate) clients: Clients,
    pub(crate) recorder: Recorder,
    /// By partition.
    pub(crate) truths: Vec<Truth>,
    pub(crate) coverage: Coverage,
    /// The first thing that must not be.
    pub(crate) failure: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, settings: Settings) -> Self {
        let mut random = Random::new(seed);
        let brokers = (0..).map(BrokerId).take(settings.brokers).map(|id| Broker::new(id, &settings));
        let (brokers, failed): (Vec<_>, Vec<_>) = brokers.partition(Result::is_ok);
        let mut world = Self {
            now_us: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            net: Net::default(),
            brokers: brokers.into_iter().flatten().collect(),
            controller: Controller::new(settings.brokers, settings.partitions),
            clients: Clients::new(&settings, &mut random),
            recorder: Recorder::new(),
            truths: (0..settings.partitions).map(|_| Truth::default()).collect(),
            coverage: Coverage::default(),
            failure: failed.into_iter().find_map(|failed| Some(failed.err()?.to_string())),
            random,
            settings,
        };
        (0..world.brokers.len()).for_each(|broker| world.start(broker));
        world.after(1_000, SimEvent::ControllerTick);
        world.begin_clients();
        world.plan_faults();
        world
    }

    /// Lets something happen later.
    pub(crate) fn after(&mut self, delay_us: u64, event: SimEvent) {
        self.at(self.now_us + delay_us, event);
    }

    pub(crate) fn at(&mut self, at_us: u64, event: SimEvent) {
        self.sequence += 1;
        self.queue.insert((at_us, self.sequence), event);
    }

    pub(crate) fn fail(&mut self, failure: impl FnOnce() -> String) {
        self.failure.get_or_insert_with(failure);
    }

    /// The next thing happens; `false` where there is none before `until_us`, or something must not have been.
    pub(crate) fn step(&mut self, until_us: u64) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until_us) else {
            return false;
        };
        let ((at_us, _), event) = entry.remove_entry();
        self.now_us = at_us;
        let paused = event.at().and_then(|at| self.brokers.get(at)).map_or(0, |it| it.paused_until_us);
        if paused > at_us {
            self.at(paused, event);
        } else {
            self.handle(event);
        }
        self.failure.is_none()
    }

    fn handle(&mut self, event: SimEvent) {
        match event {
            SimEvent::Message { from, to, generation, partition, message } => {
                if self.net.arrives(from, to, partition, generation) {
                    self.notice(to, from, partition, generation);
                    self.deliver(from, to, partition, message);
                }
            }
            SimEvent::Connect { broker, run, partition, leader } => {
                self.connect(broker, run, partition, leader)
            }
            SimEvent::Disconnected { broker, run, peer, partition, generation } => {
                if self.run_of(broker) == Some(run) {
                    self.notice(broker, peer, partition, generation);
                }
            }
            SimEvent::Ping { from, to, sent_ms } => self.ping(from, to, sent_ms),
            SimEvent::Pong { from, to, sent_ms, promised } => self.pong(from, to, sent_ms, &promised),
            SimEvent::Command { to, partition, command } => self.apply_command(to, partition, command),
            SimEvent::Report { from, partition, report } => self.controller.reported(from, partition, report),
            SimEvent::Resigned { partition, epoch } => {
                self.controller.resigned(partition, epoch, self.now_us);
            }
            SimEvent::Heartbeat { from } => self.controller.heartbeat(from, self.now_us),
            SimEvent::CommitDone { broker, run } => self.commit_done(broker, run),
            SimEvent::BrokerTick { broker, run } => self.broker_tick(broker, run),
            SimEvent::Start { broker } => self.start(broker),
            SimEvent::ControllerTick => self.controller_tick(),
            SimEvent::Request { to, op, partition, request } => self.serve(to, op, partition, request),
            SimEvent::Reply { op, reply } => self.replied(op, reply),
            SimEvent::Timeout { op } => self.timed_out(op),
            SimEvent::Turn { client } => self.turn(client),
            SimEvent::Fault(fault) => self.fault(fault),
            SimEvent::FaultEnds(fault) => self.fault_ends(fault),
        }
    }

    /// The run of a broker that is up.
    pub(crate) fn run_of(&self, broker: usize) -> Option<u64> {
        self.brokers.get(broker).filter(|it| it.process.is_some()).map(|it| it.run)
    }

    /// Steps a partition's state machine, and performs what it asks for.
    pub(crate) fn step_partition(
        &mut self,
        broker: usize,
        partition: u32,
        event: Event,
        received: Option<(&Push, &Bytes)>,
    ) {
        let now = MonotonicMs(self.now_us / 1_000);
        let Some(process) = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut()) else { return };
        let Some(replica) = process.replicas.get_mut(&partition) else { return };
        let mut actions: Vec<Action> = Vec::new();
        replica.partition.step(now, event, &mut actions);
        for action in actions {
            self.act(broker, partition, action, received);
        }
        self.pump(broker, false);
    }

    /// Begins a commit where something waits for one.
    pub(crate) fn pump(&mut self, broker: usize, flush_marks: bool) {
        let Some(at) = self.brokers.get_mut(broker) else { return };
        let (run, slowness) = (at.run, at.slowness);
        if at.process.as_mut().is_some_and(|process| process.begin_commit(flush_marks)) {
            let took_us = self.random.between(300, 4_000) * slowness;
            self.after(took_us, SimEvent::CommitDone { broker, run });
            if !self.settings.keeps(Rule::CountsWhenDurable) {
                self.count_early(broker);
            }
        }
    }

    /// Counts what was not synced, against rule R8.
    fn count_early(&mut self, broker: usize) {
        for partition in 0..self.settings.partitions {
            let process = self.brokers.get(broker).and_then(|it| it.process.as_ref());
            let Some(replica) = process.and_then(|it| it.replicas.get(&partition)) else { continue };
            let end = replica.log.cursors().log_end();
            if let Some(epoch) = replica.partition.current_epoch() {
                self.step_partition(
                    broker,
                    partition,
                    Event::Counted { epoch, counted_end: end, durable_end: end },
                    None,
                );
            }
        }
    }

    fn commit_done(&mut self, broker: usize, run: u64) {
        let Some(at) = self.brokers.get_mut(broker).filter(|it| it.run == run) else { return };
        let Some(process) = at.process.as_mut() else { return };
        for (partition, event) in process.finish_commit() {
            if let Event::Lead { epoch, .. } = &event {
                self.leads(broker, partition, *epoch);
            }
            if matches!(event, Event::Reconciled { .. }) {
                self.coverage.cuts += 1;
            }
            self.step_partition(broker, partition, event, None);
        }
        self.pump(broker, false);
    }

    fn broker_tick(&mut self, broker: usize, run: u64) {
        if self.run_of(broker) != Some(run) {
            return;
        }
        self.after(100_000, SimEvent::BrokerTick { broker, run });
        if self.net.reaches_controller(broker) {
            let delay_us = Net::delay_us(&mut self.random);
            self.after(delay_us, SimEvent::Heartbeat { from: broker });
        }
        let sent_ms = self.now_us / 1_000;
        for peer in (0..self.brokers.len()).filter(|peer| *peer != broker) {
            if self.net.is_up(broker, peer) {
                let delay_us = Net::delay_us(&mut self.random);
                self.after(delay_us, SimEvent::Ping { from: broker, to: peer, sent_ms });
            }
        }
        self.reopen(broker);
        let checkpoints = self.random.in_thousand(150);
        let Some(process) = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut()) else { return };
        let events = if checkpoints { process.checkpoint() } else { Vec::new() };
        process.perform_cuts();
        for (partition, event) in events {
            self.step_partition(broker, partition, event, None);
        }
        for partition in 0..self.settings.partitions {
            self.step_partition(broker, partition, Event::Tick, None);
        }
        self.pump(broker, true);
    }

    fn reopen(&mut self, broker: usize) {
        let Some(process) = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut()) else { return };
        for partition in process.reopen() {
            self.coverage.reopened += 1;
            let incarnation = self.controller.register(broker, [partition]);
            let process = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut());
            if let Some(replica) = process.and_then(|process| process.replicas.get_mut(&partition)) {
                replica.incarnation = incarnation;
            }
            self.step_partition(broker, partition, Event::Reopened { incarnation, suspect: false }, None);
        }
    }

    fn controller_tick(&mut self) {
        self.after(50_000, SimEvent::ControllerTick);
        self.controller.tick(self.now_us, &self.settings, &mut self.random);
        for broker in 0..self.brokers.len() {
            if !self.net.reaches_controller(broker) {
                continue;
            }
            for (partition, command) in self.controller.commands(broker) {
                let delay_us = Net::delay_us(&mut self.random);
                self.after(delay_us, SimEvent::Command { to: broker, partition, command });
            }
        }
    }

    /// A broker gets a command of the controller.
    fn apply_command(&mut self, broker: usize, partition: u32, command: Command) {
        let event = match command {
            Command::Fence(epoch) => Event::Fence { epoch },
            Command::Follow(epoch, leader) => Event::Follow { epoch, leader },
            Command::Lead(epoch, incarnation, replicas) => {
                let process = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut());
                let Some(replica) = process.and_then(|it| it.replicas.get_mut(&partition)) else { return };
                let is_asked =
                    replica.ops.iter().any(|op| matches!(op, Op::Lead(asked, ..) if *asked == epoch));
                if replica.partition.may_lead(epoch, incarnation) && !is_asked && replica.asked.is_none() {
                    replica.ops.push_back(Op::Lead(epoch, incarnation, replicas));
                }
                return self.pump(broker, false);
            }
        };
        self.step_partition(broker, partition, event, None);
    }

    /// A broker starts.
    pub(crate) fn start(&mut self, broker: usize) {
        let partitions = self.settings.partitions;
        let Some(at) = self.brokers.get_mut(broker).filter(|it| it.process.is_none()) else { return };
        let incarnation = self.controller.register(broker, 0..partitions);
        match at.start(incarnation) {
            Ok(()) => {
                let run = at.run;
                self.after(1_000, SimEvent::BrokerTick { broker, run });
            }
            Err(NotStarted::DiskFailed) => self.after(500_000, SimEvent::Start { broker }),
            Err(NotStarted::Damaged(damage)) => {
                self.fail(|| format!("broker {broker} found damage: {damage}"))
            }
        }
    }

    /// A broker ends without closing anything.
    pub(crate) fn kill(&mut self, broker: usize, power: bool) {
        let Some(at) = self.brokers.get_mut(broker).filter(|it| it.process.is_some()) else { return };
        at.kill(power, &mut self.random);
        self.coverage.kills += 1;
        for peer in (0..self.brokers.len()).filter(|peer| *peer != broker) {
            self.break_connection(broker, peer);
        }
    }
}
