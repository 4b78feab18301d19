//! C9 and C10.

use corduroy_checker::{
    Check,
    line::{Call, End},
};
use corduroy_types::Acks;

use crate::{assert_found, assert_valid, script::*};

/// Two produces of client 1 that are open at the same time, and the log in the end.
fn pipelined(first: Call, second: Call, records: &[(u64, u64)]) -> Script {
    let mut script = Script::default();
    script.op_at(1, (110, 200), first, End::Unknown);
    script.op_at(1, (111, 200), second, End::Unknown);
    script.finish(0, 2, records);
    script
}

#[test]
fn c9_sequences_and_offsets_have_one_order() {
    let numbers = |epoch, sequence, value| numbered(7, epoch, sequence, &[value]);
    let turned = [(0, 2), (1, 1)];
    let report =
        assert_found(&pipelined(numbers(0, 0, 1), numbers(0, 1, 2), &turned), &[Check::ProducerOrder]);
    assert_eq!(report.tally(Check::ProducerOrder).unwrap().first[0].ops, [1, 0]);
    assert_valid(&pipelined(numbers(0, 0, 1), numbers(0, 1, 2), &[(0, 1), (1, 2)]));
    assert_valid(&pipelined(produce(Acks::Quorum, &[1]), produce(Acks::Quorum, &[2]), &turned));
    assert_valid(&pipelined(numbered(7, 0, 0, &[1]), numbered(8, 0, 1, &[2]), &turned));
}

#[test]
fn c9_an_older_epoch_of_a_producer_is_shut_out() {
    let numbers = |epoch, sequence, value| numbered(7, epoch, sequence, &[value]);
    let in_order = [(0, 1), (1, 2)];
    assert_valid(&pipelined(numbers(0, 5, 1), numbers(1, 0, 2), &in_order));
    assert_found(&pipelined(numbers(1, 0, 1), numbers(0, 5, 2), &in_order), &[Check::ProducerOrder]);
}

/// The first is acknowledged at offset 1 at 200 ns; the second begins at `second_ns` and is acknowledged at offset 0.
fn backwards(clients: [u32; 2], second_ns: u64) -> Script {
    let mut script = Script::default();
    script.op_at(clients[0], (110, 200), produce(Acks::Quorum, &[1]), base(1));
    script.op_at(clients[1], (second_ns, 300), produce(Acks::Quorum, &[2]), base(0));
    script.finish(0, 2, &[(0, 2), (1, 1)]);
    script
}

#[test]
fn c9_one_client_goes_backwards() {
    assert_found(&backwards([1, 1], 201), &[Check::ProducerOrder, Check::RealTimeOrder]);
    assert_valid(&backwards([1, 1], 200));
}

#[test]
fn c10_a_record_stands_before_one_that_was_acknowledged_before_it_was_sent() {
    let report = assert_found(&backwards([1, 2], 201), &[Check::RealTimeOrder]);
    let finding = &report.tally(Check::RealTimeOrder).unwrap().first[0];
    assert_eq!((&finding.ops[..], &finding.offsets[..]), (&[0, 1][..], &[0, 1][..]));
    assert_valid(&backwards([1, 2], 200));
}

#[test]
fn c10_a_record_stands_before_one_that_was_read_before_it_was_sent() {
    let read_at = |times_ns| {
        let mut script = Script::default();
        script.op_at(1, (110, 400), produce(Acks::Quorum, &[1]), End::Unknown);
        script.op_at(3, times_ns, fetch(1), got(&[(1, 1)]));
        script.op_at(2, (300, 400), produce(Acks::Quorum, &[2]), End::Unknown);
        script.finish(0, 2, &[(0, 2), (1, 1)]);
        script
    };
    assert_found(&read_at((200, 299)), &[Check::RealTimeOrder]);
    assert_valid(&read_at((200, 300)));
}

#[test]
fn c10_a_record_that_is_sent_again_was_sent_the_first_time() {
    let first_time = |end| {
        let mut script = Script::default();
        script.op_at(2, (100, 150), produce(Acks::Quorum, &[2]), end);
        script.op_at(1, (110, 200), produce(Acks::Quorum, &[1]), base(1));
        script.op_at(2, (210, 300), produce(Acks::Quorum, &[2]), End::Unknown);
        script.finish(0, 2, &[(0, 2), (1, 1)]);
        script
    };
    assert_valid(&first_time(End::Unknown));
    assert_found(&first_time(End::NotWritten), &[Check::RealTimeOrder]);
}

#[test]
fn c10_each_copy_of_a_record_stands_behind_what_was_there_before() {
    let mut script = Script::default();
    script.op_at(1, (110, 200), produce(Acks::Quorum, &[2]), base(1));
    script.op_at(2, (210, 300), produce(Acks::Quorum, &[1]), End::Unknown);
    script.op_at(2, (310, 400), produce(Acks::Quorum, &[1]), End::Unknown);
    script.finish(0, 3, &[(0, 1), (1, 2), (2, 1)]);
    let report = script.report();
    assert_eq!(report.violated(), [Check::RealTimeOrder], "{report}");
}

#[test]
fn c10_what_ended_not_written_has_no_place() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(1));
    script.op(2, produce(Acks::Quorum, &[2]), End::NotWritten);
    script.finish(0, 2, &[(0, 2), (1, 1)]);
    assert_found(&script, &[Check::FailedRead]);
}

#[test]
fn c10_acks_one_that_no_one_read_has_no_place() {
    for (first, second) in [(Acks::One, Acks::Quorum), (Acks::Quorum, Acks::One)] {
        let mut script = Script::default();
        script.op(1, produce(first, &[1]), base(1));
        script.op(2, produce(second, &[2]), base(0));
        let violated = script.report().violated();
        assert_eq!(violated, [], "{first} {second}");
    }
}
