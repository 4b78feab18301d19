//! A log, its disk, and the performance of operations on it.

use std::io;
use std::sync::Arc;

use corduroy_batch::{Batch, BatchBuilder, Compression, DecompressLimits, ProducerFields, PushOutcome};
use corduroy_log::disk::{Kept, SimDisk};
use corduroy_log::{
    Appended, Disk, Known, Log, LogConfig, LogError, ReadError, Removal, Round, RoundResult, TimeLookupPlan,
};
use corduroy_types::{Durability, LeaderEpoch, TimestampMs};
use parking_lot::Mutex;

use crate::common::{NOW, at, batch, compare, dir, new_disk};
use crate::ops::{Failing, Op};
use crate::promise::Promise;

pub struct World {
    pub disk: SimDisk,
    pub config: LogConfig,
    /// Shared with what watches the disk.
    pub promise: Arc<Mutex<Promise>>,
    log: Option<Log>,
    round: Option<(Round, usize)>,
    epoch: u32,
    seed: u64,
    /// Whether the disk may fail a call, so that reads may, too.
    failing: bool,
}

impl World {
    pub fn new(config: LogConfig) -> Self {
        let disk = new_disk();
        let log = crate::promise::open(&disk, config, None).0;
        // That nothing is there yet is on record before the first append.
        let promise = Promise { mark: Some(log.durable_mark()), ..Promise::default() };
        let (log, promise) = (Some(log), Arc::new(Mutex::new(promise)));
        Self { disk, config, promise, log, round: None, epoch: 0, seed: 0, failing: false }
    }

    pub fn run(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply(op);
            let promise = self.promise.lock();
            let cursors = self.log.as_ref().unwrap().cursors();
            let found = (cursors.log_start().get(), cursors.log_end().get());
            assert_eq!(found, (promise.model.log_start, promise.model.log_end), "after {op:?}");
        }
        self.heal();
        compare(self.log.as_ref().unwrap(), &self.promise.lock().model);
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { timestamps, value_bytes } => self.append(timestamps.clone(), *value_bytes),
            Op::Commit => {
                self.finish_round();
                while let Some(round) = self.log().take_round() {
                    self.perform(round, 0);
                }
            }
            Op::BeginRound { steps } => self.begin_round(*steps),
            Op::FinishRound => self.finish_round(),
            Op::Read { percent, max_bytes, committed } => self.read(*percent, *max_bytes, *committed),
            Op::FindTime { timestamp, committed } => self.find_time(*timestamp, *committed),
            Op::DeleteRecords { percent, stop } => self.delete_records(*percent, *stop),
            Op::Retention { bytes, ms, stop } => self.retain(*bytes, *ms, *stop),
            Op::RecordMark => {
                let mark = self.log().durable_mark();
                self.promise.lock().mark = Some(mark);
            }
            Op::Crash { seed, opening } => {
                self.heal();
                eprintln!("{}", self.disk.lose_power(Kept::Subset { seed: *seed }));
                self.reopen(*opening);
            }
            Op::Kill { opening } => {
                self.heal();
                self.reopen(*opening);
            }
            Op::CleanRestart => self.restart_cleanly(),
            Op::Fail(failing) => self.fail(*failing),
            Op::Fill { spare_bytes } => {
                let space = self.disk.space(&dir());
                if let Ok(space) = space {
                    self.disk.set_capacity(Some(space.total_bytes - space.free_bytes + spare_bytes));
                }
            }
            Op::ReleaseIdle => self.log().release_idle(),
        }
    }

    fn fail(&mut self, Failing { call, nth, failure }: Failing) {
        self.failing = true;
        self.disk.fail_nth_with(call, nth, failure);
    }

    fn heal(&mut self) {
        self.failing = false;
        self.disk.heal();
        self.disk.set_capacity(None);
    }

    fn append(&mut self, timestamps: Vec<i64>, value_bytes: usize) {
        self.seed += 1;
        let batch = self.produced(batch(&timestamps, value_bytes, self.seed));
        let epoch = LeaderEpoch::new(self.epoch).unwrap();
        let appended = self.log().append(batch.clone(), epoch, NOW).unwrap();
        assert!(!appended.duplicate);
        self.promise.lock().append(batch.clone(), timestamps, epoch, appended);
        if batch.header().producer_id >= 0 {
            let again = self.log().append(batch, epoch, NOW).unwrap();
            assert_eq!(again, Appended { duplicate: true, ..appended });
        }
    }

    /// The batch as one of a few idempotent producers, or none, would send it next.
    fn produced(&mut self, batch: Batch) -> Batch {
        let id = (self.seed % 4) as i64 - 1;
        if id < 0 {
            return batch;
        }
        let last = self.log().producers().get(id).and_then(|known| known.last_batch().copied());
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

    fn begin_round(&mut self, steps: usize) {
        if self.round.is_some() {
            return;
        }
        let Some(round) = self.log().take_round() else { return };
        for (done, step) in round.steps().iter().take(steps).enumerate() {
            if let Err(error) = step.perform(self.disk()) {
                return self.fail_round(round, done, error);
            }
        }
        let steps = steps.min(round.steps().len());
        self.round = Some((round, steps));
    }

    fn finish_round(&mut self) {
        if let Some((round, done)) = self.round.take() {
            self.perform(round, done);
        }
    }

    fn perform(&mut self, round: Round, done: usize) {
        for (index, step) in round.steps().iter().enumerate().skip(done) {
            if let Err(error) = step.perform(self.disk()) {
                return self.fail_round(round, index, error);
            }
        }
        self.report(round.succeeded());
    }

    fn fail_round(&mut self, round: Round, index: usize, error: io::Error) {
        let result = round.failed(index, error);
        if result.is_postponed() {
            // Without a file handle the step did nothing, and is done later.
            self.round = Some((round, index));
        } else {
            self.report(result);
        }
    }

    fn report(&mut self, result: RoundResult) {
        match self.log().round_done(result) {
            Ok(cursors) => {
                let mut promise = self.promise.lock();
                promise.durable_end = promise.durable_end.max(cursors.durable_end().get());
            }
            Err(LogError::StorageFailed(failure)) => {
                assert!(self.failing || self.is_full(), "stopped on a disk that works: {failure}");
                let promise = self.promise.lock();
                assert_eq!(failure.lost, at(promise.durable_end)..at(promise.model.log_end));
                drop(promise);
                self.reopen_after_failure();
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// A failed round: the log is stopped, and what it cannot vouch for is given up.
    fn reopen_after_failure(&mut self) {
        let before = self.log().cursors();
        let append = self.log().append(batch(&[1], 1, 0), LeaderEpoch::ZERO, NOW);
        assert!(append.is_err(), "a stopped log appends");
        assert!(self.log().take_round().is_none(), "a stopped log makes rounds");
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let mut attempts = 0;
        // The disk may go on failing; then it is tried again, in the end on one that works.
        let (log, report) = loop {
            let reopened = self.log().plan_reopen().unwrap().perform(&disk, NOW);
            match reopened {
                Ok(opened) => break opened,
                Err(error) => assert!(attempts < 20, "{error}"),
            }
            attempts += 1;
            if attempts > 3 {
                self.heal();
            }
        };
        self.heal();
        let (end, sync) = (log.cursors().log_end(), self.config.durability == Durability::Sync);
        let mut promise = self.promise.lock();
        // Deleting may have been durable up to a point that the records before it did not reach.
        let believed = if sync { before.durable_end() } else { before.written_end() };
        assert!(end <= believed.max(at(promise.log_start_max)), "believed what a failed round wrote");
        promise.settle(&log, &report);
        drop(promise);
        self.replace(log);
        self.check_now();
    }

    /// Whatever has failed before, what is there now survives the power.
    fn check_now(&mut self) {
        self.seed += 1;
        let promise = self.promise.lock().clone();
        promise.check_power_loss(&self.disk.fork(), self.config, self.seed);
    }

    /// Opens again after a crash or kill; the first attempts may meet a failing disk.
    fn reopen(&mut self, opening: Option<Failing>) {
        self.round = None;
        self.log = None;
        let known = Known { mark: self.promise.lock().mark, ..Known::default() };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        if let Some(failing) = opening {
            self.fail(failing);
        }
        let mut attempts = 0;
        let (log, report) = loop {
            match Log::open(Arc::clone(&disk), dir(), self.config, known.clone(), NOW) {
                Ok(opened) => break opened,
                Err(error) => assert!(opening.is_some() && attempts < 20, "{error}"),
            }
            attempts += 1;
            if attempts > 2 {
                self.heal();
            }
        };
        self.heal();
        self.promise.lock().settle(&log, &report);
        self.replace(log);
        self.check_now();
    }

    fn replace(&mut self, log: Log) {
        // The mark on record must not promise more than there is.
        self.promise.lock().mark = Some(log.durable_mark());
        self.log = Some(log);
        self.epoch += 1;
    }

    fn restart_cleanly(&mut self) {
        self.heal();
        self.finish_round();
        let log = self.log.take().unwrap();
        log.close().unwrap();
        let mut promise = self.promise.lock();
        promise.durable_end = promise.model.log_end;
        drop(promise);
        self.disk.crash();
        let known = Known::clean(true);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (log, report) = Log::open(disk, dir(), self.config, known, NOW).unwrap();
        assert_eq!((&report.cut, &report.index_doubts), (&None, &vec![]));
        self.promise.lock().settle(&log, &report);
        self.replace(log);
    }

    fn read(&mut self, percent: u64, max_bytes: u32, committed: bool) {
        let cursors = self.log().cursors();
        let (start, end) = (cursors.log_start().get(), cursors.log_end().get());
        let from = start + (end - start) * percent / 100;
        let upper = if committed { cursors.counted_end() } else { cursors.log_end() };
        let read = self.log().plan_read(at(from), max_bytes, upper).unwrap().perform();
        let read = match read {
            Err(ReadError::Io { .. }) if self.failing => return,
            other => other.unwrap(),
        };
        let model = &self.promise.lock().model;
        let expected = model.bytes(from, upper.get());
        assert!(expected.starts_with(&read.bytes), "read differs from what was appended");
        assert_eq!(read.bytes.is_empty(), expected.is_empty());
        let first = model.batches.values().find(|kept| kept.next > from).map_or(0, |kept| kept.bytes.len());
        assert!(read.bytes.len() <= first.max(max_bytes as usize), "read more than asked for");
    }

    fn find_time(&mut self, timestamp: i64, committed: bool) {
        let cursors = self.log().cursors();
        let upper = if committed { cursors.counted_end() } else { cursors.log_end() };
        let failing = self.failing;
        let look = |plan: TimeLookupPlan| match plan.perform() {
            Err(ReadError::Io { .. }) if failing => None,
            found => Some(found.unwrap().map(|found| (found.offset.get(), found.timestamp.0))),
        };
        let first = look(self.log().plan_time_lookup(TimestampMs(timestamp), upper));
        let greatest = look(self.log().plan_max_timestamp_lookup(upper));
        let model = &self.promise.lock().model;
        assert!(first.is_none_or(|found| found == model.first_at_or_after(timestamp, upper.get())));
        assert!(greatest.is_none_or(|found| found == model.greatest_timestamp(upper.get())));
    }

    fn delete_records(&mut self, percent: u64, stop: u8) {
        let cursors = self.log().cursors();
        let (start, counted) = (cursors.log_start().get(), cursors.counted_end().get());
        let high_watermark = counted.max(start);
        let before = start + (high_watermark - start) * percent / 100;
        let removal = self.log().plan_delete_records(at(before), at(high_watermark)).unwrap();
        self.remove(removal, stop);
    }

    fn retain(&mut self, bytes: Option<u64>, ms: Option<u64>, stop: u8) {
        let config = LogConfig { retention_bytes: bytes, retention_ms: ms, ..self.config };
        self.log().set_config(config);
        let high_watermark = self.log().cursors().counted_end();
        let removal = self.log().plan_retention(TimestampMs(2_000), high_watermark);
        if let Some(removal) = &removal {
            assert!(removal.log_start() <= high_watermark, "retention passed the high watermark");
            let start = removal.log_start().get();
            self.check_retained(start, bytes, ms);
        }
        self.remove(removal, stop);
        let config = self.config;
        self.log().set_config(config);
    }

    /// Nothing may go that is young and fits.
    fn check_retained(&self, start: u64, bytes: Option<u64>, ms: Option<u64>) {
        let model = &self.promise.lock().model;
        let visible = model.batches.values().filter(|kept| kept.next > model.log_start);
        let (gone, left): (Vec<_>, Vec<_>) = visible.partition(|kept| kept.next <= start);
        let left_bytes: usize = left.iter().map(|kept| kept.bytes.len()).sum();
        let is_young = |at: &i64| ms.is_none_or(|ms| *at >= 2_000 - ms as i64);
        if gone.iter().any(|kept| kept.timestamps.iter().any(is_young)) {
            assert!(
                bytes.is_some_and(|bytes| left_bytes as u64 >= bytes),
                "deleted what was young and fitted"
            );
        }
    }

    fn remove(&mut self, removal: Option<Removal>, stop: u8) {
        let Some(removal) = removal else { return };
        {
            let mut promise = self.promise.lock();
            // From here on it may be durable.
            promise.log_start_max = promise.log_start_max.max(removal.log_start().get());
        }
        if removal.persist(self.disk()).is_err() {
            assert!(self.failing || self.is_full());
            return;
        }
        if stop == 0 {
            return;
        }
        let mut promise = self.promise.lock();
        // In a moment it is, for readers; and a crash from then on finds it.
        promise.model.log_start = promise.model.log_start.max(removal.log_start().get());
        drop(promise);
        let obsolete = self.log().apply_removal(&removal).unwrap();
        if stop == 2 {
            // A failure is of no consequence: what is left goes when the log is next opened.
            let _ = obsolete.remove(self.disk());
        }
    }

    fn is_full(&self) -> bool {
        self.disk.space(&dir()).is_ok_and(|space| space.total_bytes < 1 << 40)
    }
}
