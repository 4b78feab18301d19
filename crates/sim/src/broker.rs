//! A broker: a disk, the commit journal, and a replica of every partition.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use corduroy_log::disk::{Disk, Kept, SimCall};
use corduroy_log::journal::{Commit, JournalRequest, Replay, Rewrite};
use corduroy_log::{Journal, JournalConfig, Log, LogConfig, LogError, PartitionKey, SimDisk};
use corduroy_partition::{Event, Partition};
use corduroy_types::{BrokerId, Incarnation, PartitionIndex, TimestampMs, TopicId};

use crate::outcome::Settings;
use crate::random::Random;
use crate::replica::{Asked, Op, Replica};
use crate::rule::Rule;

/// The time that logs see: nothing here depends on it.
const NOW: TimestampMs = TimestampMs(1_000_000);

pub(crate) fn key(partition: u32) -> PartitionKey {
    PartitionKey { topic_id: TopicId::from_bytes([7; 16]), partition: PartitionIndex(partition) }
}

fn data_dir() -> &'static Path {
    Path::new("/data")
}

/// Small, so that segments are rolled and generations of the journal change often.
fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 20_000,
        index_interval_bytes: 1_000,
        tail_bytes: 4_000,
        retention_ms: None,
        ..LogConfig::default()
    }
}

fn journal_config() -> JournalConfig {
    JournalConfig { file_bytes: 60_000, segments_min: 2, segment_bytes_max: 4_000, grow_bytes: 2_000 }
}

/// A broker, running or not.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) disk: SimDisk,
    settings: Settings,
    /// Rises with every start: what was meant for an earlier run is dropped.
    pub(crate) run: u64,
    pub(crate) process: Option<Process>,
    /// Nothing happens here before that time, in microseconds.
    pub(crate) paused_until_us: u64,
    /// Commits take this many times as long.
    pub(crate) slowness: u64,
}

/// Why a broker did not start.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// Its disk failed: it may be tried again.
    DiskFailed,
    /// What it found is damaged, which an honest disk never leaves.
    Damaged(String),
}

impl From<LogError> for NotStarted {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { .. } => Self::DiskFailed,
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// What a running broker holds.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Arc<dyn Disk>,
    settings: Settings,
    journal: Journal,
    pub(crate) replicas: BTreeMap<u32, Replica>,
    commit: Option<Commit>,
    /// The partitions with a round in the commit in flight, in its order.
    in_flight: Vec<u32>,
    /// When a round trip to each broker that has come back was sent, in milliseconds, by partition (rule R18).
    pub(crate) round_trip_ms: BTreeMap<(BrokerId, u32), u64>,
    /// Which generation of the stream to each broker is the newest that was noticed, by partition.
    pub(crate) noticed: BTreeMap<(usize, u32), u64>,
}

impl Broker {
    pub(crate) fn new(id: BrokerId, settings: &Settings) -> Result<Self, LogError> {
        let disk = SimDisk::new();
        let made = disk.create_dir_all(data_dir()).and_then(|()| disk.sync_dir(Path::new("/")));
        made.map_err(|source| LogError::Io { what: "create", path: data_dir().into(), source })?;
        if id == BrokerId(0) && !settings.keeps(Rule::SyncsAreHonest) {
            disk.ignore_syncs(SimCall::Sync);
        }
        Ok(Self { id, disk, settings: *settings, run: 0, process: None, paused_until_us: 0, slowness: 1 })
    }

    /// Starts: replays the journal, opens every log.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub(crate) fn start(&mut self, incarnation: Incarnation) -> Result<(), NotStarted> {
        let process = Process::open(&self.disk, self.id, self.settings, incarnation)?;
        (self.run, self.process) = (self.run + 1, Some(process));
        Ok(())
    }

    /// The process ends. `power`: of what was not synced a random part survives; otherwise the system has all of it.
    pub(crate) fn kill(&mut self, power: bool, random: &mut Random) {
        let Some(mut process) = self.process.take() else { return };
        if let Some(commit) = &mut process.commit {
            match random.below(3) {
                0 => {}
                1 => commit.perform_writes(&self.disk),
                _ => commit.perform(&self.disk),
            }
        }
        self.disk.heal();
        let kept = match (power, random.below(4)) {
            (false, _) => Kept::Everything,
            (true, 0) => Kept::Nothing,
            (true, _) => Kept::Subset { seed: random.next() },
        };
        let _what_was_lost = self.disk.lose_power(kept);
    }
}

impl Process {
    fn open(
        disk: &SimDisk,
        id: BrokerId,
        settings: Settings,
        incarnation: Incarnation,
    ) -> Result<Self, NotStarted> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let replay = Replay::read(&*shared, data_dir())?;
        let damages = replay.report().damages;
        if !damages.is_empty() {
            return Err(NotStarted::Damaged(format!("the journal: {damages:?}")));
        }
        replay.perform(&*shared)?;
        let mut journal = Journal::begin(&shared, &replay, journal_config())?;
        let mut replicas = BTreeMap::new();
        for partition in 0..settings.partitions {
            let key = key(partition);
            let known = journal.known(key, false);
            let (log, report) =
                Log::open(Arc::clone(&shared), key.dir(data_dir()), log_config(), known, NOW)?;
            if !report.damages.is_empty() {
                return Err(NotStarted::Damaged(format!("partition {partition}: {:?}", report.damages)));
            }
            journal.opened(key, &log);
            let promised = journal.promise(key).map(|promise| promise.epoch);
            let machine = Partition::restored(id, incarnation, promised, journal.is_suspect(key));
            replicas.insert(partition, Replica::new(key, machine, log, incarnation));
        }
        Ok(Self {
            shared,
            settings,
            journal,
            replicas,
            commit: None,
            in_flight: Vec::new(),
            round_trip_ms: BTreeMap::new(),
            noticed: BTreeMap::new(),
        })
    }

    /// Plans a commit of everything that is ready. Returns whether there is one now that was not before.
    pub(crate) fn begin_commit(&mut self, flush_marks: bool) -> bool {
        if self.commit.is_some() || self.journal.failure().is_some() {
            return false;
        }
        let (mut rounds, mut requests): (Vec<_>, Vec<JournalRequest>) = (Vec::new(), Vec::new());
        let mut has_requests = false;
        for (partition, replica) in &mut self.replicas {
            if let Some(round) = replica.log.take_round() {
                replica.round_epoch = replica.partition.current_epoch();
                self.in_flight.push(*partition);
                rounds.push((replica.key, round));
            } else if let Some(request) = replica.next_request(&self.settings, &mut self.journal) {
                has_requests = true;
                requests.extend(request.journal);
            }
        }
        if rounds.is_empty() && !has_requests && !(flush_marks && self.journal.has_unwritten_state()) {
            return false;
        }
        self.commit = Some(self.journal.plan(rounds, requests, true));
        true
    }

    /// Performs the commit in flight, and returns what it means for the partitions.
    pub(crate) fn finish_commit(&mut self) -> Vec<(u32, Event)> {
        let Some(mut commit) = self.commit.take() else { return Vec::new() };
        commit.perform(&*self.shared);
        let done = self.journal.finish(commit);
        let (mut events, mut stopped) = (Vec::new(), Vec::new());
        for (partition, (_, result)) in std::mem::take(&mut self.in_flight).into_iter().zip(done.results) {
            let Some(replica) = self.replicas.get_mut(&partition) else { continue };
            match (replica.log.round_done(result), replica.round_epoch.take()) {
                (Ok(cursors), Some(epoch)) => {
                    let (counted_end, durable_end) = (cursors.counted_end(), cursors.durable_end());
                    events.push((partition, Event::Counted { epoch, counted_end, durable_end }));
                }
                (Ok(_), None) => {}
                (Err(_), _) => stopped.push(partition),
            }
        }
        let durable = done.requests.is_ok();
        for (partition, replica) in &mut self.replicas {
            if !durable {
                replica.give_up_asked();
            } else if let Some(Asked::BeginCut(epoch, truncation)) =
                replica.asked.take_if(|asked| matches!(asked, Asked::BeginCut(..)))
            {
                replica.redo = Some((epoch, truncation));
            } else if let Some(asked) = replica.asked.take() {
                events.extend(replica.begun(asked).map(|event| (*partition, event)));
            }
        }
        if let Some(reason) = self.journal.failure().map(ToOwned::to_owned) {
            self.replicas.values_mut().for_each(|replica| replica.log.journal_failed(&reason));
            stopped = self.replicas.keys().copied().collect();
        }
        self.perform_cuts();
        events.extend(stopped.into_iter().filter_map(|partition| self.stop(partition)));
        events
    }

    fn stop(&mut self, partition: u32) -> Option<(u32, Event)> {
        let replica = self.replicas.get_mut(&partition)?;
        replica.stop();
        let durable_end = replica.log.cursors().durable_end();
        let epoch = replica.partition.current_epoch()?;
        Some((partition, Event::LogFailed { epoch, durable_end }))
    }

    /// Performs cuts that are durable in the journal. Where the disk fails they are tried again.
    pub(crate) fn perform_cuts(&mut self) {
        if self.journal.failure().is_some() || self.replicas.values().all(|replica| replica.redo.is_none()) {
            return;
        }
        let Ok(rewrite) = Rewrite::read(&*self.shared, data_dir()) else { return };
        for replica in self.replicas.values_mut() {
            let Some((epoch, truncation)) = replica.redo.take() else { continue };
            match truncation.perform(&self.shared, &rewrite, NOW) {
                Ok((log, _)) => replica.ops.push_front(Op::EndCut(epoch, truncation, Box::new(log))),
                Err(_) => replica.redo = Some((epoch, truncation)),
            }
        }
    }

    /// Opens again what has stopped, and restarts the journal. Returns the partitions whose log is another run now.
    pub(crate) fn reopen(&mut self) -> Vec<u32> {
        if self.commit.is_some() {
            return Vec::new();
        }
        if self.replicas.values().any(|replica| replica.stopped && replica.log.plan_reopen().is_some()) {
            self.reopen_logs();
        }
        let _tried_again = self.journal.restart();
        if self.journal.failure().is_some() {
            return Vec::new();
        }
        let ready = |replica: &Replica| {
            replica.stopped && replica.log.failure().is_none() && !replica.log.is_cutting()
        };
        let ready: Vec<_> = self.replicas.iter().filter(|(_, it)| ready(it)).map(|(at, _)| *at).collect();
        for partition in &ready {
            if let Some(replica) = self.replicas.get_mut(partition) {
                replica.stopped = false;
            }
        }
        ready
    }

    fn reopen_logs(&mut self) {
        let Ok(rewrite) = Rewrite::read(&*self.shared, data_dir()) else { return };
        for replica in self.replicas.values_mut().filter(|replica| replica.stopped) {
            let Some(reopen) = replica.log.plan_reopen() else { continue };
            if let Ok((log, _)) = reopen.perform_with(&self.shared, &rewrite, NOW) {
                self.journal.reopened(replica.key);
                replica.log = log;
            }
        }
    }

    /// Syncs the segments that the journal holds data for.
    pub(crate) fn checkpoint(&mut self) -> Vec<(u32, Event)> {
        let Some(checkpoint) = self.journal.plan_checkpoint() else { return Vec::new() };
        checkpoint.perform(&*self.shared);
        let mut events = Vec::new();
        for failure in self.journal.checkpointed(checkpoint) {
            let partition = failure.key.partition.0;
            if let Some(replica) = self.replicas.get_mut(&partition) {
                replica.log.checkpoint_failed(&failure);
                events.extend(self.stop(partition));
            }
        }
        events
    }
}
