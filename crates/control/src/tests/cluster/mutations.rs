//! Each rule taken away: the simulation finds what goes wrong then. It would find nothing if it looked for the wrong things, or if its
//! faults were too few.

use super::run::run;
use crate::vote::rules::Rules;

/// Runs clusters without a rule until a run breaks one of `expected`. Prints how many it took.
fn finds(without: &str, rules: Rules, expected: &[&str], seeds_max: u64) {
    for seed in 0..seeds_max {
        let voters = if seed.is_multiple_of(3) { 5 } else { 3 };
        if let Err((violation, _)) = run(seed, voters, rules) {
            println!("without {without}, VOTE_SEED={seed} with {voters} voters: {violation}");
            assert!(expected.contains(&violation.rule), "without {without}, seed {seed}: {violation}");
            return;
        }
    }
    panic!("without {without}: nothing was found in seeds 0 to {seeds_max}");
}

#[test]
fn v1_without_a_pre_vote_a_voter_that_comes_back_deposes_the_leader() {
    finds("V1, asking first", Rules { asks_before: false, ..Rules::ALL }, &["V1"], 400);
}

#[test]
fn v1_where_a_voter_does_not_keep_to_its_leader_it_is_deposed() {
    finds("V1, keeping to a leader", Rules { keeps_to_leader: false, ..Rules::ALL }, &["V1"], 400);
}

#[test]
fn v2_answers_before_the_ballot_is_durable_give_two_votes() {
    finds("V2, durable first", Rules { persists_first: false, ..Rules::ALL }, &["V2", "I1", "R1"], 4_000);
}

#[test]
fn v2_two_votes_in_an_epoch() {
    finds("V2, one vote", Rules { votes_once: false, ..Rules::ALL }, &["V2", "I1"], 400);
}

#[test]
fn v2_logs_that_are_not_compared_lose_what_was_committed() {
    finds("V2, comparing logs", Rules { compares_logs: false, ..Rules::ALL }, &["I4", "I5"], 400);
}

#[test]
fn v3_a_candidature_that_survives_its_candidate() {
    finds("V3", Rules { counts_own_incarnation: false, ..Rules::ALL }, &["I1", "I2"], 4_000);
}

#[test]
fn v4_a_leader_without_a_quorum_leads_on() {
    finds("V4", Rules { checks_quorum: false, ..Rules::ALL }, &["V4"], 400);
}

#[test]
fn v5_equal_time_outs_split_the_votes_for_ever() {
    finds("V5", Rules { draws_time_outs: false, ..Rules::ALL }, &["V5"], 400);
}

#[test]
fn v6_a_set_in_force_only_when_it_is_committed() {
    finds(
        "V6, in force at once",
        Rules { in_force_when_appended: false, ..Rules::ALL },
        &["V6", "I4", "I5"],
        400,
    );
}

#[test]
fn v6_a_set_that_stays_after_it_was_cut_off() {
    let expected = ["V6", "I1", "I4", "I5", "invariant"];
    finds("V6, restored by a cut", Rules { restores_on_cut: false, ..Rules::ALL }, &expected, 400);
}

#[test]
fn v6_a_change_before_the_epoch_is_activated() {
    finds("V6, after activation", Rules { changes_once_activated: false, ..Rules::ALL }, &["V6"], 400);
}

#[test]
fn v6_two_changes_at_once() {
    finds("V6, one at a time", Rules { changes_one_at_a_time: false, ..Rules::ALL }, &["V6"], 400);
}
