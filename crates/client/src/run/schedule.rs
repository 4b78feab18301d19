//! Which record may be handled now: the decisions behind [`run`](crate::GroupConsumer::run), without a task or a clock.
//!
//! Records of one partition with one key share a *lane*, in which only the first is ever under way; a lane lives as long
//! as it has records. The caller starts what [`Schedule::start`] hands out and reports how each ended. Time
//! is passed in, counted from any fixed moment.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use bytes::Bytes;

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

/// Names a lane for as long as it has records; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(u64);

/// What the first record of a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for a worker.
    Ready,
    /// A worker has it.
    Running,
    /// Its handler failed; it runs again from this time on.
    Waiting(Duration),
    /// It has failed for good, and its dead letter is being written. It keeps its lane, but no worker.
    Parting,
}

/// Records of one partition with the same key.
#[derive(Debug)]
struct Lane<P, T> {
    key: (P, Option<Bytes>),
    records: VecDeque<T>,
    phase: Phase,
    /// How often the first record was started.
    attempts: u32,
}

impl<P, T> Lane<P, T> {
    fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Parting)
    }
}

/// A record to be given to the handler now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start<T> {
    /// To report its end with.
    pub(crate) lane: LaneId,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    /// The record.
    pub(crate) record: T,
}

/// All records of a run that are not finished. `P` names a partition, `T` is a record, cheap to clone.
#[derive(Debug)]
pub(crate) struct Schedule<P, T> {
    workers: usize,
    records_max: usize,
    lanes: HashMap<LaneId, Lane<P, T>>,
    by_key: HashMap<(P, Option<Bytes>), LaneId>,
    /// Lanes that wait for a worker, first come first served. May name lanes that are gone.
    ready: VecDeque<LaneId>,
    /// Lanes that wait for time to pass.
    waiting: BTreeSet<(Duration, LaneId)>,
    record_count: usize,
    running: usize,
    parting: usize,
    next_lane: u64,
    stopped: bool,
}

impl<P: Clone + Eq + Hash, T: Clone> Schedule<P, T> {
    /// With at most `workers` records running and `records_max` here at once.
    pub(crate) fn new(workers: usize, records_max: usize) -> Self {
        Self {
            workers,
            records_max,
            lanes: HashMap::new(),
            by_key: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            record_count: 0,
            running: 0,
            parting: 0,
            next_lane: 0,
            stopped: false,
        }
    }

    /// How many more records to ask for.
    pub(crate) fn room(&self) -> usize {
        if self.stopped { 0 } else { self.records_max.saturating_sub(self.record_count) }
    }

    /// Whether nothing is started any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether there are no records.
    pub(crate) fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// When the next retry is due.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Takes a record in, behind all that came before it. Records without a key share one lane for each partition.
    pub(crate) fn add(&mut self, partition: P, key: Option<Bytes>, record: T) {
        if self.stopped {
            return;
        }
        self.record_count += 1;
        let key = (partition, key);
        if let Some(lane) = self.by_key.get(&key).and_then(|id| self.lanes.get_mut(id)) {
            lane.records.push_back(record);
            return;
        }
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.by_key.insert(key.clone(), id);
        self.lanes.insert(id, Lane { key, records: [record].into(), phase: Phase::Ready, attempts: 0 });
        self.ready.push_back(id);
    }

    /// The next record to start, if there is one and a worker for it. When it is a record's turn, and only then, `keep`
    /// returns whether it is still wanted; otherwise it is dropped.
    pub(crate) fn start(&mut self, now: Duration, mut keep: impl FnMut(&T) -> bool) -> Option<Start<T>> {
        while let Some((at, id)) = self.waiting.first().copied()
            && at <= now
        {
            self.waiting.pop_first();
            self.make_ready(id);
        }
        while self.running < self.workers
            && !self.stopped
            && let Some(id) = self.ready.pop_front()
        {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            while lane.records.front().is_some_and(|record| !keep(record)) {
                lane.records.pop_front();
                lane.attempts = 0;
                self.record_count -= 1;
            }
            let Some(record) = lane.records.front().cloned() else {
                self.forget(id);
                continue;
            };
            lane.phase = Phase::Running;
            lane.attempts += 1;
            self.running += 1;
            return Some(Start { lane: id, attempt: lane.attempts, record });
        }
        None
    }

    /// The record under way in a lane, and how often it was started.
    pub(crate) fn under_way(&self, id: LaneId) -> Option<(&T, u32)> {
        let lane = self.lanes.get(&id).filter(|lane| lane.is_under_way())?;
        lane.records.front().map(|record| (record, lane.attempts))
    }

    /// The record under way in a lane has ended, well or not: its lane goes on with the next.
    pub(crate) fn finish(&mut self, id: LaneId) -> Option<T> {
        let lane = self.lanes.get_mut(&id).filter(|lane| lane.is_under_way())?;
        let record = lane.records.pop_front()?;
        let phase = lane.phase;
        self.record_count -= 1;
        self.leave(phase);
        self.make_ready(id);
        Some(record)
    }

    /// The record running in a lane is to run again at this time, and nothing else of the lane before it.
    pub(crate) fn retry(&mut self, id: LaneId, at: Duration) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.phase == Phase::Running) else { return };
        lane.phase = Phase::Waiting(at);
        self.waiting.insert((at, id));
        self.leave(Phase::Running);
    }

    /// The record running in a lane has failed for good, and gives its worker to another while its dead letter is being
    /// written; then it is to be [finished](Self::finish).
    pub(crate) fn part(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.phase == Phase::Running) else { return };
        lane.phase = Phase::Parting;
        self.leave(Phase::Running);
        self.parting += 1;
    }

    /// Asks of every record that is not under way whether to keep it, and drops the others.
    pub(crate) fn sweep(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut emptied = Vec::new();
        for (id, lane) in &mut self.lanes {
            let before = lane.records.len();
            let (under_way, mut is_first) = (lane.is_under_way(), true);
            let mut first_dropped = false;
            lane.records.retain(|record| {
                let first = std::mem::take(&mut is_first);
                let stays = (first && under_way) || keep(record);
                first_dropped |= first && !stays;
                stays
            });
            self.record_count -= before - lane.records.len();
            if first_dropped {
                lane.attempts = 0;
                if let Phase::Waiting(at) = lane.phase {
                    self.waiting.remove(&(at, *id));
                    lane.phase = Phase::Ready;
                    self.ready.push_back(*id);
                }
            }
            if lane.records.is_empty() {
                emptied.push(*id);
            }
        }
        for id in emptied {
            self.forget(id);
        }
        self.ready.retain(|id| self.lanes.contains_key(id));
    }

    /// Drops all records that are not under way, and calls `dropped` for each. Nothing is started or taken in any more.
    pub(crate) fn stop(&mut self, mut dropped: impl FnMut(&T)) {
        self.sweep(|record| {
            dropped(record);
            false
        });
        self.stopped = true;
    }

    /// A lane whose first record was there before, or is new, waits for a worker; an empty one goes.
    fn make_ready(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.records.is_empty() {
            return self.forget(id);
        }
        if lane.is_under_way() {
            lane.attempts = 0;
        }
        lane.phase = Phase::Ready;
        self.ready.push_back(id);
    }

    fn leave(&mut self, phase: Phase) {
        match phase {
            Phase::Running => self.running -= 1,
            Phase::Parting => self.parting -= 1,
            Phase::Ready | Phase::Waiting(_) => {}
        }
    }

    fn forget(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.by_key.remove(&lane.key);
        }
    }
}
