//! The log against a naive model on the simulated disk: appends, rounds performed in part or whole, reads,
//! look-ups by time, retention, deletion, crashes, clean restarts and failing disks, in any order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test may stop, and its numbers are small"
)]
mod common;

use common::{Model, NOW, at, batch, compare, new_disk, open, small_config};
use corduroy_log::disk::SimCall;
use corduroy_log::{Disk, Log, LogConfig, LogError, Round, SimDisk};
use corduroy_types::{Durability, LeaderEpoch, TimestampMs};
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Op {
    Append {
        timestamps: Vec<i64>,
        value_bytes: usize,
    },
    Commit,
    /// Takes a round and performs that many of its steps.
    BeginRound {
        steps: usize,
    },
    FinishRound,
    Read {
        from: u64,
        max_bytes: u32,
        committed: bool,
    },
    FindTime {
        timestamp: i64,
        committed: bool,
    },
    /// Stops after making durable (0), applying (1) or removing (2).
    DeleteRecords {
        fraction: u64,
        stop: u8,
    },
    Retention {
        bytes: Option<u64>,
        ms: Option<u64>,
        stop: u8,
    },
    Crash,
    Kill,
    CleanRestart,
    FailDisk {
        call: SimCall,
        nth: u64,
    },
    ReleaseIdle,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let timestamps = prop::collection::vec(-3..2_000_i64, 1..4);
    let call = prop::sample::select(vec![SimCall::Write, SimCall::Sync, SimCall::SyncDir, SimCall::Create]);
    let op = prop_oneof![
        12 => (timestamps, 0..900_usize).prop_map(|(timestamps, value_bytes)| Op::Append { timestamps, value_bytes }),
        6 => Just(Op::Commit),
        4 => (0..6_usize).prop_map(|steps| Op::BeginRound { steps }),
        3 => Just(Op::FinishRound),
        5 => (0..100_u64, 1..5_000_u32, any::<bool>())
            .prop_map(|(from, max_bytes, committed)| Op::Read { from, max_bytes, committed }),
        4 => (-5..2_005_i64, any::<bool>()).prop_map(|(timestamp, committed)| Op::FindTime { timestamp, committed }),
        2 => (0..=100_u64, 0..3_u8).prop_map(|(fraction, stop)| Op::DeleteRecords { fraction, stop }),
        2 => (prop::option::of(0..9_000_u64), prop::option::of(0..2_000_u64), 0..3_u8)
            .prop_map(|(bytes, ms, stop)| Op::Retention { bytes, ms, stop }),
        2 => Just(Op::Crash),
        1 => Just(Op::Kill),
        1 => Just(Op::CleanRestart),
        2 => (call, 0..4_u64).prop_map(|(call, nth)| Op::FailDisk { call, nth }),
        1 => Just(Op::ReleaseIdle),
    ];
    prop::collection::vec(op, 1..60)
}

struct World {
    disk: SimDisk,
    log: Option<Log>,
    config: LogConfig,
    model: Model,
    round: Option<(Round, usize)>,
    epoch: u32,
    seed: u64,
    /// A deletion that is durable but not applied.
    log_start_persisted: u64,
}

impl World {
    fn new(config: LogConfig) -> Self {
        let disk = new_disk();
        let log = Some(open(&disk, config, false).0);
        let (model, round) = (Model::default(), None);
        Self { disk, log, config, model, round, epoch: 0, seed: 0, log_start_persisted: 0 }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append { timestamps, value_bytes } => self.append(timestamps, value_bytes),
            Op::Commit => {
                self.finish_round();
                while let Some(round) = self.log().take_round() {
                    self.perform(&round, 0);
                }
            }
            Op::BeginRound { steps } => self.begin_round(steps),
            Op::FinishRound => self.finish_round(),
            Op::Read { from, max_bytes, committed } => self.read(from, max_bytes, committed),
            Op::FindTime { timestamp, committed } => self.find_time(timestamp, committed),
            Op::DeleteRecords { fraction, stop } => {
                let hw = self.log().cursors().counted_end().get();
                let before = self.model.log_start
                    + (hw.max(self.model.log_start) - self.model.log_start) * fraction / 100;
                let high_watermark = at(hw.max(self.model.log_start));
                let removal = self.log().plan_delete_records(at(before), high_watermark).unwrap();
                self.remove(removal, stop);
            }
            Op::Retention { bytes, ms, stop } => self.retain(bytes, ms, stop),
            Op::Crash => {
                self.disk.crash();
                self.reopen_after_crash();
            }
            Op::Kill => self.reopen_after_crash(),
            Op::CleanRestart => self.restart_cleanly(),
            Op::FailDisk { call, nth } => self.disk.fail_nth(call, nth),
            Op::ReleaseIdle => self.log().release_idle(),
        }
    }

    fn append(&mut self, timestamps: Vec<i64>, value_bytes: usize) {
        self.seed += 1;
        let batch = batch(&timestamps, value_bytes, self.seed);
        let epoch = LeaderEpoch::new(self.epoch).unwrap();
        let appended = self.log().append(batch.clone(), epoch, NOW).unwrap();
        self.model.append(batch, timestamps, epoch, appended);
    }

    fn begin_round(&mut self, steps: usize) {
        if self.round.is_some() {
            return;
        }
        let Some(round) = self.log().take_round() else { return };
        for (done, step) in round.steps().iter().take(steps).enumerate() {
            if let Err(error) = step.perform(self.disk()) {
                return self.report(round.failed(done, error));
            }
        }
        let steps = steps.min(round.steps().len());
        self.round = Some((round, steps));
    }

    fn finish_round(&mut self) {
        if let Some((round, done)) = self.round.take() {
            self.perform(&round, done);
        }
    }

    fn perform(&mut self, round: &Round, done: usize) {
        for (index, step) in round.steps().iter().enumerate().skip(done) {
            if let Err(error) = step.perform(self.disk()) {
                return self.report(round.failed(index, error));
            }
        }
        self.report(round.succeeded());
    }

    fn report(&mut self, result: corduroy_log::RoundResult) {
        match self.log().round_done(result) {
            Ok(_) => {}
            Err(LogError::StorageFailed(failure)) => {
                assert_eq!(failure.lost.end.get(), self.model.log_end);
                self.reopen_after_failure();
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn reopen_after_failure(&mut self) {
        let before = self.log().cursors();
        assert!(
            self.log().append(batch(&[1], 1, 0), LeaderEpoch::ZERO, NOW).is_err(),
            "a stopped log appends"
        );
        assert!(self.log().take_round().is_none(), "a stopped log makes rounds");
        self.disk.heal();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (log, report) = self.log().plan_reopen().unwrap().perform(&disk, NOW).unwrap();
        assert_eq!(report.damages, []);
        let log_end = log.cursors().log_end();
        // Deleting may have been durable up to a point that the records before it did not reach.
        let allowed = before.written_end().max(at(self.log_start_persisted));
        assert!(log_end <= allowed, "believed what a failed round wrote");
        assert!(log_end >= before.durable_end(), "lost what was durable");
        self.log = Some(log);
        self.settle_model();
    }

    fn reopen_after_crash(&mut self) {
        let before = self.log().cursors();
        self.round = None;
        self.disk.heal();
        let (log, report) = open(&self.disk, self.config, false);
        assert_eq!(report.damages, [], "sound segments taken for damaged");
        assert_eq!(report.unknown_files, Vec::<String>::new());
        assert!(log.cursors().log_end() >= before.durable_end(), "a durable record vanished");
        assert_eq!(log.cursors().durable_end(), log.cursors().log_end());
        if self.config.durability == Durability::Sync {
            assert!(log.cursors().log_end() >= before.counted_end(), "an acknowledged record vanished");
        }
        self.log = Some(log);
        self.settle_model();
    }

    fn restart_cleanly(&mut self) {
        self.finish_round();
        self.disk.heal();
        let log = self.log.take().unwrap();
        log.close().unwrap();
        self.disk.crash();
        let (log, report) = open(&self.disk, self.config, true);
        assert_eq!((report.damages, report.cut, report.index_doubts), (vec![], None, vec![]));
        assert_eq!(log.cursors().log_end().get(), self.model.log_end, "a clean restart lost records");
        self.log = Some(log);
        self.settle_model();
    }

    /// The model becomes what was recovered, after checking that this is a legal prefix.
    fn settle_model(&mut self) {
        let cursors = self.log().cursors();
        let (start, end) = (cursors.log_start().get(), cursors.log_end().get());
        assert!(start >= self.model.log_start && start <= self.log_start_persisted.max(self.model.log_start));
        if start == end {
            // Nothing is left, perhaps because more was deleted than survived.
            self.model.batches.clear();
        } else {
            self.model.cut(end);
        }
        self.model.log_start = start;
        self.model.log_end = end;
        self.epoch += 1;
        compare(self.log.as_ref().unwrap(), &self.model);
    }

    fn read(&mut self, from: u64, max_bytes: u32, committed: bool) {
        let cursors = self.log().cursors();
        let span = self.model.log_end - self.model.log_start;
        let from = self.model.log_start + span * from / 100;
        let upper = if committed { cursors.counted_end() } else { cursors.log_end() };
        let read = self.log().plan_read(at(from), max_bytes, upper).unwrap().perform().unwrap();
        let expected = self.model.bytes(from, upper.get());
        assert!(expected.starts_with(&read.bytes), "read differs from what was appended");
        assert_eq!(read.bytes.is_empty(), expected.is_empty());
        let first =
            self.model.batches.values().find(|kept| kept.next > from).map_or(0, |kept| kept.bytes.len());
        assert!(read.bytes.len() <= first.max(max_bytes as usize), "read more than asked for");
    }

    fn find_time(&mut self, timestamp: i64, committed: bool) {
        let cursors = self.log().cursors();
        let upper = if committed { cursors.counted_end() } else { cursors.log_end() };
        let found = self.log().plan_time_lookup(TimestampMs(timestamp), upper).perform().unwrap();
        let found = found.map(|found| (found.offset.get(), found.timestamp.0));
        assert_eq!(found, self.model.first_at_or_after(timestamp, upper.get()));
        let greatest = self.log().plan_max_timestamp_lookup(upper).perform().unwrap();
        let greatest = greatest.map(|found| (found.offset.get(), found.timestamp.0));
        assert_eq!(greatest, self.model.greatest_timestamp(upper.get()));
    }

    fn retain(&mut self, bytes: Option<u64>, ms: Option<u64>, stop: u8) {
        let config = LogConfig { retention_bytes: bytes, retention_ms: ms, ..self.config };
        self.log().set_config(config);
        let now = TimestampMs(2_000);
        let high_watermark = self.log().cursors().counted_end();
        let removal = self.log().plan_retention(now, high_watermark);
        if let Some(removal) = &removal {
            assert!(removal.log_start() <= high_watermark, "retention passed the high watermark");
            let start = removal.log_start().get();
            let visible = self.model.batches.values().filter(|kept| kept.next > self.model.log_start);
            let (gone, left): (Vec<_>, Vec<_>) = visible.partition(|kept| kept.next <= start);
            let left_bytes: usize = left.iter().map(|kept| kept.bytes.len()).sum();
            let young = |kept: &&common::Kept| {
                kept.timestamps.iter().any(|at| ms.is_none_or(|ms| *at >= 2_000 - ms as i64))
            };
            if gone.iter().any(young) {
                assert!(
                    bytes.is_some_and(|bytes| left_bytes as u64 >= bytes),
                    "deleted what was young and fitted"
                );
            }
        }
        self.remove(removal, stop);
        let config = self.config;
        self.log().set_config(config);
    }

    fn remove(&mut self, removal: Option<corduroy_log::Removal>, stop: u8) {
        let Some(removal) = removal else { return };
        if removal.persist(self.disk()).is_err() {
            // It may have become durable all the same.
            self.log_start_persisted = self.log_start_persisted.max(removal.log_start().get());
            return;
        }
        self.log_start_persisted = self.log_start_persisted.max(removal.log_start().get());
        if stop == 0 {
            return;
        }
        let obsolete = self.log().apply_removal(&removal).unwrap();
        self.model.log_start = self.model.log_start.max(removal.log_start().get());
        if stop == 2 {
            // A failure is of no consequence: what is left goes when the log is next opened.
            let _ = obsolete.remove(self.disk());
        }
    }
}

fn run(config: LogConfig, ops: Vec<Op>) {
    let mut world = World::new(config);
    for op in ops {
        world.apply(op);
        let log = world.log.as_ref().unwrap();
        assert_eq!(log.cursors().log_end().get(), world.model.log_end);
        assert_eq!(log.cursors().log_start().get(), world.model.log_start);
    }
    compare(world.log.as_ref().unwrap(), &world.model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sync_log_is_the_model(ops in ops(), tail_bytes in prop::sample::select(vec![0, 2_000, 1 << 20])) {
        run(LogConfig { tail_bytes, ..small_config() }, ops);
    }

    #[test]
    fn background_log_is_the_model(ops in ops(), tail_bytes in prop::sample::select(vec![0, 2_000])) {
        run(LogConfig { tail_bytes, durability: Durability::Background, ..small_config() }, ops);
    }
}
