//! A data directory with its journal and a few logs, as a broker holds them, and what it has promised.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use corduroy_batch::Batch;
use corduroy_log::journal::{Commit, CommitKind, JournalRequest, Replay, Rewrite};
use corduroy_log::{
    Disk, EpochHistory, Journal, JournalConfig, Log, LogConfig, LogError, PartitionKey, Round, RoundResult,
    SimDisk, Truncation,
};
use corduroy_types::{LeaderEpoch, PartitionIndex, TopicId};

use crate::common::{Model, NOW, at, batch, compare};

pub fn key(partition: u32) -> PartitionKey {
    PartitionKey { topic_id: TopicId::from_bytes([9; 16]), partition: PartitionIndex(partition) }
}

pub fn data_dir() -> &'static Path {
    Path::new("/data")
}

/// So small that generations change every few rounds.
pub fn small_journal() -> JournalConfig {
    JournalConfig { file_bytes: 6_000, segments_min: 2, segment_bytes_max: 2_000, grow_bytes: 700 }
}

/// What was promised of one log.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    pub model: Model,
    pub durable_end: u64,
    /// The log is being emptied, to begin there: it may have been, or not.
    pub resetting: Option<u64>,
}

impl Promised {
    /// The log was emptied.
    fn begin_at(&mut self, start: u64) {
        self.model = Model { log_start: start, log_end: start, ..Model::default() };
        (self.durable_end, self.resetting) = (start, None);
    }
}

pub type AllPromised = BTreeMap<PartitionKey, Promised>;

pub struct Node {
    pub shared: Arc<dyn Disk>,
    pub journal: Journal,
    pub logs: BTreeMap<PartitionKey, Log>,
    pub kinds: Vec<CommitKind>,
    in_flight: Vec<PartitionKey>,
}

impl Node {
    /// Starts as a broker does: the journal first, then the logs.
    pub fn start(
        disk: &SimDisk,
        journal: JournalConfig,
        config: LogConfig,
        keys: &[PartitionKey],
    ) -> Result<Self, LogError> {
        Self::start_on(Arc::new(disk.clone()), journal, config, keys)
    }

    /// The same on any view of the disk.
    pub fn start_on(
        shared: Arc<dyn Disk>,
        journal: JournalConfig,
        config: LogConfig,
        keys: &[PartitionKey],
    ) -> Result<Self, LogError> {
        let replay = Replay::read(&*shared, data_dir())?;
        assert_eq!(replay.report().damages, [], "sound files taken for damaged");
        assert!(!replay.report().unreadable, "a sound journal taken for none");
        replay.perform(&*shared)?;
        let mut journal = Journal::begin(&shared, &replay, journal)?;
        let mut logs = BTreeMap::new();
        for key in keys {
            let known = journal.known(*key, false);
            let (log, report) = Log::open(Arc::clone(&shared), key.dir(data_dir()), config, known, NOW)?;
            assert_eq!(report.damages, [], "{key:?}");
            journal.opened(*key, &log);
            logs.insert(*key, log);
        }
        Ok(Self { shared, journal, logs, kinds: Vec::new(), in_flight: Vec::new() })
    }

    pub fn append(&mut self, key: PartitionKey, value_bytes: usize, seed: u64, promised: &mut AllPromised) {
        let timestamps = vec![i64::try_from(seed).unwrap() * 10, 5];
        let batch = batch(&timestamps, value_bytes, seed);
        let epoch = self.logs[&key].history().last().map_or(LeaderEpoch::ZERO, |entry| entry.epoch);
        let appended = self.logs.get_mut(&key).unwrap().append(batch.clone(), epoch, NOW).unwrap();
        promised.entry(key).or_default().model.append(batch, timestamps, epoch, appended);
    }

    /// One commit of everything that is ready.
    pub fn commit(&mut self, promised: &mut AllPromised) -> Result<(), LogError> {
        self.commit_with(Vec::new(), promised)
    }

    pub fn commit_with(
        &mut self,
        requests: Vec<JournalRequest>,
        promised: &mut AllPromised,
    ) -> Result<(), LogError> {
        let mut commit = self.plan_with(requests);
        commit.perform(&*self.shared);
        let done = self.journal.finish(commit);
        self.kinds.push(done.kind);
        self.report(done.results, promised)?;
        done.requests.map_err(|reason| LogError::Io {
            what: "journal",
            path: data_dir().into(),
            source: std::io::Error::other(reason),
        })
    }

    /// A commit of everything that is ready, to be performed by the caller.
    pub fn plan_commit(&mut self) -> Commit {
        self.plan_with(Vec::new())
    }

    fn plan_with(&mut self, requests: Vec<JournalRequest>) -> Commit {
        let rounds: Vec<_> =
            self.logs.iter_mut().filter_map(|(key, log)| Some((*key, log.take_round()?))).collect();
        self.in_flight = rounds.iter().map(|(key, _)| *key).collect();
        self.journal.plan(rounds, requests, true)
    }

    /// Gives the logs what came of their rounds.
    pub fn report(
        &mut self,
        results: Vec<(Round, RoundResult)>,
        promised: &mut AllPromised,
    ) -> Result<(), LogError> {
        let mut reported = Ok(());
        for (key, (_, result)) in std::mem::take(&mut self.in_flight).into_iter().zip(results) {
            match self.logs.get_mut(&key).unwrap().round_done(result) {
                Ok(cursors) => {
                    let promised = promised.entry(key).or_default();
                    promised.durable_end = promised.durable_end.max(cursors.durable_end().get());
                }
                Err(error) => reported = Err(error),
            }
        }
        reported
    }

    pub fn commit_all(&mut self, promised: &mut AllPromised) -> Result<(), LogError> {
        while self.logs.values().any(Log::wants_round) {
            self.commit(promised)?;
        }
        Ok(())
    }

    pub fn checkpoint(&mut self) -> Result<(), LogError> {
        let Some(checkpoint) = self.journal.plan_checkpoint() else { return Ok(()) };
        checkpoint.perform(&*self.shared);
        let mut failed = Ok(());
        for failure in self.journal.checkpointed(checkpoint) {
            self.logs.get_mut(&failure.key).unwrap().checkpoint_failed(&failure);
            failed = Err(LogError::Io { what: "sync", path: failure.file.into(), source: failure.error });
        }
        failed
    }

    /// Reopens what has stopped, and restarts the journal if that has failed: which stops everything.
    pub fn reopen(&mut self, promised: &mut AllPromised) -> Result<(), LogError> {
        if let Some(reason) = self.journal.failure().map(ToOwned::to_owned) {
            self.logs.values_mut().for_each(|log| log.journal_failed(&reason));
        }
        let rewrite = Rewrite::read(&*self.shared, data_dir())?;
        for (key, log) in &mut self.logs {
            let Some(reopen) = log.plan_reopen() else { continue };
            let (opened, report) = reopen.perform_with(&self.shared, &rewrite, NOW)?;
            assert_eq!(report.damages, []);
            self.journal.reopened(*key);
            let promised = promised.entry(*key).or_default();
            assert_eq!(opened.cursors().log_end().get(), promised.durable_end, "{key:?}");
            promised.model.cut(promised.durable_end);
            *log = opened;
        }
        self.journal.restart()
    }

    /// Cuts one log, in steps that are each durable before the next.
    pub fn truncate(
        &mut self,
        key: PartitionKey,
        to: u64,
        history: EpochHistory,
        promised: &mut AllPromised,
    ) -> Result<(), LogError> {
        let to = at(to);
        let truncation = self.logs.get_mut(&key).unwrap().plan_truncation(to, history).unwrap();
        // From here on it may be cut, and what is cut is not promised any more.
        let of = promised.get_mut(&key).unwrap();
        of.durable_end = of.durable_end.min(to.get());
        self.perform(key, &truncation, promised)?;
        assert_eq!(self.logs[&key].cursors().log_end(), to);
        promised.get_mut(&key).unwrap().model.cut(to.get());
        Ok(())
    }

    /// Empties one log, which begins at `start` then.
    pub fn reset(
        &mut self,
        key: PartitionKey,
        start: u64,
        history: EpochHistory,
        promised: &mut AllPromised,
    ) -> Result<(), LogError> {
        let truncation = self.logs.get_mut(&key).unwrap().plan_reset(at(start), history).unwrap();
        let of = promised.entry(key).or_default();
        (of.durable_end, of.resetting) = (0, Some(start));
        self.perform(key, &truncation, promised)?;
        promised.get_mut(&key).unwrap().begin_at(start);
        Ok(())
    }

    fn perform(
        &mut self,
        key: PartitionKey,
        truncation: &Truncation,
        promised: &mut AllPromised,
    ) -> Result<(), LogError> {
        self.commit_with(vec![truncation.begin(key)], promised)?;
        let rewrite = Rewrite::read(&*self.shared, data_dir())?;
        let (log, report) = truncation.perform(&self.shared, &rewrite, NOW)?;
        assert_eq!(report.damages, []);
        let end = self.journal.end_cut(key, &log);
        self.commit_with(vec![end], promised)?;
        self.logs.insert(key, log);
        Ok(())
    }

    /// Appends what a leader has appended in `epoch` before.
    pub fn replicate(&mut self, key: PartitionKey, epoch: u32, seed: u64, promised: &mut AllPromised) {
        let timestamps = vec![i64::try_from(seed).unwrap() * 10, 5];
        let batch = batch(&timestamps, 220, seed);
        let epoch = LeaderEpoch::new(epoch).unwrap();
        let log = self.logs.get_mut(&key).unwrap();
        let stamped = batch.clone().stamp(log.cursors().log_end(), epoch).to_bytes();
        let appended = log.append_replicated(Batch::parse(stamped).unwrap(), NOW).unwrap();
        promised.entry(key).or_default().model.append(batch, timestamps, epoch, appended);
    }

    /// Begins an epoch in every log, with one commit.
    pub fn begin_epoch(&mut self, epoch: u32, promised: &mut AllPromised) -> Result<(), LogError> {
        let epoch = LeaderEpoch::new(epoch).unwrap();
        let keys: Vec<_> = self.logs.keys().copied().collect();
        self.begin_epoch_in(&keys, epoch, promised)
    }

    /// Begins an epoch in these logs, with one commit.
    pub fn begin_epoch_in(
        &mut self,
        keys: &[PartitionKey],
        epoch: LeaderEpoch,
        promised: &mut AllPromised,
    ) -> Result<(), LogError> {
        let entries: Vec<_> =
            keys.iter().map(|key| (*key, self.logs[key].plan_epoch(epoch).unwrap())).collect();
        let requests = entries.iter().map(|(key, entry)| JournalRequest::BeginEpoch(*key, *entry));
        self.commit_with(requests.collect(), promised)?;
        for (key, entry) in entries {
            self.logs.get_mut(&key).unwrap().begin_epoch(entry).unwrap();
        }
        Ok(())
    }

    /// A clean stop.
    pub fn stop(mut self, promised: &mut AllPromised) -> Result<(), LogError> {
        self.commit_all(promised)?;
        self.checkpoint()?;
        for log in std::mem::take(&mut self.logs).into_values() {
            log.close()?;
        }
        self.commit(promised)
    }
}

/// Checks the logs of a node that was started after a crash, and makes what is there the new truth.
pub fn check(node: &Node, promised: &mut AllPromised, what: &str) {
    for (key, log) in &node.logs {
        let promised = promised.entry(*key).or_default();
        let end = log.cursors().log_end().get();
        if let Some(start) =
            promised.resetting.take().filter(|start| *start == log.cursors().log_start().get())
        {
            promised.begin_at(start);
        }
        assert!(
            end >= promised.durable_end,
            "{what}: {key:?} ends at {end}, {} were acknowledged",
            promised.durable_end
        );
        promised.model.cut(end);
        promised.durable_end = end;
        compare(log, &promised.model);
    }
}
