use std::collections::{BTreeMap, BTreeSet};

use corduroy_types::{ErrorCode, PartitionIndex, TopicId};
use proptest::prelude::*;

use super::*;

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic_id: TopicId::from_bytes([7; 16]), partition: PartitionIndex(partition) }
}

fn set(partitions: &[u32]) -> BTreeSet<TopicPartition> {
    partitions.iter().map(|partition| at(*partition)).collect()
}

fn offset(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

/// Gives it what the member machine makes of an assignment. Returns what is released at once.
fn take(assignment: &mut MemberAssignment, wanted: &BTreeSet<TopicPartition>) -> BTreeSet<TopicPartition> {
    let owned = assignment.owned();
    let released = assignment.revoke(&owned.difference(wanted).copied().collect());
    assignment.assign(&wanted.difference(&owned).copied().collect());
    released
}

fn notices(assignment: &mut MemberAssignment) -> Vec<Notice> {
    std::iter::from_fn(|| assignment.next_notice()).collect()
}

/// A assignment that reads partition 0 from 10 and has sent records up to 20.
fn reading() -> MemberAssignment {
    let mut assignment = MemberAssignment::default();
    take(&mut assignment, &set(&[0]));
    assignment.opened(at(0), Beginning::At(offset(10)));
    assert_eq!(notices(&mut assignment), [Notice::Assigned(vec![(at(0), Some(offset(10)))])]);
    assignment.sent(at(0), offset(19), offset(20));
    assignment
}

#[test]
fn nothing_is_read_before_the_program_has_the_notice() {
    let mut assignment = MemberAssignment::default();
    take(&mut assignment, &set(&[0]));
    assert_eq!((assignment.readable(at(0)), assignment.has_notice()), (None, false));
    assignment.opened(at(0), Beginning::At(offset(10)));
    assert_eq!(assignment.readable(at(0)), None);
    assert_eq!(assignment.next_notice(), Some(Notice::Assigned(vec![(at(0), Some(offset(10)))])));
    assert_eq!(assignment.readable(at(0)), Some(offset(10)));
}

#[test]
fn what_the_program_is_done_with_is_released_at_once() {
    let mut assignment = reading();
    assert!(!assignment.committed(at(0), offset(19)));
    assert_eq!(take(&mut assignment, &set(&[])), set(&[0]));
    assert!(assignment.owned().is_empty());
    assert_eq!(notices(&mut assignment), [Notice::Revoked(vec![at(0)])]);
}

#[test]
fn what_is_outstanding_is_kept_until_it_is_committed() {
    let mut assignment = reading();
    take(&mut assignment, &set(&[]));
    assert_eq!((assignment.owned(), assignment.readable(at(0))), (set(&[0]), None));
    assert_eq!(assignment.judge(at(0), offset(15)), Verdict::Commit);
    assert!(!assignment.committed(at(0), offset(15)));
    assert!(assignment.committed(at(0), offset(19)), "the last record was at 18");
    assert!(assignment.owned().is_empty());
}

#[test]
fn a_release_counts_once_the_program_was_asked_for_it() {
    let mut assignment = reading();
    assert!(!assignment.release(at(0)), "it was not asked to release it");
    take(&mut assignment, &set(&[]));
    assert!(!assignment.release(at(0)), "this was sent before it could know");
    assert_eq!(notices(&mut assignment), [Notice::Revoked(vec![at(0)])]);
    assert!(assignment.release(at(0)));
    assert_eq!((assignment.owned(), assignment.judge(at(0), offset(15))), (set(&[]), Verdict::NotAssigned));
}

#[test]
fn an_acknowledgement_is_held_against_what_was_sent() {
    let mut assignment = reading();
    assert_eq!(assignment.judge(at(0), offset(9)), Verdict::Behind(offset(10)));
    assert_eq!(assignment.judge(at(0), offset(10)), Verdict::Commit);
    assert_eq!(assignment.judge(at(0), offset(20)), Verdict::Commit);
    assert_eq!(assignment.judge(at(0), offset(21)), Verdict::NotSent(offset(20)));
    assert_eq!(assignment.judge(at(1), offset(10)), Verdict::NotAssigned);
    assignment.committed(at(0), offset(15));
    assert_eq!(assignment.judge(at(0), offset(14)), Verdict::Behind(offset(15)), "never backwards");
    assert_eq!(
        assignment.judge(at(0), offset(15)),
        Verdict::Commit,
        "once more, with other metadata perhaps"
    );
}

#[test]
fn what_came_and_went_before_its_notice_has_no_notice() {
    let mut assignment = MemberAssignment::default();
    take(&mut assignment, &set(&[0, 1]));
    assignment.opened(at(0), Beginning::At(offset(10)));
    take(&mut assignment, &set(&[1]));
    assignment.opened(at(0), Beginning::At(offset(10)));
    assert_eq!((assignment.owned(), notices(&mut assignment)), (set(&[1]), vec![]));
}

#[test]
fn a_reader_that_is_overtaken_gets_the_notice_before_it_goes_on() {
    let mut assignment = reading();
    assignment.overtaken(at(0), offset(20));
    assert_eq!(assignment.opening().get(&at(0)), Some(&Some(offset(20))));
    assert_eq!(assignment.judge(at(0), offset(15)), Verdict::Commit, "it may still be done with what it has");
    let missing = Missing { position: offset(20), log_start: offset(30), resumed_at: offset(30) };
    assignment.opened(at(0), Beginning::Behind(missing));
    assert_eq!(assignment.readable(at(0)), None);
    assert_eq!(notices(&mut assignment), [Notice::PositionLost(at(0), missing)]);
    assert_eq!(assignment.readable(at(0)), Some(offset(30)));
    assert_eq!(assignment.judge(at(0), offset(15)), Verdict::Behind(offset(30)), "the group is past it");
}

#[test]
fn what_cannot_be_read_is_reported_once_and_stays_the_members() {
    let mut assignment = MemberAssignment::default();
    take(&mut assignment, &set(&[0]));
    let why = Refusal::new(ErrorCode::PositionLost, "gone");
    assignment.opened(at(0), Beginning::Unreadable(why.clone()));
    assert_eq!(notices(&mut assignment), [Notice::Assigned(vec![(at(0), None)]), Notice::Failed(at(0), why)]);
    assert_eq!(
        (assignment.owned(), assignment.readable(at(0)), assignment.has_notice()),
        (set(&[0]), None, false)
    );
    take(&mut assignment, &set(&[]));
    assert_eq!(
        (assignment.owned(), notices(&mut assignment)),
        (set(&[]), vec![Notice::Revoked(vec![at(0)])])
    );
}

#[test]
fn who_is_put_out_loses_all_it_knows_of() {
    let mut assignment = reading();
    take(&mut assignment, &set(&[1]));
    assignment.lose();
    assert!(assignment.owned().is_empty());
    take(&mut assignment, &set(&[0]));
    assignment.opened(at(0), Beginning::At(offset(12)));
    let expected = [Notice::Lost(vec![at(0)]), Notice::Assigned(vec![(at(0), Some(offset(12)))])];
    assert_eq!(notices(&mut assignment), expected, "it was never sent 1");
}

/// What a program does with its notices.
#[derive(Debug, Default)]
struct Program {
    /// What it may work on, and whether its records come.
    has: BTreeMap<TopicPartition, bool>,
    /// What it was asked to release: it may be done with that, or not.
    letting_go: BTreeSet<TopicPartition>,
}

impl Program {
    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Lost(gone) => {
                assert!(!gone.is_empty());
                for at in gone {
                    let had = self.has.remove(&at).is_some() | self.letting_go.remove(&at);
                    assert!(had, "{at} is lost, which it does not have");
                }
            }
            Notice::Revoked(gone) => {
                assert!(!gone.is_empty());
                for at in gone {
                    assert!(self.has.remove(&at).is_some(), "{at} is taken, which it does not have");
                    self.letting_go.insert(at);
                }
            }
            Notice::Assigned(assigned) => {
                for (at, from) in assigned {
                    self.letting_go.remove(&at);
                    assert!(self.has.insert(at, from.is_some()).is_none(), "{at} twice");
                }
            }
            Notice::PositionLost(at, _) => assert_eq!(self.has.get(&at), Some(&true)),
            Notice::Failed(at, _) => {
                let reads = self.has.get_mut(&at);
                *reads.unwrap_or_else(|| panic!("{at} fails, which it does not have")) = false;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Assign(Vec<u32>),
    Open(u32, u8),
    Notice,
    Send(u32),
    Overtake(u32),
    Acknowledge(u32, u64),
    Release(u32),
    Lose,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => prop::collection::vec(0..4_u32, 0..4).prop_map(Act::Assign),
        6 => (0..4_u32, 0..3_u8).prop_map(|(at, how)| Act::Open(at, how)),
        6 => Just(Act::Notice),
        6 => (0..4_u32).prop_map(Act::Send),
        1 => (0..4_u32).prop_map(Act::Overtake),
        4 => (0..4_u32, 0..40_u64).prop_map(|(at, offset)| Act::Acknowledge(at, offset)),
        2 => (0..4_u32).prop_map(Act::Release),
        1 => Just(Act::Lose),
    ];
    prop::collection::vec(act, 0..120)
}

fn beginning(how: u8) -> Beginning {
    let missing = Missing { position: Offset::ZERO, log_start: offset(5), resumed_at: offset(5) };
    match how {
        0 => Beginning::At(Offset::ZERO),
        1 => Beginning::Behind(missing),
        _ => Beginning::Unreadable(Refusal::new(ErrorCode::Corrupt, "damaged")),
    }
}

proptest! {
    #[test]
    fn the_program_can_follow_and_nothing_goes_before_it_is_done(acts in acts()) {
        let (mut assignment, mut program) = (MemberAssignment::default(), Program::default());
        // What was sent of each and not acknowledged, in the naive way.
        let mut sent: BTreeMap<TopicPartition, (Offset, Offset)> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Assign(partitions) => {
                    let had = assignment.owned();
                    let wanted = set(&partitions);
                    let taken: Vec<_> = had.difference(&wanted).copied().collect();
                    take(&mut assignment, &wanted);
                    for gone in taken {
                        prop_assert_eq!(assignment.readable(gone), None);
                        let outstanding = sent.get(&gone).is_some_and(|(sent, done)| done < sent);
                        prop_assert_eq!(assignment.owned().contains(&gone), outstanding);
                    }
                    prop_assert!(assignment.owned().is_superset(&wanted));
                    for new in wanted.difference(&had) {
                        sent.remove(new);
                    }
                }
                Act::Open(partition, how) => {
                    let again = assignment.opening().get(&at(partition)).is_some_and(Option::is_some);
                    let opens = assignment.opening().contains_key(&at(partition));
                    assignment.opened(at(partition), beginning(how));
                    if opens && (how < 2 || !again) {
                        sent.remove(&at(partition));
                    }
                }
                Act::Notice => {
                    let has_notice = assignment.has_notice();
                    let notice = assignment.next_notice();
                    prop_assert_eq!(has_notice, notice.is_some());
                    notice.into_iter().for_each(|notice| program.hear(notice));
                }
                Act::Send(partition) => {
                    let Some(from) = assignment.readable(at(partition)) else { continue };
                    prop_assert_eq!(program.has.get(&at(partition)), Some(&true));
                    let end = from.saturating_add(3);
                    assignment.sent(at(partition), end, end);
                    let done = sent.get(&at(partition)).map_or(from, |(_, done)| *done);
                    sent.insert(at(partition), (end, done));
                }
                Act::Overtake(partition) => {
                    if let Some(place) = assignment.readable(at(partition)) {
                        assignment.overtaken(at(partition), place);
                    }
                }
                Act::Acknowledge(partition, to) => {
                    if assignment.judge(at(partition), offset(to)) != Verdict::Commit {
                        continue;
                    }
                    let let_go = assignment.committed(at(partition), offset(to));
                    if let Some((sent, done)) = sent.get_mut(&at(partition)) {
                        prop_assert!(offset(to) >= *done, "{} after {}", to, done);
                        *done = offset(to);
                        prop_assert!(!let_go || *sent <= offset(to));
                    }
                }
                Act::Release(partition) => {
                    if assignment.release(at(partition)) {
                        prop_assert!(!program.has.contains_key(&at(partition)));
                    }
                }
                Act::Lose => {
                    assignment.lose();
                    prop_assert!(assignment.owned().is_empty());
                    sent.clear();
                }
            }
        }
        notices(&mut assignment).into_iter().for_each(|notice| program.hear(notice));
        prop_assert!(!assignment.has_notice());
        let known: BTreeSet<_> = program.has.keys().copied().collect();
        prop_assert!(assignment.owned().is_superset(&known));
    }
}
