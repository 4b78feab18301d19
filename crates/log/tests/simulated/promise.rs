//! What holds whatever happens next, and how a disk is checked against it.

use std::sync::Arc;

use corduroy_batch::{Batch, BatchHeader, DecompressLimits};
use corduroy_log::disk::{Kept, OpenMode, SimDisk};
use corduroy_log::producers::Producers;
use corduroy_log::{Appended, Disk, DurableMark, Known, Log, LogConfig, RecoveryReport, StateFault, offline};
use corduroy_types::{LeaderEpoch, Offset};

use crate::common::{Model, NOW, batch, compare, dir};

/// What was promised, as of the last thing that was reported.
#[derive(Clone, Default)]
pub struct Promise {
    /// All that was appended and may still be there.
    pub model: Model,
    /// Everything below this survives.
    pub durable_end: u64,
    /// The greatest log start that may have become durable.
    pub log_start_max: u64,
    /// The durable mark on record.
    pub mark: Option<DurableMark>,
    /// Headers of all batches there ever were, deleted ones included: what makes the producer state. `None` once
    /// some of them are unknown.
    pub history: History,
}

#[derive(Clone)]
pub struct History(Option<Vec<BatchHeader>>);

impl Default for History {
    fn default() -> Self {
        Self(Some(Vec::new()))
    }
}

impl History {
    fn cut(&mut self, end: Offset) {
        if let Some(headers) = &mut self.0 {
            headers.retain(|header| header.next_offset() <= end);
            let known_end = headers.last().map_or(Offset::ZERO, BatchHeader::next_offset);
            if known_end < end {
                // More was deleted than survived.
                self.0 = None;
            }
        }
    }

    fn check(&self, log: &Log) {
        let Some(headers) = &self.0 else { return };
        let mut producers = Producers::new(log.config().producer_expiration_ms);
        headers.iter().for_each(|header| producers.note(header));
        assert_eq!(log.producers(), &producers, "the producer state is not that of the batches");
    }
}

/// Numbers for choices inside a check, all from its seed.
pub fn mixed(seed: u64, salt: u64) -> u64 {
    let mixed = (seed ^ salt.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 3
}

pub fn open(disk: &SimDisk, config: LogConfig, mark: Option<DurableMark>) -> (Log, RecoveryReport) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(disk, dir(), config, Known { mark, ..Known::default() }, NOW).unwrap()
}

fn ends(log: &Log) -> (Offset, Offset) {
    (log.cursors().log_start(), log.cursors().log_end())
}

impl Promise {
    pub fn append(&mut self, batch: Batch, timestamps: Vec<i64>, epoch: LeaderEpoch, appended: Appended) {
        if let Some(headers) = &mut self.history.0 {
            headers.push(batch.clone().stamp(appended.base_offset, epoch).header().clone());
        }
        self.model.append(batch, timestamps, epoch, appended);
    }

    /// Takes over what was recovered, after checking that it is a legal prefix.
    pub fn settle(&mut self, log: &Log, report: &RecoveryReport) {
        assert_eq!(report.damages, [], "sound segments taken for damaged");
        assert_eq!(report.unknown_files, Vec::<String>::new());
        let snapshot = |fault: &StateFault| fault.file.extension().is_some_and(|suffix| suffix == "snapshot");
        if report.faults.iter().any(snapshot) {
            // Producers of records that were deleted may be forgotten, which is reported.
            self.history.0 = None;
        }
        let (start, end) = ends(log);
        let (start, end) = (start.get(), end.get());
        assert!(end >= self.durable_end, "what was acknowledged below {} ends at {end}", self.durable_end);
        let starts = self.model.log_start..=self.log_start_max.max(self.model.log_start);
        assert!(starts.contains(&start), "log start {start}, not in {starts:?}");
        if start == end && end > self.durable_end {
            // More may have been deleted than survived.
            self.history.0 = None;
        }
        if start == end {
            // Nothing is left, perhaps because more was deleted than survived.
            self.model.batches.clear();
        } else {
            self.model.cut(end);
        }
        (self.model.log_start, self.model.log_end) = (start, end);
        self.durable_end = log.cursors().durable_end().get();
        self.log_start_max = start;
        assert_eq!(self.durable_end, end, "what recovery found is durable");
        compare(log, &self.model);
        self.history.cut(log.cursors().log_end());
        self.history.check(log);
    }

    /// The power goes on this disk: all that was promised must be there, whatever subset is kept, and go on.
    pub fn check_power_loss(mut self, disk: &SimDisk, config: LogConfig, seed: u64) {
        // Without a mark a torn write that sound ones follow is taken for damage.
        let mark = self.mark;
        disk.set_capacity(None);
        let loss = disk.lose_power(Kept::Subset { seed });
        eprintln!("{loss}"); // shown when the check fails
        let crashing = disk.fork();
        let (mut log, report) = open(disk, config, mark);
        self.settle(&log, &report);
        let found = ends(&log);
        // Recovery itself may be cut short anywhere, and what it finds must not change.
        for attempt in 0..2 {
            crashing.stop_after(mixed(seed, 2 + attempt) % 12);
            let shared: Arc<dyn Disk> = Arc::new(crashing.clone());
            let _ = Log::open(shared, dir(), config, Known { mark, ..Known::default() }, NOW);
            crashing.lose_power(Kept::Subset { seed: mixed(seed, 4 + attempt) });
        }
        let (again, report) = open(&crashing, config, mark);
        assert_eq!((ends(&again), report.damages), (found, vec![]), "opening is not idempotent");
        self.go_on(&mut log, disk, 2);
        let mark = log.durable_mark();
        drop(log);
        disk.lose_power(Kept::Subset { seed: mixed(seed, 6) });
        let (log, report) = open(disk, config, Some(mark));
        self.settle(&log, &report);
        self.check_files(log, disk, config);
    }

    /// The process goes on this disk, and the page cache stays. What is opened then counts as durable, and must be.
    pub fn check_kill(mut self, disk: &SimDisk, config: LogConfig, seed: u64) {
        let mark = self.mark.filter(|_| !mixed(seed, 1).is_multiple_of(3));
        disk.set_capacity(None);
        let (log, report) = open(disk, config, mark);
        self.settle(&log, &report);
        let found = ends(&log);
        drop(log);
        eprintln!("{}", disk.lose_power(Kept::Subset { seed }));
        let (log, report) = open(disk, config, mark);
        assert_eq!((ends(&log), &report.damages), (found, &vec![]), "what was opened was not durable");
        self.settle(&log, &report);
        self.check_files(log, disk, config);
    }

    /// Appends and commits, as after any restart.
    fn go_on(&mut self, log: &mut Log, disk: &SimDisk, batches: u64) {
        for seed in 0..batches {
            let timestamps = vec![1_999, 3];
            let batch = batch(&timestamps, 700, 1_000 + seed);
            let epoch = LeaderEpoch::new(1_000).unwrap();
            let appended = log.append(batch.clone(), epoch, NOW).unwrap();
            self.append(batch, timestamps, epoch, appended);
        }
        while let Some(round) = log.take_round() {
            log.round_done(round.perform(disk)).unwrap();
        }
        self.durable_end = log.cursors().durable_end().get();
    }

    /// After a clean close the offline check, which goes over every byte and every index entry, finds nothing.
    fn check_files(&self, log: Log, disk: &SimDisk, config: LogConfig) {
        log.close().unwrap();
        disk.crash();
        if self.model.log_end == 0 {
            return; // then there need not even be a directory
        }
        let mut findings = offline::verify(disk, &dir(), DecompressLimits::default()).unwrap().findings;
        // Index files may have been lost with the power. They are built again in memory, if it is noticed.
        let doubts = open(disk, config, None).1.index_doubts;
        findings.retain(|finding| match finding {
            // A segment that was not read when it was opened is sealed without them.
            offline::Finding::Index(found) => {
                !doubts.iter().any(|doubt| doubt.file == found.file)
                    && disk.open(&found.file, OpenMode::Read).is_ok()
            }
            _ => true,
        });
        assert_eq!(findings, [], "after a clean close");
    }
}
