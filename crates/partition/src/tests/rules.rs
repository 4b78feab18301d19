//! Each rule by hand.

use corduroy_types::{Acks, BrokerId, ErrorCode, LeaderEpoch};

use super::{at, epoch, log_of, log_state, step};
use crate::{
    Acknowledged, Action, Event, Invariant, LogEnds, MonotonicMs, NotLeading, Partition, Refusal, RequestId,
    UnknownReason,
};

fn lead(number: u32, ends: LogEnds) -> Event {
    Event::Lead { epoch: epoch(number), replicas: [BrokerId(1)].into(), log: log_state(number, ends) }
}

fn appended(request: u64, base: u64, end: u64, in_epoch: LeaderEpoch) -> Event {
    Event::Appended {
        request: RequestId(request),
        epoch: in_epoch,
        base: at(base),
        end: at(end),
        acks: Acks::Quorum,
        deadline: MonotonicMs(100),
    }
}

fn counted(number: u32, end: u64) -> Event {
    Event::Counted { epoch: epoch(number), counted_end: at(end), durable_end: at(end) }
}

fn ok(request: u64, base: u64, end: u64, number: u32) -> Action {
    let acknowledged =
        Acknowledged { base: at(base), end: at(end), epoch: epoch(number), durable_replicas: 1 };
    Action::Answer { request: RequestId(request), result: Ok(acknowledged) }
}

fn unknown(request: u64, reason: UnknownReason) -> Action {
    Action::Answer { request: RequestId(request), result: Err(reason) }
}

fn leading() -> Partition {
    let mut partition = Partition::new(BrokerId(1));
    assert_eq!(step(&mut partition, 0, lead(1, log_of(0))), []);
    partition
}

#[test]
fn a_round_acknowledges_what_it_covers() {
    let mut partition = leading();
    assert_eq!(step(&mut partition, 0, appended(1, 0, 5, epoch(1))), []);
    assert_eq!(step(&mut partition, 0, appended(2, 5, 6, epoch(1))), []);
    assert_eq!(partition.cursors().log_end(), at(6));
    assert_eq!(step(&mut partition, 0, counted(1, 4)), [Action::HighWatermark(at(4))]);
    assert_eq!(step(&mut partition, 0, counted(1, 5)), [Action::HighWatermark(at(5)), ok(1, 0, 5, 1)]);
    assert_eq!(step(&mut partition, 0, counted(1, 3)), [], "a late report changes nothing");
    assert_eq!(step(&mut partition, 0, counted(1, 6)), [Action::HighWatermark(at(6)), ok(2, 5, 6, 1)]);
    assert_eq!(partition.waiting(), 0);
}

#[test]
fn background_counts_what_is_not_durable_and_says_so() {
    let mut partition = leading();
    step(&mut partition, 0, appended(1, 0, 5, epoch(1)));
    let event = Event::Counted { epoch: epoch(1), counted_end: at(5), durable_end: at(2) };
    let result = Ok(Acknowledged { base: at(0), end: at(5), epoch: epoch(1), durable_replicas: 0 });
    let answer = Action::Answer { request: RequestId(1), result };
    assert_eq!(step(&mut partition, 0, event), [Action::HighWatermark(at(5)), answer]);
}

#[test]
fn a_failed_log_ends_the_leadership_and_its_epoch_is_never_led_again() {
    let mut partition = leading();
    step(&mut partition, 0, appended(1, 0, 5, epoch(1)));
    step(&mut partition, 0, appended(2, 5, 8, epoch(1)));
    let reason = NotLeading::StorageFailed;
    assert_eq!(
        step(&mut partition, 0, Event::LogFailed { epoch: epoch(1), durable_end: at(5) }),
        [
            Action::HighWatermark(at(5)),
            ok(1, 0, 5, 1),
            unknown(2, UnknownReason::LeadershipEnded(reason)),
            Action::LeadershipEnded { epoch: epoch(1), reason },
        ]
    );
    assert_eq!(partition.check_produce(None), Err(Refusal::NotLeading(reason)));
    assert_eq!(partition.check_produce(None).unwrap_err().code(), ErrorCode::StorageFailed);

    assert_eq!(step(&mut partition, 0, lead(1, log_of(5))), []);
    assert_eq!(partition.epoch(), None, "rule R3");
    step(&mut partition, 0, lead(2, log_of(5)));
    assert_eq!(partition.check_produce(None), Ok(epoch(2)));
    assert_eq!(partition.check_read(None).unwrap().high_watermark(), at(5));
}

#[test]
fn a_later_epoch_acknowledges_nothing_of_an_earlier_one() {
    let mut partition = leading();
    step(&mut partition, 0, appended(1, 0, 5, epoch(1)));
    assert_eq!(
        step(&mut partition, 0, lead(2, log_of(5))),
        [
            unknown(1, UnknownReason::LeadershipEnded(NotLeading::Superseded)),
            Action::LeadershipEnded { epoch: epoch(1), reason: NotLeading::Superseded },
            Action::HighWatermark(at(5)),
        ]
    );
    assert_eq!(
        step(&mut partition, 0, appended(2, 5, 6, epoch(1))),
        [unknown(2, UnknownReason::LeadershipEnded(NotLeading::Superseded))]
    );
    assert_eq!(step(&mut partition, 0, counted(1, 9)), [], "a report of an earlier epoch");
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let mut partition = leading();
    assert_eq!(partition.next_deadline(), None);
    step(&mut partition, 0, appended(1, 0, 5, epoch(1)));
    assert_eq!(partition.next_deadline(), Some(MonotonicMs(100)));
    assert_eq!(step(&mut partition, 99, Event::Tick), []);
    assert_eq!(step(&mut partition, 100, Event::Tick), [unknown(1, UnknownReason::TimedOut)]);
    assert_eq!(step(&mut partition, 100, counted(1, 5)), [Action::HighWatermark(at(5))]);

    step(&mut partition, 0, appended(2, 5, 6, epoch(1)));
    let at_the_deadline = step(&mut partition, 100, counted(1, 6));
    assert_eq!(at_the_deadline, [Action::HighWatermark(at(6)), ok(2, 5, 6, 1)], "what counts comes first");
}

#[test]
fn requests_that_name_another_epoch_are_refused() {
    let mut partition = Partition::new(BrokerId(1));
    assert_eq!(partition.check_produce(None).unwrap_err().code(), ErrorCode::Starting);
    step(&mut partition, 0, lead(4, log_of(0)));
    assert_eq!(partition.check_produce(Some(epoch(4))), Ok(epoch(4)));
    let code = |named| partition.check_read(Some(epoch(named))).unwrap_err().code();
    assert_eq!(code(3), ErrorCode::FencedLeaderEpoch);
    assert_eq!(code(5), ErrorCode::UnknownLeaderEpoch);
}

#[test]
fn what_could_be_read_stays_readable_until_another_broker_leads() {
    let mut partition = Partition::new(BrokerId(1));
    assert_eq!(partition.check_read(None), Err(Refusal::NotLeading(NotLeading::NotYet)));
    step(&mut partition, 0, lead(4, log_of(7)));
    for reason in [NotLeading::StorageFailed, NotLeading::ShuttingDown, NotLeading::Contradiction] {
        step(&mut partition, 0, Event::Stop { reason });
        assert_eq!(partition.check_read(Some(epoch(4))).unwrap().high_watermark(), at(7));
        assert_eq!(partition.check_read(Some(epoch(3))).unwrap_err().code(), ErrorCode::FencedLeaderEpoch);
    }
    for reason in [NotLeading::Superseded, NotLeading::TopicDeleted] {
        step(&mut partition, 0, Event::Stop { reason });
        assert_eq!(partition.check_read(None), Err(Refusal::NotLeading(reason)));
    }
}

#[test]
fn visible_records_that_are_gone_are_reported() {
    let mut partition = Partition::new(BrokerId(1));
    step(&mut partition, 0, lead(1, log_of(9)));
    step(&mut partition, 0, Event::LogFailed { epoch: epoch(1), durable_end: at(4) });
    assert_eq!(
        step(&mut partition, 0, lead(2, log_of(4))),
        [Action::VisibleRecordsLost { from: at(4), to: at(9) }]
    );
    assert_eq!(partition.cursors().high_watermark(), at(4));
}

#[test]
fn the_log_start_never_passes_the_high_watermark() {
    let mut partition = leading();
    step(&mut partition, 0, appended(1, 0, 5, epoch(1)));
    step(&mut partition, 0, counted(1, 3));
    assert_eq!(step(&mut partition, 0, Event::LogStartRaised { log_start: at(3) }), []);
    assert_eq!(partition.cursors().log_start(), at(3));
    let actions = step(&mut partition, 0, Event::LogStartRaised { log_start: at(4) });
    let ended = Action::LeadershipEnded { epoch: epoch(1), reason: NotLeading::Contradiction };
    assert_eq!(actions.first(), Some(&Action::Contradiction(Invariant::CursorsInOrder)));
    assert_eq!(actions.last(), Some(&ended));
    assert_eq!(partition.cursors().log_start(), at(3));
}

#[test]
fn each_broken_invariant_ends_the_leadership_and_is_named() {
    let ended = Action::LeadershipEnded { epoch: epoch(1), reason: NotLeading::Contradiction };
    let seen = |log_start, log_end| Event::LogSeen {
        epoch: epoch(1),
        log_start: at(log_start),
        log_end: at(log_end),
    };
    for (event, invariant) in [
        (counted(1, 6), Invariant::CountedBelowLogEnd),
        (Event::LogStartRaised { log_start: at(6) }, Invariant::CursorsInOrder),
        (seen(0, 4), Invariant::LogAgrees),
        (seen(1, 5), Invariant::LogAgrees),
    ] {
        let mut partition = Partition::new(BrokerId(1));
        step(&mut partition, 0, lead(1, log_of(5)));
        assert_eq!(step(&mut partition, 0, seen(0, 5)), [], "it agrees");
        let actions = step(&mut partition, 0, event.clone());
        assert_eq!(actions, [Action::Contradiction(invariant), ended.clone()], "after {event:?}");
        assert_eq!(partition.epoch(), None);
        assert_eq!(step(&mut partition, 0, lead(2, log_of(5))), [], "the next epoch is led");
        assert_eq!(step(&mut partition, 0, seen(0, 4)), [], "a look in an earlier epoch says nothing");
    }
}

#[test]
fn an_idle_partition_is_small() {
    assert!(size_of::<Partition>() <= 256, "{} bytes", size_of::<Partition>());
}

#[test]
fn a_replica_set_that_grows_within_the_epoch_counts_by_its_majority_at_once() {
    let mut partition = leading();
    let set = |number, ids: &[u32]| Event::ReplicaSet {
        epoch: epoch(number),
        replicas: ids.iter().copied().map(BrokerId).collect(),
    };
    assert_eq!(step(&mut partition, 0, appended(1, 0, 5, epoch(1))), []);
    assert_eq!(step(&mut partition, 0, set(2, &[2])), [], "one of another epoch is dropped");
    assert_eq!(step(&mut partition, 0, set(1, &[1, 2])), []);
    assert_eq!(step(&mut partition, 0, counted(1, 5)), [], "one of two is no majority");
    let back = step(&mut partition, 0, set(1, &[1]));
    assert_eq!(back, [Action::HighWatermark(at(5)), ok(1, 0, 5, 1)]);
    let out = step(&mut partition, 0, set(1, &[1, 1]));
    assert_eq!(out.first(), Some(&Action::Contradiction(Invariant::ReplicaNamedOnce)));
}
