//! Even shares over all topics, and as few moves as can be.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_types::TopicId;

use super::Candidate;
use crate::{TopicPartition, Topics};

/// Keeps what everyone had, takes the surplus from those who have too much, and gives what is free to those
/// who have least.
///
/// Where all ask for the same topics, shares differ by at most one and no other assignment with such shares
/// moves fewer partitions. Otherwise no single move could make two shares more even.
pub(super) fn assign(candidates: &[Candidate<'_>], topics: &Topics) -> Vec<BTreeSet<TopicPartition>> {
    let mut sharing = Sharing::keep(candidates, topics);
    let alike = candidates.windows(2).all(|pair| matches!(pair, [a, b] if a.topics == b.topics));
    if alike {
        sharing.release_surplus();
    }
    sharing.give_out();
    if !alike {
        sharing.even_out();
    }
    sharing.shares
}

struct Sharing {
    shares: Vec<BTreeSet<TopicPartition>>,
    free: BTreeSet<TopicPartition>,
    /// Who asks for a topic: indexes into `shares`.
    askers: BTreeMap<TopicId, Vec<usize>>,
}

impl Sharing {
    /// Everyone has what it had before, as far as that still exists and is still asked for.
    fn keep(candidates: &[Candidate<'_>], topics: &Topics) -> Self {
        let mut askers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            for topic in &candidate.topics {
                askers.entry(*topic).or_default().push(index);
            }
        }
        let mut free: BTreeSet<_> = askers.keys().flat_map(|topic| topics.partitions(*topic)).collect();
        let keeps = |candidate: &Candidate<'_>| {
            let asked = candidate.previous.iter().filter(|held| candidate.topics.contains(&held.topic_id));
            asked.filter(|held| free.remove(held)).copied().collect()
        };
        let shares = candidates.iter().map(keeps).collect();
        Self { shares, free, askers }
    }

    /// Takes back what exceeds an even share. The larger shares stay with those who have most, since nothing
    /// moves then.
    fn release_surplus(&mut self) {
        let members = self.shares.len();
        if members == 0 {
            return;
        }
        let held: usize = self.shares.iter().map(BTreeSet::len).sum();
        let all = held + self.free.len();
        let (each, larger) = (all / members, all % members);
        let mut by_size: Vec<usize> = (0..members).collect();
        by_size.sort_by_key(|index| std::cmp::Reverse(self.shares.get(*index).map_or(0, BTreeSet::len)));
        for (place, index) in by_size.into_iter().enumerate() {
            let quota = each + usize::from(place < larger);
            let Some(share) = self.shares.get_mut(index) else { continue };
            while share.len() > quota {
                self.free.extend(share.pop_last());
            }
        }
    }

    /// Gives what is free, each to the member that subscribes to it and has least.
    fn give_out(&mut self) {
        let mut loads: BTreeSet<(usize, usize)> =
            self.shares.iter().enumerate().map(|(index, share)| (share.len(), index)).collect();
        for partition in std::mem::take(&mut self.free) {
            let Some(askers) = self.askers.get(&partition.topic_id) else { continue };
            let least = if askers.len() == self.shares.len() {
                loads.first().copied()
            } else {
                askers.iter().filter_map(|index| Some((self.shares.get(*index)?.len(), *index))).min()
            };
            let Some((load, index)) = least else { continue };
            if let Some(share) = self.shares.get_mut(index) {
                share.insert(partition);
                loads.remove(&(load, index));
                loads.insert((load + 1, index));
            }
        }
    }

    /// Moves single partitions from larger to smaller shares until none can be moved to any gain. Each move
    /// lowers the sum of the squares of the shares, so there is an end.
    fn even_out(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for from in 0..self.shares.len() {
                while let Some((partition, to)) = self.gainful_move(from) {
                    if let Some(share) = self.shares.get_mut(from) {
                        share.remove(&partition);
                    }
                    if let Some(share) = self.shares.get_mut(to) {
                        share.insert(partition);
                    }
                    moved = true;
                }
            }
        }
    }

    /// A partition of `from` that someone with at least two fewer asks for too. Looked for topic by topic.
    fn gainful_move(&self, from: usize) -> Option<(TopicPartition, usize)> {
        let share = self.shares.get(from)?;
        let topics: BTreeSet<TopicId> = share.iter().map(|held| held.topic_id).collect();
        topics.into_iter().find_map(|topic| {
            let askers = self.askers.get(&topic)?;
            let loads = askers.iter().filter_map(|index| Some((self.shares.get(*index)?.len(), *index)));
            let (load, to) = loads.min()?;
            let partition = share.iter().rev().find(|held| held.topic_id == topic)?;
            (load + 2 <= share.len()).then_some((*partition, to))
        })
    }
}
