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

fn notices(share: &mut Share) -> Vec<Notice> {
    std::iter::from_fn(|| share.next_notice()).collect()
}

/// A share that reads partition 0 from 10 and has sent records up to 20.
fn reading() -> Share {
    let mut share = Share::default();
    share.assign(&set(&[0]));
    share.opened(at(0), Beginning::At(offset(10)));
    assert_eq!(notices(&mut share), [Notice::Assigned(vec![(at(0), Some(offset(10)))])]);
    share.sent(at(0), offset(19), offset(20));
    share
}

#[test]
fn nothing_is_read_before_the_program_was_told_that_it_has_it() {
    let mut share = Share::default();
    share.assign(&set(&[0]));
    assert_eq!((share.readable(at(0)), share.has_notice()), (None, false));
    share.opened(at(0), Beginning::At(offset(10)));
    assert_eq!(share.readable(at(0)), None);
    assert_eq!(share.next_notice(), Some(Notice::Assigned(vec![(at(0), Some(offset(10)))])));
    assert_eq!(share.readable(at(0)), Some(offset(10)));
}

#[test]
fn what_the_program_is_done_with_is_let_go_of_at_once() {
    let mut share = reading();
    assert!(!share.committed(at(0), offset(19)));
    assert_eq!(share.assign(&set(&[])), [at(0)]);
    assert!(share.owned().is_empty());
    assert_eq!(notices(&mut share), [Notice::Revoked(vec![at(0)])]);
}

#[test]
fn what_is_outstanding_is_kept_until_it_is_committed() {
    let mut share = reading();
    share.assign(&set(&[]));
    assert_eq!((share.owned(), share.readable(at(0))), (set(&[0]), None));
    assert_eq!(share.judge(at(0), offset(15)), Verdict::Commit);
    assert!(!share.committed(at(0), offset(15)));
    assert!(share.committed(at(0), offset(19)), "the last record was at 18");
    assert!(share.owned().is_empty());
}

#[test]
fn a_release_counts_once_the_program_was_told_to() {
    let mut share = reading();
    assert!(!share.release(at(0)), "it was not told to let go");
    share.assign(&set(&[]));
    assert!(!share.release(at(0)), "this was sent before it could know");
    assert_eq!(notices(&mut share), [Notice::Revoked(vec![at(0)])]);
    assert!(share.release(at(0)));
    assert_eq!((share.owned(), share.judge(at(0), offset(15))), (set(&[]), Verdict::NotAssigned));
}

#[test]
fn an_acknowledgement_is_held_against_what_was_sent() {
    let mut share = reading();
    assert_eq!(share.judge(at(0), offset(9)), Verdict::Behind(offset(10)));
    assert_eq!(share.judge(at(0), offset(10)), Verdict::Commit);
    assert_eq!(share.judge(at(0), offset(20)), Verdict::Commit);
    assert_eq!(share.judge(at(0), offset(21)), Verdict::NotSent(offset(20)));
    assert_eq!(share.judge(at(1), offset(10)), Verdict::NotAssigned);
    share.committed(at(0), offset(15));
    assert_eq!(share.judge(at(0), offset(14)), Verdict::Behind(offset(15)), "never backwards");
    assert_eq!(share.judge(at(0), offset(15)), Verdict::Commit, "once more, with other metadata perhaps");
}

#[test]
fn what_came_and_went_before_it_was_told_is_not_told() {
    let mut share = Share::default();
    share.assign(&set(&[0, 1]));
    share.opened(at(0), Beginning::At(offset(10)));
    share.assign(&set(&[1]));
    share.opened(at(0), Beginning::At(offset(10)));
    assert_eq!((share.owned(), notices(&mut share)), (set(&[1]), vec![]));
}

#[test]
fn a_reader_that_is_overtaken_hears_of_it_before_it_goes_on() {
    let mut share = reading();
    share.overtaken(at(0), offset(20));
    assert_eq!(share.opening().get(&at(0)), Some(&Some(offset(20))));
    assert_eq!(share.judge(at(0), offset(15)), Verdict::Commit, "it may still be done with what it has");
    let missing = Missing { position: offset(20), log_start: offset(30), resumed_at: offset(30) };
    share.opened(at(0), Beginning::Behind(missing));
    assert_eq!(share.readable(at(0)), None);
    assert_eq!(notices(&mut share), [Notice::PositionLost(at(0), missing)]);
    assert_eq!(share.readable(at(0)), Some(offset(30)));
    assert_eq!(share.judge(at(0), offset(15)), Verdict::Behind(offset(30)), "the group is past it");
}

#[test]
fn what_cannot_be_read_is_told_once_and_stays_the_members() {
    let mut share = Share::default();
    share.assign(&set(&[0]));
    let why = Refusal::new(ErrorCode::PositionLost, "gone");
    share.opened(at(0), Beginning::Nowhere(why.clone()));
    assert_eq!(notices(&mut share), [Notice::Assigned(vec![(at(0), None)]), Notice::Failed(at(0), why)]);
    assert_eq!((share.owned(), share.readable(at(0)), share.has_notice()), (set(&[0]), None, false));
    share.assign(&set(&[]));
    assert_eq!((share.owned(), notices(&mut share)), (set(&[]), vec![Notice::Revoked(vec![at(0)])]));
}

#[test]
fn who_is_put_out_loses_all_it_knows_of() {
    let mut share = reading();
    share.assign(&set(&[1]));
    share.lose();
    assert!(share.owned().is_empty());
    share.assign(&set(&[0]));
    share.opened(at(0), Beginning::At(offset(12)));
    let told = [Notice::Lost(vec![at(0)]), Notice::Assigned(vec![(at(0), Some(offset(12)))])];
    assert_eq!(notices(&mut share), told, "1 it never heard of");
}

/// What a program makes of what it is told.
#[derive(Debug, Default)]
struct Program {
    /// What it may work on, and whether its records come.
    has: BTreeMap<TopicPartition, bool>,
    /// What it was told to let go of: it may be done with that, or not.
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
    Tell,
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
        6 => Just(Act::Tell),
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
        _ => Beginning::Nowhere(Refusal::new(ErrorCode::Corrupt, "damaged")),
    }
}

proptest! {
    #[test]
    fn the_program_can_follow_and_nothing_goes_before_it_is_done(acts in acts()) {
        let (mut share, mut program) = (Share::default(), Program::default());
        // What was sent of each and not acknowledged, in the naive way.
        let mut sent: BTreeMap<TopicPartition, (Offset, Offset)> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Assign(partitions) => {
                    let had = share.owned();
                    let assignment = set(&partitions);
                    for gone in share.assign(&assignment) {
                        prop_assert_eq!(share.readable(gone), None);
                        let outstanding = sent.get(&gone).is_some_and(|(sent, done)| done < sent);
                        prop_assert_eq!(share.owned().contains(&gone), outstanding);
                    }
                    prop_assert!(share.owned().is_superset(&assignment));
                    for new in assignment.difference(&had) {
                        sent.remove(new);
                    }
                }
                Act::Open(partition, how) => {
                    let again = share.opening().get(&at(partition)).is_some_and(Option::is_some);
                    let opens = share.opening().contains_key(&at(partition));
                    share.opened(at(partition), beginning(how));
                    if opens && (how < 2 || !again) {
                        sent.remove(&at(partition));
                    }
                }
                Act::Tell => {
                    let told = share.has_notice();
                    let notice = share.next_notice();
                    prop_assert_eq!(told, notice.is_some());
                    notice.into_iter().for_each(|notice| program.hear(notice));
                }
                Act::Send(partition) => {
                    let Some(from) = share.readable(at(partition)) else { continue };
                    prop_assert_eq!(program.has.get(&at(partition)), Some(&true));
                    let end = from.saturating_add(3);
                    share.sent(at(partition), end, end);
                    let done = sent.get(&at(partition)).map_or(from, |(_, done)| *done);
                    sent.insert(at(partition), (end, done));
                }
                Act::Overtake(partition) => {
                    if let Some(place) = share.readable(at(partition)) {
                        share.overtaken(at(partition), place);
                    }
                }
                Act::Acknowledge(partition, to) => {
                    if share.judge(at(partition), offset(to)) != Verdict::Commit {
                        continue;
                    }
                    let let_go = share.committed(at(partition), offset(to));
                    if let Some((sent, done)) = sent.get_mut(&at(partition)) {
                        prop_assert!(offset(to) >= *done, "{} after {}", to, done);
                        *done = offset(to);
                        prop_assert!(!let_go || *sent <= offset(to));
                    }
                }
                Act::Release(partition) => {
                    if share.release(at(partition)) {
                        prop_assert!(!program.has.contains_key(&at(partition)));
                    }
                }
                Act::Lose => {
                    share.lose();
                    prop_assert!(share.owned().is_empty());
                    sent.clear();
                }
            }
        }
        notices(&mut share).into_iter().for_each(|notice| program.hear(notice));
        prop_assert!(!share.has_notice());
        let known: BTreeSet<_> = program.has.keys().copied().collect();
        prop_assert!(share.owned().is_superset(&known));
    }
}
