//! A data directory with its commit journal and a few logs, used as a broker uses it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corduroy_batch::Batch;
use corduroy_log::disk::{SimDisk, read_file};
use corduroy_log::journal::{JournalRequest, Replay, ReplayReport, Rewrite};
use corduroy_log::{
    Disk, Journal, JournalConfig, Log, LogConfig, LogError, PartitionKey, RecoveryReport, Round, RoundResult,
};
use corduroy_types::{LeaderEpoch, PartitionIndex, TopicId};

use crate::common::{NOW, at, small_config};

pub fn data_dir() -> &'static Path {
    Path::new("/data")
}

/// Two topics, one of them with two partitions.
pub fn keys() -> [PartitionKey; 3] {
    [(7, 0), (7, 1), (8, 0)].map(|(topic, partition)| PartitionKey {
        topic_id: TopicId::from_bytes([topic; 16]),
        partition: PartitionIndex(partition),
    })
}

/// So small that generations change every few rounds.
fn journal_config() -> JournalConfig {
    JournalConfig { file_bytes: 8_000, segments_min: 2, segment_bytes_max: 2_000, grow_bytes: 700 }
}

fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 3_000, ..small_config() }
}

/// A broker's view of its data directory, and what it found when it started.
pub struct Node {
    pub shared: Arc<dyn Disk>,
    pub journal: Journal,
    pub replayed: ReplayReport,
    pub logs: BTreeMap<PartitionKey, Log>,
    pub reports: BTreeMap<PartitionKey, RecoveryReport>,
    /// Logs that could not be opened, and why.
    pub refused: BTreeMap<PartitionKey, LogError>,
}

impl Node {
    /// Starts as a broker does: the journal first, then the logs.
    pub fn start(shared: Arc<dyn Disk>, clean: bool) -> Result<Self, LogError> {
        let replay = Replay::read(&*shared, data_dir())?;
        replay.perform(&*shared)?;
        let mut journal = Journal::begin(&shared, &replay, journal_config())?;
        let (mut logs, mut reports, mut refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for key in keys() {
            let known = journal.known(key, clean);
            match Log::open(Arc::clone(&shared), key.dir(data_dir()), log_config(), known, NOW) {
                Ok((log, report)) => {
                    journal.opened(key, &log);
                    logs.insert(key, log);
                    reports.insert(key, report);
                }
                Err(error) => drop(refused.insert(key, error)),
            }
        }
        Ok(Self { shared, journal, replayed: replay.report(), logs, reports, refused })
    }

    /// Begins this epoch in every log. A broker takes the number from the metadata.
    pub fn begin_epoch(&mut self, epoch: u32) -> Result<(), LogError> {
        let epoch = LeaderEpoch::new(epoch).unwrap();
        let entries = self.logs.iter().map(|(key, log)| Ok((*key, log.plan_epoch(epoch)?)));
        let entries: Vec<_> = entries.collect::<Result<_, LogError>>()?;
        let requests = entries.iter().map(|(key, entry)| JournalRequest::BeginEpoch(*key, *entry));
        self.request(requests.collect())?;
        for (key, entry) in entries {
            self.logs.get_mut(&key).unwrap().begin_epoch(entry)?;
        }
        Ok(())
    }

    fn request(&mut self, requests: Vec<JournalRequest>) -> Result<(), LogError> {
        let mut commit = self.journal.plan(Vec::new(), requests, true);
        commit.perform(&*self.shared);
        self.journal.finish(commit).requests.map_err(|reason| LogError::Io {
            what: "write the journal in",
            path: data_dir().into(),
            source: io::Error::other(reason),
        })
    }

    pub fn append(&mut self, key: PartitionKey, batch: Batch) -> corduroy_log::Appended {
        let log = self.logs.get_mut(&key).unwrap();
        let epoch = log.history().last().map_or(LeaderEpoch::ZERO, |entry| entry.epoch);
        log.append(batch, epoch, NOW).unwrap()
    }

    /// One commit of everything that is ready.
    pub fn commit(&mut self, flush_marks: bool) -> Vec<(PartitionKey, Result<(), LogError>)> {
        let rounds: Vec<_> =
            self.logs.iter_mut().filter_map(|(key, log)| Some((*key, log.take_round()?))).collect();
        let in_flight: Vec<PartitionKey> = rounds.iter().map(|(key, _)| *key).collect();
        let mut commit = self.journal.plan(rounds, Vec::new(), flush_marks);
        commit.perform(&*self.shared);
        let done = self.journal.finish(commit);
        in_flight.into_iter().zip(done.results).map(|(key, result)| (key, self.report(key, result))).collect()
    }

    fn report(&mut self, key: PartitionKey, (round, result): (Round, RoundResult)) -> Result<(), LogError> {
        // Without a file handle it has done nothing, and is performed again.
        let result = if result.is_postponed() { round.perform(&*self.shared) } else { result };
        self.logs.get_mut(&key).unwrap().round_done(result).map(drop)
    }

    /// Syncs what the journal holds. Logs whose segment cannot be synced stop.
    pub fn checkpoint(&mut self) {
        let Some(checkpoint) = self.journal.plan_checkpoint() else { return };
        checkpoint.perform(&*self.shared);
        for failure in self.journal.checkpointed(checkpoint) {
            self.logs.get_mut(&failure.key).unwrap().checkpoint_failed(&failure);
        }
    }

    pub fn delete_records(&mut self, key: PartitionKey, before: u64) -> Result<(), LogError> {
        let log = self.logs.get_mut(&key).unwrap();
        let Some(removal) = log.plan_delete_records(at(before), log.cursors().counted_end()).unwrap() else {
            return Ok(());
        };
        removal.persist(&*self.shared)?;
        log.apply_removal(&removal)?.remove(&*self.shared)
    }

    /// A clean stop.
    pub fn stop(mut self) -> Result<(), LogError> {
        while self.logs.values().any(Log::wants_round) {
            self.commit(true).into_iter().try_for_each(|(_, done)| done)?;
        }
        self.checkpoint();
        for log in std::mem::take(&mut self.logs).into_values() {
            log.close()?;
        }
        self.request(Vec::new())
    }

    /// Reopens the logs that have stopped, and restarts the journal if it has failed; leads on in a later epoch. On an
    /// error some are not in use, and it is to be tried again, as a broker does every second.
    pub fn reopen(&mut self, epoch: &mut u32) -> Result<(), LogError> {
        if let Some(reason) = self.journal.failure().map(ToOwned::to_owned) {
            self.logs.values_mut().for_each(|log| log.journal_failed(&reason));
        }
        let stopped: Vec<_> =
            self.logs.iter().filter_map(|(key, log)| Some((*key, log.plan_reopen()?))).collect();
        if stopped.is_empty() && self.journal.failure().is_none() {
            return Ok(());
        }
        let stopped_keys: Vec<PartitionKey> = stopped.iter().map(|(key, _)| *key).collect();
        let kept = self.journal.carried(&stopped_keys);
        let rewrite = kept.map_or_else(|| Rewrite::read(&*self.shared, data_dir()), Ok)?;
        let (mut reopened, mut failed) = (Vec::new(), None);
        for (key, reopen) in stopped {
            match reopen.perform_with(&self.shared, &rewrite, NOW) {
                Ok((log, report)) => {
                    self.journal.reopened(key);
                    reopened.push((key, log, report));
                }
                Err(error) => {
                    self.journal.carry(key, &rewrite, reopen.durable_end());
                    failed = Some(error);
                }
            }
        }
        self.journal.restart()?;
        self.request(reopened.iter().map(|(key, ..)| JournalRequest::EndCut(*key)).collect())?;
        *epoch += 1;
        let begun = LeaderEpoch::new(*epoch).unwrap();
        for (key, mut log, report) in reopened {
            self.journal.opened(key, &log);
            let entry = log.plan_epoch(begun)?;
            let written = self.request(vec![JournalRequest::BeginEpoch(key, entry)]);
            if written.is_ok() {
                log.begin_epoch(entry)?;
            }
            self.logs.insert(key, log);
            self.reports.insert(key, report);
            written?;
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What is in all files now.
pub fn contents(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let bytes = read_file(disk, &path, u64::MAX).unwrap();
        (path, bytes)
    };
    disk.files().into_iter().map(read).collect()
}
