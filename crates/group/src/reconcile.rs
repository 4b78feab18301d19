//! From what a member has to what it should have, one safe step at a time.
//!
//! The rules of KIP-848: a partition is told to be released first, counts as held until its holder reports
//! without it, and only then goes to anybody else. Reports may be late or repeated: one counts for a partition
//! only if who sent it had heard of having it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Current, MemberEpoch, TopicPartition};

/// What a member says it has, and the epoch it had heard of when it said so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) epoch: MemberEpoch,
    pub(crate) owned: &'a BTreeSet<TopicPartition>,
}

/// What a member is to have next; `None` when nothing changes.
///
/// `free` returns whether no one holds a partition.
pub(crate) fn next(
    current: &Current,
    target: &BTreeSet<TopicPartition>,
    report: Option<Report<'_>>,
    free: impl Fn(TopicPartition) -> bool,
) -> Option<Current> {
    let epoch = current.epoch.next();
    let mut assigned = BTreeMap::new();
    let mut revoking = BTreeMap::new();
    let let_go = |partition: &TopicPartition, since: MemberEpoch| {
        report.is_some_and(|report| report.epoch >= since && !report.owned.contains(partition))
    };
    for (partition, since) in &current.assigned {
        if target.contains(partition) {
            assigned.insert(*partition, *since);
        } else if !let_go(partition, *since) {
            revoking.insert(*partition, *since);
        }
    }
    // Once told to let go, it has to, even where the target has come back to it: it may be half done.
    let going = current.revoking.iter().filter(|(partition, since)| !let_go(partition, **since));
    revoking.extend(going.map(|(partition, since)| (*partition, *since)));
    for partition in target {
        let held = assigned.contains_key(partition) || revoking.contains_key(partition);
        // What it has released just now is its own still in `free`'s eyes.
        if !held && (current.holds(*partition) || free(*partition)) {
            assigned.insert(*partition, epoch);
        }
    }
    if assigned == current.assigned && revoking == current.revoking {
        return None;
    }
    Some(Current { epoch, assigned, revoking })
}
