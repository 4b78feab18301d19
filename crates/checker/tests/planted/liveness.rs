//! C22: liveness after the heal, and coverage.

use corduroy_checker::{
    Check, Options, Verdict,
    line::{Call, End, Line},
};
use corduroy_types::Acks;

use crate::{assert_found, assert_valid, script::*};

const SECOND_NS: u64 = 1_000_000_000;

/// A fault with a produce in it, a heal at 300 ns, a produce that then ends like this, and a fetch.
fn healed(produced_ns: u64, end: End, fetched: End) -> Script {
    let mut script = Script::default();
    script.op_at(1, (100, 150), produce(Acks::Quorum, &[1]), base(0));
    script.op_at(9, (140, 200), nemesis(), End::Done);
    script.op_at(9, (290, 300), Call::Heal, End::Done);
    script.op_at(1, (310, produced_ns), produce(Acks::Quorum, &[2]), end);
    script.op(2, fetch(0), fetched);
    script.finish(0, 2, &[(0, 1), (1, 2)]);
    script
}

fn ok() -> Script {
    healed(320, base(1), got(&[(0, 1), (1, 2)]))
}

fn missing(script: &Script) -> u64 {
    let report = script.report();
    assert_eq!(report.verdict(), Verdict::Unknown, "{report}");
    assert_eq!(report.violated(), []);
    report.tally(Check::Liveness).unwrap().missing
}

#[test]
fn c22_produce_and_fetch_succeed_soon_after_the_heal() {
    assert_valid(&ok());
    assert_found(&healed(320, End::Unknown, got(&[(0, 1), (1, 2)])), &[Check::Liveness]);
    let within_ns = Options::default().serve_within_ns;
    assert_valid(&healed(310 + within_ns, base(1), got(&[(0, 1), (1, 2)])));
    assert_found(&healed(311 + within_ns, base(1), got(&[(0, 1), (1, 2)])), &[Check::Liveness]);
}

#[test]
fn c22_a_fetch_that_never_succeeds_after_the_heal() {
    let mut script = healed(320, base(1), End::Refused);
    // Without the final read no fetch succeeds.
    script.lines.truncate(script.lines.len() - 2);
    assert_eq!(script.report().violated(), [Check::Liveness]);
}

#[test]
fn c22_replicas_agree_in_the_end() {
    let with_probes = |probes: [(u32, u64, u64); 2]| {
        let mut script = ok();
        for (node, mark, chain_hash) in probes {
            let (leader_epoch, mark) = (epoch(1), at(mark));
            let end = End::Probed {
                leader_epoch,
                log_end: mark,
                durable_end: mark,
                high_watermark: mark,
                chain_hash,
            };
            let times_ns = (script.now_ns + 1, script.now_ns + 2);
            script.op_full((9, Some(node)), Some("t/0"), times_ns, Call::Probe, end);
        }
        script
    };
    assert_valid(&with_probes([(1, 2, 77), (2, 2, 77)]));
    assert_found(&with_probes([(1, 2, 77), (2, 2, 78)]), &[Check::Liveness]);
    assert_found(&with_probes([(1, 2, 77), (2, 1, 77)]), &[Check::Liveness]);
    assert_valid(&with_probes([(1, 1, 70), (1, 2, 77)]));
}

#[test]
fn c22_what_was_before_the_heal_does_not_count() {
    let within_ns = Options::default().serve_within_ns;
    let heal_ns = 200 + within_ns;
    let mut script = Script::default();
    // The produce began long before, and succeeds soon after the heal. A replica was behind before it.
    script.op_at(1, (100, heal_ns + 50), produce(Acks::Quorum, &[1]), base(0));
    for (at_ns, mark) in [(150, 0), (heal_ns + 60, 1)] {
        let (leader_epoch, mark) = (epoch(1), at(mark));
        let chain_hash = mark.get();
        let (log_end, durable_end) = (mark, mark);
        let end = End::Probed { leader_epoch, log_end, durable_end, high_watermark: mark, chain_hash };
        let node = if at_ns == 150 { 1 } else { 2 };
        script.op_full((9, Some(node)), Some("t/0"), (at_ns, at_ns), Call::Probe, end);
    }
    script.op_at(9, (heal_ns, heal_ns), Call::Heal, End::Done);
    script.finish(0, 1, &[(0, 1)]);
    assert_valid(&script);
}

#[test]
fn c22_no_process_panics() {
    let mut script = ok();
    script.lines.push(Line::Panic { at_ns: 500, node: Some(1), message: "index out of bounds".into() });
    let report = assert_found(&script, &[Check::Liveness]);
    assert!(report.to_string().contains("index out of bounds"));
}

#[test]
fn c22_a_fault_that_meets_no_request_is_missing_coverage() {
    let mut script = ok();
    let quiet_ns = script.now_ns + SECOND_NS;
    script.op_at(9, (quiet_ns, quiet_ns + 1), nemesis(), End::Done);
    assert_eq!(missing(&script), 1);
    let mut met = ok();
    met.op_at(1, (quiet_ns, quiet_ns), list_end(), listed(2, 9));
    met.op_at(9, (quiet_ns, quiet_ns + 1), nemesis(), End::Done);
    assert_valid(&met);
}

#[test]
fn c22_one_in_ten_requests_succeeds_during_faults() {
    let with_unknown = |count| {
        let mut script = ok();
        for _ in 0..count {
            script.op_at(5, (150, 160), fetch(0), End::Unknown);
        }
        script
    };
    assert_valid(&with_unknown(9));
    assert_eq!(missing(&with_unknown(10)), 1);
}

#[test]
fn c22_what_was_not_tried_or_not_read_is_missing_coverage() {
    let mut unhealed = ok();
    unhealed.lines.retain(|line| !matches!(line, Line::Invoke { op: 2, .. } | Line::Complete { op: 2, .. }));
    for line in &mut unhealed.lines {
        let (Line::Invoke { op, .. } | Line::Complete { op, .. }) = line else { continue };
        *op -= u64::from(*op > 2);
    }
    assert_eq!(missing(&unhealed), 1);

    let mut unread = Script::default();
    unread.op(1, produce(Acks::Quorum, &[1, 2]), base(0));
    unread.finish(0, 2, &[(0, 1)]);
    assert_eq!(missing(&unread), 1);

    // The log ends with an offset that has no record. Only the answer can say so.
    let to_the_end = |next: Option<u64>| {
        let mut script = Script::default();
        script.op(1, produce(Acks::Quorum, &[1]), base(0));
        script.finish(0, 2, &[(0, 1)]);
        if let Some(Line::Complete { end: End::Fetched { next_offset, .. }, .. }) = script.lines.last_mut() {
            *next_offset = next.map(at);
        }
        script
    };
    assert_eq!(missing(&to_the_end(None)), 1);
    assert_valid(&to_the_end(Some(2)));

    let mut untried = ok();
    untried.lines.push(Line::Partition { name: "t/1".into(), retention_ms: None, retention_bytes: None });
    assert_eq!(missing(&untried), 3, "no produce, no fetch, no final read");
}
