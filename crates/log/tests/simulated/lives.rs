//! What brokers do to a data directory, drawn from a seed, and what they have promised.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use corduroy_batch::{
    Batch, BatchBuilder, BatchHeader, Compression, DecompressLimits, ProducerFields, PushOutcome,
};
use corduroy_log::disk::{Disk, Kept, OpenMode, SimDisk};
use corduroy_log::{Log, PartitionKey};
use corduroy_types::LeaderEpoch;

use crate::common::{Model, batch, new_disk};
use crate::data_dir::{Node, contents, data_dir, keys};
use crate::promise::mixed;

/// What was promised of one log.
#[derive(Clone, Default)]
pub struct Promised {
    /// All that was appended and may still be there.
    pub model: Model,
    /// Everything below was acknowledged.
    pub durable_end: u64,
    /// Headers of all batches there ever were, deleted ones included.
    pub headers: Vec<BatchHeader>,
}

pub type AllPromised = BTreeMap<PartitionKey, Promised>;

/// How the last broker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    /// The page cache stays.
    Kill,
    /// A subset of what was not synced stays.
    Power,
}

impl End {
    pub const ALL: [Self; 3] = [Self::Clean, Self::Kill, Self::Power];
}

/// A data directory in use, everything drawn from one seed.
pub struct World {
    pub disk: SimDisk,
    pub node: Node,
    pub promised: AllPromised,
    pub epoch: u32,
    seed: u64,
    drawn: u64,
}

/// What a broker left behind.
pub struct Left {
    pub disk: SimDisk,
    pub end: End,
    pub promised: AllPromised,
    /// The epoch that the next broker begins.
    pub epoch: u32,
    /// Contents of all files at an earlier moment.
    pub older: BTreeMap<PathBuf, Vec<u8>>,
    /// Below these offsets a durable mark is on record.
    pub marked: BTreeMap<PartitionKey, u64>,
    /// Where in the newest journal file the last commit begins.
    pub journal_tail: u64,
    /// What was acknowledged before it.
    pub before_last: BTreeMap<PartitionKey, u64>,
}

/// The number of the newest generation of the journal.
fn newest_generation(disk: &SimDisk) -> u64 {
    let number = |name: &str| {
        let file = disk.open(&data_dir().join("journal").join(name), OpenMode::Read).ok()?;
        let mut header = Vec::new();
        file.read_at(&mut header, 0, 14).ok()?;
        header.get(6..14)?.try_into().ok().map(u64::from_be_bytes)
    };
    ["a.journal", "b.journal"].into_iter().filter_map(number).max().unwrap_or(0)
}

impl World {
    pub fn new(seed: u64) -> Self {
        let disk = new_disk();
        let node = Node::start(Arc::new(disk.clone()), false).unwrap();
        Self { disk, node, promised: AllPromised::new(), epoch: 0, seed, drawn: 0 }
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.drawn += 1;
        mixed(self.seed, self.drawn) % limit
    }

    /// Appends to some logs, sometimes as an idempotent producer.
    pub fn append_some(&mut self) {
        for key in keys() {
            if self.below(3) == 0 || self.node.logs[&key].failure().is_some() {
                continue;
            }
            for _ in 0..=self.below(2) {
                let (seed, bytes) = (self.drawn, self.below(500) as usize);
                let timestamps = vec![seed as i64, 5];
                let batch = self.produced(key, batch(&timestamps, bytes, seed));
                self.append(key, batch, timestamps);
            }
        }
    }

    fn append(&mut self, key: PartitionKey, batch: Batch, timestamps: Vec<i64>) {
        let epoch = self.node.logs[&key].history().last().map_or(LeaderEpoch::ZERO, |entry| entry.epoch);
        let appended = self.node.append(key, batch.clone());
        let promised = self.promised.entry(key).or_default();
        let stamped = batch.clone().stamp(appended.base_offset, epoch);
        promised.headers.push(stamped.header().clone());
        promised.model.append(batch, timestamps, epoch, appended);
    }

    fn produced(&mut self, key: PartitionKey, batch: Batch) -> Batch {
        let id = self.below(3) as i64 - 1;
        if id < 0 {
            return batch;
        }
        let last = self.node.logs[&key].producers().get(id).and_then(|known| known.last_batch().copied());
        let base_sequence = last.map_or(0, |last| last.next_sequence().get().cast_signed());
        let mut builder = BatchBuilder::new(Compression::None, 64 << 20);
        builder.set_producer(ProducerFields { id, epoch: 0, base_sequence });
        for record in &batch.records(DecompressLimits::default()).unwrap() {
            let record = record.unwrap();
            let pushed = builder.push(record.timestamp, record.key, record.value, std::iter::empty());
            assert_eq!(pushed, Ok(PushOutcome::Added));
        }
        Batch::parse(builder.build().unwrap()).unwrap()
    }

    /// Commits everything. Logs may stop.
    pub fn commit(&mut self, flush_marks: bool) {
        while self.node.logs.values().any(Log::wants_round) {
            for (key, done) in self.node.commit(flush_marks) {
                if done.is_ok() {
                    let durable_end = self.node.logs[&key].cursors().durable_end().get();
                    let promised = self.promised.entry(key).or_default();
                    promised.durable_end = promised.durable_end.max(durable_end);
                }
            }
        }
    }

    pub fn delete_some(&mut self) {
        let key = keys()[self.below(3) as usize];
        let (start, percent) = (self.node.logs[&key].cursors().log_start().get(), self.below(80));
        let promised = self.promised.entry(key).or_default();
        let before = start + (promised.durable_end - start) * percent / 100;
        if self.node.delete_records(key, before).is_ok() {
            promised.model.log_start = promised.model.log_start.max(before);
        }
    }

    /// A restart in the middle, as the epoch of the logs requires.
    pub fn restart(&mut self, end: End) {
        let Left { disk, .. } = self.leave(end);
        self.node = Node::start(Arc::new(disk), end == End::Clean).unwrap();
        self.take_over();
    }

    /// What is there now is what counts from now on, after a start.
    fn take_over(&mut self) {
        self.epoch += 1;
        self.node.begin_epoch(self.epoch).unwrap();
        self.settle();
    }

    /// What is there now is what counts from now on: all that was acknowledged, and what more was kept.
    pub fn settle(&mut self) {
        for (key, log) in &self.node.logs {
            let promised = self.promised.entry(*key).or_default();
            let end = log.cursors().log_end();
            let report = &self.node.reports[key];
            assert!(
                end.get() >= promised.durable_end,
                "{key:?} lost {end}..{}: {report:?}",
                promised.durable_end
            );
            assert_eq!(report.damages, [], "{key:?}: sound bytes taken for damaged");
            promised.model.cut(end.get());
            promised.durable_end = end.get();
            promised.headers.retain(|header| header.next_offset() <= end);
        }
    }

    /// Ends the broker. The world cannot be used after it but for [`World::restart`].
    fn leave(&mut self, end: End) -> Left {
        let idle = || Node::start(Arc::new(new_disk()), false).unwrap();
        let node = std::mem::replace(&mut self.node, idle());
        let marked = |node: &Node| {
            let mark = |key| node.journal.known(key, false).mark.map_or(0, |mark| mark.offset.get());
            keys().into_iter().map(|key| (key, mark(key))).collect::<BTreeMap<_, _>>()
        };
        let (mut marks, mut journal_tail) = (marked(&node), node.journal.used_bytes());
        match end {
            End::Clean => {
                node.stop().unwrap();
                for (key, promised) in &mut self.promised {
                    promised.durable_end = promised.model.log_end;
                    marks.insert(*key, promised.durable_end);
                }
                journal_tail = u64::MAX;
                self.disk.lose_power(Kept::Nothing);
            }
            End::Kill => drop(self.disk.lose_power(Kept::Everything)),
            End::Power => drop(self.disk.lose_power(Kept::Subset { seed: mixed(self.seed, self.drawn) })),
        }
        Left {
            disk: self.disk.clone(),
            end,
            promised: self.promised.clone(),
            epoch: self.epoch + 1,
            older: BTreeMap::new(),
            marked: marks,
            journal_tail,
            before_last: BTreeMap::new(),
        }
    }

    fn acknowledged(&self) -> BTreeMap<PartitionKey, u64> {
        self.promised.iter().map(|(key, promised)| (*key, promised.durable_end)).collect()
    }

    /// A life of a broker, up to its end.
    pub fn live(seed: u64) -> Left {
        let mut world = Self::new(seed);
        let rounds = 14 + world.below(22);
        let backup = rounds / 3 + world.below(rounds / 3);
        let mut older = BTreeMap::new();
        let (mut tail, mut before_last) = (0, BTreeMap::new());
        for round in 0..rounds {
            world.append_some();
            let (used_bytes, generation) = (world.node.journal.used_bytes(), newest_generation(&world.disk));
            let acknowledged = world.acknowledged();
            // Marks follow within 100 ms; only the newest rounds are without one.
            let flush_marks = world.below(4) > 0;
            world.commit(flush_marks);
            let committed = newest_generation(&world.disk);
            // A generation begins with the commit that it is begun for. One that wrote nothing there is not the last in it.
            if committed != generation {
                (tail, before_last) = (0, acknowledged);
            } else if world.node.journal.used_bytes() > used_bytes {
                (tail, before_last) = (used_bytes, acknowledged);
            }
            match world.below(12) {
                0 | 1 => world.node.checkpoint(),
                2 => world.delete_some(),
                3 => world.restart(End::Clean),
                4 => world.restart(End::Kill),
                5 => world.restart(End::Power),
                _ => {}
            }
            if newest_generation(&world.disk) != committed {
                // What was acknowledged is in the segments: a start has begun another generation.
                (tail, before_last) = (0, world.acknowledged());
            }
            if round == backup {
                older = contents(&world.disk);
            }
        }
        let end = End::ALL[world.below(3) as usize];
        if end != End::Clean && world.below(2) == 0 {
            world.append_some(); // never acknowledged
            let rounds: Vec<_> = world.node.logs.values_mut().filter_map(Log::take_round).collect();
            rounds.iter().for_each(|round| drop(round.perform_writes(&world.disk)));
        }
        let left = world.leave(end);
        let journal_tail = if end == End::Clean { u64::MAX } else { tail.min(left.journal_tail) };
        Left { older, journal_tail, before_last, ..left }
    }
}
