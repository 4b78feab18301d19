//! C1, C2 and C3.

use corduroy_checker::{
    Check,
    line::{Call, End, Line},
};
use corduroy_types::Acks;

use crate::{assert_found, assert_valid, script::*};

#[test]
fn c1_two_values_at_one_offset() {
    let mut script = Script::default();
    for value in [1, 2] {
        script.op(1, produce(Acks::Quorum, &[value]), End::Unknown);
    }
    let reader = script.op(2, fetch(0), got(&[(0, 1)]));
    script.finish(0, 1, &[(0, 2)]);
    let report = assert_found(&script, &[Check::DivergentOffset]);
    let finding = &report.tally(Check::DivergentOffset).unwrap().first[0];
    assert_eq!((finding.partition.as_deref(), &finding.offsets[..]), (Some("t/0"), &[0][..]));
    assert_eq!(finding.ops, [2, 5]);
    assert_eq!(reader, 2, "both fetches are named, by their numbers");
}

#[test]
fn c1_an_acknowledgement_and_a_read_that_differ() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.op(1, produce(Acks::Quorum, &[2]), End::Unknown);
    script.op(2, fetch(0), got(&[(0, 2)]));
    assert!(script.report().violated().contains(&Check::DivergentOffset));
}

/// What `acks=one` acknowledged, and what someone read at its offset, in these epochs.
fn overwritten(read_epoch: u32) -> Script {
    let mut script = Script::default();
    script.op(1, produce(Acks::One, &[1]), base(0));
    script.op(1, produce(Acks::Quorum, &[2]), End::Unknown);
    script.finish(0, 1, &[]);
    script.lines.pop();
    let end = End::Fetched {
        leader_epoch: epoch(9),
        high_watermark: None,
        log_start: at(0),
        next_offset: None,
        records: [record(0, read_epoch, 2)].into(),
    };
    script.lines.push(Line::Complete { op: 4, at_ns: 900, end });
    script
}

#[test]
fn c1_acks_one_may_be_overwritten_by_another_epoch_only() {
    let report = assert_valid(&overwritten(2));
    assert_eq!(report.losses_allowed, 1);
    assert_found(&overwritten(1), &[Check::DivergentOffset]);
}

#[test]
fn c1_two_acknowledgements_of_acks_one_in_one_epoch() {
    let mut script = Script::default();
    script.op(1, produce(Acks::One, &[1]), base(0));
    script.op(1, produce(Acks::One, &[2]), base(0));
    script.finish(0, 0, &[]);
    assert_found(&script, &[Check::DivergentOffset]);
}

#[test]
fn c2_a_value_of_an_idempotent_producer_at_two_offsets() {
    let twice = |call: Call| {
        let mut script = Script::default();
        script.op(1, call, base(0));
        script.finish(0, 2, &[(0, 1), (1, 1)]);
        script
    };
    assert_found(&twice(numbered(7, 0, 0, &[1])), &[Check::Duplicate]);
    let report = assert_valid(&twice(produce(Acks::Quorum, &[1])));
    assert_eq!(report.duplicates_allowed, 1);
}

#[test]
fn c2_a_retry_that_is_answered_like_the_first_time_is_no_duplicate() {
    let mut script = Script::default();
    script.op(1, numbered(7, 0, 0, &[1]), End::Unknown);
    script.op(1, numbered(7, 0, 0, &[1]), base(0));
    script.op(1, numbered(7, 0, 0, &[1]), base(0));
    script.finish(0, 1, &[(0, 1)]);
    assert_valid(&script);
    script.op(1, numbered(7, 0, 0, &[1]), base(1));
    assert_found(&script, &[Check::Duplicate]);
}

#[test]
fn c2_where_a_torn_batch_should_have_gone_is_no_second_copy() {
    let mut script = Script::default();
    script.op(1, numbered(7, 0, 0, &[1, 2]), End::Unknown);
    script.finish(0, 3, &[(0, 1), (2, 2)]);
    assert_found(&script, &[Check::BatchIntegrity, Check::PollSkip]);
}

#[test]
fn c2_a_value_that_was_sent_and_written_very_often_is_looked_at_once() {
    const COPIES: u64 = 20_000;
    let mut script = Script::default();
    for _ in 0..COPIES {
        script.op(1, produce(Acks::Quorum, &[1]), End::Unknown);
    }
    let all: Vec<_> = (0..COPIES).map(|offset| (offset, 1)).collect();
    script.finish(0, COPIES, &all);
    // Attempts times copies would be 400 million steps, and as many notes.
    assert_eq!(assert_valid(&script).duplicates_allowed, 1);
}

/// One produce, and an empty log in the end.
fn gone(acks: Acks, end: End) -> Script {
    let mut script = Script::default();
    script.op(1, produce(acks, &[1]), end);
    script.finish(0, 0, &[]);
    script
}

#[test]
fn c3_what_was_acknowledged_is_above_the_end() {
    for acks in [Acks::Quorum, Acks::All] {
        let report = assert_found(&gone(acks, base(0)), &[Check::LostWrite]);
        let finding = &report.tally(Check::LostWrite).unwrap().first[0];
        assert_eq!((&finding.offsets[..], &finding.ops[..]), (&[0][..], &[0, 2][..]));
    }
    for end in [End::Unknown, End::NotWritten] {
        assert_valid(&gone(Acks::Quorum, end));
    }
}

#[test]
fn c3_final_reads_go_over_an_acknowledged_record() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.op(2, produce(Acks::Quorum, &[2]), base(1));
    script.finish(0, 2, &[(1, 2)]);
    assert_found(&script, &[Check::LostWrite, Check::PollSkip]);
    script.lines.pop();
    script.lines.push(Line::Complete { op: 4, at_ns: 900, end: got(&[(0, 1), (1, 2)]) });
    assert_valid(&script);
}

#[test]
fn c3_the_log_start_needs_an_explanation() {
    let started_at_1 = |delete: Option<End>| {
        let mut script = Script::default();
        script.op(1, produce(Acks::Quorum, &[1]), base(0));
        if let Some(end) = delete {
            script.op(1, Call::DeleteRecords { before: at(1) }, end);
        }
        script.finish(1, 1, &[]);
        script
    };
    assert_found(&started_at_1(None), &[Check::LostWrite]);
    assert_found(&started_at_1(Some(End::Refused)), &[Check::LostWrite]);
    assert_valid(&started_at_1(Some(End::Unknown)));
    assert_valid(&started_at_1(Some(End::Deleted { log_start: at(1) })));
}

#[test]
fn c3_the_log_start_of_a_final_read_needs_an_explanation_too() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    let call = Call::Fetch { from: at(0), from_epoch: None, follower: false, is_final: true };
    script.op(2, call, got_from(1, &[]));
    assert_eq!(script.report().violated(), [Check::LostWrite]);
    let (name, retention_bytes) = ("t/0".into(), Some(1));
    script.lines.insert(0, Line::Partition { name, retention_ms: None, retention_bytes });
    assert_eq!(script.report().violated(), [], "how large a log is on disk is not known");
}

#[test]
fn c3_retention_by_age_explains_what_is_old_enough() {
    let with_retention = |retention_ms| {
        let mut script = Script::default();
        let name = "t/0".into();
        script.lines.push(Line::Partition { name, retention_ms: Some(retention_ms), retention_bytes: None });
        script.op_at(1, (100, 110), produce(Acks::Quorum, &[1]), base(0));
        script.now_ns = 5_000_000;
        script.finish(1, 1, &[]);
        script
    };
    assert_valid(&with_retention(4));
    assert_found(&with_retention(5), &[Check::LostWrite]);
}

#[test]
fn c3_readers_pass_over_an_acknowledged_record_during_the_run() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.op(1, produce(Acks::Quorum, &[2]), base(1));
    script.op(2, fetch(0), got(&[(1, 2)]));
    assert_eq!(script.report().violated(), [Check::LostWrite, Check::PollSkip]);
    let mut later = Script::default();
    later.op(1, produce(Acks::Quorum, &[1]), base(0));
    later.op(1, produce(Acks::Quorum, &[2]), base(1));
    later.op(2, fetch(1), got(&[(1, 2)]));
    assert_eq!(later.report().violated(), [], "no one read there");
}

#[test]
fn c3_an_answer_that_says_to_go_on_behind_an_acknowledged_record() {
    let mut script = Script::default();
    script.op(1, produce(Acks::Quorum, &[1]), base(0));
    script.finish(0, 1, &[]);
    assert_eq!(script.report().violated(), [], "an answer without a record says nothing");
    if let Some(Line::Complete { end: End::Fetched { next_offset, .. }, .. }) = script.lines.last_mut() {
        *next_offset = Some(at(1));
    }
    assert_eq!(script.report().violated(), [Check::LostWrite]);
}

#[test]
fn c3_acks_one_may_be_lost_after_a_fault_only() {
    assert_eq!(
        gone(Acks::One, base(0)).report().violated(),
        [],
        "it is above the end: nothing was read over it"
    );
    let read_over = |fault: bool| {
        let mut script = Script::default();
        script.op(1, produce(Acks::One, &[1]), base(0));
        if fault {
            script.op_at(3, (115, 116), nemesis(), End::Done);
            script.op(3, Call::Heal, End::Done);
            script.op(1, produce(Acks::One, &[3]), base(2));
            script.op(2, fetch(1), got(&[(1, 2)]));
        }
        script.op(1, produce(Acks::Quorum, &[2]), base(1));
        script.finish(0, 2, &[(1, 2)]);
        for line in &mut script.lines {
            // Every answer is of epoch 1.
            if let Line::Complete { end: End::Listed { leader_epoch, .. }, .. } = line {
                *leader_epoch = epoch(1);
            }
        }
        script
    };
    assert_found(&read_over(false), &[Check::LostWrite]);
    let report = read_over(true).report();
    assert_eq!(report.violations(Check::LostWrite), 0, "{report}");
    assert_eq!(report.losses_allowed, 1);
}
