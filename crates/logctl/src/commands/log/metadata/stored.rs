//! What a data directory holds of the metadata, read from a copy in memory: nothing on disk is changed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use corduroy_batch::{Batch, BatchError, DecompressLimits};
use corduroy_log::{
    Disk, Journal, JournalConfig, Log, LogConfig, LogError, PartitionKey, ReadError, RealDisk, SimDisk,
    disk::{OpenMode, read_file},
    journal::JOURNAL_DIR,
    offline,
};
use corduroy_metadata::Record;
use corduroy_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

use crate::{
    commands::log::{from_log, from_read},
    error::CliError,
};

/// The metadata log is never larger, and is read into memory.
const FILE_BYTES_MAX: u64 = 4 << 30;
const READ_BYTES: u32 = 1 << 20;

/// The log of the metadata.
pub(super) const KEY: PartitionKey =
    PartitionKey { topic_id: TopicId::METADATA, partition: PartitionIndex(0) };

/// The metadata log, as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) records: Vec<StoredRecord>,
    /// Offsets that should have a record and have none.
    pub(super) lost_records: u64,
    /// What is wrong, in words.
    pub(super) damages: Vec<String>,
    /// The newest epoch in which something was appended to it, or could have been.
    pub(super) last_epoch: LeaderEpoch,
    /// The number of partitions of each topic that the data directory or the journal has.
    pub(super) partitions: BTreeMap<TopicId, u32>,
    /// The newest epoch that each partition has begun.
    pub(super) epochs: BTreeMap<(TopicId, PartitionIndex), LeaderEpoch>,
}

/// One record of it.
#[derive(Debug)]
pub(super) struct StoredRecord {
    pub(super) offset: Offset,
    pub(super) record: Record,
}

/// How the metadata log is opened: it is never deleted by age or size.
pub(super) fn log_config() -> LogConfig {
    LogConfig { retention_ms: None, retention_bytes: None, ..LogConfig::default() }
}

/// Reads the metadata log of a data directory, and what its other files say of partitions.
///
/// # Errors
/// `FILE_FAILED`; `UNSUPPORTED` where a newer version has written what this one does not know.
pub(super) fn read(data_dir: &Path) -> Result<Stored, CliError> {
    let copy = copy(data_dir).map_err(|error| from_log(&error))?;
    let shared: Arc<dyn Disk> = Arc::new(copy);
    let opened = Journal::open(&shared, data_dir, JournalConfig::default());
    let (journal, replay) = opened.map_err(|error| from_log(&error))?;
    let mut stored = Stored::default();
    if replay.report().unreadable {
        stored.damages.push("the commit journal cannot be read".to_owned());
    }
    stored.note_partitions(data_dir, &journal)?;
    let known = journal.known(KEY, false);
    let log = Log::open(shared, KEY.dir(data_dir), log_config(), known, TimestampMs(0));
    let (log, report) = log.map_err(|error| from_log(&error))?;
    stored.damages.extend(report.damages.iter().map(ToString::to_string));
    stored
        .damages
        .extend(report.cut.iter().map(|cut| format!("{}; the rest of the file is cut", cut.damage)));
    stored.read_log(&log)?;
    Ok(stored)
}

/// The metadata log and the journal, in memory.
fn copy(data_dir: &Path) -> Result<SimDisk, LogError> {
    let copy = SimDisk::new();
    for dir in [KEY.dir(data_dir), data_dir.join(JOURNAL_DIR)] {
        let failed = |what: &'static str, path: PathBuf| move |source| LogError::Io { what, path, source };
        copy.create_dir_all(&dir).map_err(failed("copy", dir.clone()))?;
        let entries = match RealDisk.list(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(failed("list", dir.clone()))?,
        };
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(entry.name);
            let copied = read_file(&RealDisk, &path, FILE_BYTES_MAX)
                .and_then(|bytes| copy.open(&path, OpenMode::Truncate)?.write_at(&[Bytes::from(bytes)], 0));
            copied.map_err(failed("read", path))?;
        }
    }
    Ok(copy)
}

impl Stored {
    fn note_partitions(&mut self, data_dir: &Path, journal: &Journal) -> Result<(), CliError> {
        let found = offline::partitions(&RealDisk, data_dir).map_err(|error| from_log(&error))?;
        let found = found.into_iter().map(|found| (found.topic_id, found.partition));
        let known = journal.partitions().map(|key| (key.topic_id, key.partition));
        for (topic_id, partition) in found.chain(known).filter(|(id, _)| *id != KEY.topic_id) {
            let count = self.partitions.entry(topic_id).or_default();
            *count = partition.0.saturating_add(1).max(*count);
            let key = PartitionKey { topic_id, partition };
            if let Some(last) = journal.known(key, false).history.last() {
                self.epochs.insert((topic_id, partition), last.epoch);
            }
        }
        Ok(())
    }

    /// Everything that can be read, passing over what cannot.
    fn read_log(&mut self, log: &Log) -> Result<(), CliError> {
        let (mut next, end) = (log.cursors().log_start(), log.cursors().log_end());
        self.last_epoch = log.history().last().map_or(LeaderEpoch::ZERO, |entry| entry.epoch);
        while next < end {
            let read = log.plan_read(next, READ_BYTES, end).and_then(|plan| plan.perform());
            match read {
                Ok(read) if read.next_offset > next => {
                    self.decode(read.bytes)?;
                    next = read.next_offset;
                }
                Err(ReadError::Corrupt { damage, next_good }) => {
                    let text = damage.to_string();
                    if !self.damages.iter().any(|known| known.contains(&text)) {
                        self.damages.push(text);
                    }
                    next = next_good.filter(|good| *good > next).unwrap_or(end);
                }
                Ok(_) => next = end,
                Err(error) => return Err(from_read(&error)),
            }
        }
        self.lost_records = end.get().saturating_sub(self.records.len() as u64);
        Ok(())
    }

    fn decode(&mut self, mut batches: Bytes) -> Result<(), CliError> {
        let unreadable = |error: BatchError| CliError::new(ErrorCode::Corrupt, error.to_string());
        while let Some(batch) = Batch::parse_prefix(&mut batches).map_err(unreadable)? {
            self.last_epoch = batch.header().leader_epoch.unwrap_or_default().max(self.last_epoch);
            let records = batch.records(DecompressLimits::default()).map_err(unreadable)?;
            for record in records.iter() {
                let record = record.map_err(unreadable)?;
                let value = records.buffer().slice_ref(record.value.unwrap_or_default());
                let decoded = Record::decode(&value).map_err(|error| {
                    let text = format!("the metadata log at offset {}: {error}", record.offset);
                    CliError::new(ErrorCode::Unsupported, text)
                        .with_hint("use the version that wrote it, or a newer one")
                })?;
                self.records.push(StoredRecord { offset: record.offset, record: decoded });
            }
        }
        Ok(())
    }
}
