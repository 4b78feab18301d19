//! One run: trouble, then peace, then one node that comes back.

use super::{
    history::{Checked, Violation, broken},
    network::LATE_MS_MAX,
    node::{Op, voter_id},
    reached::Reached,
    world::World,
};
use crate::{Event, Timing, VOTERS_MAX, VoterChange, Voters, vote::rules::Rules};

const TROUBLE_MS: u64 = 6_000;
const TIMEOUT_MS: u64 = 2 * 300;

/// Runs one cluster from a seed.
pub(super) fn run(seed: u64, voters: usize, rules: Rules) -> Result<Reached, (Violation, String)> {
    let mut world = World::new(seed, voters, rules);
    let done = world.live();
    world.reached.repeated += world.network.repeated as usize;
    match done {
        Ok(()) => Ok(world.reached),
        Err(violation) => Err((violation, world.describe())),
    }
}

impl World {
    fn live(&mut self) -> Checked {
        assert_eq!(Timing::default().timeout_ms * 2, TIMEOUT_MS);
        self.settle()?;
        while self.now < TROUBLE_MS {
            self.trouble()?;
            self.pass()?;
        }
        self.heal()?;
        self.come_back()
    }

    /// One of the things that can go wrong, or be asked for.
    fn trouble(&mut self) -> Checked {
        let (id, peer) = (self.any(self.nodes.len()), self.any(self.nodes.len()));
        let until = self.now + self.draw.below(1_500);
        if self.chance(5) {
            self.crash(id)?;
        }
        if self.chance(40) {
            self.restart(peer)?;
        }
        if self.chance(3) && self.nodes[id].is_up {
            self.nodes[id].paused_until = until;
        }
        if self.chance(3) {
            self.nodes[id].stalled_until = until;
        }
        let has_won = self.nodes[id].ops.iter().any(|op| matches!(op, Op::Lead(..)));
        if has_won && self.chance(300) {
            self.nodes[id].stalled_until = until;
        }
        if self.chance(2) {
            self.fail_log(id)?;
        }
        if self.chance(10) && id != peer {
            self.network.cut(id, peer, until);
        }
        if self.chance(3) {
            for other in 0..self.nodes.len() {
                self.network.cut(id, other, until);
                self.network.cut(other, id, until);
            }
        }
        if self.chance(5) && id != peer {
            self.network.break_stream(self.now, id, peer);
        }
        let leaders: Vec<_> = self.leaders().map(|(id, _)| id).filter(|id| self.is_running(*id)).collect();
        for id in leaders {
            if self.chance(250) {
                self.append(id, None)?;
            }
            if self.chance(40) {
                self.change_voters(id)?;
            }
            if self.chance(2) {
                self.step_voter(id, Event::Drain);
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Everything works again: within a few time-outs there is a leader, and all its voters hold the same (V5).
    fn heal(&mut self) -> Checked {
        self.network.heal();
        if self.chance(500) {
            self.reached.healed_after_all_crashed += 1;
            for id in 0..self.nodes.len() {
                self.crash(id)?;
            }
        }
        for id in 0..self.nodes.len() {
            self.restart(id)?;
            self.nodes[id].paused_until = 0;
            self.nodes[id].stalled_until = 0;
        }
        self.converge("V5", 12 * TIMEOUT_MS)?;
        // What was late arrives, and may depose a leader once more.
        let late = self.now + LATE_MS_MAX;
        while self.now < late {
            self.pass()?;
        }
        self.grow()
    }

    /// All may vote again, one after another (V6).
    fn grow(&mut self) -> Checked {
        for id in 0..self.nodes.len() {
            let leader = self.converge("V6", 12 * TIMEOUT_MS)?;
            let voters = self.nodes[leader].voter.voters().map_or(0, Voters::len);
            if !self.votes(leader, id) && voters < VOTERS_MAX {
                // It has to be known to follow first.
                for _ in 0..60 {
                    self.pass()?;
                }
                self.step_voter(leader, Event::ChangeVoters(VoterChange::Add(voter_id(id))));
                self.settle()?;
                self.converge("V6", 12 * TIMEOUT_MS)?;
                let Some((leader, _)) = self.leaders().next() else { return Ok(()) };
                if !self.votes(leader, id) {
                    return broken("V6", format!("node {id} does not become a voter"));
                }
            }
        }
        Ok(())
    }

    /// Waits until the cluster is at rest; returns who leads.
    fn converge(&mut self, rule: &'static str, limit_ms: u64) -> Checked<usize> {
        let limit = self.now + limit_ms;
        loop {
            self.pass()?;
            if let Some(leader) = self.at_rest() {
                return Ok(leader);
            }
            if self.now > limit {
                return broken(rule, format!("not at rest within {limit_ms} ms"));
            }
        }
    }

    /// The leader, where all voters follow it and hold what it holds.
    fn at_rest(&self) -> Option<usize> {
        let mut leaders = self.leaders();
        let (leader, epoch) = leaders.next().filter(|_| leaders.next().is_none())?;
        let log = &self.nodes[leader].log;
        let is_same = |id: usize| {
            let node = &self.nodes[id];
            node.log == *log
                && node.ballot.promised == Some(epoch)
                && node.history.last() == self.nodes[leader].history.last()
                && node.partition.cursors().high_watermark().get() as usize == log.len()
        };
        let voters = self.nodes[leader].voter.voters()?;
        voters.iter().all(|id| is_same(id.broker.0 as usize)).then_some(leader)
    }

    /// A voter is away, or hears only half of the others, and comes back: the leader goes on (V1).
    fn come_back(&mut self) -> Checked {
        let Some((leader, epoch)) = self.leaders().next() else { return Ok(()) };
        let others: Vec<_> =
            (0..self.nodes.len()).filter(|id| *id != leader && self.votes(leader, *id)).collect();
        if others.len() < 2 {
            return Ok(());
        }
        let id = others[self.any(others.len())];
        let until = self.now + 500 + self.draw.below(3_000);
        match self.any(4) {
            0 => {
                self.crash(id)?;
            }
            1 => self.network.cut(leader, id, until),
            2 => (0..self.nodes.len()).for_each(|other| self.network.cut(other, id, until)),
            _ => {
                for other in 0..self.nodes.len() {
                    self.network.cut(id, other, until);
                    self.network.cut(other, id, until);
                }
            }
        }
        while self.now < until {
            if self.chance(100) {
                self.append(leader, None)?;
                self.settle()?;
            }
            self.pass()?;
            self.check_leads_on(leader, epoch)?;
        }
        self.restart(id)?;
        let limit = self.now + 3 * TIMEOUT_MS;
        while self.now < limit {
            self.pass()?;
            self.check_leads_on(leader, epoch)?;
        }
        if self.at_rest() != Some(leader) {
            return broken(
                "V1",
                format!("{} does not follow {} again", voter_id(id).broker, voter_id(leader).broker),
            );
        }
        self.reached.came_back += 1;
        Ok(())
    }

    fn check_leads_on(&self, leader: usize, epoch: corduroy_types::LeaderEpoch) -> Checked {
        match self.leaders().next() {
            Some(now) if now == (leader, epoch) => Ok(()),
            now => broken("V1", format!("node {leader} led {epoch} with a quorum, and now {now:?} leads")),
        }
    }
}
