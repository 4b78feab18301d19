//! Groups under random histories: members that come, go, stall and miss answers, topics that grow and go,
//! coordinators that are replaced, against what must hold for the members themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may stop where they stand"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_group::*;
use corduroy_types::{MonotonicMs, Offset, PartitionIndex, TimestampMs, TopicId, TopicName};
use proptest::prelude::*;

const SESSION_MS: u32 = 10_000;

/// A consumer as it sees itself.
#[derive(Clone, Debug)]
struct Client {
    member: MemberId,
    instance: Option<u8>,
    epoch: MemberEpoch,
    /// What it reads and would commit.
    owned: BTreeSet<TopicPartition>,
    /// The assignment that it received last.
    granted: BTreeSet<TopicPartition>,
    /// It has to say what it owns.
    report: bool,
    /// How often it has begun again under its id.
    life: u32,
}

#[derive(Clone, Debug)]
enum Op {
    Join {
        static_instance: Option<u8>,
        pattern: bool,
    },
    Heartbeat {
        client: usize,
        answer_lost: bool,
        lets_go_at_once: bool,
    },
    /// A heartbeat is sent again and arrives much later; no one waits for its answer.
    Delay {
        client: usize,
    },
    Arrive,
    LetGo {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Restart {
        client: usize,
    },
    Rejoin {
        client: usize,
    },
    Kick {
        client: usize,
    },
    Commit {
        client: usize,
        partition: u32,
        topic: u8,
    },
    Pass {
        ms: u32,
    },
    Topics {
        counts: Vec<u32>,
    },
    Failover,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0_usize..8;
    prop_oneof![
        3 => (proptest::option::weighted(0.3, 0_u8..3), any::<bool>())
            .prop_map(|(static_instance, pattern)| Op::Join { static_instance, pattern }),
        12 => (client.clone(), proptest::bool::weighted(0.15), any::<bool>()).prop_map(
            |(client, answer_lost, lets_go_at_once)| Op::Heartbeat { client, answer_lost, lets_go_at_once }
        ),
        2 => client.clone().prop_map(|client| Op::Delay { client }),
        2 => Just(Op::Arrive),
        4 => client.clone().prop_map(|client| Op::LetGo { client }),
        1 => client.clone().prop_map(|client| Op::Leave { client }),
        1 => client.clone().prop_map(|client| Op::Restart { client }),
        1 => client.clone().prop_map(|client| Op::Rejoin { client }),
        1 => client.clone().prop_map(|client| Op::Kick { client }),
        6 => (client, 0_u32..6, 0_u8..3).prop_map(|(client, partition, topic)| Op::Commit { client, partition, topic }),
        2 => (0_u32..8_000).prop_map(|ms| Op::Pass { ms }),
        1 => proptest::collection::vec(0_u32..6, 3).prop_map(|counts| Op::Topics { counts }),
        1 => Just(Op::Failover),
    ]
}

struct World {
    coordinator: Coordinator,
    records: Vec<Record>,
    clients: Vec<Client>,
    topics: Arc<Topics>,
    counts: Vec<u32>,
    now_ms: u64,
    drawn: u32,
    delayed: Vec<Heartbeat>,
    /// Commits on their way, each with the life of the member that made it.
    late_commits: Vec<(Commit, MemberId, u32)>,
}

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

fn at(topic: u8, partition: u32) -> TopicPartition {
    TopicPartition { topic_id: TopicId::from_bytes([topic; 16]), partition: PartitionIndex(partition) }
}

fn topics(counts: &[u32]) -> Arc<Topics> {
    Arc::new(Topics::new((0_u8..).zip(counts).filter(|(_, count)| **count > 0).map(|(n, count)| {
        (TopicName::new(&format!("orders.{n}")).unwrap(), TopicId::from_bytes([n; 16]), *count)
    })))
}

fn config() -> GroupConfig {
    GroupConfig { session_timeout_ms: SESSION_MS, rebalance_timeout_ms: 20_000, ..GroupConfig::default() }
}

impl World {
    fn new() -> Self {
        let counts = vec![4, 3, 0];
        let (topics, mut records) = (topics(&counts), Vec::new());
        let mut coordinator = Coordinator::new(config());
        coordinator.loaded(Now::default(), Arc::clone(&topics), &mut records);
        Self {
            coordinator,
            records,
            clients: Vec::new(),
            topics,
            counts,
            now_ms: 0,
            drawn: 0,
            delayed: Vec::new(),
            late_commits: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        let wall = i64::try_from(self.now_ms).unwrap();
        Now { monotonic: MonotonicMs(self.now_ms), wall: TimestampMs(wall) }
    }

    fn is_member(&self, client: &Client) -> bool {
        let known = self.coordinator.describe(&group());
        known.is_ok_and(|known| known.members.iter().any(|member| member.member == client.member))
    }

    fn join(&mut self, instance: Option<u8>, pattern: bool) -> Client {
        self.drawn += 1;
        let member = MemberId::new(&format!("member-{}", self.drawn)).unwrap();
        self.join_as(member, instance, pattern, false).unwrap()
    }

    fn join_as(
        &mut self,
        member: MemberId,
        instance: Option<u8>,
        pattern: bool,
        again: bool,
    ) -> Result<Client, GroupError> {
        let subscription = if pattern {
            Subscription { pattern: Some(Pattern::new("orders\\..*").unwrap()), ..Subscription::default() }
        } else {
            let named = ["orders.0", "orders.1"].map(|name| TopicName::new(name).unwrap());
            Subscription { topics: named.into(), pattern: None }
        };
        let join = Join {
            instance: instance.map(|n| InstanceId::new(&format!("instance-{n}")).unwrap()),
            again,
            client_id: "test".into(),
            client_address: "127.0.0.1:1".into(),
            subscription,
            assignor: None,
            session_timeout_ms: None,
            rebalance_timeout_ms: None,
        };
        let heartbeat = Heartbeat {
            group: group(),
            member: member.clone(),
            kind: HeartbeatKind::Join(join),
            owned: None,
        };
        let answer = self.coordinator.heartbeat(self.now(), &heartbeat, &mut self.records)?;
        let granted = answer.assignment.expect("a join is answered with an assignment");
        let owned = granted.clone();
        Ok(Client { member, instance, epoch: answer.epoch, owned, granted, report: true, life: 0 })
    }

    fn next_heartbeat(client: &Client) -> Heartbeat {
        Heartbeat {
            group: group(),
            member: client.member.clone(),
            kind: HeartbeatKind::Stay { epoch: client.epoch, subscription: None },
            owned: client.report.then(|| client.owned.clone()),
        }
    }

    fn heartbeat(&mut self, index: usize, answer_lost: bool, lets_go_at_once: bool) {
        let client = self.clients[index].clone();
        let heartbeat = Self::next_heartbeat(&client);
        let was_member = self.is_member(&client);
        let answer = self.coordinator.heartbeat(self.now(), &heartbeat, &mut self.records);
        assert_eq!(answer.is_ok(), was_member, "{answer:?} for {client:?}");
        let now_client = &mut self.clients[index];
        match answer {
            Err(_) => now_client.owned.clear(),
            Ok(_) if answer_lost => now_client.report = true,
            Ok(answer) => {
                now_client.epoch = answer.epoch;
                now_client.report = false;
                if let Some(granted) = answer.assignment {
                    now_client.owned.extend(granted.iter().copied());
                    now_client.granted = granted;
                    now_client.report = true;
                    if lets_go_at_once {
                        let granted = now_client.granted.clone();
                        now_client.owned.retain(|held| granted.contains(held));
                    }
                }
            }
        }
    }

    fn commit_of(client: &Client, partition: TopicPartition, offset: u64) -> Commit {
        Commit {
            group: group(),
            member: Some((client.member.clone(), client.epoch)),
            offsets: vec![CommitOffset {
                partition,
                offset: Offset::new(offset).unwrap(),
                leader_epoch: None,
                metadata: "".into(),
            }],
        }
    }

    /// A commit that arrives late counts only if its member has never been out since.
    fn late_commit(&mut self, commit: &Commit, member: &MemberId, life: u32) {
        let partition = commit.offsets[0].partition;
        let result = self.coordinator.commit(self.now(), commit, &mut self.records);
        if result.is_ok_and(|each| each[0].is_ok()) {
            let sender = self.clients.iter().find(|client| client.member == *member);
            let lives = sender.is_none_or(|sender| sender.life == life);
            assert!(
                lives,
                "{sender:?} was out and back, and what it sent before was committed in {partition}"
            );
        }
    }

    fn commit(&mut self, index: usize, partition: TopicPartition) {
        let client = self.clients[index].clone();
        let exists = self.topics.has(partition);
        let commit = Self::commit_of(&client, partition, self.now_ms);
        let is_member = self.is_member(&client);
        let result = self.coordinator.commit(self.now(), &commit, &mut self.records);
        let accepted = result.as_ref().is_ok_and(|each| each[0].is_ok());
        if is_member && exists && client.owned.contains(&partition) {
            assert!(accepted, "{client:?} owns {partition}: {result:?}");
        }
        if accepted {
            assert!(is_member && exists, "a fenced member committed {partition}");
            let rival = self.clients.iter().find(|other| {
                other.member != client.member && other.owned.contains(&partition) && self.is_member(other)
            });
            assert!(rival.is_none(), "{client:?} committed what {rival:?} owns");
        }
    }

    fn run(&mut self, op: &Op) {
        let clients = self.clients.len();
        let pick = |client: usize| (clients > 0).then(|| client % clients.max(1));
        match op {
            Op::Join { static_instance, pattern } => {
                if clients < 8 {
                    let joined = self.join(*static_instance, *pattern);
                    self.clients.push(joined);
                }
            }
            Op::Heartbeat { client, answer_lost, lets_go_at_once } => {
                if let Some(index) = pick(*client) {
                    self.heartbeat(index, *answer_lost, *lets_go_at_once);
                }
            }
            Op::Delay { client } => {
                if let Some(index) = pick(*client) {
                    self.delayed.push(Self::next_heartbeat(&self.clients[index]));
                    let client = &self.clients[index];
                    let commits = client.owned.iter().map(|partition| Self::commit_of(client, *partition, 0));
                    let commits = commits.map(|commit| (commit, client.member.clone(), client.life));
                    self.late_commits.extend(commits.collect::<Vec<_>>());
                }
            }
            Op::Arrive => {
                if !self.delayed.is_empty() {
                    let late = self.delayed.remove(0);
                    let _no_one_waits = self.coordinator.heartbeat(self.now(), &late, &mut self.records);
                }
                for (commit, member, life) in std::mem::take(&mut self.late_commits) {
                    self.late_commit(&commit, &member, life);
                }
            }
            Op::LetGo { client } => {
                if let Some(index) = pick(*client) {
                    let client = &mut self.clients[index];
                    let granted = client.granted.clone();
                    client.owned.retain(|held| granted.contains(held));
                    client.report = true;
                }
            }
            Op::Leave { client } => {
                if let Some(index) = pick(*client) {
                    let client = self.clients.remove(index);
                    let (member, kind) = (client.member.clone(), HeartbeatKind::Leave);
                    let heartbeat = Heartbeat { group: group(), member, kind, owned: None };
                    let was_member = self.is_member(&client);
                    let left = self.coordinator.heartbeat(self.now(), &heartbeat, &mut self.records);
                    assert_eq!(left.is_ok(), was_member);
                }
            }
            Op::Restart { client } => {
                // The process is killed and comes back; as an instance it has what it had.
                if let Some(index) = pick(*client) {
                    let before = self.clients[index].clone();
                    let known = self.coordinator.describe(&group()).ok();
                    let after = self.join(before.instance, true);
                    let was = known
                        .as_ref()
                        .and_then(|known| known.members.iter().find(|member| member.member == before.member));
                    if let (Some(was), Some(_)) = (was, before.instance)
                        && self.coordinator.describe(&group()).ok().map(|now| now.epoch)
                            == known.as_ref().map(|k| k.epoch)
                    {
                        // What it was to keep it has, and what was on its way to it may have come.
                        assert!(after.owned.is_subset(&was.target), "{was:?} {after:?}");
                        let kept: BTreeSet<_> = was.assigned.intersection(&was.target).copied().collect();
                        assert!(kept.is_subset(&after.owned), "{was:?} {after:?}");
                    }
                    self.clients[index] = after;
                    self.clients.push(Client { instance: None, ..before });
                    self.clients.truncate(8);
                }
            }
            Op::Rejoin { client } => {
                if let Some(index) = pick(*client) {
                    // As the client does: under the same id, having dropped everything.
                    let Client { member, instance, life, .. } = self.clients[index].clone();
                    match self.join_as(member, instance, false, true) {
                        Ok(joined) => self.clients[index] = Client { life: life + 1, ..joined },
                        Err(error) => {
                            assert!(matches!(error, GroupError::FencedInstance { .. }), "{error}");
                            self.clients.remove(index);
                        }
                    }
                }
            }
            Op::Kick { client } => {
                if let Some(index) = pick(*client) {
                    let member = self.clients[index].member.clone();
                    let _not_there = self.coordinator.kick(self.now(), &group(), &member, &mut self.records);
                }
            }
            Op::Commit { client, partition, topic } => {
                if let Some(index) = pick(*client) {
                    self.commit(index, at(*topic, *partition));
                }
            }
            Op::Pass { ms } => {
                self.now_ms += u64::from(*ms);
                self.coordinator.expire_offsets(self.now().wall, &mut self.records);
                let _removed = self.coordinator.tick(self.now(), &mut self.records);
            }
            Op::Topics { counts } => {
                // Topics only grow, or go altogether.
                let grow = |(old, new): (&u32, &u32)| if *new == 0 { 0 } else { *old.max(new) };
                self.counts = self.counts.iter().zip(counts).map(grow).collect();
                self.topics = topics(&self.counts);
                self.coordinator.set_topics(self.now(), Arc::clone(&self.topics), &mut self.records);
                let there = Arc::clone(&self.topics);
                for client in &mut self.clients {
                    // A deleted topic ends its readers by itself.
                    client.owned.retain(|held| there.has_topic(held.topic_id));
                    client.report = true;
                }
            }
            Op::Failover => {
                let mut next = Coordinator::new(config());
                self.records.iter().for_each(|record| next.replay(record));
                next.loaded(self.now(), Arc::clone(&self.topics), &mut self.records);
                self.coordinator = next;
            }
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        let mut holders: BTreeMap<TopicPartition, MemberId> = BTreeMap::new();
        for member in self.coordinator.describe(&group()).map(|known| known.members).unwrap_or_default() {
            for held in member.assigned.iter().chain(&member.revoking) {
                let other = holders.insert(*held, member.member.clone());
                assert!(other.is_none(), "{held} is held by {other:?} and {}", member.member);
            }
        }
        for client in self.clients.iter().filter(|client| self.is_member(client)) {
            for held in &client.owned {
                assert_eq!(holders.get(held), Some(&client.member), "{client:?} believes it owns {held}");
            }
        }
    }

    /// The records, all of them and only the newest of each key, give the state that they came from.
    fn check_replay(&self) {
        let facts = self.coordinator.facts();
        let mut replayed = Coordinator::new(config());
        self.records.iter().for_each(|record| replayed.replay(&stored(record)));
        assert_eq!(replayed.facts(), facts);
        let mut newest: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (index, record) in self.records.iter().enumerate() {
            newest.insert(record.encode().0.to_vec(), index);
        }
        let kept: BTreeSet<usize> = newest.into_values().collect();
        let mut compacted = Coordinator::new(config());
        kept.iter().for_each(|index| compacted.replay(&self.records[*index]));
        assert_eq!(compacted.facts(), facts, "after compaction");
    }

    /// Left alone, the group comes to rest with every partition that is asked for in one member's hands.
    fn settle(&mut self) {
        for _ in 0..6 {
            for index in 0..self.clients.len() {
                self.heartbeat(index, false, true);
            }
        }
        let Ok(known) = self.coordinator.describe(&group()) else { return };
        assert_ne!(known.activity, GroupActivity::Rebalancing, "{known:#?}");
        let quiet = self.records.len();
        for index in 0..self.clients.len() {
            self.heartbeat(index, false, true);
        }
        assert_eq!(self.records.len(), quiet, "a group at rest writes nothing");
        for member in &known.members {
            assert_eq!(member.assigned, member.target);
        }
    }
}

/// Through the bytes and back.
fn stored(record: &Record) -> Record {
    let (key, value) = record.encode();
    let read = Record::decode(&key, value.as_deref()).expect("what was encoded");
    assert_eq!(&read, record);
    read
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn one_owner_each_and_the_records_tell_all(ops in proptest::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
            world.check();
            world.check_replay();
        }
        // Those whose process is gone without a word are out after a session.
        let (members, clients) = (world.coordinator.describe(&group()), world.clients.clone());
        for member in members.map(|known| known.members).unwrap_or_default() {
            if clients.iter().all(|client| client.member != member.member) {
                let _gone = world.coordinator.kick(world.now(), &group(), &member.member, &mut world.records);
            }
        }
        world.settle();
        world.check();
        world.check_replay();
    }
}
