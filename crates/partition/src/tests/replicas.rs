//! Leaders of more than one replica, and replicas that follow: each rule by hand.

use corduroy_types::{Acks, BrokerId, EpochEntry, EpochHistory, ErrorCode, Incarnation};

use super::{at, epoch, log_of, step};
use crate::{
    Ack, Action, Agreement, BatchSpan, Event, FenceRefused, Hello, Invariant, LogState, MonotonicMs,
    NotLeading, Partition, Push, REPLICA_LAG_MAX_MS, Refusal, RequestId, ResignReason, Welcome,
};

const OWN: BrokerId = BrokerId(1);
const SECOND: BrokerId = BrokerId(2);
const THIRD: BrokerId = BrokerId(3);

fn history(entries: &[(u32, u64)]) -> EpochHistory {
    let entries =
        entries.iter().map(|(number, start)| EpochEntry { epoch: epoch(*number), start: at(*start) });
    EpochHistory::from_entries(entries).unwrap()
}

fn log(end: u64, entries: &[(u32, u64)]) -> LogState {
    LogState { ends: log_of(end), history: history(entries) }
}

/// A leader of three in epoch 5, which began at offset 4.
fn leader() -> Partition {
    let mut partition = Partition::restored(OWN, Incarnation(10), None, false);
    let replicas = [OWN, SECOND, THIRD].into();
    let lead = Event::Lead { epoch: epoch(5), replicas, log: log(4, &[(1, 0), (5, 4)]) };
    assert_eq!(step(&mut partition, 0, lead), []);
    partition
}

fn hello(end: u64, entries: &[(u32, u64)], suspect: bool) -> Hello {
    Hello {
        epoch: epoch(5),
        incarnation: Incarnation(20),
        log_start: at(0),
        log_end: at(end),
        history: history(entries),
        suspect,
    }
}

fn ack(end: u64, held: u32) -> Ack {
    Ack {
        epoch: epoch(5),
        incarnation: Incarnation(20),
        counted_end: at(end),
        durable_end: at(end),
        held_epoch: Some(epoch(held)),
        log_start: at(0),
    }
}

fn acked(from: BrokerId, ack: Ack) -> Event {
    Event::Acked { from, ack }
}

fn append(partition: &mut Partition, now: u64, request: u64, base: u64, acks: Acks) -> Vec<Action> {
    let (epoch, deadline) = (partition.check_produce(None).unwrap(), MonotonicMs(now + 10_000));
    let request = RequestId(request);
    let event = Event::Appended { request, epoch, base: at(base), end: at(base + 1), acks, deadline };
    step(partition, now, event)
}

fn pushes(actions: &[Action]) -> Vec<(BrokerId, u64, u64)> {
    let push = |action: &Action| match action {
        Action::Push { to, push, up_to } => Some((*to, push.from.get(), up_to.get())),
        _ => None,
    };
    actions.iter().filter_map(push).collect()
}

fn answers(actions: &[Action]) -> Vec<(u64, bool)> {
    let answer = |action: &Action| match action {
        Action::Answer { request, result } => Some((request.0, result.is_ok())),
        _ => None,
    };
    actions.iter().filter_map(answer).collect()
}

#[test]
fn nothing_counts_before_a_quorum_holds_the_epochs_entry() {
    let mut partition = leader();
    assert_eq!(partition.check_end(), Err(Refusal::NotActivated), "KIP-207");
    assert_eq!(append(&mut partition, 0, 1, 4, Acks::Quorum), []);
    let counted = Event::Counted { epoch: epoch(5), counted_end: at(5), durable_end: at(5) };
    assert_eq!(step(&mut partition, 0, counted), [], "one of three is no quorum");

    let actions = step(&mut partition, 0, Event::Hello { from: SECOND, hello: hello(4, &[(1, 0)], false) });
    assert!(matches!(&actions[..], [Action::SendWelcome { to: SECOND, .. }]), "{actions:?}");
    // Rule R4: it has every record, and not the entry.
    assert_eq!(answers(&step(&mut partition, 0, acked(SECOND, ack(4, 1)))), []);
    assert_eq!(partition.check_end(), Err(Refusal::NotActivated));
    let actions = step(&mut partition, 0, acked(SECOND, ack(4, 5)));
    assert!(actions.contains(&Action::HighWatermark(at(4))), "{actions:?}");
    assert_eq!(pushes(&actions), [(SECOND, 4, 5)]);
    assert_eq!(answers(&step(&mut partition, 0, acked(SECOND, ack(5, 5)))), [(1, true)]);
    assert_eq!(partition.check_end().unwrap().high_watermark(), at(5));
}

#[test]
fn what_another_run_or_epoch_of_a_follower_says_does_not_count() {
    let mut partition = leader();
    step(&mut partition, 0, Event::Hello { from: SECOND, hello: hello(4, &[(1, 0)], false) });
    assert_eq!(step(&mut partition, 0, acked(SECOND, Ack { incarnation: Incarnation(19), ..ack(4, 5) })), []);
    assert_eq!(step(&mut partition, 0, acked(SECOND, Ack { epoch: epoch(4), ..ack(4, 5) })), []);
    assert_eq!(partition.check_end(), Err(Refusal::NotActivated));
    step(&mut partition, 0, acked(SECOND, ack(4, 5)));
    // Another run of it has an empty log: what the run before acknowledged counts no more.
    step(&mut partition, 0, Event::Hello { from: SECOND, hello: hello(0, &[], false) });
    append(&mut partition, 0, 1, 4, Acks::Quorum);
    let counted = Event::Counted { epoch: epoch(5), counted_end: at(5), durable_end: at(5) };
    assert_eq!(
        answers(&step(&mut partition, 0, counted)),
        [],
        "what the earlier stream said is forgotten (R5)"
    );
}

#[test]
fn a_replica_that_promised_a_newer_epoch_ends_the_leadership() {
    let mut partition = leader();
    append(&mut partition, 0, 1, 4, Acks::One);
    let newer = Hello { epoch: epoch(6), ..hello(4, &[(1, 0)], false) };
    let actions = step(&mut partition, 0, Event::Hello { from: SECOND, hello: newer });
    assert_eq!(answers(&actions), [(1, false)]);
    assert_eq!(partition.check_produce(None), Err(Refusal::NotLeading(NotLeading::Superseded)));
}

#[test]
fn all_waits_for_those_that_keep_up_and_no_longer() {
    let mut partition = leader();
    for follower in [SECOND, THIRD] {
        step(&mut partition, 0, Event::Hello { from: follower, hello: hello(4, &[(1, 0)], false) });
        step(&mut partition, 0, acked(follower, ack(4, 5)));
    }
    append(&mut partition, 0, 1, 4, Acks::All);
    step(&mut partition, 0, Event::Counted { epoch: epoch(5), counted_end: at(5), durable_end: at(5) });
    assert_eq!(answers(&step(&mut partition, 0, acked(SECOND, ack(5, 5)))), [], "the third keeps up too");
    let late = REPLICA_LAG_MAX_MS + 1;
    assert!(partition.next_deadline().unwrap().0 <= late);
    let actions = step(&mut partition, late, Event::Tick);
    assert!(actions.contains(&Action::InSync(vec![OWN, SECOND])), "{actions:?}");
    assert_eq!(answers(&actions), [(1, true)]);

    // Rule R9: as few as it would be now is refused where more are asked for.
    step(&mut partition, late, Event::MinInSync(3));
    append(&mut partition, late, 2, 5, Acks::All);
    step(&mut partition, late, Event::Counted { epoch: epoch(5), counted_end: at(6), durable_end: at(6) });
    assert_eq!(answers(&step(&mut partition, late, acked(SECOND, ack(6, 5)))), []);
    let actions = step(&mut partition, late, acked(THIRD, ack(6, 5)));
    assert_eq!(answers(&actions), [(2, true)], "it has caught up");
}

#[test]
fn a_lease_needs_a_quorum() {
    let partition = leader();
    let at_500 = |heard: &[BrokerId]| {
        let heard = heard.to_vec();
        partition
            .check_lease(MonotonicMs(500), 100, move |id| heard.contains(&id).then_some(MonotonicMs(450)))
    };
    assert_eq!(at_500(&[SECOND]), Ok(()));
    assert_eq!(at_500(&[]), Err(Refusal::LeaseExpired));
    let old = partition.check_lease(MonotonicMs(500), 100, |_| Some(MonotonicMs(400)));
    assert_eq!(old, Err(Refusal::LeaseExpired), "a round trip counts from when it was sent");
}

#[test]
fn a_transfer_waits_until_the_target_has_everything() {
    let mut partition = leader();
    step(&mut partition, 0, Event::Hello { from: SECOND, hello: hello(4, &[(1, 0)], false) });
    step(&mut partition, 0, acked(SECOND, ack(4, 5)));
    append(&mut partition, 0, 1, 4, Acks::Quorum);
    let transfer = Event::Transfer { target: SECOND, deadline: MonotonicMs(1_000) };
    assert_eq!(step(&mut partition, 0, transfer.clone()), []);
    let refused = partition.check_produce(None).unwrap_err();
    assert_eq!(refused, Refusal::NotLeading(NotLeading::Transferring));
    assert_eq!(refused.code(), ErrorCode::NotLeader);
    step(&mut partition, 1_000, Event::Tick);
    partition.check_produce(None).expect("the attempt is given up");

    step(&mut partition, 1_000, Event::Transfer { target: SECOND, deadline: MonotonicMs(2_000) });
    let actions = step(&mut partition, 1_001, acked(SECOND, ack(5, 5)));
    let resign = Action::Resign { epoch: epoch(5), reason: ResignReason::Transfer(SECOND) };
    assert!(actions.contains(&resign), "{actions:?}");
    assert!(partition.check_produce(None).is_err(), "nothing is appended that the target would lack");
}

#[test]
fn a_leader_asks_for_another_one_once() {
    let mut partition = leader();
    let resign = Event::Resign { reason: ResignReason::DiskStalled };
    let asked = Action::Resign { epoch: epoch(5), reason: ResignReason::DiskStalled };
    assert_eq!(step(&mut partition, 0, resign.clone()), [asked]);
    assert_eq!(step(&mut partition, 0, resign), []);
    assert_eq!(partition.check_produce(None), Err(Refusal::NotLeading(NotLeading::Resigned)));
}

#[test]
fn a_suspect_replica_is_clean_once_it_has_what_the_leader_had() {
    let mut partition = leader();
    append(&mut partition, 0, 1, 4, Acks::One);
    step(&mut partition, 0, Event::Hello { from: SECOND, hello: hello(4, &[(1, 0)], true) });
    step(&mut partition, 0, acked(SECOND, ack(4, 5)));
    let clean = Action::ReplicaClean { replica: SECOND, incarnation: Incarnation(20) };
    let actions = step(&mut partition, 0, acked(SECOND, ack(5, 5)));
    assert!(actions.contains(&clean), "{actions:?}");
    let again = step(&mut partition, 0, acked(SECOND, ack(5, 5)));
    assert!(!again.contains(&clean), "once");
}

fn fenced(promised: u32, end: u64, entries: &[(u32, u64)]) -> Partition {
    let mut partition = Partition::restored(OWN, Incarnation(10), None, false);
    let actions = step(&mut partition, 0, Event::Fence { epoch: epoch(promised) });
    assert_eq!(actions, [Action::Promise { epoch: epoch(promised) }]);
    let promise = Event::Promised { epoch: epoch(promised), log: log(end, entries) };
    let actions = step(&mut partition, 0, promise);
    assert!(matches!(&actions[..], [Action::Report(_)]), "{actions:?}");
    partition
}

#[test]
fn a_fence_is_answered_with_what_is_durable_and_keeps_older_ones_out() {
    let mut partition = fenced(3, 7, &[(1, 0), (2, 5)]);
    let again = step(&mut partition, 0, Event::Fence { epoch: epoch(3) });
    let [Action::Report(report)] = &again[..] else { panic!("{again:?}") };
    assert_eq!((report.last_epoch, report.log_end.get(), report.suspect), (Some(epoch(2)), 7, false));
    let refused = FenceRefused { epoch: epoch(2), promised: epoch(3) };
    assert_eq!(step(&mut partition, 0, Event::Fence { epoch: epoch(2) }), [Action::RefuseFence(refused)]);
    assert_eq!(step(&mut partition, 0, Event::Follow { epoch: epoch(2), leader: SECOND }), []);
    let replicas = [OWN, SECOND].into();
    let old = Event::Lead { epoch: epoch(2), replicas, log: log(7, &[(2, 5)]) };
    assert_eq!(step(&mut partition, 0, old), []);
    assert_eq!(partition.epoch(), None);
    // Rule R3.
    assert!(partition.may_lead(epoch(3), Incarnation(10)));
    assert!(!partition.may_lead(epoch(3), Incarnation(9)), "another run reported");
    assert!(!partition.may_lead(epoch(2), Incarnation(10)));
}

/// A follower in epoch 5 whose hello is sent.
fn follower(end: u64, entries: &[(u32, u64)]) -> Partition {
    let mut partition = fenced(5, end, entries);
    let follow = Event::Follow { epoch: epoch(5), leader: SECOND };
    assert_eq!(step(&mut partition, 0, follow), [Action::Promise { epoch: epoch(5) }]);
    let promised = Event::Promised { epoch: epoch(5), log: log(end, entries) };
    assert_eq!(step(&mut partition, 0, promised), [Action::Connect { leader: SECOND }]);
    let actions = step(&mut partition, 0, Event::Connected { leader: SECOND });
    assert!(matches!(&actions[..], [Action::SendHello { to: SECOND, .. }]), "{actions:?}");
    partition
}

fn welcome(start: u64, end: u64, entries: &[(u32, u64)]) -> Event {
    let welcome = Welcome {
        epoch: epoch(5),
        incarnation: Incarnation(30),
        log_start: at(start),
        log_end: at(end),
        history: history(entries),
    };
    Event::Welcomed { from: SECOND, welcome }
}

fn push(from: u64, high_watermark: u64, log_start: u64, batches: &[(u64, u64, u32)]) -> Event {
    let push = Push {
        epoch: epoch(5),
        from: at(from),
        high_watermark: at(high_watermark),
        log_start: at(log_start),
    };
    let span = |(base, end, number): &(u64, u64, u32)| BatchSpan {
        base: at(*base),
        end: at(*end),
        epoch: epoch(*number),
    };
    Event::Received { from: SECOND, push, batches: batches.iter().map(span).collect() }
}

fn acks_of(actions: &[Action]) -> Vec<(u64, Option<u32>)> {
    let ack = |action: &Action| match action {
        Action::SendAck { ack, .. } => {
            Some((ack.durable_end.get(), ack.held_epoch.map(corduroy_types::LeaderEpoch::get)))
        }
        _ => None,
    };
    actions.iter().filter_map(ack).collect()
}

#[test]
fn a_follower_cuts_its_dead_branch_before_it_says_anything_of_its_log() {
    let mut partition = follower(9, &[(1, 0), (2, 6)]);
    let actions = step(&mut partition, 0, welcome(0, 8, &[(1, 0), (5, 8)]));
    let agreement =
        Agreement { log_start: at(0), log_end: at(6), history: history(&[(1, 0)]), empties: false };
    assert_eq!(actions, [Action::Reconcile { epoch: epoch(5), agreement }]);
    let reconciled = Event::Reconciled { epoch: epoch(5), log: log(6, &[(1, 0)]) };
    assert_eq!(acks_of(&step(&mut partition, 0, reconciled)), [(6, Some(1))]);

    let actions = step(&mut partition, 0, push(6, 0, 0, &[(6, 7, 1), (7, 8, 1)]));
    let entry = EpochEntry { epoch: epoch(5), start: at(8) };
    let adopt = Action::Adopt { epoch: epoch(5), entry };
    assert_eq!(
        actions,
        [Action::Replicate { from: at(6) }, adopt],
        "the entry begins where the log ends now"
    );
    let actions = step(&mut partition, 0, Event::Adopted { epoch: epoch(5), entry });
    assert_eq!(acks_of(&actions), [(8, Some(5))]);
}

#[test]
fn an_adopted_epoch_that_does_not_follow_is_a_contradiction() {
    let mut partition = follower(9, &[(1, 0)]);
    step(&mut partition, 0, welcome(0, 9, &[(1, 0), (5, 9)]));
    let entry = EpochEntry { epoch: epoch(1), start: at(9) };
    let actions = step(&mut partition, 0, Event::Adopted { epoch: epoch(5), entry });
    assert_eq!(actions.first(), Some(&Action::Contradiction(Invariant::EpochsGrow)));
}

#[test]
fn a_follower_takes_only_what_comes_next() {
    let mut partition = follower(4, &[(1, 0), (5, 4)]);
    assert_eq!(acks_of(&step(&mut partition, 0, welcome(0, 9, &[(1, 0), (5, 4)]))), [(4, Some(5))]);
    let actions = step(&mut partition, 0, push(2, 3, 0, &[(2, 4, 1), (4, 6, 5)]));
    let raised = Action::HighWatermark(at(3));
    assert_eq!(actions, [Action::Replicate { from: at(4) }, raised], "what it has is skipped (H11)");
    for wrong in [[(7, 8, 5)], [(6, 7, 4)], [(5, 8, 5)]] {
        let mut partition = follower(4, &[(1, 0), (5, 4)]);
        step(&mut partition, 0, welcome(0, 9, &[(1, 0), (5, 4)]));
        step(&mut partition, 0, push(4, 0, 0, &[(4, 6, 5)]));
        let actions = step(&mut partition, 0, push(6, 0, 0, &wrong));
        assert_eq!(actions, [Action::CloseStream { peer: SECOND }, Action::Connect { leader: SECOND }]);
        assert_eq!(partition.cursors().log_end(), at(6));
    }
}

#[test]
fn a_follower_shows_what_is_committed_and_here() {
    let mut partition = follower(4, &[(1, 0), (5, 4)]);
    step(&mut partition, 0, welcome(0, 9, &[(1, 0), (5, 4)]));
    let actions = step(&mut partition, 0, push(4, 6, 0, &[(4, 6, 5)]));
    assert_eq!(actions, [Action::Replicate { from: at(4) }, Action::HighWatermark(at(4))]);
    let counted = Event::Counted { epoch: epoch(5), counted_end: at(6), durable_end: at(6) };
    let actions = step(&mut partition, 0, counted);
    assert_eq!(acks_of(&actions), [(6, Some(5))]);
    assert_eq!(actions.last(), Some(&Action::HighWatermark(at(6))));
    // Rule R20: never above what it knows to be committed.
    let actions = step(&mut partition, 0, push(6, 6, 8, &[]));
    assert_eq!(actions, [Action::RaiseLogStart { log_start: at(6) }]);
}

#[test]
fn a_follower_that_would_cut_committed_records_stops() {
    let mut partition = follower(4, &[(1, 0), (5, 4)]);
    step(&mut partition, 0, welcome(0, 9, &[(1, 0), (5, 4)]));
    step(&mut partition, 0, push(4, 4, 0, &[]));
    assert_eq!(partition.cursors().high_watermark(), at(4));
    step(&mut partition, 0, Event::Disconnected { peer: SECOND });
    step(&mut partition, 0, Event::Connected { leader: SECOND });
    let actions = step(&mut partition, 0, welcome(0, 3, &[(1, 0), (4, 2), (5, 3)]));
    let stopped = Action::Quarantined { cut_to: at(2), high_watermark: at(4) };
    assert_eq!(actions, [stopped, Action::CloseStream { peer: SECOND }]);
    assert_eq!(partition.check_read(None), Err(Refusal::NotLeading(NotLeading::Quarantined)));
    assert_eq!(step(&mut partition, 0, Event::Follow { epoch: epoch(6), leader: SECOND }), []);
}

#[test]
fn a_log_that_was_opened_again_is_another_run() {
    let mut partition = follower(4, &[(1, 0)]);
    step(&mut partition, 0, Event::LogFailed { epoch: epoch(5), durable_end: at(4) });
    assert_eq!(
        step(&mut partition, 0, Event::Follow { epoch: epoch(5), leader: SECOND }),
        [],
        "it has no log"
    );
    step(&mut partition, 0, Event::Reopened { incarnation: Incarnation(11), suspect: true });
    let actions = step(&mut partition, 0, Event::Fence { epoch: epoch(6) });
    assert_eq!(actions, [Action::Promise { epoch: epoch(6) }]);
    let promised = Event::Promised { epoch: epoch(6), log: log(3, &[(1, 0)]) };
    let actions = step(&mut partition, 0, promised);
    let [Action::Report(report)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((report.incarnation, report.suspect, report.log_end), (Incarnation(11), true, at(3)));
}
