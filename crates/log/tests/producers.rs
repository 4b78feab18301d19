//! Producer state in a log: a function of what is in the log, whatever became of files and memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

mod common;

use std::sync::Arc;

use common::{NOW, at, commit, dir, new_disk, open, small_config};
use corduroy_batch::{Batch, BatchBuilder, Compression, ProducerFields};
use corduroy_log::disk::{OpenMode, SimCall};
use corduroy_log::producers::{Producers, SequenceError};
use corduroy_log::{
    AppendError, Appended, CompactionConfig, CompactionProgress, CompactionStep, Disk, Known, Log, LogConfig,
    SimDisk,
};
use corduroy_types::{Durability, LeaderEpoch, Offset, TimestampMs};
use proptest::prelude::*;

/// One record of `bytes`, at sequence `sequence` of a producer in epoch 0. All have the same key.
fn batch(producer: i64, sequence: i32, bytes: usize, timestamp: i64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 64 << 20);
    if producer >= 0 {
        builder.set_producer(ProducerFields { id: producer, epoch: 0, base_sequence: sequence });
    }
    let value = vec![b'v'; bytes];
    let pushed = builder.push(TimestampMs(timestamp), Some(b"k"), Some(&value), std::iter::empty());
    assert!(pushed.is_ok());
    Batch::parse(builder.build().unwrap()).unwrap()
}

fn may_be_written(error: &AppendError) -> bool {
    matches!(error, AppendError::Sequence(error) if error.may_be_written())
}

fn append(log: &mut Log, batch: Batch) -> Result<Appended, AppendError> {
    log.append(batch, LeaderEpoch::ZERO, NOW)
}

/// The producers worked out from all that can be read of the log.
fn from_reads(log: &Log, config: &LogConfig) -> Producers {
    let mut producers = Producers::new(config.producer_expiration_ms);
    let (start, end) = (log.cursors().log_start(), log.cursors().log_end());
    let mut bytes = bytes::Bytes::from(common::read_all(log, start, end, 1 << 20, true));
    while let Some(batch) = Batch::parse_prefix(&mut bytes).unwrap() {
        producers.note(batch.header());
    }
    producers
}

fn snapshots(disk: &SimDisk) -> Vec<String> {
    let entries = disk.list(&dir()).unwrap_or_default();
    let mut names: Vec<_> =
        entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".snapshot")).collect();
    names.sort();
    names
}

#[test]
fn a_batch_that_comes_again_is_not_appended_again() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    let first = append(&mut log, batch(7, 0, 10, 5)).unwrap();
    assert_eq!((first.base_offset, first.next_offset, first.duplicate), (at(0), at(1), false));
    append(&mut log, batch(-1, -1, 10, 9)).unwrap();
    let again = append(&mut log, batch(7, 0, 10, 99)).unwrap();
    assert_eq!(again, Appended { duplicate: true, ..first }, "with the first one's offsets and time");
    assert_eq!(log.cursors().log_end(), at(2));

    // The duplicate check comes before the expected offset.
    let expecting = |log: &mut Log, sequence, offset| {
        log.append_at(batch(7, sequence, 10, 5), LeaderEpoch::ZERO, Some(at(offset)), NOW)
    };
    assert!(expecting(&mut log, 0, 0).unwrap().duplicate);
    let refused = expecting(&mut log, 1, 1).unwrap_err();
    assert_eq!(refused, AppendError::OffsetMismatch { expected_offset: at(1), next_offset: at(2) });
    assert!(!may_be_written(&refused));
    assert_eq!(expecting(&mut log, 1, 2).unwrap().base_offset, at(2));

    let gap = append(&mut log, batch(7, 3, 10, 5)).unwrap_err();
    assert!(matches!(gap, AppendError::Sequence(SequenceError::OutOfSequence { .. })), "{gap}");
    let unknown = append(&mut log, batch(8, 3, 10, 5)).unwrap_err();
    assert!(may_be_written(&unknown), "{unknown}");
    assert_eq!(log.cursors().log_end(), at(3));
}

#[test]
fn duplicates_are_known_after_a_crash_and_after_a_cut() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    for sequence in 0..8 {
        append(&mut log, batch(1, sequence, 900, 5)).unwrap();
        commit(&mut log, &disk);
    }
    append(&mut log, batch(1, 8, 10, 5)).unwrap();
    assert!(append(&mut log, batch(1, 8, 10, 5)).unwrap().duplicate, "known before it is durable");
    disk.crash();
    let (mut log, _) = open(&disk, small_config(), false);
    assert_eq!(append(&mut log, batch(1, 7, 900, 5)).unwrap().base_offset, at(7));
    assert!(may_be_written(&append(&mut log, batch(1, 2, 900, 5)).unwrap_err()), "behind the window");

    // What was cut is not known any more: it is appended again.
    assert!(!append(&mut log, batch(1, 8, 10, 5)).unwrap().duplicate);
    disk.fail_nth(SimCall::Sync, 0);
    let round = log.take_round().unwrap();
    assert!(log.round_done(round.perform(&disk)).is_err());
    // It refuses everything now. What became of the one in that round is open; what was never appended is not there.
    let stopped = append(&mut log, batch(1, 9, 10, 5)).unwrap_err();
    assert!(matches!(stopped, AppendError::StorageFailed(_)), "{stopped}");
    let may_hold = |log: &Log, producer, sequence| log.may_hold(batch(producer, sequence, 10, 5).header());
    assert!(may_hold(&log, 1, 8) && may_hold(&log, 1, 2) && may_hold(&log, 2, 1));
    assert!(
        !may_hold(&log, 1, 9) && !may_hold(&log, 1, 12) && !may_hold(&log, 2, 0) && !may_hold(&log, -1, 0)
    );
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut log, _) = log.plan_reopen().unwrap().perform(&shared, NOW).unwrap();
    assert_eq!(log.producers(), &from_reads(&log, &small_config()));
    assert!(!append(&mut log, batch(1, 8, 10, 5)).unwrap().duplicate);
}

#[test]
fn opening_reads_only_what_came_after_the_newest_snapshot() {
    let config = LogConfig { segment_bytes: 1 << 30, round_bytes: 64 << 20, ..small_config() };
    let disk = new_disk();
    let (mut log, _) = open(&disk, config, false);
    for sequence in 0..70 {
        append(&mut log, batch(1, sequence, 1 << 20, 5)).unwrap();
        commit(&mut log, &disk);
    }
    // One each 16 MiB, the newest two of them.
    assert_eq!(snapshots(&disk), ["00000000000000000048.snapshot", "00000000000000000064.snapshot"]);
    disk.sync_dir(&dir()).unwrap();
    for name in snapshots(&disk) {
        disk.open(&dir().join(name), OpenMode::ReadWrite).unwrap().sync().unwrap();
    }
    let known = Known { mark: Some(log.durable_mark()), ..Known::default() };
    disk.crash();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let reopen = || Log::open(Arc::clone(&shared), dir(), config, known.clone(), NOW).unwrap();
    let (again, report) = reopen();
    assert_eq!(again.producers(), log.producers());
    assert!(report.producer_scanned_bytes < 7 << 20, "{report:?}");

    // A damaged one is passed over.
    let newest = dir().join("00000000000000000064.snapshot");
    assert!(disk.damage(&newest, 20, |bytes| bytes[0] ^= 1));
    let (again, report) = reopen();
    assert_eq!(again.producers(), log.producers());
    assert!(report.producer_scanned_bytes > 7 << 16, "{report:?}");
    again.close().unwrap();
    let (again, report) = open(&disk, config, true);
    assert_eq!((again.producers(), report.producer_scanned_bytes), (log.producers(), 0));
}

#[test]
fn producers_outlive_the_records_that_retention_removes() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    append(&mut log, batch(1, 0, 10, 5)).unwrap();
    for n in 0..20 {
        append(&mut log, batch(-1, -1, 900, 10 + n)).unwrap();
        commit(&mut log, &disk);
    }
    let removal = log.plan_delete_records(at(15), Offset::MAX).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    log.apply_removal(&removal).unwrap().remove(&disk).unwrap();
    let bases = snapshots(&disk);
    assert!(bases.len() < 4, "they go with their segments: {bases:?}");
    disk.crash();
    let (mut log, _) = open(&disk, small_config(), false);
    assert!(append(&mut log, batch(1, 0, 10, 5)).unwrap().duplicate);
    assert!(!append(&mut log, batch(1, 1, 10, 5)).unwrap().duplicate);
}

#[test]
fn a_gap_is_unknown_where_the_producer_may_have_written_it_before() {
    let config = LogConfig { producer_expiration_ms: 100, ..small_config() };
    let disk = new_disk();
    let (mut log, _) = open(&disk, config, false);
    for sequence in 0..3 {
        append(&mut log, batch(1, sequence, 10, 5)).unwrap();
    }
    assert!(!may_be_written(&append(&mut log, batch(1, 5, 10, 5)).unwrap_err()), "it is certainly not there");
    // It is forgotten, and begins again at 0: sequence 2 is in the log, and not remembered.
    append(&mut log, batch(-1, -1, 10, 500)).unwrap();
    append(&mut log, batch(1, 0, 10, 500)).unwrap();
    assert!(may_be_written(&append(&mut log, batch(1, 2, 10, 500)).unwrap_err()));
    commit(&mut log, &disk);

    let check = |log: &mut Log, why: &str| {
        assert!(may_be_written(&append(log, batch(1, 2, 10, 500)).unwrap_err()), "{why}");
    };
    log.close().unwrap();
    let (mut log, _) = open(&disk, config, true);
    check(&mut log, "from a snapshot");
    drop(log);
    for name in snapshots(&disk) {
        disk.remove_file(&dir().join(name)).unwrap();
    }
    let (log, _) = open(&disk, config, false);
    let (start, end) = (log.cursors().log_start(), log.cursors().log_end());
    assert_eq!((start, end), (at(0), at(5)));
    let mut log = log;
    check(&mut log, "from the log");
}

#[test]
fn of_a_log_whose_beginning_is_gone_nothing_is_certain() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    for n in 0..20 {
        append(&mut log, batch(-1, -1, 900, 10 + n)).unwrap();
        commit(&mut log, &disk);
    }
    append(&mut log, batch(1, 0, 10, 50)).unwrap();
    commit(&mut log, &disk);
    assert!(!may_be_written(&append(&mut log, batch(1, 5, 10, 50)).unwrap_err()));
    let removal = log.plan_delete_records(at(15), Offset::MAX).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    log.apply_removal(&removal).unwrap().remove(&disk).unwrap();
    for name in snapshots(&disk) {
        disk.remove_file(&dir().join(name)).unwrap();
    }
    disk.sync_dir(&dir()).unwrap();
    disk.crash();
    let (mut log, _) = open(&disk, small_config(), false);
    assert!(append(&mut log, batch(1, 0, 10, 50)).unwrap().duplicate);
    assert!(may_be_written(&append(&mut log, batch(1, 5, 10, 50)).unwrap_err()));
}

#[test]
fn compaction_keeps_what_a_producer_is_known_by() {
    let config = LogConfig { compaction: Some(CompactionConfig::default()), ..small_config() };
    let disk = new_disk();
    let (mut log, _) = open(&disk, config, false);
    append(&mut log, batch(1, 0, 10, 5)).unwrap();
    append(&mut log, batch(1, 1, 10, 5)).unwrap();
    for n in 0..20 {
        append(&mut log, batch(-1, -1, 900, 10 + n)).unwrap();
        commit(&mut log, &disk);
    }
    let end = log.cursors().counted_end();
    let mut pass = log.plan_compaction(NOW, end, 1 << 20).unwrap();
    let compacted = loop {
        match pass.step(CompactionStep { max_bytes: 1 << 20 }).unwrap() {
            CompactionProgress::More => {}
            CompactionProgress::Swap(swap) => {
                swap.commit(&disk).unwrap();
                assert!(log.apply_swap(&swap));
                swap.finish(&disk).unwrap();
            }
            CompactionProgress::Done(compacted) => break compacted,
        }
    };
    compacted.persist(&disk).unwrap();
    log.apply_compacted(&compacted);
    for name in snapshots(&disk) {
        disk.remove_file(&dir().join(name)).unwrap();
    }
    disk.sync_dir(&dir()).unwrap();
    disk.crash();
    let (mut log, report) = open(&disk, config, false);
    assert_eq!(report.damages, []);
    let first = append(&mut log, batch(1, 1, 10, 5)).unwrap();
    assert_eq!((first.base_offset, first.duplicate), (at(1), true));
    // Of the one before it nothing is left.
    assert!(may_be_written(&append(&mut log, batch(1, 0, 10, 5)).unwrap_err()));
    assert!(!append(&mut log, batch(1, 2, 10, 5)).unwrap().duplicate);
}

#[test]
fn after_damage_no_one_is_taken_for_known() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    for sequence in 0..12 {
        append(&mut log, batch(1, sequence, 900, 5)).unwrap();
        commit(&mut log, &disk);
    }
    for name in snapshots(&disk) {
        disk.remove_file(&dir().join(name)).unwrap();
    }
    assert!(disk.damage(&dir().join("00000000000000000004.log"), 0, |bytes| bytes[16] = 9));
    let (mut log, _) = open(&disk, small_config(), false);
    assert!(append(&mut log, batch(1, 11, 900, 5)).unwrap().duplicate);
    let error = append(&mut log, batch(1, 6, 900, 5)).unwrap_err();
    assert!(may_be_written(&error), "{error}");
}

#[derive(Clone, Debug)]
enum Op {
    Append {
        producer: i64,
        back: i32,
        bytes: usize,
        time_up: i64,
    },
    Commit,
    /// The power goes; with it some of the snapshots.
    Crash {
        lose_snapshots: u8,
    },
    Reopen,
    Close {
        clean: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let producer = -1_i64..4;
    prop_oneof![
        20 => (producer, 0_i32..4, 0_usize..900, prop_oneof![8 => 0_i64..100, 1 => Just(700)])
            .prop_map(|(producer, back, bytes, time_up)| Op::Append { producer, back: (back - 1).max(0), bytes, time_up }),
        6 => Just(Op::Commit),
        2 => (0_u8..4).prop_map(|lose_snapshots| Op::Crash { lose_snapshots }),
        1 => Just(Op::Reopen),
        1 => any::<bool>().prop_map(|clean| Op::Close { clean }),
    ]
}

fn run(ops: &[Op], config: LogConfig) {
    let disk = new_disk();
    let (mut log, _) = open(&disk, config, false);
    let mut time = 0;
    for op in ops {
        match *op {
            Op::Append { producer, back, bytes, time_up } => {
                time += time_up;
                let last = log.producers().get(producer).and_then(|known| known.last_batch().copied());
                let next = last.map_or(0, |last| last.next_sequence().get().cast_signed());
                let end = log.cursors().log_end();
                let appended = append(&mut log, batch(producer, (next - back).max(0), bytes, time));
                let again = producer >= 0 && back > 0 && next > 0;
                match appended {
                    Ok(appended) => assert_eq!(appended.duplicate, again),
                    // Earlier batches of it may have been forgotten with the window of an expired one.
                    Err(error) => assert!(again && may_be_written(&error), "{error}"),
                }
                assert!(!again || log.cursors().log_end() == end);
            }
            Op::Commit => commit(&mut log, &disk),
            Op::Crash { lose_snapshots } => {
                disk.crash();
                for name in snapshots(&disk).iter().rev().take(lose_snapshots.into()) {
                    disk.remove_file(&dir().join(name)).unwrap();
                }
                log = open(&disk, config, false).0;
            }
            Op::Reopen => {
                disk.fail_nth(SimCall::Sync, 0);
                let failed = log.take_round().is_some_and(|round| {
                    let result = round.perform(&disk);
                    log.round_done(result).is_err()
                });
                disk.heal();
                if failed {
                    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
                    log = log.plan_reopen().unwrap().perform(&shared, NOW).unwrap().0;
                }
            }
            Op::Close { clean } => {
                log.close().unwrap();
                log = open(&disk, config, clean).0;
            }
        }
        assert_eq!(log.producers(), &from_reads(&log, &config), "after {op:?}");
    }
}

proptest! {
    #[test]
    fn the_state_is_a_function_of_the_log(ops in prop::collection::vec(op(), 0..60)) {
        let config = LogConfig { producer_expiration_ms: 600, segment_bytes: 2_000, ..small_config() };
        run(&ops, config);
        run(&ops, LogConfig { durability: Durability::Background, ..config });
    }
}
