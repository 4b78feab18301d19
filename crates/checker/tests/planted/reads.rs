//! C4 to C8.

use corduroy_checker::{
    Check,
    line::{Call, End, Line, Read},
};
use corduroy_types::Acks;

use crate::{assert_found, assert_valid, script::*};

/// Values 1, 2, … each acknowledged at the offset below it.
fn acknowledged(values: u64) -> Script {
    let mut script = Script::default();
    for value in 1..=values {
        script.op(1, produce(Acks::Quorum, &[value]), base(value - 1));
    }
    script
}

/// All of [`acknowledged`], as final reads see it.
fn finish(script: &mut Script, values: u64) {
    let all: Vec<_> = (0..values).map(|offset| (offset, offset + 1)).collect();
    script.finish(0, values, &all);
}

#[test]
fn c4_a_value_that_no_one_sent() {
    let mut script = Script::default();
    script.finish(0, 1, &[(0, 1)]);
    assert_found(&script, &[Check::Phantom]);
}

#[test]
fn c4_another_body() {
    let body = |change: fn(&mut Read)| {
        let mut script = acknowledged(1);
        finish(&mut script, 1);
        if let Some(Line::Complete { end: End::Fetched { records, .. }, .. }) = script.lines.last_mut() {
            change(&mut records[0]);
        }
        script
    };
    assert_found(&body(|read| read.bytes += 1), &[Check::Phantom]);
    assert_found(&body(|read| read.hash += 1), &[Check::Phantom]);
    assert_valid(&body(|_| {}));
}

#[test]
fn c4_another_partition() {
    let mut script = Script::default();
    script.op_full((1, None), Some("t/1"), (101, 102), produce(Acks::Quorum, &[1]), End::Unknown);
    script.finish(0, 1, &[(0, 1)]);
    let report = script.report();
    assert_eq!(report.violated(), [Check::Phantom], "{report}");
}

#[test]
fn c4_read_before_it_was_sent() {
    let read_at = |times_ns| {
        let mut script = Script::default();
        script.op_at(2, times_ns, fetch(0), got(&[(0, 1)]));
        script.op_at(1, (200, 300), produce(Acks::Quorum, &[1]), End::Unknown);
        script.finish(0, 1, &[(0, 1)]);
        script
    };
    assert!(read_at((150, 199)).report().violated().contains(&Check::Phantom));
    assert_valid(&read_at((150, 200)));
}

#[test]
fn c5_what_ended_not_written_is_read() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), End::NotWritten);
    script.finish(0, 1, &[(0, 1)]);
    assert_found(&script, &[Check::FailedRead]);
}

#[test]
fn c5_one_unknown_attempt_explains_the_record() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), End::Unknown);
    script.op(1, produce(Acks::Quorum, &[1]), End::NotWritten);
    script.finish(0, 1, &[(0, 1)]);
    assert_valid(&script);
}

/// A batch of values 1 and 2, and one of value 3, and what was read in the end.
fn batch(records: &[(u64, u64)]) -> Script {
    let mut script = Script::default();
    script.op_at(1, (110, 200), produce(Acks::Quorum, &[1, 2]), End::Unknown);
    script.op_at(2, (110, 200), produce(Acks::Quorum, &[3]), End::Unknown);
    script.finish(0, 3, records);
    script
}

#[test]
fn c6_a_batch_with_another_record_in_its_middle() {
    assert_found(&batch(&[(0, 1), (1, 3), (2, 2)]), &[Check::BatchIntegrity]);
    assert_valid(&batch(&[(0, 1), (1, 2), (2, 3)]));
    assert_valid(&batch(&[(0, 3), (1, 1), (2, 2)]));
}

#[test]
fn c6_a_batch_with_a_gap_and_one_turned_round() {
    assert!(batch(&[(0, 1), (2, 2)]).report().violated().contains(&Check::BatchIntegrity));
    assert!(batch(&[(0, 2), (1, 1), (2, 3)]).report().violated().contains(&Check::BatchIntegrity));
}

#[test]
fn c6_a_batch_alone_that_is_turned_round() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1, 2]), End::Unknown);
    script.finish(0, 2, &[(0, 2), (1, 1)]);
    assert_found(&script, &[Check::BatchIntegrity]);
}

#[test]
fn c6_copies_of_a_batch_are_whole_too() {
    let sent_twice = |records: &[(u64, u64)]| {
        let mut script = Script::default();
        for _ in 0..2 {
            script.op_at(1, (110, 200), produce(Acks::Quorum, &[1, 2]), End::Unknown);
        }
        script.op_at(2, (110, 200), produce(Acks::Quorum, &[3]), End::Unknown);
        script.finish(0, records.len() as u64, records);
        script
    };
    assert_valid(&sent_twice(&[(0, 1), (1, 2), (2, 3), (3, 1), (4, 2)]));
    assert_found(&sent_twice(&[(0, 1), (1, 3), (2, 2)]), &[Check::BatchIntegrity]);
}

#[test]
fn c6_offsets_inside_a_fetch_grow() {
    let mut script = acknowledged(2);
    script.op(2, fetch(0), got(&[(1, 2), (0, 1)]));
    finish(&mut script, 2);
    let violated = script.report().violated();
    assert!(violated.contains(&Check::BatchIntegrity) && violated.contains(&Check::PollBack), "{violated:?}");
}

#[test]
fn c6_a_deletion_may_end_within_a_batch() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1, 2]), base(0));
    script.op(1, Call::DeleteRecords { before: at(1) }, End::Unknown);
    script.finish(1, 2, &[(1, 2)]);
    assert_valid(&script);
}

#[test]
fn c7_a_skip_inside_one_fetch() {
    let mut script = acknowledged(3);
    script.op(2, fetch(0), got(&[(0, 1), (2, 3)]));
    finish(&mut script, 3);
    let report = assert_found(&script, &[Check::PollSkip]);
    assert_eq!(report.tally(Check::PollSkip).unwrap().first[0].offsets, [1]);
}

#[test]
fn c7_a_skip_from_one_fetch_to_the_next() {
    let skip = |between: Option<Call>| {
        let mut script = acknowledged(3);
        script.op(2, fetch(0), got(&[(0, 1)]));
        if let Some(call) = between {
            script.op(2, call, End::Done);
        }
        script.op(2, fetch(2), got(&[(2, 3)]));
        finish(&mut script, 3);
        script
    };
    assert_found(&skip(None), &[Check::PollSkip]);
    for legal in [Call::Seek, Call::Assign, Call::Revoke, Call::Crash] {
        assert_valid(&skip(Some(legal)));
    }
}

#[test]
fn c7_what_was_asked_for_is_a_position_too() {
    let mut script = acknowledged(2);
    script.op(2, fetch(0), got(&[(1, 2)]));
    finish(&mut script, 2);
    assert_found(&script, &[Check::PollSkip]);
}

#[test]
fn c7_below_the_log_start_a_skip_is_legal() {
    let mut script = acknowledged(3);
    script.op(2, fetch(0), got(&[(0, 1)]));
    script.op(1, Call::DeleteRecords { before: at(2) }, End::Deleted { log_start: at(2) });
    script.op(2, fetch(1), got_from(2, &[(2, 3)]));
    script.finish(2, 3, &[(2, 3)]);
    assert_valid(&script);
}

#[test]
fn c7_an_offset_without_a_record_is_no_skip_and_an_unknown_fetch_moves_no_one() {
    let mut script = acknowledged(1);
    script.op(1, produce(Acks::Quorum, &[2]), base(2));
    script.op(2, fetch(0), got(&[(0, 1)]));
    script.op(2, fetch(1), End::Unknown);
    script.op(2, fetch(1), got(&[(2, 2)]));
    script.finish(0, 3, &[(0, 1), (2, 2)]);
    assert_valid(&script);
}

#[test]
fn c7_an_unknown_batch_of_which_one_record_was_read_is_there_as_a_whole() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1, 2]), End::Unknown);
    script.op(1, produce(Acks::Quorum, &[3]), base(2));
    script.op(2, fetch(0), got(&[(0, 1)]));
    script.op(2, fetch(1), got(&[(2, 3)]));
    assert_eq!(script.report().violated(), [Check::BatchIntegrity, Check::PollSkip]);
}

#[test]
fn c7_a_batch_of_acks_one_of_which_one_record_was_read_is_there_as_a_whole() {
    let mut script = Script::default();
    script.op(1, produce(Acks::One, &[1, 2]), base(0));
    script.op(1, produce(Acks::Quorum, &[3]), base(2));
    script.op(2, fetch(0), got(&[(0, 1)]));
    script.op(2, fetch(1), got(&[(2, 3)]));
    assert!(script.report().violated().contains(&Check::PollSkip));
}

#[test]
fn c7_of_a_value_that_was_sent_again_alone_the_old_batch_may_be_nowhere() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1, 2]), End::Unknown);
    script.op(1, produce(Acks::Quorum, &[1]), End::Unknown);
    script.op(1, produce(Acks::Quorum, &[3]), base(2));
    script.finish(0, 3, &[(0, 1), (2, 3)]);
    assert_valid(&script);
}

#[test]
fn c7_c8_fetches_at_the_same_time_have_no_order() {
    let mut script = acknowledged(2);
    let from_ns = script.now_ns + 10;
    script.op_at(2, (from_ns, from_ns + 100), fetch(0), got(&[(0, 1), (1, 2)]));
    script.op_at(2, (from_ns + 1, from_ns + 100), fetch(0), got(&[(0, 1)]));
    finish(&mut script, 2);
    assert_valid(&script);
}

#[test]
fn c7_c8_final_reads_are_a_reader_of_their_own() {
    let mut script = acknowledged(1);
    // Client 99 makes the final reads as well.
    script.op(99, fetch(0), got(&[(0, 1)]));
    finish(&mut script, 1);
    script.op(99, Call::Seek, End::Done);
    finish(&mut script, 1);
    assert_valid(&script);
}

#[test]
fn c8_a_fetch_without_records_moves_no_one() {
    let mut script = acknowledged(1);
    script.op(2, fetch(1), got(&[]));
    script.op(2, fetch(0), got(&[(0, 1)]));
    finish(&mut script, 1);
    assert_valid(&script);
}

#[test]
fn c8_a_reader_goes_back() {
    let again = |client, call: Option<Call>| {
        let mut script = acknowledged(1);
        script.op(2, fetch(0), got(&[(0, 1)]));
        if let Some(call) = call {
            script.op(2, call, End::Done);
        }
        script.op(client, fetch(0), got(&[(0, 1)]));
        finish(&mut script, 1);
        script
    };
    assert_found(&again(2, None), &[Check::PollBack]);
    assert_valid(&again(3, None));
    assert_valid(&again(2, Some(Call::Seek)));
    assert_valid(&again(2, Some(Call::Crash)));
}

#[test]
fn c8_a_fetch_returns_what_is_below_what_was_asked_for() {
    let mut script = acknowledged(2);
    script.op(2, fetch(1), got(&[(0, 1), (1, 2)]));
    finish(&mut script, 2);
    assert_found(&script, &[Check::PollBack]);
}
