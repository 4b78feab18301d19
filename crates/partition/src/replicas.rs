//! What the leader knows of the replica set: who holds how much, and what follows from it.

use corduroy_types::{Acks, BrokerId, Offset};

use crate::MonotonicMs;

/// How long a follower may be behind before it leaves the in-sync set.
pub const REPLICA_LAG_MAX_MS: u64 = 1_000;

/// What one replica holds.
#[derive(Clone, Copy, Debug)]
struct Progress {
    id: BrokerId,
    /// False only for the leader itself, once a change of the voters has removed it (rule V6).
    is_member: bool,
    /// `None` until the replica holds the epoch's own entry: before that nothing of it counts (rule R4).
    ends: Option<Ends>,
    /// Part of the in-sync set: the leader's own, soft knowledge of who keeps up (rule R9).
    in_sync: bool,
    /// When it last had everything that the log had then.
    caught_up_at: MonotonicMs,
    /// A log end, and when it was the log end: once the replica has it, it had caught up then.
    seen: (Offset, MonotonicMs),
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    counted: Offset,
    durable: Offset,
}

impl Progress {
    const fn new(id: BrokerId) -> Self {
        let seen = (Offset::MAX, MonotonicMs(0));
        Self { id, is_member: true, ends: None, in_sync: false, caught_up_at: MonotonicMs(0), seen }
    }
}

/// The replica set of one epoch, which is fixed as long as the epoch lasts (rule R17); only the metadata log's changes within one (rule
/// V6).
#[derive(Debug)]
pub(crate) struct Replicas {
    progress: Vec<Progress>,
    own: BrokerId,
    /// The least number of replicas that `acks=all` waits for; never fewer than a quorum.
    min_in_sync: usize,
}

impl Replicas {
    /// The set at the beginning of an epoch whose entry the leader alone holds; `None` when `own` is not in
    /// it, or one is in it twice.
    pub(crate) fn new(own: BrokerId, ids: &[BrokerId], counted: Offset, durable: Offset) -> Option<Self> {
        let progress: Vec<_> = ids
            .iter()
            .map(|id| Progress {
                ends: (*id == own).then_some(Ends { counted, durable }),
                in_sync: *id == own,
                ..Progress::new(*id)
            })
            .collect();
        let is_set = ids.contains(&own) && names_each_once(ids);
        is_set.then_some(Self { progress, own, min_in_sync: 0 })
    }

    /// Exchanges the set. What is known of those that stay is kept; of those that come nothing counts before they acknowledge.
    /// Returns false, and changes nothing, for a set of none or with one twice.
    pub(crate) fn set_members(&mut self, ids: &[BrokerId]) -> bool {
        if ids.is_empty() || !names_each_once(ids) {
            return false;
        }
        let known = |id: BrokerId| self.progress.iter().find(|replica| replica.id == id).copied();
        let member = |id: &BrokerId| Progress { is_member: true, ..known(*id).unwrap_or(Progress::new(*id)) };
        let mut progress: Vec<_> = ids.iter().map(member).collect();
        let removed = known(self.own).filter(|own| !ids.contains(&own.id));
        progress.extend(removed.map(|own| Progress { is_member: false, in_sync: false, ..own }));
        self.progress = progress;
        true
    }

    fn members(&self) -> impl Iterator<Item = &Progress> {
        self.progress.iter().filter(|replica| replica.is_member)
    }

    pub(crate) fn set_min_in_sync(&mut self, min_in_sync: u32) {
        self.min_in_sync = usize::try_from(min_in_sync).unwrap_or(usize::MAX);
    }

    /// Whether the replica is in the set, rather than one that only learns.
    pub(crate) fn contains(&self, id: BrokerId) -> bool {
        self.members().any(|replica| replica.id == id)
    }

    /// Takes what a replica, holding the epoch's entry, reports. Ends only grow: late reports change nothing.
    pub(crate) fn report(&mut self, id: BrokerId, counted: Offset, durable: Offset) {
        if let Some(replica) = self.progress.iter_mut().find(|replica| replica.id == id) {
            let ends = replica.ends.get_or_insert(Ends { counted, durable });
            ends.counted = ends.counted.max(counted);
            ends.durable = ends.durable.max(durable);
        }
    }

    /// Takes what the leader's own log reports.
    pub(crate) fn report_own(&mut self, counted: Offset, durable: Offset) {
        self.report(self.own, counted, durable);
    }

    /// Forgets what a replica held: another run of it may hold less (rule R5).
    pub(crate) fn forget(&mut self, id: BrokerId) {
        if let Some(replica) = self.progress.iter_mut().find(|replica| replica.id == id) {
            replica.ends = None;
            replica.in_sync = id == self.own;
        }
    }

    /// Notes who keeps up at `now`, given where the log ends and what is committed. Returns whether the in-sync set has changed.
    pub(crate) fn note_lag(&mut self, now: MonotonicMs, log_end: Offset, high_watermark: Offset) -> bool {
        let mut has_changed = false;
        for replica in self.progress.iter_mut().filter(|replica| replica.id != self.own) {
            let Some(ends) = replica.ends else {
                has_changed |= std::mem::replace(&mut replica.in_sync, false);
                continue;
            };
            if ends.counted >= log_end {
                replica.caught_up_at = now;
            } else if ends.counted >= replica.seen.0 {
                replica.caught_up_at = replica.seen.1;
            }
            if ends.counted >= replica.seen.0 || replica.seen.0 > log_end {
                replica.seen = (log_end, now);
            }
            let keeps_up = now.0.saturating_sub(replica.caught_up_at.0) <= REPLICA_LAG_MAX_MS;
            // One that joins has all that is committed (KAFKA-7128).
            let in_sync = keeps_up && (replica.in_sync || ends.counted >= high_watermark);
            has_changed |= std::mem::replace(&mut replica.in_sync, in_sync) != in_sync;
        }
        has_changed
    }

    /// When a member leaves the in-sync set if it sends nothing.
    pub(crate) fn next_lag_deadline(&self) -> Option<MonotonicMs> {
        let others = self.progress.iter().filter(|replica| replica.in_sync && replica.id != self.own);
        others.map(|replica| MonotonicMs(replica.caught_up_at.0.saturating_add(REPLICA_LAG_MAX_MS + 1))).min()
    }

    /// Who keeps up, in the order of the set.
    pub(crate) fn in_sync(&self) -> Vec<BrokerId> {
        self.progress.iter().filter(|replica| replica.in_sync).map(|replica| replica.id).collect()
    }

    /// Q: how many replicas make a majority.
    pub(crate) fn quorum(&self) -> usize {
        self.members().count() / 2 + 1
    }

    /// What the leader itself is in the count towards a quorum: 1, or 0 where the set does not name it.
    pub(crate) fn own_count(&self) -> usize {
        usize::from(self.contains(self.own))
    }

    /// How many members other than the leader satisfy `has`.
    pub(crate) fn others(&self, has: impl Fn(BrokerId) -> bool) -> usize {
        self.progress.iter().filter(|replica| replica.id != self.own && has(replica.id)).count()
    }

    /// What counts of a replica, if it holds the epoch's entry.
    pub(crate) fn counted_end(&self, id: BrokerId) -> Option<Offset> {
        let replica = self.progress.iter().find(|replica| replica.id == id)?;
        replica.ends.map(|ends| ends.counted)
    }

    /// The end that a majority of the replica set has reached: the Q-th greatest counted end.
    pub(crate) fn quorum_end(&self) -> Option<Offset> {
        let counted = || self.members().filter_map(|replica| replica.ends).map(|ends| ends.counted);
        counted().filter(|end| counted().filter(|other| other >= end).count() >= self.quorum()).max()
    }

    /// The end up to which appends of this level are acknowledged, given the high watermark.
    pub(crate) fn acknowledged_end(&self, acks: Acks, high_watermark: Offset) -> Option<Offset> {
        match acks {
            Acks::One => {
                let own = self.progress.iter().find(|replica| replica.id == self.own);
                own.and_then(|replica| replica.ends).map(|ends| ends.counted)
            }
            Acks::Quorum => Some(high_watermark),
            Acks::All => {
                let in_sync = || self.progress.iter().filter(|replica| replica.in_sync);
                if in_sync().count() < self.quorum().max(self.min_in_sync) {
                    return None; // "all" of too few would acknowledge what an election can lose (rule R9)
                }
                let least = in_sync().map(|replica| replica.ends.map(|ends| ends.counted)).min()?;
                least.map(|end| end.min(high_watermark))
            }
        }
    }

    /// How many replicas hold everything below `end` on stable storage.
    pub(crate) fn durable_count(&self, end: Offset) -> u32 {
        let durable =
            self.progress.iter().filter_map(|replica| replica.ends).filter(|ends| ends.durable >= end);
        u32::try_from(durable.count()).unwrap_or(u32::MAX)
    }
}

fn names_each_once(ids: &[BrokerId]) -> bool {
    let mut unique = ids.to_vec();
    unique.sort_unstable();
    unique.dedup();
    unique.len() == ids.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(n: u64) -> Offset {
        Offset::new(n).unwrap()
    }

    fn set_of(count: u32) -> Replicas {
        let ids: Vec<_> = (0..count).map(BrokerId).collect();
        Replicas::new(BrokerId(0), &ids, at(0), at(0)).unwrap()
    }

    proptest! {
        #[test]
        fn the_quorum_end_is_the_qth_greatest(ends in prop::collection::vec(prop::option::of(0_u64..50), 0..6), own in 0_u64..50) {
            let mut replicas = set_of(u32::try_from(ends.len()).unwrap() + 1);
            replicas.report_own(at(own), at(own));
            for (end, id) in ends.iter().zip(1..) {
                if let Some(end) = end {
                    replicas.report(BrokerId(id), at(*end), at(*end));
                }
            }
            let mut sorted: Vec<_> = ends.iter().flatten().copied().chain([own]).collect();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let members = ends.len() + 1;
            let quorum = members / 2 + 1;
            prop_assert_eq!(replicas.quorum_end(), sorted.get(quorum - 1).copied().map(at));
        }
    }

    #[test]
    fn a_set_of_one_counts_itself() {
        let mut replicas = set_of(1);
        replicas.report_own(at(5), at(3));
        replicas.report_own(at(4), at(2));
        assert_eq!(replicas.quorum_end(), Some(at(5)));
        for acks in [Acks::One, Acks::Quorum, Acks::All] {
            assert_eq!(replicas.acknowledged_end(acks, at(5)), Some(at(5)));
        }
        assert_eq!((replicas.durable_count(at(3)), replicas.durable_count(at(4))), (1, 0));
    }

    #[test]
    fn a_lone_leader_of_three_acknowledges_only_one() {
        let mut replicas = set_of(3);
        replicas.report_own(at(5), at(5));
        assert_eq!(replicas.quorum_end(), None);
        assert_eq!(replicas.acknowledged_end(Acks::One, at(0)), Some(at(5)));
        assert_eq!(replicas.acknowledged_end(Acks::All, at(0)), None);
        replicas.report(BrokerId(2), at(4), at(4));
        assert_eq!(replicas.quorum_end(), Some(at(4)));
        assert_eq!(replicas.acknowledged_end(Acks::All, at(4)), None, "only the leader is in sync");
    }

    #[test]
    fn a_set_that_changes_keeps_what_is_known_and_counts_by_its_new_majority() {
        let mut replicas = set_of(3);
        replicas.report_own(at(5), at(5));
        replicas.report(BrokerId(1), at(4), at(4));
        assert_eq!(replicas.quorum_end(), Some(at(4)));
        assert!(replicas.set_members(&[BrokerId(0), BrokerId(1), BrokerId(2), BrokerId(3)]));
        assert_eq!((replicas.quorum(), replicas.quorum_end()), (3, None), "two of four are no majority");
        replicas.report(BrokerId(3), at(2), at(2));
        assert_eq!(replicas.quorum_end(), Some(at(2)));
        assert!(!replicas.set_members(&[BrokerId(1), BrokerId(1)]) && !replicas.set_members(&[]));
        assert_eq!(replicas.quorum(), 3, "a set that is none changes nothing");
    }

    #[test]
    fn a_leader_that_is_removed_counts_no_more() {
        let mut replicas = set_of(3);
        replicas.report_own(at(9), at(9));
        replicas.report(BrokerId(1), at(4), at(4));
        assert!(replicas.set_members(&[BrokerId(1), BrokerId(2)]));
        assert_eq!(
            (replicas.quorum_end(), replicas.own_count()),
            (None, 0),
            "both of two, without the leader"
        );
        replicas.report(BrokerId(2), at(3), at(3));
        replicas.report_own(at(10), at(10));
        assert_eq!(replicas.quorum_end(), Some(at(3)));
        assert_eq!(replicas.acknowledged_end(Acks::One, at(3)), Some(at(10)), "its own log is still its own");
        assert!(replicas.set_members(&[BrokerId(0), BrokerId(1), BrokerId(2)]));
        assert_eq!(replicas.quorum_end(), Some(at(4)), "it is back, with what it has");
    }

    #[test]
    fn a_set_names_its_leader_and_no_one_twice() {
        assert!(Replicas::new(BrokerId(1), &[BrokerId(2)], at(0), at(0)).is_none());
        assert!(Replicas::new(BrokerId(1), &[BrokerId(1), BrokerId(1)], at(0), at(0)).is_none());
        assert!(Replicas::new(BrokerId(1), &[], at(0), at(0)).is_none());
    }
}
