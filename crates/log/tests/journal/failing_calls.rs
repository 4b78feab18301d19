//! Calls of the disk fail, any of them and again and again, while logs are reopened and checkpoints run. Nothing
//! crashes meanwhile: all that was acknowledged stays readable, and survives a loss of power at the end.

use std::sync::Arc;

use corduroy_log::disk::{HandleCache, Kept, SimCall, SimFailure};
use corduroy_log::journal::{Checkpoint, JournalRequest, Rewrite};
use corduroy_log::{Disk, JournalConfig, LogConfig, LogError, PartitionKey, ReadError, SimDisk};
use corduroy_types::LeaderEpoch;

use crate::common::{NOW, at, compare, new_disk, small_config};
use crate::node::{AllPromised, Node, check, data_dir, key, small_journal};

const KEYS: u32 = 4;
const STEPS: u64 = 120;
/// Seeds that once found a mistake.
const CORPUS: [u64; 0] = [];

fn config() -> LogConfig {
    LogConfig { segment_bytes: 3_000, ..small_config() }
}

fn journal() -> JournalConfig {
    JournalConfig { file_bytes: 12_000, ..small_journal() }
}

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

struct World {
    what: String,
    disk: SimDisk,
    node: Node,
    promised: AllPromised,
    /// A checkpoint that runs at the same time as all else, and how many of its files are synced.
    checkpoint: Option<(Checkpoint, usize)>,
    epoch: u32,
    seed: u64,
    draw: Draw,
}

impl World {
    fn new(seed: u64) -> Self {
        let (disk, mut draw) = (new_disk(), Draw(seed));
        let keys: Vec<_> = (0..KEYS).map(key).collect();
        let shared: Arc<dyn Disk> = match seed % 2 {
            0 => Arc::new(disk.clone()),
            _ => Arc::new(HandleCache::new(Arc::new(disk.clone()), 3)),
        };
        let node = Node::start_on(shared, journal(), config(), &keys).unwrap();
        disk.failed_syncs_keep(match draw.below(3) {
            0 => Kept::Nothing,
            1 => Kept::Everything,
            _ => Kept::Subset { seed },
        });
        let (what, promised) = (format!("LOG_SEED={seed}"), AllPromised::new());
        Self { what, disk, node, promised, checkpoint: None, epoch: 0, seed, draw }
    }

    fn step(&mut self, step: u64) {
        match self.draw.below(16) {
            0..=6 => self.append_and_commit(step),
            7..=9 => self.checkpoint_step(),
            10..=12 => self.reopen(),
            13 => self.read(),
            14 => self.disk.heal(),
            _ => self.fail(step),
        }
    }

    /// From here on, one kind of failure among some kinds of calls, on top of those there are.
    fn fail(&mut self, step: u64) {
        let failure = if self.draw.below(2) == 0 { SimFailure::Io } else { SimFailure::Full };
        let calls: &[SimCall] = match (failure, self.draw.below(3)) {
            (_, 0) => &[SimCall::Write],
            (SimFailure::Full, _) => &[SimCall::Write, SimCall::Create, SimCall::CreateDir, SimCall::SetLen],
            (_, 1) => &[SimCall::Sync, SimCall::SyncDir],
            _ => &SimCall::ALL,
        };
        let per_mille = [20, 100, 300, 700][usize::try_from(self.draw.below(4)).unwrap()];
        self.disk.fail_randomly(self.seed ^ step.rotate_left(40), per_mille, calls, failure);
    }

    fn append_and_commit(&mut self, step: u64) {
        let first = self.draw.below(u64::from(KEYS));
        for index in 0..=self.draw.below(u64::from(KEYS)) {
            let key = key(u32::try_from((first + index) % u64::from(KEYS)).unwrap());
            if self.node.logs[&key].failure().is_none() {
                let bytes = usize::try_from(20 + self.draw.below(300)).unwrap();
                self.node.append(key, bytes, step * 10 + index, &mut self.promised);
            }
        }
        let _stopped = self.node.commit(&mut self.promised);
    }

    fn checkpoint_step(&mut self) {
        let Some((checkpoint, synced)) = &mut self.checkpoint else {
            self.checkpoint = self.node.journal.plan_checkpoint().map(|checkpoint| (checkpoint, 0));
            return;
        };
        if *synced < checkpoint.segments() {
            checkpoint.perform_step(*synced, &*self.node.shared);
            *synced += 1;
            return;
        }
        let Some((checkpoint, _)) = self.checkpoint.take() else { return };
        for failure in self.node.journal.checkpointed(checkpoint) {
            self.node.logs.get_mut(&failure.key).unwrap().checkpoint_failed(&failure);
        }
    }

    /// What housekeeping does: each log that can be reopened is, and then the journal begins again.
    fn reopen(&mut self) {
        if let Some(reason) = self.node.journal.failure().map(ToOwned::to_owned) {
            self.node.logs.values_mut().for_each(|log| log.journal_failed(&reason));
        }
        let stopped = self.node.logs.iter().filter(|(_, log)| log.failure().is_some());
        let keys: Vec<PartitionKey> = stopped.map(|(key, _)| *key).collect();
        let kept = self.node.journal.carried(&keys);
        let read = || Rewrite::read(&*self.node.shared, data_dir());
        let Ok(rewrite) = kept.map_or_else(read, Ok) else { return };
        let mut reopened = Vec::new();
        for key in keys {
            let Some(reopen) = self.node.logs[&key].plan_reopen() else { continue };
            // A checkpoint goes on meanwhile.
            if self.draw.below(3) == 0 {
                self.checkpoint_step();
            }
            let Ok((log, report)) = reopen.perform_with(&self.node.shared, &rewrite, NOW) else {
                let durable_end = self.node.logs[&key].cursors().durable_end();
                self.node.journal.carry(key, &rewrite, durable_end);
                continue;
            };
            assert_eq!(report.damages, [], "{}: {key:?}", self.what);
            let promised = self.promised.entry(key).or_default();
            assert_eq!(log.cursors().log_end().get(), promised.durable_end, "{}: {key:?}", self.what);
            promised.model.cut(promised.durable_end);
            self.node.journal.reopened(key);
            self.node.logs.insert(key, log);
            reopened.push(key);
        }
        if self.node.journal.restart().is_ok() {
            let _stopped = self.begin_epoch(&reopened);
        }
    }

    fn begin_epoch(&mut self, keys: &[PartitionKey]) -> Result<(), LogError> {
        self.epoch += 1;
        let epoch = LeaderEpoch::new(self.epoch).unwrap();
        let begun: Result<Vec<_>, _> = keys
            .iter()
            .map(|key| Ok::<_, LogError>((*key, self.node.logs[key].plan_epoch(epoch)?)))
            .collect();
        let begun = begun?;
        let requests = begun.iter().map(|(key, entry)| JournalRequest::BeginEpoch(*key, *entry));
        self.node.commit_with(requests.collect(), &mut self.promised)?;
        for (key, entry) in begun {
            self.node.logs.get_mut(&key).unwrap().begin_epoch(entry).unwrap();
        }
        Ok(())
    }

    /// What was acknowledged is served, or the disk fails: it is never said to be damaged.
    fn read(&self) {
        for (key, promised) in &self.promised {
            let log = &self.node.logs[key];
            let mut from = 0;
            while from < promised.durable_end {
                let plan = log.plan_read(at(from), 2_000, at(promised.durable_end)).unwrap();
                match plan.perform() {
                    Ok(read) => {
                        let next = read.next_offset.get();
                        assert_eq!(read.bytes, promised.model.bytes(from, next), "{}: {key:?}", self.what);
                        from = next;
                    }
                    Err(ReadError::Io { .. }) => break,
                    Err(error) => panic!("{}: {key:?}: {error}", self.what),
                }
            }
        }
    }

    /// The disk is well again, and what has stopped goes on.
    fn heal(&mut self) {
        self.disk.heal();
        for _ in 0..200 {
            self.checkpoint_step();
            self.reopen();
            let stopped = self.node.logs.values().any(|log| log.failure().is_some());
            if !stopped && self.node.journal.failure().is_none() {
                let _done = self.node.commit_all(&mut self.promised);
                let stopped = self.node.logs.values().any(|log| log.failure().is_some());
                if !stopped && self.checkpoint.is_none() {
                    return;
                }
            }
        }
        let failures: Vec<_> = self.node.logs.values().map(|log| log.failure().cloned()).collect();
        panic!("{}: a healthy disk is not enough: {failures:?}", self.what);
    }

    fn run(mut self) {
        for step in 0..STEPS {
            self.step(step);
        }
        self.heal();
        for (key, log) in &self.node.logs {
            compare(log, &self.promised.entry(*key).or_default().model);
        }
        self.append_and_commit(STEPS);
        let Self { what, disk, node, mut promised, seed, .. } = self;
        drop(node);
        disk.lose_power(if seed % 3 == 0 { Kept::Nothing } else { Kept::Subset { seed } });
        let keys: Vec<_> = (0..KEYS).map(key).collect();
        let node = Node::start(&disk, journal(), config(), &keys).unwrap();
        check(&node, &mut promised, &what);
    }
}

#[test]
fn nothing_acknowledged_is_lost_while_calls_fail_and_logs_are_reopened() {
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("LOG_SEED") {
        Some(seed) => vec![seed],
        None => CORPUS.into_iter().chain(0..number("LOG_SEEDS").unwrap_or(400)).collect(),
    };
    for seed in seeds {
        eprintln!("LOG_SEED={seed}"); // shown when one fails
        World::new(seed).run();
    }
}
