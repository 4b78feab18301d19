//! The controller, idealised: what it decides is committed at once. What it sends takes time, is lost, and comes again.

use std::collections::BTreeMap;
use std::sync::Arc;

use corduroy_partition::Report;
use corduroy_types::{BrokerId, Incarnation, LeaderEpoch};

use crate::outcome::Settings;
use crate::random::Random;
use crate::rule::Rule;

/// A broker counts as gone after this long without a heartbeat, in microseconds.
const SESSION_US: u64 = 1_500_000;
/// An election that has not ended after this long begins again in another epoch, in microseconds.
const ELECTION_US: u64 = 1_000_000;

/// What a broker is to do for one partition.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Fence(LeaderEpoch),
    Lead(LeaderEpoch, Incarnation, Arc<[BrokerId]>),
    Follow(LeaderEpoch, BrokerId),
}

#[derive(Debug, Default)]
struct Leadership {
    epoch: LeaderEpoch,
    leader: Option<(usize, Incarnation)>,
    since_us: u64,
    reports: BTreeMap<usize, Report>,
}

#[derive(Debug)]
pub(crate) struct Controller {
    replicas: Arc<[BrokerId]>,
    partitions: Vec<Leadership>,
    registered: BTreeMap<(usize, u32), Incarnation>,
    last_incarnation: u64,
    heartbeat_at_us: Vec<u64>,
    pub(crate) elections: u64,
    pub(crate) abandoned: u64,
}

impl Controller {
    pub(crate) fn new(brokers: usize, partitions: u32) -> Self {
        let ids = 0..u32::try_from(brokers).unwrap_or(u32::MAX);
        Self {
            replicas: ids.map(BrokerId).collect(),
            partitions: (0..partitions).map(|_| Leadership::default()).collect(),
            registered: BTreeMap::new(),
            last_incarnation: 0,
            heartbeat_at_us: vec![0; brokers],
            elections: 0,
            abandoned: 0,
        }
    }

    /// Gives another run of a broker, or of one of its logs, its incarnation.
    pub(crate) fn register(
        &mut self,
        broker: usize,
        partitions: impl IntoIterator<Item = u32>,
    ) -> Incarnation {
        self.last_incarnation += 1;
        let incarnation = Incarnation(self.last_incarnation);
        self.registered.extend(partitions.into_iter().map(|partition| ((broker, partition), incarnation)));
        incarnation
    }

    pub(crate) fn heartbeat(&mut self, broker: usize, now_us: u64) {
        if let Some(heard) = self.heartbeat_at_us.get_mut(broker) {
            *heard = now_us;
        }
    }

    pub(crate) fn reported(&mut self, broker: usize, partition: u32, report: Report) {
        if let Some(leadership) = self.partitions.get_mut(partition as usize) {
            leadership.reports.insert(broker, report);
        }
    }

    /// Asks for another leader.
    pub(crate) fn resigned(&mut self, partition: u32, epoch: LeaderEpoch, now_us: u64) {
        let current = self.partitions.get(partition as usize).map(|it| (it.epoch, it.leader.is_some()));
        if current == Some((epoch, true)) {
            self.begin_election(partition as usize, now_us);
        }
    }

    pub(crate) fn begin_election(&mut self, partition: usize, now_us: u64) {
        let Some(leadership) = self.partitions.get_mut(partition) else { return };
        self.elections += 1;
        self.abandoned += u64::from(leadership.leader.is_none() && leadership.epoch > LeaderEpoch::ZERO);
        leadership.epoch = leadership.epoch.next().unwrap_or(LeaderEpoch::MAX);
        (leadership.leader, leadership.since_us) = (None, now_us);
    }

    /// The leader that clients are sent to.
    pub(crate) fn leader(&self, partition: u32) -> Option<usize> {
        self.partitions.get(partition as usize).and_then(|it| it.leader).map(|(leader, _)| leader)
    }

    /// Elects where enough has been reported, and begins elections where a leader is gone.
    pub(crate) fn tick(&mut self, now_us: u64, settings: &Settings, random: &mut Random) {
        for partition in 0..self.partitions.len() {
            if self.needs_election(partition, now_us) {
                self.begin_election(partition, now_us);
            }
            self.elect(partition, settings, random);
        }
    }

    fn needs_election(&self, partition: usize, now_us: u64) -> bool {
        let Some(leadership) = self.partitions.get(partition) else { return false };
        let Some((leader, incarnation)) = leadership.leader else {
            return leadership.epoch == LeaderEpoch::ZERO || now_us - leadership.since_us > ELECTION_US;
        };
        let is_silent =
            self.heartbeat_at_us.get(leader).is_none_or(|heard| now_us.saturating_sub(*heard) > SESSION_US);
        let present = u32::try_from(partition).ok().and_then(|it| self.registered.get(&(leader, it)));
        is_silent || present != Some(&incarnation)
    }

    /// Of E = n - Q + 1 reports of this attempt the greatest (last epoch, log end) wins (rule R2).
    fn elect(&mut self, partition: usize, settings: &Settings, random: &mut Random) {
        let replicas = self.replicas.len();
        let fewer = usize::from(!settings.keeps(Rule::EnoughReports));
        let needed = replicas - (replicas / 2 + 1) + 1 - fewer;
        let Some(leadership) = self.partitions.get_mut(partition).filter(|it| it.leader.is_none()) else {
            return;
        };
        let Ok(index) = u32::try_from(partition) else { return };
        let (epoch, registered) = (leadership.epoch, &self.registered);
        let valid: Vec<_> = leadership
            .reports
            .iter()
            .filter(|(broker, report)| {
                let is_present = registered.get(&(**broker, index)) == Some(&report.incarnation);
                let is_of_this = report.epoch == epoch || !settings.keeps(Rule::ReportsOfThisAttempt);
                is_of_this && is_present && !report.suspect
            })
            .collect();
        if valid.len() < needed {
            return;
        }
        let turn = random.index(replicas);
        let preferred = |broker: usize| (broker + turn) % replicas;
        let last_epoch = |it: &Report| it.last_epoch.filter(|_| settings.keeps(Rule::LastEpochFirst));
        let order = |(broker, it): &(&usize, &Report)| (last_epoch(it), it.log_end, preferred(**broker));
        let greatest = valid.iter().max_by_key(|found| order(found));
        leadership.leader = greatest.map(|(broker, report)| (**broker, report.incarnation));
    }

    /// What a broker is to do now, for each partition.
    pub(crate) fn commands(&self, broker: usize) -> Vec<(u32, Command)> {
        let command = |leadership: &Leadership| match leadership.leader {
            None => Command::Fence(leadership.epoch),
            Some((leader, incarnation)) if leader == broker => {
                Command::Lead(leadership.epoch, incarnation, Arc::clone(&self.replicas))
            }
            Some((leader, _)) => {
                let leader = self.replicas.get(leader).copied().unwrap_or(BrokerId(u32::MAX));
                Command::Follow(leadership.epoch, leader)
            }
        };
        (0..).zip(self.partitions.iter().map(command)).collect()
    }
}
