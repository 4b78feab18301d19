//! From what a member has to what it should have, one safe step at a time.
//!
//! The rules of KIP-848: its owner is asked to release a partition first, which counts as owned until the owner reports
//! without it, and only then goes to anybody else. Reports may be late or repeated: one counts for a partition
//! only if the member that sent it had received it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Current, MemberEpoch, TopicPartition};

/// What a member says it has, and the member epoch that it named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) epoch: MemberEpoch,
    pub(crate) owned: &'a BTreeSet<TopicPartition>,
}

/// What a member is to have next; `None` when nothing changes.
///
/// `free` returns whether a partition has no owner.
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
    // Once asked to release it, the member has to, even where the target has come back to it: it may be half done.
    let going = current.revoking.iter().filter(|(partition, since)| !let_go(partition, **since));
    revoking.extend(going.map(|(partition, since)| (*partition, *since)));
    for partition in target {
        let held = assigned.contains_key(partition) || revoking.contains_key(partition);
        // `free` still counts what it has released just now as owned.
        if !held && (current.holds(*partition) || free(*partition)) {
            assigned.insert(*partition, epoch);
        }
    }
    if assigned == current.assigned && revoking == current.revoking {
        return None;
    }
    Some(Current { epoch, assigned, revoking })
}
