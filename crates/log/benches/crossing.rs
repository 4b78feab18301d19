//! Where the commit journal begins to pay: commits of N logs with B bytes each, synced where they belong (up to 8 files
//! in parallel, as the broker does) against written to the journal, in turns on the same logs.
//!
//! `cargo bench -p corduroy-log --bench crossing` writes under `TMPDIR`, prints a line for each N and B, and removes
//! its files. The time is that until all are acknowledged; checkpoints run after each series, and are printed next to it
//! for each commit.

#![allow(clippy::unwrap_used, reason = "a measurement may stop")]
#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corduroy_batch::{Batch, BatchBuilder, Compression};
use corduroy_log::journal::Commit;
use corduroy_log::{Disk, Journal, JournalConfig, Known, Log, LogConfig, PartitionKey, RealDisk};
use corduroy_types::{LeaderEpoch, PartitionIndex, TimestampMs, TopicId};

const NOW: TimestampMs = TimestampMs(0);
const SYNCS_AT_ONCE: usize = 8;
const DIRECT: usize = usize::MAX;

fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, u32::try_from(bytes + 200).unwrap());
    let pushed = builder.push(NOW, None, Some(&vec![b'x'; bytes]), std::iter::empty());
    assert!(pushed.is_ok());
    Batch::parse(builder.build().unwrap()).unwrap()
}

struct Directory {
    disk: Arc<dyn Disk>,
    journal: Journal,
    logs: Vec<(PartitionKey, Log)>,
}

impl Directory {
    /// Logs whose files exist, so that every further commit may go through the journal.
    fn open(dir: &Path, segments_min: usize, partitions: u32) -> Self {
        let disk = RealDisk::shared();
        let config = JournalConfig { segments_min, segment_bytes_max: u64::MAX, ..JournalConfig::default() };
        let (journal, _) = Journal::open(&disk, dir, config).unwrap();
        let open = |partition| {
            let key =
                PartitionKey { topic_id: TopicId::from_bytes([1; 16]), partition: PartitionIndex(partition) };
            let config = LogConfig { tail_bytes: 0, ..LogConfig::default() };
            let opened = Log::open(Arc::clone(&disk), key.dir(dir), config, Known::default(), NOW);
            (key, opened.unwrap().0)
        };
        let logs = (0..partitions).map(open).collect();
        let mut opened = Self { disk, journal, logs };
        opened.commit(&batch(10));
        opened
    }

    fn commit(&mut self, batch: &Batch) -> Duration {
        let begin = Instant::now();
        let mut rounds = Vec::with_capacity(self.logs.len());
        for (key, log) in &mut self.logs {
            log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
            rounds.push((*key, log.take_round().unwrap()));
        }
        let mut commit = self.journal.plan(rounds, Vec::new(), false);
        commit.perform_writes(&*self.disk);
        sync_all(&commit, &*self.disk);
        let done = self.journal.finish(commit);
        for ((_, log), (_, result)) in self.logs.iter_mut().zip(done.results) {
            log.round_done(result).unwrap();
        }
        begin.elapsed()
    }

    fn checkpoint(&mut self) -> Duration {
        let begin = Instant::now();
        if let Some(checkpoint) = self.journal.plan_checkpoint() {
            checkpoint.perform(&*self.disk);
            assert!(self.journal.checkpointed(checkpoint).is_empty());
        }
        begin.elapsed()
    }
}

fn sync_all(commit: &Commit, disk: &dyn Disk) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && index < commit.syncs()
        {
            commit.perform_sync(index, disk);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..commit.syncs().min(SYNCS_AT_ONCE) {
            scope.spawn(work);
        }
        work();
    });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() {
    println!("| logs | bytes each | direct ms | journal ms | ratio | checkpoint ms a commit |");
    println!("|---|---|---|---|---|---|");
    for bytes in [100, 1 << 10, 16 << 10, 64 << 10, 256 << 10] {
        for partitions in [1_u32, 2, 3, 4, 8, 16, 64, 256, 1000] {
            let whole = bytes * partitions as usize;
            if whole > 24 << 20 {
                continue;
            }
            let commits = (16 << 20) / (whole + (64 << 10));
            let commits = commits.clamp(3, 40);
            let dir = tempfile::tempdir().unwrap();
            let (direct_dir, journal_dir) = (dir.path().join("direct"), dir.path().join("journal"));
            std::fs::create_dir_all(&direct_dir).unwrap();
            std::fs::create_dir_all(&journal_dir).unwrap();
            let mut direct = Directory::open(&direct_dir, DIRECT, partitions);
            let mut journal = Directory::open(&journal_dir, 1, partitions);
            let batch = batch(bytes);
            let mut series = Vec::new();
            for _ in 0..7 {
                let mut sum = (0.0, 0.0);
                for _ in 0..commits {
                    sum.0 += direct.commit(&batch).as_secs_f64();
                    sum.1 += journal.commit(&batch).as_secs_f64();
                }
                let checkpoint = journal.checkpoint().as_secs_f64();
                #[allow(clippy::cast_precision_loss, reason = "figures for people")]
                let each = 1_000.0 / commits as f64;
                series.push((sum.0 * each, sum.1 * each, checkpoint * each));
            }
            let of = |pick: fn(&(f64, f64, f64)) -> f64| median(series.iter().map(pick).collect());
            println!(
                "| {partitions} | {bytes} | {:.2} | {:.2} | {:.2} | {:.2} |",
                of(|s| s.0),
                of(|s| s.1),
                of(|s| s.0 / s.1),
                of(|s| s.2)
            );
        }
    }
}
