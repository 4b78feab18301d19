//! C11 and C12.

use corduroy_checker::{
    Check, Options, check,
    line::{Call, End},
};
use corduroy_types::Acks;

use crate::{assert_found, assert_valid, assert_valid_with, script::*};

fn empty_fetch(high_watermark: u64, epoch_number: u32) -> End {
    let (leader_epoch, high_watermark) = (epoch(epoch_number), Some(at(high_watermark)));
    End::Fetched { leader_epoch, high_watermark, log_start: at(0), next_offset: None, records: [].into() }
}

/// One acknowledged record, an answer that shows end 1 in epoch 2 at 200 ns, and another one.
fn two_ends(second_ns: u64, call: Call, second: End) -> Script {
    let mut script = Script::default();
    script.op_at(1, (100, 199), produce(Acks::Quorum, &[1]), base(0));
    script.op_at(2, (150, 200), list_end(), listed(1, 2));
    script.op_at(3, (second_ns, second_ns + 10), call, second);
    script.finish(0, 1, &[(0, 1)]);
    script
}

#[test]
fn c11_a_listed_end_goes_back() {
    let report = assert_found(&two_ends(201, list_end(), listed(0, 2)), &[Check::EndRegress]);
    let finding = &report.tally(Check::EndRegress).unwrap().first[0];
    assert_eq!((&finding.ops[..], &finding.offsets[..]), (&[1, 2][..], &[1, 0][..]));
    assert_found(&two_ends(201, list_end(), listed(0, 3)), &[Check::EndRegress]);
    assert_valid(&two_ends(200, list_end(), listed(0, 2)));
    assert_valid(&two_ends(201, list_end(), listed(0, 1)));
    assert_valid(&two_ends(201, list_end(), listed(1, 2)));
}

#[test]
fn c11_a_high_watermark_goes_back() {
    assert_found(&two_ends(201, fetch(0), empty_fetch(0, 2)), &[Check::EndRegress]);
    assert_valid(&two_ends(201, fetch(0), empty_fetch(0, 1)));
    let follower = Call::Fetch { from: at(0), from_epoch: None, follower: true, is_final: false };
    assert_valid(&two_ends(201, follower, empty_fetch(0, 2)));
}

#[test]
fn c11_a_lower_end_in_a_higher_epoch_does_not_hide_a_greater_one() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.op(1, produce(Acks::Quorum, &[2]), base(1));
    script.op(2, list_end(), listed(2, 1));
    script.op(2, list_end(), listed(1, 2));
    script.op(2, list_end(), listed(1, 1));
    script.finish(0, 2, &[(0, 1), (1, 2)]);
    assert_eq!(assert_found(&script, &[Check::EndRegress]).violations(Check::EndRegress), 2);
}

#[test]
fn c11_a_late_answer_of_an_old_leader_does_not_hide_what_the_new_one_has_shown() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.op(1, produce(Acks::Quorum, &[2]), base(1));
    script.op(2, list_end(), listed(2, 3));
    script.op(2, list_end(), listed(1, 2));
    let again = script.op(2, list_end(), listed(1, 3));
    script.finish(0, 2, &[(0, 1), (1, 2)]);
    let report = assert_found(&script, &[Check::EndRegress]);
    assert_eq!(report.violations(Check::EndRegress), 1, "the old leader may show an old end");
    assert_eq!(report.tally(Check::EndRegress).unwrap().first[0].ops, [2, u32::try_from(again).unwrap()]);
}

#[test]
fn c11_linearizable_ends_reach_what_was_acknowledged() {
    let linearizable = Options { linearizable: true, ..Options::default() };
    let listed_at = |ns| {
        let mut script = Script::default();
        script.op_at(1, (100, 200), produce(Acks::Quorum, &[1]), base(0));
        script.op_at(2, (ns, ns + 10), list_end(), listed(0, 1));
        script.finish(0, 1, &[(0, 1)]);
        script
    };
    assert_valid(&listed_at(201));
    assert_eq!(check(&listed_at(201).history(), &linearizable).violated(), [Check::EndRegress]);
    assert_valid_with(&listed_at(200), &linearizable);
}

#[test]
fn c11_a_fetch_returns_nothing_above_its_high_watermark() {
    let with_mark = |mark| {
        let mut script = Script::default();
        script.op(1, produce(Acks::Quorum, &[1]), base(0));
        let (leader_epoch, high_watermark) = (epoch(1), Some(at(mark)));
        let records = [record(0, 1, 1)].into();
        script.op(
            2,
            fetch(0),
            End::Fetched { leader_epoch, high_watermark, log_start: at(0), next_offset: None, records },
        );
        script.finish(0, 1, &[(0, 1)]);
        script
    };
    assert_found(&with_mark(0), &[Check::EndRegress]);
    assert_valid(&with_mark(1));
}

#[test]
fn c12_an_end_is_older_than_the_lease() {
    let lease_ns = Options::default().lease_ns;
    // The end 0 was passed at 199 ns. An old leader, of epoch 1, may show it for a lease.
    let report = assert_found(&two_ends(200 + lease_ns, list_end(), listed(0, 1)), &[Check::Staleness]);
    assert_eq!(report.tally(Check::Staleness).unwrap().first[0].ops, [0, 2]);
    assert_valid(&two_ends(199 + lease_ns, list_end(), listed(0, 1)));
    let follower = Call::Fetch { from: at(0), from_epoch: None, follower: true, is_final: false };
    assert_found(&two_ends(200 + lease_ns, follower, empty_fetch(0, 2)), &[Check::Staleness]);
}
