//! The schedule under random histories, against a list of records that is searched from its beginning each time.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const ATTEMPTS_MAX: u32 = 3;
const RECORDS_MAX: usize = 20;

/// A record: its partition, the how-manieth assignment of it, and its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    partition: u8,
    assignment: u32,
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordState {
    Queued,
    Running,
    Waiting(Duration),
    Parting,
    Finished,
    Dropped,
}

#[derive(Debug, Clone)]
struct Known {
    record: Record,
    key: Option<u8>,
    state: RecordState,
    attempts: u32,
    lane: Option<LaneId>,
}

impl Known {
    fn is_live(&self) -> bool {
        !matches!(self.state, RecordState::Finished | RecordState::Dropped)
    }

    fn is_under_way(&self) -> bool {
        matches!(self.state, RecordState::Running | RecordState::Parting)
    }
}

/// What must hold, in the plainest form: all records there ever were, in the order in which they came.
#[derive(Debug, Default)]
struct Model {
    known: Vec<Known>,
    /// The assignment of each partition that is held.
    held: BTreeMap<u8, u32>,
    /// Where each partition's next record is, and what an assignment begins with: the offset behind what is finished.
    next: BTreeMap<u8, u64>,
    assignments: u32,
    now: Duration,
    stopped: bool,
}

impl Model {
    fn is_held(&self, record: &Record) -> bool {
        self.held.get(&record.partition) == Some(&record.assignment)
    }

    /// The records that may start now: no other one of its partition and key that came before it is still there.
    fn startable(&self, workers: usize) -> Vec<Record> {
        if self.stopped || self.known.iter().filter(|k| k.state == RecordState::Running).count() >= workers {
            return Vec::new();
        }
        let free = |at: usize, k: &Known| {
            // What is no longer held goes when it is its turn, or earlier when it is swept.
            let blocks = |other: &Known| {
                let waits = matches!(other.state, RecordState::Waiting(until) if until > self.now);
                other.is_live()
                    && (other.record.partition, other.key) == (k.record.partition, k.key)
                    && (other.is_under_way() || waits || self.is_held(&other.record))
            };
            let due = match k.state {
                RecordState::Queued => true,
                RecordState::Waiting(until) => until <= self.now,
                _ => false,
            };
            due && self.is_held(&k.record) && !self.known[..at].iter().any(blocks)
        };
        self.known.iter().enumerate().filter(|(at, k)| free(*at, k)).map(|(_, k)| k.record).collect()
    }

    fn find(&mut self, record: Record) -> &mut Known {
        self.known.iter_mut().find(|k| k.record == record).expect("a record that was added")
    }

    /// The offset behind which everything of an assignment is finished: what would be committed.
    fn low_water(&self, partition: u8, assignment: u32) -> Option<u64> {
        let of = |k: &&Known| k.record.partition == partition && k.record.assignment == assignment;
        let open = self.known.iter().filter(of).find(|k| k.state != RecordState::Finished);
        let last = self.known.iter().rfind(of);
        open.map(|k| k.record.offset).or_else(|| last.map(|k| k.record.offset + 1))
    }

    fn drop_queued(&mut self, all: bool) {
        for at in 0..self.known.len() {
            let goes = all || !self.is_held(&self.known[at].record);
            let k = &mut self.known[at];
            if goes && k.is_live() && !k.is_under_way() {
                k.state = RecordState::Dropped;
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Assign(u8),
    Revoke(u8),
    Sweep,
    Add { partition: u8, key: Option<u8> },
    Start,
    Succeed(usize),
    Fail { which: usize, wait_ms: u64 },
    Buried(usize),
    Pass(u64),
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..3_u8).prop_map(Op::Assign),
        1 => (0..3_u8).prop_map(Op::Revoke),
        1 => Just(Op::Sweep),
        12 => (0..3_u8, proptest::option::of(0..4_u8)).prop_map(|(partition, key)| Op::Add { partition, key }),
        12 => Just(Op::Start),
        6 => any::<usize>().prop_map(Op::Succeed),
        4 => (any::<usize>(), 0..50_u64).prop_map(|(which, wait_ms)| Op::Fail { which, wait_ms }),
        2 => any::<usize>().prop_map(Op::Buried),
        3 => (0..40_u64).prop_map(Op::Pass),
    ]
}

/// Keeps what is held, and notes the rest.
fn keep<'a>(
    held: &'a BTreeMap<u8, u32>,
    dropped: &'a mut Vec<Record>,
) -> impl FnMut(&Record) -> bool + use<'a> {
    |record| {
        let is_held = held.get(&record.partition) == Some(&record.assignment);
        if !is_held {
            dropped.push(*record);
        }
        is_held
    }
}

/// What goes through the schedule and the model together.
struct Pair {
    schedule: Schedule<u8, Record>,
    model: Model,
    workers: usize,
    /// What the schedule reported as dropped.
    dropped: Vec<Record>,
}

impl Pair {
    fn new(workers: usize) -> Self {
        Self {
            schedule: Schedule::new(workers, RECORDS_MAX),
            model: Model::default(),
            workers,
            dropped: Vec::new(),
        }
    }

    fn pick(&self, state: RecordState, which: usize) -> Option<Known> {
        let these: Vec<_> = self.model.known.iter().filter(|k| k.state == state).collect();
        (!these.is_empty()).then(|| these[which % these.len()].clone())
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Assign(partition) if !self.model.held.contains_key(&partition) => {
                let last = self.model.known.iter().rfind(|k| k.record.partition == partition);
                let assignment = last.map(|k| k.record.assignment);
                if let Some(committed) = assignment.and_then(|a| self.model.low_water(partition, a)) {
                    self.model.next.insert(partition, committed);
                }
                self.model.assignments += 1;
                self.model.held.insert(partition, self.model.assignments);
            }
            Op::Assign(_) => {}
            Op::Revoke(partition) => {
                self.model.held.remove(&partition);
            }
            Op::Sweep => {
                let held = self.model.held.clone();
                self.schedule.sweep(keep(&held, &mut self.dropped));
                self.model.drop_queued(false);
                let live = self.model.known.iter().filter(|k| k.is_live()).count();
                assert_eq!(self.schedule.record_count, live, "what was swept is counted no more");
            }
            Op::Add { partition, key } => self.add(partition, key),
            Op::Start => self.start(),
            Op::Succeed(which) => {
                if let Some(k) = self.pick(RecordState::Running, which) {
                    self.finish(&k);
                }
            }
            Op::Fail { which, wait_ms } => self.fail(which, wait_ms),
            Op::Buried(which) => {
                if let Some(k) = self.pick(RecordState::Parting, which) {
                    self.finish(&k);
                }
            }
            Op::Pass(ms) => self.model.now += Duration::from_millis(ms),
            Op::Stop => {
                self.schedule.stop(|record| self.dropped.push(*record));
                self.model.drop_queued(true);
                self.model.stopped = true;
            }
        }
    }

    fn add(&mut self, partition: u8, key: Option<u8>) {
        let Some(&assignment) = self.model.held.get(&partition) else { return };
        if self.schedule.room() == 0 {
            return;
        }
        let next = self.model.next.entry(partition).or_default();
        let record = Record { partition, assignment, offset: *next };
        *next += 1;
        self.schedule.add(partition, key.map(|key| Bytes::from(vec![key])), record);
        self.model.known.push(Known { record, key, state: RecordState::Queued, attempts: 0, lane: None });
    }

    fn start(&mut self) {
        let allowed = self.model.startable(self.workers);
        let (now, held) = (self.model.now, self.model.held.clone());
        let Some(start) = self.schedule.start(now, keep(&held, &mut self.dropped)) else {
            assert!(allowed.is_empty(), "a worker is idle though one of these may start: {allowed:?}");
            return;
        };
        assert!(allowed.contains(&start.record), "{start:?} must not start now, only {allowed:?}");
        assert_eq!(self.schedule.under_way(start.lane), Some((&start.record, start.attempt)));
        let k = self.model.find(start.record);
        k.state = RecordState::Running;
        k.attempts += 1;
        k.lane = Some(start.lane);
        assert_eq!(start.attempt, k.attempts, "attempts are counted for each record");
    }

    fn fail(&mut self, which: usize, wait_ms: u64) {
        let Some(k) = self.pick(RecordState::Running, which) else { return };
        let lane = k.lane.expect("it was started");
        if !self.model.is_held(&k.record) || self.model.stopped {
            assert_eq!(self.schedule.finish(lane), Some(k.record));
            self.model.find(k.record).state = RecordState::Dropped;
            self.dropped.push(k.record);
        } else if k.attempts >= ATTEMPTS_MAX {
            self.schedule.part(lane);
            self.model.find(k.record).state = RecordState::Parting;
        } else {
            let at = self.model.now + Duration::from_millis(wait_ms);
            self.schedule.retry(lane, at);
            self.model.find(k.record).state = RecordState::Waiting(at);
            assert!(self.schedule.next_wake().is_some_and(|wake| wake <= at));
        }
    }

    fn finish(&mut self, k: &Known) {
        assert_eq!(self.schedule.finish(k.lane.expect("it was started")), Some(k.record));
        self.model.find(k.record).state = RecordState::Finished;
    }

    fn check(&self) {
        let count = |state| self.model.known.iter().filter(|k| k.state == state).count();
        assert!(count(RecordState::Running) <= self.workers);
        assert_eq!(self.schedule.running, count(RecordState::Running));
        assert_eq!(self.schedule.parting, count(RecordState::Parting));
        assert!(self.schedule.record_count <= RECORDS_MAX);
        // What is no longer held may have been dropped already, what is held is still there.
        let live = self.model.known.iter().filter(|k| k.is_live());
        let sure = live.clone().filter(|k| k.is_under_way() || self.model.is_held(&k.record)).count();
        assert!((sure..=live.count()).contains(&self.schedule.record_count));
        assert!(self.schedule.lanes.len() <= self.schedule.record_count, "a lane without records stays");
        assert_eq!(self.schedule.lanes.len(), self.schedule.by_key.len());
        assert!(self.schedule.ready.len() + self.schedule.waiting.len() <= self.schedule.lanes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn starts_what_may_start_and_loses_nothing(
        workers in 1..5_usize,
        ops in proptest::collection::vec(op(), 0..250),
        stops in any::<bool>(),
    ) {
        let mut pair = Pair::new(workers);
        for op in ops {
            pair.apply(op);
            pair.check();
        }
        if stops {
            pair.apply(Op::Stop);
            prop_assert_eq!(pair.schedule.room(), 0);
        }
        // Whatever is left ends when handlers do, in as many rounds as there are records and attempts.
        for _ in 0..RECORDS_MAX * 4 {
            pair.apply(Op::Pass(50));
            for op in [Op::Start, Op::Succeed(0), Op::Buried(0)] {
                pair.apply(op);
                pair.check();
            }
        }
        pair.apply(Op::Sweep);
        prop_assert!(pair.schedule.is_empty());
        prop_assert!(pair.schedule.lanes.is_empty() && pair.schedule.by_key.is_empty());
        prop_assert!(pair.schedule.ready.is_empty() && pair.schedule.next_wake().is_none());
        let gone = pair.model.known.iter().filter(|k| k.state != RecordState::Finished).map(|k| k.record);
        let mut gone: Vec<_> = gone.collect();
        gone.sort_unstable();
        pair.dropped.sort_unstable();
        prop_assert_eq!(gone, pair.dropped, "what is dropped is reported, once");
        for k in &pair.model.known {
            let accounted = k.state == RecordState::Finished || !pair.model.is_held(&k.record) || stops;
            prop_assert!(accounted && !k.is_live(), "{:?} was neither finished nor given up", k);
        }
    }
}

#[test]
fn a_slow_key_stops_no_one_else_until_the_bound() {
    let mut schedule = Schedule::new(2, 4);
    let start = |schedule: &mut Schedule<u8, u64>| schedule.start(Duration::ZERO, |_| true);
    let key = |text: &'static str| Some(Bytes::from(text));
    for offset in 0..3 {
        schedule.add(0, key("slow"), offset);
    }
    schedule.add(0, key("other"), 3);
    let slow = start(&mut schedule).unwrap();
    assert_eq!((slow.record, slow.attempt), (0, 1));
    let other = start(&mut schedule).unwrap();
    assert_eq!(other.record, 3, "the second worker passes over what waits behind the first record");
    assert_eq!(schedule.room(), 0, "records that wait count, too");
    assert_eq!(schedule.finish(other.lane), Some(3));
    assert_eq!(schedule.room(), 1);
    assert_eq!(start(&mut schedule), None, "the rest has the same key as what is running");
    schedule.add(0, key("third"), 4);
    assert_eq!(start(&mut schedule).unwrap().record, 4);
}

#[test]
fn the_same_key_in_another_partition_is_another_lane_and_no_key_is_one_lane_for_each_partition() {
    let mut schedule = Schedule::new(8, 8);
    let key = Some(Bytes::from("k"));
    for (partition, key, offset) in [
        (0, key.clone(), 0),
        (1, key, 1),
        (0, None, 2),
        (0, None, 3),
        (1, None, 4),
        (0, Some(Bytes::new()), 5),
    ] {
        schedule.add(partition, key, offset);
    }
    let started: Vec<u64> =
        std::iter::from_fn(|| schedule.start(Duration::ZERO, |_| true)).map(|start| start.record).collect();
    assert_eq!(started, [0, 1, 2, 4, 5], "3 waits for 2; an empty key is a key");
}

#[test]
fn a_dead_letter_keeps_its_lane_and_frees_its_worker() {
    let mut schedule = Schedule::new(1, 8);
    let start = |schedule: &mut Schedule<u8, u64>| schedule.start(Duration::ZERO, |_| true);
    for (key, offset) in [("a", 0), ("a", 1), ("b", 2)] {
        schedule.add(0, Some(Bytes::from(key)), offset);
    }
    let failed = start(&mut schedule).unwrap();
    assert_eq!(start(&mut schedule), None, "there is one worker");
    schedule.part(failed.lane);
    let other = start(&mut schedule).unwrap();
    assert_eq!(other.record, 2);
    schedule.finish(other.lane);
    assert_eq!(start(&mut schedule), None, "the next of key a waits for the dead letter");
    schedule.finish(failed.lane);
    assert_eq!(start(&mut schedule).unwrap().record, 1);
}
