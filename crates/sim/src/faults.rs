//! Faults: what kinds a seed has, when each begins, and for how long.

use corduroy_checker::line::{Call, End};
use corduroy_log::disk::{SimCall, SimFailure};

use crate::world::{SimEvent, World};

/// The client number of the harness itself.
const HARNESS: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kill,
    PowerLoss,
    Pause,
    CutLink,
    Isolate,
    CutController,
    DiskErrors,
    SlowDisk,
    Election,
    BreakConnection,
}

const KINDS: [Kind; 10] = [
    Kind::Kill,
    Kind::PowerLoss,
    Kind::Pause,
    Kind::CutLink,
    Kind::Isolate,
    Kind::CutController,
    Kind::DiskErrors,
    Kind::SlowDisk,
    Kind::Election,
    Kind::BreakConnection,
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    kind: Kind,
    broker: usize,
    peer: usize,
    partition: usize,
    for_us: u64,
    seed: u64,
    op: Option<u64>,
}

impl World {
    /// Draws the faults of this seed: of some kinds only, so that rare combinations come up (swarm testing, Groce et al. 2012).
    pub(crate) fn plan_faults(&mut self) {
        let kinds: Vec<_> = KINDS.into_iter().filter(|_| self.random.in_thousand(550)).collect();
        let count = self.random.between(40, 160);
        for _ in 0..count {
            let Some(kind) = kinds.get(self.random.index(kinds.len())).copied() else { return };
            let brokers = self.brokers.len();
            let broker = self.random.index(brokers);
            let peer = (broker + 1 + self.random.index(brokers.saturating_sub(1))) % brokers.max(1);
            let partition = self.random.index(self.settings.partitions as usize);
            let at_us = self.random.between(1_000_000, self.settings.duration_us);
            let longest_us = if self.random.in_thousand(400) { 10_000_000 } else { 2_000_000 };
            let for_us = self.random.between(50_000, longest_us);
            let seed = self.random.next();
            let fault = Fault { kind, broker, peer, partition, for_us, seed, op: None };
            self.at(at_us, SimEvent::Fault(fault));
        }
    }

    pub(crate) fn fault(&mut self, mut fault: Fault) {
        if self.now_us >= self.settings.duration_us {
            return;
        }
        self.coverage.faults += 1;
        self.coverage.fault_us += fault.for_us.min(self.settings.duration_us - self.now_us);
        let targets = vec![fault.broker.to_string()];
        let call = Call::Nemesis { kind: format!("{:?}", fault.kind), targets };
        fault.op = Some(self.recorder.invoke(self.now_us, HARNESS, None, None, call));
        let until_us = (self.now_us + fault.for_us).min(self.settings.duration_us);
        match fault.kind {
            Kind::Kill => self.kill(fault.broker, false),
            Kind::PowerLoss => self.kill(fault.broker, true),
            Kind::Pause => self.set(fault.broker, |broker| broker.paused_until_us = until_us),
            Kind::CutLink => self.cut(fault.broker, fault.peer),
            Kind::Isolate => {
                self.net.cut_controller(fault.broker);
                for peer in (0..self.brokers.len()).filter(|peer| *peer != fault.broker) {
                    self.cut(fault.broker, peer);
                }
            }
            Kind::CutController => self.net.cut_controller(fault.broker),
            Kind::DiskErrors => self.set(fault.broker, |broker| {
                let calls =
                    [SimCall::Sync, SimCall::Write, SimCall::SetLen, SimCall::Rename, SimCall::SyncDir];
                broker.disk.fail_randomly(fault.seed, 30, &calls, SimFailure::Io);
            }),
            Kind::SlowDisk => self.set(fault.broker, |broker| broker.slowness = 60),
            Kind::Election => self.controller.begin_election(fault.partition, self.now_us),
            Kind::BreakConnection => self.break_connection(fault.broker, fault.peer),
        }
        self.at(until_us, SimEvent::FaultEnds(fault));
    }

    pub(crate) fn fault_ends(&mut self, fault: Fault) {
        if let Some(op) = fault.op {
            self.recorder.complete(op, self.now_us, End::Done);
        }
        match fault.kind {
            Kind::Kill | Kind::PowerLoss => self.start(fault.broker),
            Kind::CutLink => self.net.mend(fault.broker, fault.peer),
            Kind::Isolate => {
                self.net.mend_controller(fault.broker);
                for peer in (0..self.brokers.len()).filter(|peer| *peer != fault.broker) {
                    self.net.mend(fault.broker, peer);
                }
            }
            Kind::CutController => self.net.mend_controller(fault.broker),
            Kind::DiskErrors => self.set(fault.broker, |broker| broker.disk.heal()),
            Kind::SlowDisk => self.set(fault.broker, |broker| broker.slowness = 1),
            Kind::Pause | Kind::Election | Kind::BreakConnection => {}
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.net.cut(a, b);
        self.break_connection(a, b);
    }

    fn set(&mut self, broker: usize, set: impl FnOnce(&mut crate::broker::Broker)) {
        if let Some(broker) = self.brokers.get_mut(broker) {
            set(broker);
        }
    }

    /// Ends every fault.
    pub(crate) fn end_faults(&mut self) {
        self.net.heal();
        for broker in &mut self.brokers {
            broker.disk.heal();
            (broker.paused_until_us, broker.slowness) = (0, 1);
        }
        (0..self.brokers.len()).for_each(|broker| self.start(broker));
        let op = self.recorder.invoke(self.now_us, HARNESS, None, None, Call::Heal);
        self.recorder.complete(op, self.now_us, End::Done);
    }
}
