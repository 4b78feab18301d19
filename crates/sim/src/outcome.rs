//! One run from its seed to its verdict.

use std::fmt::Write as _;

use corduroy_checker::line::{Call, End, Spec};
use corduroy_checker::{Options, Verdict, check};
use corduroy_types::Offset;

use crate::actions::read_log;
use crate::clients::LEASE_MS;
use crate::rule::Rule;
use crate::world::World;

/// After the faults, how long clients go on, in microseconds.
const AFTERWARDS_US: u64 = 5_000_000;
/// How long replicas may take until they agree, in microseconds.
const CONVERGENCE_US: u64 = 60_000_000;
/// The client number of the final reads.
const FINAL: u32 = 1_001;

/// What every seed has.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Brokers; each holds a replica of every partition.
    pub brokers: usize,
    /// Partitions.
    pub partitions: u32,
    /// For how long there are faults, in simulated microseconds.
    pub duration_us: u64,
    /// A rule that is broken: some seed must find it.
    pub broken: Option<Rule>,
}

impl Settings {
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// Three to five brokers by the seed, three partitions, a minute.
    pub const fn of_seed(seed: u64) -> Self {
        let brokers = if seed.is_multiple_of(3) { 5 } else { 3 };
        Self { brokers, partitions: 3, duration_us: 60_000_000, broken: None }
    }
}

/// How much happened: seeds in which little happens prove nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Operations that ended unknown.
    pub unknown: u64,
    /// Faults.
    pub faults: u64,
    /// For how long there were faults, all together, in simulated microseconds.
    pub fault_us: u64,
    /// Brokers that were killed or lost power.
    pub kills: u64,
    /// Logs that were opened again after a failed write or sync.
    pub reopened: u64,
    /// Leaderships that began.
    pub leaderships: u64,
    /// Leaderships that ended.
    pub leaderships_ended: u64,
    /// Elections that began.
    pub elections: u64,
    /// Elections that another one replaced.
    pub elections_abandoned: u64,
    /// Logs that were cut, or emptied, to agree with a leader.
    pub cuts: u64,
}

impl Coverage {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.faults += other.faults;
        self.fault_us += other.fault_us;
        self.kills += other.kills;
        self.reopened += other.reopened;
        self.leaderships += other.leaderships;
        self.leaderships_ended += other.leaderships_ended;
        self.elections += other.elections;
        self.elections_abandoned += other.elections_abandoned;
        self.cuts += other.cuts;
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed: the same one gives the same run.
    pub seed: u64,
    /// What happened.
    pub coverage: Coverage,
    /// A hash of the run, to compare two of the same seed.
    pub fingerprint: u64,
    /// What must not have been, if anything.
    pub failure: Option<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, settings: Settings) -> Outcome {
    let mut world = World::new(seed, settings);
    world.run_all();
    world.coverage.elections = world.controller.elections;
    world.coverage.elections_abandoned = world.controller.abandoned;
    let fingerprint = world.fingerprint();
    let World { recorder, coverage, failure, .. } = world;
    let failure = failure.or_else(|| match recorder.finish() {
        Ok(history) => {
            let options = Options { lease_ns: 3 * LEASE_MS * 1_000_000, ..Options::default() };
            let report = check(&history, &options);
            // A fault that met no request makes the verdict unknown, and nothing wrong.
            (report.verdict() == Verdict::Invalid).then(|| report.to_string())
        }
        Err(problem) => Some(format!("the history is none: {problem}")),
    });
    Outcome { seed, coverage, fingerprint, failure }
}

impl World {
    fn run_all(&mut self) {
        let duration_us = self.settings.duration_us;
        while self.step(duration_us) {}
        if self.failure.is_some() {
            return;
        }
        self.now_us = duration_us;
        self.end_faults();
        self.clients.until_us = duration_us + AFTERWARDS_US;
        while self.step(duration_us + AFTERWARDS_US) {}
        let until_us = duration_us + AFTERWARDS_US + CONVERGENCE_US;
        while !(self.clients.is_idle() && self.has_converged()) && self.step(until_us) {}
        if self.failure.is_none() && !self.has_converged() {
            let state = self.describe();
            self.fail(|| format!("the replicas do not come to agree:{state}"));
        }
        if self.failure.is_none() {
            self.final_reads();
        }
    }

    /// Whether in every partition the leader is sure of its end and all replicas have everything.
    fn has_converged(&self) -> bool {
        (0..self.settings.partitions).all(|partition| {
            let replica =
                |broker: usize| self.brokers.get(broker)?.process.as_ref()?.replicas.get(&partition);
            let Some(leader) = self.controller.leader(partition).and_then(replica) else { return false };
            let end = leader.log.cursors().log_end();
            let has_all = |broker| {
                replica(broker).is_some_and(|replica| {
                    let (cursors, high_watermark) =
                        (replica.log.cursors(), replica.partition.cursors().high_watermark());
                    cursors.durable_end() == end && cursors.log_end() == end && high_watermark == end
                })
            };
            leader.partition.check_end().is_ok() && (0..self.brokers.len()).all(has_all)
        })
    }

    /// The state of every replica, a line each.
    fn describe(&self) -> String {
        let mut text = String::new();
        for (broker, at) in self.brokers.iter().enumerate() {
            for (partition, replica) in at.process.iter().flat_map(|process| &process.replicas) {
                let (log, machine) = (&replica.log, &replica.partition);
                let _never_fails = write!(
                    text,
                    "\n  {partition} on {broker} (leader {:?}): {:?} stopped {} cutting {} asked {:?} ops {:?} {:?} {:?} {:.300}",
                    self.controller.leader(*partition),
                    log.cursors(),
                    replica.stopped,
                    log.is_cutting(),
                    replica.asked,
                    replica.ops.len(),
                    log.history(),
                    log.failure(),
                    format!("{machine:?}"),
                );
            }
        }
        text
    }

    /// Reads every partition to its end, and compares all replicas (I3).
    fn final_reads(&mut self) {
        for partition in 0..self.settings.partitions {
            let Some(leader) = self.controller.leader(partition) else { continue };
            let call = Call::ListOffsets { spec: Spec::End, is_final: true };
            let op = self.recorder.invoke(self.now_us, FINAL, Some(leader), Some(partition), call);
            let end = self.list_end(leader, partition).unwrap_or(End::Refused);
            let until = if let End::Listed { offset, .. } = end { offset } else { Offset::ZERO };
            self.recorder.complete(op, self.now_us, end);
            let mut from = Offset::ZERO;
            while from < until {
                let call = Call::Fetch { from, from_epoch: None, follower: false, is_final: true };
                let op = self.recorder.invoke(self.now_us, FINAL, Some(leader), Some(partition), call);
                let end = self.fetch(leader, partition, from).unwrap_or(End::Refused);
                let last =
                    if let End::Fetched { records, .. } = &end { records.last().copied() } else { None };
                self.recorder.complete(op, self.now_us, end);
                let Some(last) = last else { break };
                from = last.offset.saturating_add(1);
            }
            self.compare_replicas(partition);
        }
    }

    fn compare_replicas(&mut self, partition: u32) {
        let whole = |broker: usize| -> Option<Vec<u8>> {
            let log = self.log(broker, partition)?;
            let (mut at, end, mut all) = (log.cursors().log_start(), log.cursors().log_end(), Vec::new());
            while at < end {
                let bytes = read_log(log, at, 1 << 20, end).ok()?;
                at = crate::records::batches(bytes.clone())?.last()?.header().next_offset();
                all.extend_from_slice(&bytes);
            }
            Some(all)
        };
        let logs: Vec<_> = (0..self.brokers.len()).map(whole).collect();
        if logs.iter().any(|log| log.is_none() || Some(log) != logs.first()) {
            self.fail(|| format!("I3: the replicas of partition {partition} differ"));
        }
    }

    fn fingerprint(&self) -> u64 {
        let truths = self.truths.iter().map(crate::history::Truth::committed_end);
        let words = truths.chain([self.now_us, self.coverage.acknowledged, self.coverage.unknown]);
        words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
    }
}
