//! A data directory with logs in it, and the batches that are appended.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_benches::Failure;
use corduroy_log::{
    Disk, Journal, JournalConfig, Known, Log, LogConfig, PartitionKey, RealDisk, disk::HandleCache,
};
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use parking_lot::Mutex;

/// The time of every record and every append.
pub(crate) const NOW: TimestampMs = TimestampMs(1_000_000);
/// As many files as a broker keeps open at most.
const OPEN_FILES: usize = 16_384;
/// Newest batches kept in memory, all partitions together.
const TAIL_BYTES: u64 = 64 << 20;

/// The disk as a broker uses it.
pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(HandleCache::new(RealDisk::shared(), OPEN_FILES))
}

/// One partition: its log, and which appends to it are not acknowledged.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) key: PartitionKey,
    /// Whether it is in the queue for the next commit.
    pub(crate) queued: AtomicBool,
    pub(crate) state: Mutex<PartitionLog>,
}

#[derive(Debug)]
pub(crate) struct PartitionLog {
    pub(crate) log: Log,
    pub(crate) waiting: VecDeque<Waiting>,
}

/// An append on its way to disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// It is done when the log has come up to here.
    pub(crate) end: Offset,
    pub(crate) writer: usize,
    pub(crate) since: Instant,
}

/// A data directory with partitions and a commit journal.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl DataDir {
    /// Makes a data directory with this many partitions, the files of each in place.
    pub(crate) fn make(data_dir: &Path, partitions: u32, config: LogConfig) -> Result<Self, Failure> {
        let disk = disk();
        let (journal, _) = Journal::open(&disk, data_dir, JournalConfig::default())?;
        let config = LogConfig { tail_bytes: TAIL_BYTES / u64::from(partitions), ..config };
        let (first, _) = batch(1, 1)?;
        let mut all = Vec::new();
        for index in 0..partitions {
            let key =
                PartitionKey { topic_id: TopicId::from_bytes([7; 16]), partition: PartitionIndex(index) };
            let known = Known::default();
            let (mut log, _) = Log::open(Arc::clone(&disk), key.dir(data_dir), config, known, NOW)?;
            log.append(first.clone(), LeaderEpoch::ZERO, NOW)?;
            commit(&mut log, &*disk)?;
            let state = Mutex::new(PartitionLog { log, waiting: VecDeque::new() });
            all.push(Arc::new(Partition { key, queued: AtomicBool::new(false), state }));
        }
        Ok(Self { disk, journal: Mutex::new(journal), partitions: all })
    }
}

/// One log on its own.
pub(crate) fn open_log(dir: PathBuf, config: LogConfig) -> Result<(Arc<dyn Disk>, Log), Failure> {
    let disk = disk();
    let (log, _) = Log::open(Arc::clone(&disk), dir, config, Known::default(), NOW)?;
    Ok((disk, log))
}

/// Performs rounds until there is nothing more to do.
pub(crate) fn commit(log: &mut Log, disk: &dyn Disk) -> Result<(), Failure> {
    while let Some(round) = log.take_round() {
        log.round_done(round.perform(disk))?;
    }
    Ok(())
}

/// Appends a batch again and again until the log has `bytes` bytes, committing now and then.
pub(crate) fn fill(log: &mut Log, disk: &dyn Disk, batch: &Batch, bytes: u64) -> Result<(), Failure> {
    const UNCOMMITTED_BYTES: u64 = 8 << 20;
    let mut uncommitted = 0;
    while log.stats().bytes < bytes {
        log.append(batch.clone(), LeaderEpoch::ZERO, NOW)?;
        uncommitted += u64::from(batch.total_bytes());
        if uncommitted >= UNCOMMITTED_BYTES {
            commit(log, disk)?;
            uncommitted = 0;
        }
    }
    commit(log, disk)
}

/// A batch of records with values of `value_bytes`, as many as fit into `batch_bytes` and at least one; and how many
/// there are.
pub(crate) fn batch(value_bytes: usize, batch_bytes: u32) -> Result<(Batch, u32), Failure> {
    let mut noise = Noise::new(value_bytes as u64);
    let mut builder =
        BatchBuilder::new(Compression::None, batch_bytes.max(256 + u32::try_from(value_bytes)?));
    let mut records = 0;
    loop {
        let value: Vec<u8> = (0..value_bytes).map(|_| noise.next().to_le_bytes()[0]).collect();
        if builder.push(NOW, None, Some(&value), std::iter::empty())? == PushOutcome::Full {
            break;
        }
        records += 1;
        if batch_bytes <= 1 {
            break;
        }
    }
    Ok((Batch::parse(builder.build()?)?, records))
}

/// Numbers that look random, the same in every run (an xorshift generator).
#[derive(Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
