//! Where a follower's log and its leader's agree, and how the follower's goes on from there.

use corduroy_types::{EpochHistory, Offset};

/// How a follower's log is brought to agree with its leader's. Computed by the same function on both sides, so that the
/// leader knows from where to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Where the follower's log starts afterwards: the greater of the two log starts.
    pub log_start: Offset,
    /// Where it ends afterwards: everything below agrees with the leader.
    pub log_end: Offset,
    /// Its epoch history afterwards.
    pub history: EpochHistory,
    /// Nothing of the log is kept: it is emptied and begins at `log_start`.
    pub empties: bool,
}

/// One side's log, as far as agreement needs it.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// The offset that the next record gets.
    pub log_end: Offset,
    /// Which epoch wrote which offsets.
    pub history: &'a EpochHistory,
}

/// Compares two epoch histories from the higher log start on (rules R4, R6 and R7).
///
/// What the follower has in common with the leader stays. The first entry that the leader lacks is a dead branch: the log
/// is cut where it begins. Then, while the log reaches the start of the leader's next entry, it is cut there and that entry
/// is adopted. What is in force at the higher log start is compared by epoch alone, since trimming never rewrites a start;
/// later entries are compared by epoch and start. A follower that ends below the leader's log start begins there with an empty log.
pub fn agree(own: LogView<'_>, leader: LogView<'_>) -> Agreement {
    let log_start = own.log_start.max(leader.log_start);
    let (mut ours, mut theirs) = (own.history.clone(), leader.history.clone());
    ours.forget_below(log_start);
    theirs.forget_below(log_start);
    let common = common_entries(&ours, &theirs, log_start);
    let dead_branch = ours.entries().get(common).map(|entry| entry.start);
    let has_records = own.log_end > log_start;
    // Records of unknown epochs agree with nothing.
    let unknown = ours.entries().first().is_none_or(|first| first.start > log_start);
    let empties = own.log_end < log_start || has_records && (common == 0 || unknown);
    let mut log_end = match dead_branch {
        _ if empties => log_start,
        Some(start) => own.log_end.min(start.max(log_start)),
        None => own.log_end,
    };
    let common = if empties { 0 } else { common };
    let mut history = ours.first(common);
    for entry in theirs.entries().iter().skip(common) {
        let start = entry.start.max(log_start);
        if log_end < start || history.push(*entry).is_err() {
            break;
        }
        log_end = start;
    }
    Agreement { log_start, log_end, history, empties }
}

/// How many entries, from the first one on, two histories have in common.
fn common_entries(ours: &EpochHistory, theirs: &EpochHistory, log_start: Offset) -> usize {
    let both = ours.entries().iter().zip(theirs.entries());
    both.take_while(|(a, b)| {
        let in_force = a.start <= log_start && b.start <= log_start;
        a.epoch == b.epoch && (a.start == b.start || in_force)
    })
    .count()
}

#[cfg(test)]
mod tests {
    use corduroy_types::{EpochEntry, LeaderEpoch};
    use proptest::prelude::*;

    use super::*;

    fn at(offset: u64) -> Offset {
        Offset::new(offset).unwrap()
    }

    fn history(entries: &[(u32, u64)]) -> EpochHistory {
        let entry = |(epoch, start): &(u32, u64)| EpochEntry {
            epoch: LeaderEpoch::new(*epoch).unwrap(),
            start: at(*start),
        };
        EpochHistory::from_entries(entries.iter().map(entry)).unwrap()
    }

    fn agreed(own: (u64, u64, &[(u32, u64)]), leader: (u64, u64, &[(u32, u64)])) -> Agreement {
        let (ours, theirs) = (history(own.2), history(leader.2));
        let own = LogView { log_start: at(own.0), log_end: at(own.1), history: &ours };
        let leader = LogView { log_start: at(leader.0), log_end: at(leader.1), history: &theirs };
        agree(own, leader)
    }

    fn is(agreement: &Agreement, log_end: u64, entries: &[(u32, u64)], empties: bool) {
        let wanted = (at(log_end), history(entries), empties);
        assert_eq!((agreement.log_end, agreement.history.clone(), agreement.empties), wanted);
    }

    #[test]
    fn a_log_that_is_behind_is_kept_whole() {
        is(&agreed((0, 5, &[(1, 0)]), (0, 9, &[(1, 0), (3, 9)])), 5, &[(1, 0)], false);
        is(&agreed((0, 9, &[(1, 0)]), (0, 9, &[(1, 0), (3, 9)])), 9, &[(1, 0), (3, 9)], false);
    }

    #[test]
    fn what_the_leader_lacks_is_cut_where_its_epoch_begins() {
        // The leader of 3 does not know epoch 2.
        is(&agreed((0, 9, &[(1, 0), (2, 6)]), (0, 8, &[(1, 0), (3, 7)])), 6, &[(1, 0)], false);
        // Records of epoch 1 behind the start of epoch 3 were never committed.
        is(&agreed((0, 9, &[(1, 0)]), (0, 7, &[(1, 0), (3, 7)])), 7, &[(1, 0), (3, 7)], false);
        // An epoch without records is a dead branch too.
        is(&agreed((0, 6, &[(1, 0), (2, 6)]), (0, 6, &[(1, 0), (3, 6)])), 6, &[(1, 0), (3, 6)], false);
    }

    #[test]
    fn what_is_in_force_at_the_log_start_is_compared_by_epoch_alone() {
        is(&agreed((5, 9, &[(2, 3)]), (0, 9, &[(1, 0), (2, 4)])), 9, &[(2, 3)], false);
        is(&agreed((5, 9, &[(2, 5)]), (0, 9, &[(1, 0), (3, 4)])), 5, &[(3, 4)], true);
    }

    #[test]
    fn a_log_that_ends_below_the_leaders_start_begins_there() {
        is(&agreed((0, 4, &[(1, 0)]), (7, 9, &[(2, 5)])), 7, &[(2, 5)], true);
        is(&agreed((0, 0, &[]), (0, 9, &[(2, 0), (4, 3)])), 0, &[(2, 0)], false);
        is(&agreed((0, 0, &[]), (7, 7, &[(2, 5), (4, 7)])), 7, &[(4, 7)], true);
    }

    #[test]
    fn records_of_an_unknown_epoch_are_not_kept() {
        is(&agreed((0, 4, &[]), (0, 9, &[(2, 0)])), 0, &[(2, 0)], true);
        is(&agreed((0, 4, &[(1, 2)]), (0, 9, &[(1, 2)])), 0, &[], true);
    }

    /// A log as its records' epochs.
    fn epochs_of(history: &EpochHistory, log_start: Offset, log_end: Offset) -> Vec<Option<u32>> {
        let epoch = |offset| history.epoch_at(at(offset)).map(LeaderEpoch::get);
        (log_start.get()..log_end.get()).map(epoch).collect()
    }

    prop_compose! {
        /// Epochs in the order in which they began, with how many records each wrote.
        fn branch()(epochs in prop::collection::vec((1_u32..4, 0_u64..4), 0..6)) -> Vec<(u32, u64)> {
            let mut epoch = 0;
            epochs.into_iter().map(|(step, records)| { epoch += step; (epoch, records) }).collect()
        }
    }

    fn log_of(branch: &[(u32, u64)]) -> (EpochHistory, Offset) {
        let mut end = 0;
        let mut entries = Vec::new();
        for (epoch, records) in branch {
            entries.push((*epoch, end));
            end += records;
        }
        (history(&entries), at(end))
    }

    proptest! {
        /// Two branches that share a beginning: what is kept is exactly a prefix that both have, or nothing.
        #[test]
        fn what_is_kept_is_a_common_prefix(
            shared in branch(), ours in branch(), theirs in branch(),
            our_start in 0_u64..6, their_start in 0_u64..6,
        ) {
            let last = shared.last().map_or(0, |(epoch, _)| *epoch);
            // Different branches have different epochs: one epoch has one leader.
            let odd = ours.iter().map(|(epoch, n)| (last + 2 * epoch, *n));
            let even = theirs.iter().map(|(epoch, n)| (last + 2 * epoch + 1, *n));
            let (our_history, our_end) = log_of(&shared.iter().copied().chain(odd).collect::<Vec<_>>());
            let (their_history, their_end) = log_of(&shared.iter().copied().chain(even).collect::<Vec<_>>());
            let (our_start, their_start) = (at(our_start).min(our_end), at(their_start).min(their_end));
            let own = LogView { log_start: our_start, log_end: our_end, history: &our_history };
            let leader = LogView { log_start: their_start, log_end: their_end, history: &their_history };
            let agreement = agree(own, leader);

            prop_assert_eq!(agreement.log_start, our_start.max(their_start));
            prop_assert!(agreement.log_end >= agreement.log_start);
            prop_assert!(agreement.empties || agreement.log_end <= our_end);
            prop_assert!(agreement.log_end <= their_end.max(agreement.log_start));
            let kept = epochs_of(&agreement.history, agreement.log_start, agreement.log_end);
            let of_leader = epochs_of(&their_history, agreement.log_start, agreement.log_end);
            prop_assert_eq!(&kept, &of_leader, "what is kept is the leader's");
            if !agreement.empties {
                prop_assert_eq!(&kept, &epochs_of(&our_history, agreement.log_start, agreement.log_end));
            }
            // All that both have is kept.
            let (_, shared_end) = log_of(&shared);
            if our_end.min(their_end) >= shared_end && shared_end > agreement.log_start {
                prop_assert!(agreement.log_end >= shared_end, "{:?}", agreement);
            }
            // Once it agrees, it agrees.
            let again = LogView { log_start: agreement.log_start, log_end: agreement.log_end, history: &agreement.history };
            let again = agree(again, leader);
            prop_assert_eq!(again, Agreement { empties: false, ..agreement });
        }
    }
}
