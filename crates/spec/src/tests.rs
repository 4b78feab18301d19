//! The small exhaustive runs, and the removal of every rule. The program goes through larger bounds.

use std::collections::BTreeSet;

use crate::{Bounds, Election, Invariant, Rule, Rules, Spec, exhaust, refute, removal, replay};

fn holds(bounds: Bounds) {
    let outcome = exhaust(Spec::new(bounds), 1, None);
    assert!(outcome.is_complete, "{bounds}: {:?}", outcome.violation);
}

#[test]
fn a_partition_holds() {
    holds(Bounds::partition(3, 2, 2));
    holds(Bounds::partition(3, 2, 1).with_a_client());
}

#[test]
fn a_partition_holds_through_four_epochs() {
    holds(Bounds::partition(4, 2, 0));
    holds(Bounds::partition(4, 1, 1));
}

#[test]
fn a_partition_holds_when_its_replica_set_changes() {
    for sets in [[0b001, 0b110], [0b001, 0b111], [0b011, 0b110]] {
        holds(Bounds::partition(2, 1, 1).with_sets(sets));
    }
}

#[test]
fn the_metadata_log_holds() {
    holds(Bounds::metadata(2, 2, 1));
    holds(Bounds::metadata(3, 1, 1));
    holds(Bounds::metadata(3, 2, 0));
}

#[test]
fn the_metadata_log_holds_when_its_voters_change() {
    holds(Bounds::metadata(2, 1, 1).with_changes(1));
    holds(Bounds::metadata(2, 1, 0).with_changes(2));
    holds(Bounds::metadata(3, 0, 0).with_voters(2).with_changes(2));
}

#[test]
fn what_is_forgotten_changes_no_verdict() {
    for bounds in [Bounds::partition(2, 1, 1), Bounds::partition(3, 1, 0), Bounds::metadata(2, 1, 1)] {
        let all = exhaust(Spec { forgets: false, ..Spec::new(bounds) }, 1, None);
        assert!(all.is_complete, "{bounds}: {:?}", all.violation);
        let fewer = exhaust(Spec::new(bounds), 1, None);
        assert!(fewer.unique < all.unique, "{bounds}: {} of {}", fewer.unique, all.unique);
    }
    for rule in [Rule::LastEpochThenEnd, Rule::DurableCounts, Rule::LogBeforeEntry, Rule::VotersCompareLogs] {
        let spec = removal(rule).spec(rule);
        let steps = |spec| refute(spec).violation.map(|(_, trace)| trace.len());
        assert_eq!(steps(Spec { forgets: false, ..spec }), steps(spec), "{rule}");
    }
}

/// Removes one rule: its aim must break, and by a trace that the model can be led along.
fn is_found(rule: Rule) {
    let removal = removal(rule);
    let spec = removal.spec(rule);
    let outcome = refute(spec);
    let Some(expected) = removal.breaks else {
        assert!(outcome.is_complete, "{rule}: bounds {} find {:?}", removal.bounds, outcome.violation);
        return;
    };
    let (invariant, trace) = outcome.violation.unwrap_or_else(|| panic!("{rule}: nothing breaks"));
    assert_eq!(invariant, expected, "{rule}");
    let end = replay(&spec, &trace).unwrap_or_else(|| panic!("{rule}: {trace:?} is not possible"));
    assert!(!invariant.holds(&spec, &end), "{rule}: {invariant} holds after {trace:?}");
    let before = replay(&spec, &trace[..trace.len() - 1]).unwrap();
    assert!(invariant.holds(&spec, &before), "{rule}: {invariant} broke before the end of {trace:?}");
    // With the rule in force, the same steps are not possible or break nothing.
    let with_all = Spec { rules: Rules::all(), ..spec };
    let end = replay(&with_all, &trace);
    assert!(end.is_none_or(|end| invariant.holds(&with_all, &end)), "{rule}: it changes nothing");
}

macro_rules! removals {
    ($($name:ident: $rule:ident,)*) => {
        $(#[test]
        fn $name() {
            is_found(Rule::$rule);
        })*

        #[test]
        fn every_rule_is_removed() {
            let removed = [$(Rule::$rule.to_string()),*];
            let all = Rule::ALL.map(|rule| rule.to_string());
            assert_eq!(BTreeSet::from(removed), BTreeSet::from(all));
        }
    };
}

removals! {
    r1_promise_before_report: PromiseBeforeReport,
    r1_promise_is_durable: PromiseIsDurable,
    r2_enough_reports: EnoughReports,
    r2_last_epoch_then_end: LastEpochThenEnd,
    r2_reports_of_this_attempt: ReportsOfThisAttempt,
    r3_one_incarnation_leads: OneIncarnationLeads,
    r3_sync_before_report: SyncBeforeReport,
    r4_entry_before_count: EntryBeforeCount,
    r4_leaders_entry_is_durable: LeadersEntryIsDurable,
    r4_entry_is_durable: EntryIsDurable,
    r4_cut_at_adoption: CutAtAdoption,
    r4_dead_branch_is_dropped: DeadBranchIsDropped,
    r5_verified_match: VerifiedMatch,
    r5_progress_is_forgotten: ProgressIsForgotten,
    r6_no_cut_at_high_watermark: NoCutAtHighWatermark,
    r6_duplicate_is_skipped: DuplicateIsSkipped,
    r7_cut_before_drop: CutBeforeDrop,
    r7_cut_before_adopt: CutBeforeAdopt,
    r7_log_before_entry: LogBeforeEntry,
    r7_history_is_evidence: HistoryIsEvidence,
    r8_durable_counts: DurableCounts,
    r13_answer_in_its_epoch: AnswerInItsEpoch,
    r17_reports_of_every_set: ReportsOfEverySet,
    r17_old_sets_until_active: OldSetsUntilActive,
    v2_vote_is_durable: VoteIsDurable,
    v2_voters_compare_logs: VotersCompareLogs,
    v3_votes_for_one_incarnation: VotesForOneIncarnation,
    v3_candidate_gives_up: CandidateGivesUp,
    v3_entry_before_count: EntryBeforeCountOfVoters,
    v6_one_change_at_a_time: OneChangeAtATime,
    v6_change_after_own_entry: ChangeAfterOwnEntry,
    v6_change_in_force_when_appended: ChangeInForceWhenAppended,
}

/// A follower that holds the leader's entry has nothing beyond what agrees, since it was cut when it adopted the entry. So the
/// acknowledgement of an unverified end is harmless as long as R4 holds, and makes the loss of R4 worse.
#[test]
fn r5_verified_match_is_a_second_line_behind_r4() {
    let bounds = Bounds::partition(3, 2, 0);
    let without_entry = Spec { rules: Rules::without(Rule::EntryBeforeCount), ..Spec::new(bounds) };
    let aim = Some(Invariant::LeaderIsComplete);
    assert!(refute(Spec { aim, ..without_entry }).is_complete, "without one of them it takes a fourth epoch");
    let rules = without_entry.rules.also_without(Rule::VerifiedMatch);
    let outcome = refute(Spec { rules, aim, ..without_entry });
    assert!(outcome.violation.is_some(), "without both, three epochs are enough");
}

#[test]
fn a_rule_has_a_name_and_bounds_that_say_what_they_are() {
    assert_eq!(Rule::named("DurableCounts"), Some(Rule::DurableCounts));
    assert_eq!(Rule::named("durable"), None);
    assert!(!Rules::without(Rule::DurableCounts).has(Rule::DurableCounts));
    assert!(Rules::all().has(Rule::DurableCounts));
    let bounds = removal(Rule::ChangeAfterOwnEntry).bounds;
    assert_eq!(bounds.election, Election::Votes);
    assert_eq!(bounds.to_string(), "metadata (3, 0, 0), 4 replicas, 2 changes of the voters");
}
