//! A crash between any two disk calls of a workload: what was acknowledged is there afterwards, what is there
//! was appended, and opening twice gives what opening once gives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop")]

mod common;

use common::{Model, NOW, at, batch, compare, new_disk, open, small_config};
use corduroy_log::disk::SimCall;
use corduroy_log::{Known, Log, LogConfig, LogError, SimDisk};
use corduroy_types::{Durability, LeaderEpoch, Offset, TimestampMs};

/// What was promised before the power went.
#[derive(Default)]
struct Promised {
    model: Model,
    durable_end: u64,
    /// The greatest log start that may have become durable.
    log_start_max: u64,
    finished: bool,
}

/// Appends, rolls, deletes, retains, closes and opens again, until the disk fails.
fn workload(disk: &SimDisk, config: LogConfig) -> Promised {
    let mut promised = Promised::default();
    promised.finished = steps(disk, config, &mut promised).is_ok();
    promised
}

fn steps(disk: &SimDisk, config: LogConfig, promised: &mut Promised) -> Result<(), LogError> {
    let reopen = |clean| {
        let disk = std::sync::Arc::new(disk.clone());
        Log::open(disk, common::dir(), config, Known::clean(clean), NOW).map(|opened| opened.0)
    };
    let mut log = reopen(false)?;
    for round in 0..14_u32 {
        append(&mut log, round, 3, promised);
        commit(&mut log, disk, promised)?;
        match round {
            3 => delete(&mut log, disk, 8, promised)?,
            6 => retain(&mut log, disk, promised)?,
            8 => {
                log.close()?;
                promised.durable_end = promised.model.log_end;
                log = reopen(true)?;
            }
            9 => log = reopen(false)?,
            11 => delete(&mut log, disk, promised.model.log_end, promised)?,
            _ => {}
        }
        promised.durable_end = promised.durable_end.max(log.cursors().durable_end().get());
    }
    log.close()?;
    promised.durable_end = promised.model.log_end;
    Ok(())
}

fn append(log: &mut Log, round: u32, batches: u64, promised: &mut Promised) {
    for index in 0..batches {
        let seed = u64::from(round) * 10 + index;
        let timestamps = vec![i64::from(round) * 100, 5];
        let batch = batch(&timestamps, 500, seed);
        let epoch = LeaderEpoch::new(round).unwrap();
        let appended = log.append(batch.clone(), epoch, NOW).unwrap();
        promised.model.append(batch, timestamps, epoch, appended);
    }
}

fn commit(log: &mut Log, disk: &SimDisk, promised: &mut Promised) -> Result<(), LogError> {
    while let Some(round) = log.take_round() {
        let result = round.perform(disk);
        let cursors = log.round_done(result)?;
        promised.durable_end = promised.durable_end.max(cursors.durable_end().get());
    }
    Ok(())
}

fn delete(log: &mut Log, disk: &SimDisk, before: u64, promised: &mut Promised) -> Result<(), LogError> {
    let counted = log.cursors().counted_end();
    let Some(removal) = log.plan_delete_records(at(before), counted).unwrap() else { return Ok(()) };
    remove(log, disk, &removal, promised)
}

fn retain(log: &mut Log, disk: &SimDisk, promised: &mut Promised) -> Result<(), LogError> {
    let config = *log.config();
    log.set_config(LogConfig { retention_ms: Some(250), ..config });
    let removal = log.plan_retention(TimestampMs(650), log.cursors().counted_end());
    log.set_config(config);
    remove(log, disk, &removal.expect("the workload has old segments by then"), promised)
}

fn remove(
    log: &mut Log,
    disk: &SimDisk,
    removal: &corduroy_log::Removal,
    promised: &mut Promised,
) -> Result<(), LogError> {
    promised.log_start_max = removal.log_start().get();
    removal.persist(disk)?;
    let obsolete = log.apply_removal(removal)?;
    promised.model.log_start = removal.log_start().get();
    obsolete.remove(disk)
}

/// Checks a log that was opened after the power went; gives its log start and end.
fn check(log: &Log, mut promised: Promised, stop: u64) -> (Offset, Offset) {
    let cursors = log.cursors();
    let (start, end) = (cursors.log_start().get(), cursors.log_end().get());
    assert!(end >= promised.durable_end, "stop={stop}: acknowledged records vanished above {end}");
    let starts = promised.model.log_start..=promised.log_start_max.max(promised.model.log_start);
    assert!(starts.contains(&start), "stop={stop}: log start {start}, not in {starts:?}");
    if start == end {
        promised.model.batches.clear();
    } else {
        promised.model.cut(end);
    }
    (promised.model.log_start, promised.model.log_end) = (start, end);
    compare(log, &promised.model);
    (cursors.log_start(), cursors.log_end())
}

fn crash_everywhere(config: LogConfig) -> u64 {
    let disk = new_disk();
    let before = disk.calls();
    assert!(workload(&disk, config).finished);
    let calls = disk.calls() - before;
    for stop in 0..calls {
        let disk = new_disk();
        disk.stop_after(stop);
        let promised = workload(&disk, config);
        assert!(!promised.finished);
        disk.crash();
        let (log, report) = open(&disk, config, false);
        assert_eq!(report.damages, [], "stop={stop}");
        let found = check(&log, promised, stop);
        drop(log);
        // Recovery itself may be cut short anywhere, and what it found must not change.
        for second_stop in 0..6 {
            disk.stop_after(second_stop);
            let shared = std::sync::Arc::new(disk.clone());
            let _ = Log::open(shared, common::dir(), config, Known::default(), NOW);
            disk.crash();
        }
        let (log, report) = open(&disk, config, false);
        assert_eq!((log.cursors().log_start(), log.cursors().log_end()), found, "stop={stop}");
        assert_eq!((report.cut, report.damages), (None, vec![]), "stop={stop}: opening is not idempotent");
    }
    calls
}

/// Killed, not cut off: the page cache survives. What is then opened counts as durable, and must be.
fn kill_everywhere(config: LogConfig) {
    let calls = crash_everywhere(config);
    for stop in 0..calls {
        let disk = new_disk();
        disk.stop_after(stop);
        let promised = workload(&disk, config);
        disk.heal();
        let (log, _) = open(&disk, config, false);
        let found = check(&log, promised, stop);
        disk.crash();
        let (log, report) = open(&disk, config, false);
        assert_eq!(report.damages, [], "stop={stop}");
        assert_eq!((log.cursors().log_start(), log.cursors().log_end()), found, "stop={stop}: not durable");
    }
}

#[test]
fn acknowledged_appends_survive_a_crash_between_any_two_calls() {
    kill_everywhere(small_config());
}

#[test]
fn one_large_round_over_many_segments_survives_too() {
    kill_everywhere(LogConfig { segment_bytes: 1_500, round_bytes: 1 << 20, ..small_config() });
}

#[test]
fn background_durability_loses_no_more_than_it_may() {
    kill_everywhere(LogConfig { durability: Durability::Background, ..small_config() });
}

/// The tests above must notice a sync that does nothing: here the disk lies, and records have to vanish.
#[test]
fn a_lying_disk_is_noticed() {
    for call in [SimCall::Sync, SimCall::SyncDir] {
        let disk = new_disk();
        disk.ignore_syncs(call);
        let promised = workload(&disk, small_config());
        assert!(promised.finished);
        disk.crash();
        let (log, report) = open(&disk, small_config(), false);
        let lost = log.cursors().log_end().get() < promised.durable_end || !report.damages.is_empty();
        assert!(lost, "{call:?} is never needed");
    }
}
