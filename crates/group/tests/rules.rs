//! Single rules of groups, each by an example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may stop where they stand"
)]

use std::{collections::BTreeSet, sync::Arc};

use corduroy_group::*;
use corduroy_types::{MonotonicMs, Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

const TOPIC: TopicId = TopicId::from_bytes([7; 16]);

fn now(ms: u64) -> Now {
    Now { monotonic: MonotonicMs(ms), wall: TimestampMs(i64::try_from(ms).unwrap()) }
}

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

fn orders(partitions: u32) -> Arc<Topics> {
    Arc::new(Topics::new([(TopicName::new("orders").unwrap(), TOPIC, partitions)]))
}

fn coordinator(partitions: u32) -> Coordinator {
    coordinator_with(GroupConfig::default(), partitions)
}

fn coordinator_with(config: GroupConfig, partitions: u32) -> Coordinator {
    let mut coordinator = Coordinator::new(config);
    coordinator.loaded(now(0), orders(partitions), &mut Vec::new());
    coordinator
}

/// The coordinator that takes over from another, from what that one has written.
fn moved(from: &Coordinator, partitions: u32) -> Coordinator {
    let mut next = Coordinator::new(GroupConfig::default());
    from.facts().iter().for_each(|record| next.replay(record));
    next.loaded(now(60_001), orders(partitions), &mut Vec::new());
    next
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic_id: TOPIC, partition: PartitionIndex(partition) }
}

fn join_as(instance: Option<&str>) -> HeartbeatKind {
    HeartbeatKind::Join(joining(instance, false))
}

fn join_again_as(instance: &str) -> HeartbeatKind {
    HeartbeatKind::Join(joining(Some(instance), true))
}

fn joining(instance: Option<&str>, again: bool) -> Join {
    Join {
        instance: instance.map(|name| InstanceId::new(name).unwrap()),
        again,
        client_id: "test".into(),
        client_address: "127.0.0.1:1".into(),
        subscription: Subscription { topics: [TopicName::new("orders").unwrap()].into(), pattern: None },
        assignor: None,
        session_timeout_ms: None,
        rebalance_timeout_ms: None,
    }
}

fn stay(epoch: MemberEpoch) -> HeartbeatKind {
    HeartbeatKind::Stay { epoch, subscription: None }
}

fn beat(
    coordinator: &mut Coordinator,
    ms: u64,
    member: &str,
    kind: HeartbeatKind,
    owned: Option<&[u32]>,
) -> Result<HeartbeatAnswer, GroupError> {
    let owned = owned.map(|owned| owned.iter().map(|index| at(*index)).collect());
    let heartbeat = Heartbeat { group: group(), member: MemberId::new(member).unwrap(), kind, owned };
    coordinator.heartbeat(now(ms), &heartbeat, &mut Vec::new())
}

fn indexes(answer: &HeartbeatAnswer) -> Vec<u32> {
    let assignment = answer.assignment.as_ref().expect("an assignment");
    assignment.iter().map(|partition| partition.partition.0).collect()
}

fn commit_at(
    coordinator: &mut Coordinator,
    ms: u64,
    member: Option<(&str, MemberEpoch)>,
    partition: u32,
    offset: u64,
) -> Result<(), GroupError> {
    let commit = Commit {
        group: group(),
        member: member.map(|(member, epoch)| (MemberId::new(member).unwrap(), epoch)),
        offsets: vec![CommitOffset {
            partition: at(partition),
            offset: Offset::new(offset).unwrap(),
            leader_epoch: None,
            metadata: "".into(),
        }],
    };
    coordinator.commit(now(ms), &commit, &mut Vec::new())?.remove(0)
}

#[test]
fn a_partition_moves_only_when_its_owner_has_released_it() {
    let mut groups = coordinator(4);
    let a = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    assert_eq!(indexes(&a), [0, 1, 2, 3]);
    let b = beat(&mut groups, 0, "b", join_as(None), None).unwrap();
    assert!(indexes(&b).is_empty(), "everything is still a's");

    let a = beat(&mut groups, 1, "a", stay(a.epoch), None).unwrap();
    let kept = indexes(&a);
    assert_eq!(kept.len(), 2, "a goes on with what it keeps");
    let waiting = beat(&mut groups, 2, "b", stay(b.epoch), None).unwrap();
    assert_eq!(waiting.assignment, None, "a has not released it yet");
    commit_at(&mut groups, 2, Some(("a", a.epoch)), 3, 9).expect("a may still commit what it is leaving");

    beat(&mut groups, 3, "a", stay(a.epoch), Some(&kept)).unwrap();
    let b = beat(&mut groups, 4, "b", stay(b.epoch), None).unwrap();
    let mut all = [kept.clone(), indexes(&b)].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    let late = commit_at(&mut groups, 5, Some(("a", a.epoch)), indexes(&b)[0], 10);
    assert!(matches!(late, Err(GroupError::NotAssigned { .. })), "{late:?}");
}

#[test]
fn a_delayed_commit_is_refused_even_when_the_partition_has_come_back() {
    let mut groups = coordinator(2);
    let first = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    let b = beat(&mut groups, 0, "b", join_as(None), None).unwrap();
    let shrunk = beat(&mut groups, 1, "a", stay(first.epoch), None).unwrap();
    let kept = indexes(&shrunk);
    let moved = if kept == [0] { 1 } else { 0 };
    beat(&mut groups, 2, "a", stay(shrunk.epoch), Some(&kept)).unwrap();
    let b = beat(&mut groups, 2, "b", stay(b.epoch), None).unwrap();
    commit_at(&mut groups, 3, Some(("b", b.epoch)), moved, 50).unwrap();
    beat(&mut groups, 4, "b", HeartbeatKind::Leave, None).unwrap();
    let back = beat(&mut groups, 5, "a", stay(shrunk.epoch), Some(&kept)).unwrap();
    assert_eq!(indexes(&back), [0, 1]);
    assert!(commit_at(&mut groups, 6, Some(("a", first.epoch)), moved, 10).is_err());
    commit_at(&mut groups, 6, Some(("a", first.epoch)), kept[0], 10).expect("this one never left");
    assert_eq!(groups.committed_at(&group(), at(moved)).unwrap().offset, Offset::new(50).unwrap());
}

#[test]
fn a_static_member_that_restarts_moves_nothing_and_fences_its_predecessor() {
    let mut groups = coordinator(4);
    let old = beat(&mut groups, 0, "a1", join_as(Some("host-a")), None).unwrap();
    let b = beat(&mut groups, 0, "b", join_as(None), None).unwrap();
    let old = beat(&mut groups, 1, "a1", stay(old.epoch), None).unwrap();
    let kept = indexes(&old);
    beat(&mut groups, 2, "a1", stay(old.epoch), Some(&kept)).unwrap();
    beat(&mut groups, 2, "b", stay(b.epoch), None).unwrap();
    let epoch = groups.describe(&group()).unwrap().epoch;

    let new = beat(&mut groups, 20_000, "a2", join_as(Some("host-a")), None).unwrap();
    assert_eq!(indexes(&new), kept);
    assert_eq!(groups.describe(&group()).unwrap().epoch, epoch, "no rebalance");
    let unknown = beat(&mut groups, 20_001, "a1", stay(old.epoch), None);
    assert!(matches!(unknown, Err(GroupError::UnknownMember { .. })), "{unknown:?}");
    assert!(commit_at(&mut groups, 20_001, Some(("a1", old.epoch)), kept[0], 1).is_err());
    // Nor does it come back by joining again: the two would put each other out for ever.
    let fenced = beat(&mut groups, 20_002, "a1", join_again_as("host-a"), None);
    assert!(matches!(fenced, Err(GroupError::FencedInstance { .. })), "{fenced:?}");
}

#[test]
fn a_silent_member_is_put_out_and_a_new_coordinator_gives_everyone_a_whole_session() {
    let mut groups = coordinator(2);
    let mut records = Vec::new();
    beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    assert!(groups.tick(now(44_999), &mut records).is_empty());
    let mut next = Coordinator::new(GroupConfig::default());
    groups.facts().iter().for_each(|record| next.replay(record));
    next.loaded(now(44_999), orders(2), &mut records);
    assert!(records.is_empty(), "a change of coordinator changes nothing");
    assert!(next.tick(now(89_998), &mut records).is_empty());
    let removed = next.tick(now(89_999), &mut records);
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].reason, RemovedReason::SessionEnded);
}

#[test]
fn a_member_that_does_not_release_in_time_is_removed() {
    let mut groups = coordinator(2);
    let a = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    beat(&mut groups, 0, "b", join_as(None), None).unwrap();
    let mut epoch = a.epoch;
    for ms in (1_000..=60_000).step_by(1_000) {
        epoch = beat(&mut groups, ms, "a", stay(epoch), Some(&[0, 1])).unwrap().epoch;
        assert!(groups.tick(now(ms), &mut Vec::new()).iter().all(|gone| gone.member.as_str() != "a"));
        let _b_goes_on = beat(&mut groups, ms, "b", join_as(None), None);
    }
    let removed = groups.tick(now(61_000), &mut Vec::new());
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].reason, RemovedReason::RebalanceTimedOut);
}

#[test]
fn offsets_expire_after_the_later_of_last_commit_and_becoming_empty() {
    const RETENTION_MS: u64 = 30 * 24 * 3_600_000;
    let mut groups = coordinator(2);
    // No one joins: the group is empty from the first commit on, and lives while it commits anywhere.
    commit_at(&mut groups, 0, None, 0, 5).unwrap();
    commit_at(&mut groups, RETENTION_MS / 2, None, 1, 6).unwrap();
    groups.expire_offsets(now(RETENTION_MS).wall, &mut Vec::new());
    assert_eq!(groups.committed(&group()).count(), 2, "partition 0 is idle, the group is not");
    groups.expire_offsets(now(RETENTION_MS / 2 + RETENTION_MS - 1).wall, &mut Vec::new());
    assert_eq!(groups.committed(&group()).count(), 2);
    groups.expire_offsets(now(RETENTION_MS / 2 + RETENTION_MS).wall, &mut Vec::new());
    assert_eq!(groups.groups().count(), 0, "of an expired group nothing is left");

    // With a member it lives for ever, and counts from when the last one left.
    let joined = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    commit_at(&mut groups, 0, Some(("a", joined.epoch)), 0, 5).unwrap();
    beat(&mut groups, RETENTION_MS * 2, "a", stay(joined.epoch), None).unwrap();
    groups.expire_offsets(now(RETENTION_MS * 2).wall, &mut Vec::new());
    assert_eq!(groups.committed(&group()).count(), 1);
    beat(&mut groups, RETENTION_MS * 2, "a", HeartbeatKind::Leave, None).unwrap();
    groups.expire_offsets(now(RETENTION_MS * 3 - 1).wall, &mut Vec::new());
    assert_eq!(groups.committed(&group()).count(), 1);
    groups.expire_offsets(now(RETENTION_MS * 3).wall, &mut Vec::new());
    assert_eq!(groups.committed(&group()).count(), 0);
}

/// A commit is stamped by the wall clock, which may have jumped; what is old is decided by the time that is given.
#[test]
fn a_wall_clock_that_jumps_a_day_ahead_expires_nothing() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let config = GroupConfig { offsets_retention_ms: DAY_MS / 2, ..GroupConfig::default() };
    let mut groups = coordinator_with(config, 2);
    commit_at(&mut groups, 0, None, 0, 5).unwrap();
    let mut out = Vec::new();
    groups.tick(now(DAY_MS), &mut out);
    groups.expire_offsets(now(60_000).wall, &mut out);
    assert_eq!((groups.committed(&group()).count(), out.as_slice()), (1, [].as_slice()));
    // What is committed meanwhile is not older than that for it, and nor is it when the clock has been corrected.
    commit_at(&mut groups, DAY_MS, None, 1, 6).unwrap();
    groups.expire_offsets(now(120_000).wall, &mut Vec::new());
    assert_eq!(groups.committed(&group()).count(), 2);
    groups.expire_offsets(now(DAY_MS + DAY_MS / 2).wall, &mut Vec::new());
    assert_eq!(groups.groups().count(), 0);
}

#[test]
fn a_group_with_members_is_neither_reset_nor_deleted() {
    let mut groups = coordinator(2);
    let mut out = Vec::new();
    let a = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    commit_at(&mut groups, 0, Some(("a", a.epoch)), 0, 5).unwrap();
    assert!(matches!(commit_at(&mut groups, 0, None, 0, 0), Err(GroupError::NotEmpty { members: 1, .. })));
    assert!(groups.delete_group(&group(), &mut out).is_err());
    assert!(groups.forget_offsets(&group(), None, &mut out).is_err());
    groups.kick(now(1), &group(), &MemberId::new("a").unwrap(), &mut out).unwrap();
    commit_at(&mut groups, 2, None, 0, 0).unwrap();
    groups.delete_group(&group(), &mut out).unwrap();
    assert!(groups.facts().is_empty());
}

#[test]
fn new_partitions_are_shared_out_and_a_deleted_topic_is_forgotten() {
    let mut groups = coordinator(2);
    let a = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    commit_at(&mut groups, 0, Some(("a", a.epoch)), 0, 5).unwrap();
    let grown = Topics::new([(TopicName::new("orders").unwrap(), TOPIC, 3)]);
    groups.set_topics(now(1), Arc::new(grown), &mut Vec::new());
    let a = beat(&mut groups, 2, "a", stay(a.epoch), None).unwrap();
    assert_eq!(indexes(&a), [0, 1, 2]);
    groups.set_topics(now(3), Arc::new(Topics::default()), &mut Vec::new());
    let a = beat(&mut groups, 4, "a", stay(a.epoch), None).unwrap();
    assert_eq!(a.assignment, Some(BTreeSet::new()));
    assert_eq!(groups.committed(&group()).count(), 0);
}

#[test]
fn what_a_member_gets_wrong_is_named() {
    let mut groups = coordinator(1);
    let none = HeartbeatKind::Join(Join {
        instance: None,
        again: false,
        client_id: "".into(),
        client_address: "".into(),
        subscription: Subscription::default(),
        assignor: None,
        session_timeout_ms: Some(5),
        rebalance_timeout_ms: None,
    });
    assert_eq!(beat(&mut groups, 0, "a", none, None), Err(GroupError::NoSubscription));
    let a = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    let ahead = beat(&mut groups, 0, "a", stay(MemberEpoch(a.epoch.0 + 5)), None);
    assert!(matches!(ahead, Err(GroupError::FencedMember { .. })));
    assert!(matches!(
        commit_at(&mut groups, 0, Some(("a", a.epoch)), 9, 0),
        Err(GroupError::NoPartition { .. })
    ));
    assert!(GroupName::new("").is_err() && GroupName::new("a\nb").is_err());
    assert!(GroupName::new(&"x".repeat(250)).is_err());
}

#[test]
fn a_commit_from_before_it_was_put_out_is_refused_after_it_came_back() {
    let mut groups = coordinator(1);
    let a = beat(&mut groups, 0, "a", join_as(None), None).unwrap();
    assert_eq!(groups.tick(now(60_000), &mut Vec::new()).len(), 1);
    let b = beat(&mut groups, 60_000, "b", join_as(None), None).unwrap();
    commit_at(&mut groups, 60_001, Some(("b", b.epoch)), 0, 100).unwrap();
    beat(&mut groups, 60_002, "b", HeartbeatKind::Leave, None).unwrap();
    let again = beat(&mut groups, 60_003, "a", join_as(None), None).unwrap();
    assert_eq!(indexes(&again), [0]);
    let late = commit_at(&mut groups, 60_004, Some(("a", a.epoch)), 0, 50);
    assert!(matches!(late, Err(GroupError::NotAssigned { .. })), "{late:?}");
    commit_at(&mut groups, 60_005, Some(("a", again.epoch)), 0, 101).unwrap();
}

#[test]
fn an_instance_whose_session_ended_does_not_put_out_the_process_that_took_its_place() {
    let mut groups = coordinator(1);
    beat(&mut groups, 0, "old", join_as(Some("one")), None).unwrap();
    assert_eq!(groups.tick(now(60_000), &mut Vec::new()).len(), 1);
    let new = beat(&mut groups, 60_001, "new", join_as(Some("one")), None).unwrap();
    // Also after the coordinator has moved.
    let mut groups = moved(&groups, 1);
    let fenced = beat(&mut groups, 60_002, "old", join_again_as("one"), None);
    assert!(matches!(fenced, Err(GroupError::FencedInstance { .. })), "{fenced:?}");
    beat(&mut groups, 60_004, "new", stay(new.epoch), None).expect("the newer one goes on");
    // With no one in its place, it may come back.
    beat(&mut groups, 60_005, "new", HeartbeatKind::Leave, None).unwrap();
    beat(&mut groups, 60_006, "old", join_again_as("one"), None).expect("the place is free");
}

#[test]
fn commits_that_are_all_refused_found_no_group() {
    let mut groups = coordinator(1);
    assert!(commit_at(&mut groups, 0, None, 7, 1).is_err());
    assert!(groups.groups().next().is_none());
}
