//! Members against the real coordinator, with requests and answers lost, sessions ending, and slow programs.

use std::{collections::BTreeMap, sync::Arc};

use corduroy_group::{
    Coordinator, GroupConfig, GroupName, Heartbeat, HeartbeatAnswer, HeartbeatKind, Join, MemberEpoch,
    MemberId, Now, Subscription, TopicPartition, Topics,
};
use corduroy_types::{ErrorCode, MonotonicMs, PartitionIndex, TimestampMs, TopicId, TopicName};
use proptest::prelude::*;

use super::*;

const TOPIC: TopicId = TopicId::from_bytes([7; 16]);
const PARTITIONS: u32 = 7;
const SESSION_MS: u64 = 10_000;
const INTERVAL_MS: u64 = 3_000;

struct Sim {
    id: MemberId,
    machine: Member<u32>,
    /// Revoked, and not released yet.
    going: BTreeSet<u32>,
    /// Removed by the coordinator, and does not know it yet.
    is_out: bool,
    is_ended: bool,
    call_count: u64,
}

struct World {
    coordinator: Coordinator,
    now_ms: u64,
    sims: Vec<Sim>,
    born: u64,
    /// Answers that are held back until then.
    held: BTreeMap<MemberId, (u64, Result<HeartbeatAnswer, Failure>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    RequestLost,
    AnswerLost,
    /// Something else is to be said before the answer is there.
    Interrupted,
}

#[derive(Debug, Clone)]
enum Step {
    Join,
    Leave(usize),
    Beat(usize, Fate),
    Release(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(Fate::RequestLost),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::Interrupted),
    ];
    prop_oneof![
        1 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        12 => (any::<usize>(), fate).prop_map(|(which, fate)| Step::Beat(which, fate)),
        5 => any::<usize>().prop_map(Step::Release),
        3 => (0..SESSION_MS / 2).prop_map(Step::Pass),
    ]
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic_id: TOPIC, partition: PartitionIndex(partition) }
}

impl World {
    fn new() -> Self {
        let config = GroupConfig {
            heartbeat_interval_ms: INTERVAL_MS.try_into().unwrap(),
            session_timeout_ms: SESSION_MS.try_into().unwrap(),
            ..GroupConfig::default()
        };
        let mut coordinator = Coordinator::new(config);
        let topics = Topics::new([(TopicName::new("orders").unwrap(), TOPIC, PARTITIONS)]);
        coordinator.loaded(Now::default(), Arc::new(topics), &mut Vec::new());
        Self { coordinator, now_ms: 0, sims: Vec::new(), born: 0, held: BTreeMap::new() }
    }

    fn now(&self) -> Now {
        let wall = TimestampMs(i64::try_from(self.now_ms).unwrap());
        Now { monotonic: MonotonicMs(self.now_ms), wall }
    }

    fn join(&mut self) {
        self.born += 1;
        self.sims.push(Sim {
            id: MemberId::new(&format!("member-{}", self.born)).unwrap(),
            machine: Member::new(SESSION_MS / 3),
            going: BTreeSet::new(),
            is_out: false,
            is_ended: false,
            call_count: 0,
        });
    }

    /// The coordinator takes in a request.
    fn send(&mut self, index: usize, request: Request<u32>) -> Result<HeartbeatAnswer, Failure> {
        let (kind, owned) = match request {
            Request::Join { again } => (
                HeartbeatKind::Join(Join {
                    instance: None,
                    again,
                    client_id: "test".into(),
                    client_address: "here".into(),
                    subscription: Subscription {
                        topics: [TopicName::new("orders").unwrap()].into(),
                        pattern: None,
                    },
                    assignor: None,
                    session_timeout_ms: None,
                    rebalance_timeout_ms: None,
                }),
                None,
            ),
            Request::Stay { epoch, owned, .. } => {
                (HeartbeatKind::Stay { epoch: MemberEpoch(epoch), subscription: None }, owned)
            }
            Request::Leave { .. } => (HeartbeatKind::Leave, None),
        };
        let heartbeat = Heartbeat {
            group: GroupName::new("billing").unwrap(),
            member: self.sims[index].id.clone(),
            kind,
            owned: owned.map(|owned| owned.into_iter().map(at).collect()),
        };
        let now = self.now();
        self.coordinator.heartbeat(now, &heartbeat, &mut Vec::new()).map_err(|error| match error.code() {
            ErrorCode::UnknownMember | ErrorCode::FencedMember => Failure::Removed,
            other => panic!("{other}"),
        })
    }

    fn hear(&mut self, index: usize, answer: Result<HeartbeatAnswer, Failure>) {
        let now = self.now_ms;
        let sim = &mut self.sims[index];
        let actions = match answer {
            Ok(answer) => {
                let parts =
                    |parts: BTreeSet<TopicPartition>| parts.into_iter().map(|p| p.partition.0).collect();
                sim.machine.answered(
                    now,
                    HeartbeatReply {
                        epoch: answer.epoch.0,
                        interval_ms: answer.interval_ms.into(),
                        assignment: answer.assignment.map(parts),
                    },
                )
            }
            Err(failure) => sim.machine.failed(now, failure, 20),
        };
        for action in actions {
            match action {
                Action::Joined => sim.is_out = false,
                Action::Assign(_) => {}
                Action::Revoke(parts) => sim.going.extend(parts),
                Action::Lost(_) => sim.going.clear(),
                Action::Ended => sim.is_ended = true,
            }
        }
    }

    fn beat(&mut self, index: usize, fate: Fate) {
        if self.sims[index].machine.due_at().is_none() {
            return;
        }
        let now = self.now_ms;
        let request = self.sims[index].machine.request(now);
        if fate == Fate::RequestLost {
            self.hear(index, Err(Failure::Again));
            return;
        }
        let answer = self.send(index, request);
        match fate {
            Fate::AnswerLost => self.hear(index, Err(Failure::Again)),
            Fate::Interrupted if !self.sims[index].going.is_empty() => self.release(index),
            _ => self.hear(index, answer),
        }
    }

    fn release(&mut self, index: usize) {
        let now = self.now_ms;
        let sim = &mut self.sims[index];
        let going = std::mem::take(&mut sim.going);
        sim.machine.released(now, &going);
    }

    fn run(&mut self, step: &Step) {
        let count = self.sims.len();
        let pick = |which: &usize| (count > 0).then(|| which % count.max(1));
        match step {
            Step::Join if count < 5 => self.join(),
            Step::Join => {}
            Step::Pass(ms) => self.pass(*ms),
            Step::Leave(which) => {
                if let Some(index) = pick(which) {
                    let now = self.now_ms;
                    // A program releases its partitions before it leaves.
                    self.sims[index].is_out = true;
                    self.sims[index].machine.leave(now, false);
                }
            }
            Step::Beat(which, fate) => {
                if let Some(index) = pick(which) {
                    self.beat(index, *fate);
                }
            }
            Step::Release(which) => {
                if let Some(index) = pick(which) {
                    self.release(index);
                }
            }
        }
        self.sims.retain(|sim| !sim.is_ended);
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now = self.now();
        for removed in self.coordinator.tick(now, &mut Vec::new()) {
            for sim in self.sims.iter_mut().filter(|sim| sim.id == removed.member) {
                sim.is_out = true;
            }
        }
    }

    /// A member that was not removed is alone with what it has.
    fn check(&self) {
        let mut owners = BTreeMap::new();
        for sim in self.sims.iter().filter(|sim| !sim.is_out) {
            for partition in sim.machine.owned() {
                let before = owners.insert(*partition, &sim.id);
                assert!(before.is_none(), "{partition} is owned by {:?} and {:?}", before, sim.id);
            }
        }
    }

    /// Time goes on and everything arrives; answers are held back as asked for.
    fn settle(&mut self, for_ms: u64) {
        let end = self.now_ms + for_ms;
        while self.now_ms < end {
            for index in 0..self.sims.len() {
                let id = self.sims[index].id.clone();
                if !self.sims[index].going.is_empty() {
                    self.release(index);
                    self.held.remove(&id);
                }
                if self.held.get(&id).is_some_and(|(at, _)| *at <= self.now_ms) {
                    let (_, answer) = self.held.remove(&id).unwrap();
                    self.hear(index, answer);
                }
                if self.sims[index].machine.due_at().is_some_and(|at| at <= self.now_ms) {
                    let now = self.now_ms;
                    let request = self.sims[index].machine.request(now);
                    self.sims[index].call_count += 1;
                    let wait_ms = match &request {
                        Request::Stay { wait_ms, .. } => *wait_ms,
                        _ => 0,
                    };
                    let answer = self.send(index, request);
                    let has_news = answer.as_ref().map_or(true, |answer| answer.assignment.is_some());
                    self.held.insert(id, (now + if has_news { 0 } else { wait_ms }, answer));
                }
                self.check();
            }
            self.pass(50);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_two_members_have_a_partition_and_in_the_end_all_have_one(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        world.join();
        for step in &steps {
            world.run(step);
            world.check();
        }
        if world.sims.is_empty() {
            world.join();
        }
        // Members that were forgotten and those that leave are out after a session; the others share all.
        world.settle(2 * SESSION_MS);
        world.sims.retain(|sim| !sim.is_ended);
        if world.sims.is_empty() {
            return Ok(());
        }
        let mut all: Vec<_> = world.sims.iter().flat_map(|sim| sim.machine.owned().clone()).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..PARTITIONS).collect::<Vec<_>>());
        // Then it is quiet: a call for each interval, which is held back.
        for sim in &mut world.sims {
            prop_assert!(sim.going.is_empty());
            sim.call_count = 0;
        }
        world.settle(10 * INTERVAL_MS);
        for sim in &world.sims {
            prop_assert!((9..=12).contains(&sim.call_count), "{} calls", sim.call_count);
        }
    }
}

fn answer(epoch: u32, parts: &[u32]) -> HeartbeatReply<u32> {
    HeartbeatReply { epoch, interval_ms: 1000, assignment: Some(parts.iter().copied().collect()) }
}

#[test]
fn a_partition_is_reported_as_owned_until_it_is_released() {
    let mut member = Member::<u32>::new(60_000);
    assert_eq!(member.request(0), Request::Join { again: false });
    assert_eq!(member.answered(0, answer(1, &[1, 2])), [Action::Joined, Action::Assign([1, 2].into())]);
    let owned = Some([1, 2].into());
    assert_eq!(member.request(0), Request::Stay { epoch: 1, owned, wait_ms: 1000 });
    assert_eq!(member.answered(10, answer(2, &[1])), [Action::Revoke([2].into())]);
    // The coordinator does not hold answers back now, so the member does not hurry.
    assert_eq!(member.due_at(), Some(1000));
    let owned = Some([1, 2].into());
    assert_eq!(member.request(1000), Request::Stay { epoch: 2, owned, wait_ms: 0 });
    member.released(1001, &[2].into());
    assert_eq!(member.due_at(), Some(1001));
    assert_eq!(member.request(1001), Request::Stay { epoch: 2, owned: Some([1].into()), wait_ms: 1000 });
}

#[test]
fn an_assignment_is_confirmed_even_if_it_changes_nothing() {
    let mut member = Member::<u32>::new(60_000);
    member.request(0);
    member.answered(0, answer(1, &[1]));
    member.request(0);
    member.answered(5, HeartbeatReply { epoch: 1, interval_ms: 1000, assignment: None });
    // In between it was given something else and denied it again, in answers that were lost.
    member.request(1000);
    assert_eq!(member.answered(1005, answer(3, &[1])), []);
    assert_eq!(member.due_at(), Some(1005));
    assert_eq!(member.request(1005), Request::Stay { epoch: 3, owned: Some([1].into()), wait_ms: 1000 });
    // After the same answer once more, it does not hurry.
    member.answered(1010, answer(3, &[1]));
    assert_eq!(member.due_at(), Some(2005));
}

#[test]
fn a_lost_answer_is_no_reason_to_lose_anything() {
    let mut member = Member::<u32>::new(60_000);
    member.request(0);
    member.answered(0, answer(3, &[1]));
    for at in 0..50 {
        member.request(at);
        assert_eq!(member.failed(at, Failure::Again, 1), []);
        assert_eq!(member.due_at(), Some(at + 1));
    }
    // With the same epoch, and what it has, in case that did not arrive.
    assert_eq!(member.request(50), Request::Stay { epoch: 3, owned: Some([1].into()), wait_ms: 1000 });
}

#[test]
fn who_is_put_out_drops_everything_and_joins_again() {
    let mut member = Member::<u32>::new(60_000);
    member.request(0);
    member.answered(0, answer(3, &[1, 2]));
    member.request(0);
    assert_eq!(member.failed(5, Failure::Removed, 0), [Action::Lost([1, 2].into())]);
    assert_eq!((member.due_at(), member.request(5)), (Some(5), Request::Join { again: true }));
    assert_eq!(member.answered(6, answer(4, &[2])), [Action::Joined, Action::Assign([2].into())]);
    member.request(6);
    assert_eq!(member.failed(7, Failure::Ended, 0), [Action::Lost([2].into()), Action::Ended]);
    assert_eq!(member.due_at(), None);
}

#[test]
fn the_least_silence_is_a_share_of_the_session() {
    let mut member = Member::<u32>::new(300);
    member.request(0);
    for _ in 0..2 {
        member.answered(0, HeartbeatReply { epoch: 1, interval_ms: 3000, assignment: None });
        member.request(0);
    }
    member.answered(0, HeartbeatReply { epoch: 1, interval_ms: 3000, assignment: None });
    assert_eq!(member.due_at(), Some(300));
    assert_eq!(member.request(300), Request::Stay { epoch: 1, owned: None, wait_ms: 300 });
}
