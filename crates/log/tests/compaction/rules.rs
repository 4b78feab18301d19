//! One rule at a time.

use corduroy_batch::{Batch, Compression};
use corduroy_log::{
    CompactionConfig, CompactionError, CompactionProgress, CompactionStep, Log, LogConfig, SimDisk,
};
use corduroy_types::{LeaderEpoch, Ratio, TimestampMs};

use crate::common::{NOW, at, dir, new_disk, open, read_all};
use crate::model::{
    Model, Put, RETENTION_MS, UNLIMITED, append, batch, commit, compare, config, perform, plan, read,
};

const STEP: CompactionStep = CompactionStep { max_bytes: u64::MAX };

fn with(change: impl FnOnce(&mut CompactionConfig)) -> LogConfig {
    let mut compaction = config().compaction.unwrap();
    change(&mut compaction);
    LogConfig { compaction: Some(compaction), ..config() }
}

/// A log with so many batches, of two records each: one key of its own, and one of eight.
fn filled(disk: &SimDisk, config: LogConfig, batches: u64) -> (Log, Model) {
    let (mut log, _) = open(disk, config, false);
    let mut model = Model::default();
    for seed in 0..batches {
        let put = |key| Put { key: Some(key), value: true };
        let puts = [put(100 + (seed % 100) as u8), put((seed % 8) as u8)];
        append(&mut log, &mut model, &puts, Compression::None, seed, NOW.0);
    }
    commit(&mut log, disk).unwrap();
    (log, model)
}

fn pass(log: &mut Log, disk: &SimDisk, model: &mut Model, now: i64) {
    let planned = plan(log, now, UNLIMITED).unwrap();
    let end = perform(log, disk, planned, UNLIMITED, |_| {}).unwrap();
    model.compact(end.get(), now);
    compare(log, model);
}

#[test]
fn a_tombstone_is_read_until_its_horizon_and_then_gone() {
    let disk = new_disk();
    let (mut log, mut model) = filled(&disk, config(), 40);
    let gone = Put { key: Some(3), value: false };
    append(&mut log, &mut model, &[gone], Compression::Lz4, 77, NOW.0);
    let tombstone = log.cursors().log_end().get() - 1;
    let more = |log: &mut Log, model: &mut Model| {
        for seed in 0..30 {
            append(log, model, &[Put { key: Some(200), value: true }], Compression::None, seed, NOW.0);
        }
        commit(log, &disk).unwrap();
    };
    more(&mut log, &mut model);
    let met = NOW.0;
    pass(&mut log, &disk, &mut model, met);
    assert!(
        read(&log, 0, 1 << 20, false).values().filter(|r| r.key.as_deref() == Some(b"key-3")).count() == 1
    );
    for (now, there) in [(met + RETENTION_MS as i64 - 1, true), (met + RETENTION_MS as i64, false)] {
        more(&mut log, &mut model);
        pass(&mut log, &disk, &mut model, now);
        assert_eq!(read(&log, 0, 1 << 20, false).contains_key(&tombstone), there);
    }
    let before = model.all.len();
    assert!(model.kept.len() < before / 2);
}

#[test]
fn young_segments_and_what_is_not_committed_stay_out() {
    let disk = new_disk();
    let (mut log, model) = filled(&disk, with(|config| config.min_lag_ms = 1_000), 60);
    let end = log.cursors().counted_end();
    assert!(log.plan_compaction(NOW, end, 1 << 20).is_none(), "all of it is young");
    let later = TimestampMs(NOW.0 + 1_101);
    assert!(log.plan_compaction(later, at(1), 1 << 20).is_none(), "nothing is committed");
    let half = at(end.get() / 2);
    let planned = log.plan_compaction(later, half, 1 << 20).unwrap();
    assert!(planned.range().end <= half && planned.range().end > at(0));
    let end = perform(&mut log, &disk, planned, UNLIMITED, |_| {}).unwrap();
    let there = read(&log, 0, 1 << 20, false);
    assert!(model.all.range(end.get()..).all(|(at, record)| there.get(at) == Some(record)));
}

#[test]
fn it_is_due_when_enough_is_dirty_or_a_record_waits_too_long() {
    let disk = new_disk();
    let (mut log, mut model) = filled(&disk, with(|config| config.max_lag_ms = Some(10_000)), 60);
    let need =
        |log: &Log, now: i64| log.compaction_need(TimestampMs(now), log.cursors().counted_end()).unwrap();
    assert!(need(&log, NOW.0).is_due() && need(&log, NOW.0).dirty_ratio() == Ratio::ONE);
    pass(&mut log, &disk, &mut model, NOW.0);
    assert!(!need(&log, NOW.0).is_due());
    assert_eq!(need(&log, NOW.0).dirty_bytes, 0);
    // Nothing is appended any more: the active segment is rolled for its age, and compacted for it.
    let (soon, late) = (NOW.0 + 2_000, NOW.0 + 5_200);
    log.roll_for_compaction(TimestampMs(soon));
    assert!(!log.wants_round());
    log.roll_for_compaction(TimestampMs(late));
    commit(&mut log, &disk).unwrap();
    let left = need(&log, late);
    assert!(left.overdue && left.is_due() && left.dirty_ratio() < Ratio::HALF, "{left:?}");
    pass(&mut log, &disk, &mut model, late);
    assert_eq!(log.compacted_end(), log.cursors().log_end());
}

#[test]
fn what_stays_whole_stays_byte_for_byte_and_neighbours_become_one() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, config(), false);
    let mut model = Model::default();
    for seed in 0..60_u64 {
        // In each fourth batch there is a key that no other has.
        let own = seed.is_multiple_of(4);
        let puts = [Put { key: Some(if own { seed as u8 } else { 251 }), value: true }];
        append(&mut log, &mut model, &puts, Compression::None, seed, NOW.0);
    }
    commit(&mut log, &disk).unwrap();
    let end = log.cursors().log_end();
    let before = read_all(&log, at(0), end, 1 << 20, false);
    let segments = log.stats().segments;
    for _ in 0..3 {
        let planned = plan(&log, NOW.0, UNLIMITED);
        let Some(planned) = planned else { break };
        perform(&mut log, &disk, planned, UNLIMITED, |_| {}).unwrap();
    }
    // Once more by force: what is left of each segment now fits together.
    for seed in 60..90 {
        append(&mut log, &mut model, &[Put { key: Some(251), value: true }], Compression::None, seed, NOW.0);
    }
    commit(&mut log, &disk).unwrap();
    let planned = plan(&log, NOW.0, UNLIMITED).unwrap();
    let compacted = perform(&mut log, &disk, planned, UNLIMITED, |_| {}).unwrap();
    model.compact(compacted.get(), NOW.0);
    compare(&log, &model);
    assert!(log.stats().segments < segments, "{} of {segments}", log.stats().segments);
    let mut after = bytes::Bytes::from(read_all(&log, at(0), end, 1 << 20, false));
    while let Some(batch) = Batch::parse_prefix(&mut after).unwrap() {
        let header = batch.header();
        let same = before.windows(batch.bytes().len()).any(|window| window == &batch.bytes()[..]);
        let new = header.record_count == 0 || header.base_offset >= at(60);
        assert!(same || new, "the batch at {} was written again", header.base_offset);
    }
}

#[test]
fn a_swap_that_does_not_fit_any_more_is_given_up() {
    let disk = new_disk();
    let (mut log, model) = filled(&disk, config(), 60);
    let mut planned = plan(&log, NOW.0, UNLIMITED).unwrap();
    let swap = loop {
        match planned.step(STEP).unwrap() {
            CompactionProgress::More => {}
            CompactionProgress::Swap(swap) => break swap,
            CompactionProgress::Done(_) => panic!("nothing to swap"),
        }
    };
    assert!(swap.old_bytes() > swap.new_bytes() && log.may_swap(&swap));
    let start = log.cursors().log_start();
    let removal = log.plan_delete_records(at(40), log.cursors().counted_end()).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    log.apply_removal(&removal).unwrap().remove(&disk).unwrap();
    assert!(start < at(40) && !log.may_swap(&swap));
    swap.discard(&disk);
    planned.discard(&disk);
    assert!(disk.files().iter().all(|path| !path.to_string_lossy().contains("cleaned")));
    let there = read(&log, 40, 1 << 20, false);
    assert!(there.iter().all(|(at, record)| model.all[at] == *record));
    // The next one fits, and what lies below the log start goes too.
    let planned = plan(&log, NOW.0, UNLIMITED).unwrap();
    perform(&mut log, &disk, planned, UNLIMITED, |_| {}).unwrap();
    let there = read(&log, 40, 1 << 20, false);
    assert_eq!(
        Model::replay(&there),
        Model::replay(&model.all.range(40..).map(|(a, r)| (*a, r.clone())).collect())
    );
    drop(log);
    let (log, report) = open(&disk, config(), false);
    assert_eq!((report.damages, read(&log, 40, 1 << 20, false)), (vec![], there));
}

#[test]
fn a_damaged_segment_ends_the_pass_and_stays_as_it_is() {
    let disk = new_disk();
    let (mut log, _) = filled(&disk, config(), 60);
    let path = dir().join("00000000000000000000.log");
    assert!(disk.damage(&path, 300, |bytes| bytes[0] ^= 1));
    log.release_idle();
    let planned = plan(&log, NOW.0, UNLIMITED).unwrap();
    let failed = perform(&mut log, &disk, planned, UNLIMITED, |_| {});
    assert!(matches!(failed, Err(CompactionError::Damaged(_))), "{failed:?}");
    assert_eq!(log.compacted_end(), at(0));
    assert!(disk.files().contains(&path));
}

#[test]
fn a_log_that_is_not_compacted_has_no_need() {
    let disk = new_disk();
    let (log, _) = filled(&disk, LogConfig { compaction: None, ..config() }, 60);
    assert_eq!(log.compaction_need(NOW, log.cursors().counted_end()), None);
    assert!(plan(&log, NOW.0, UNLIMITED).is_none());
}

#[test]
fn an_emptied_segment_still_says_where_it_ends() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, config(), false);
    let mut model = Model::default();
    // Every record but the last has the same key.
    for seed in 0..80 {
        append(&mut log, &mut model, &[Put { key: Some(1), value: true }; 3], Compression::Lz4, seed, NOW.0);
    }
    commit(&mut log, &disk).unwrap();
    pass(&mut log, &disk, &mut model, NOW.0);
    let end = log.cursors().log_end();
    drop(log);
    let (mut log, report) = open(&disk, config(), false);
    assert_eq!((report.damages, log.cursors().log_end()), (vec![], end));
    compare(&log, &model);
    let (one, _) = batch(&[Put { key: Some(2), value: true }], Compression::None, 5, NOW.0);
    let appended = log.append(one, LeaderEpoch::ZERO, NOW).unwrap();
    assert_eq!(appended.base_offset, end);
}

/// What fails for a moment costs a pass, and no restart: the next one does it again.
#[test]
fn a_swap_of_which_a_step_failed_is_done_again() {
    for calls in 0..40 {
        let disk = new_disk();
        let (mut log, mut model) = filled(&disk, config(), 40);
        let mut planned = plan(&log, NOW.0, UNLIMITED).unwrap();
        let step = CompactionStep { max_bytes: UNLIMITED.step_bytes };
        let swap = loop {
            if let CompactionProgress::Swap(swap) = planned.step(step).unwrap() {
                break swap;
            }
        };
        assert!(log.may_swap(&swap));
        disk.stop_after(calls);
        let committed = swap.commit(&disk);
        let mut done = false;
        if committed.is_ok() {
            assert!(log.apply_swap(&swap));
            done = swap.finish(&disk).is_ok();
            disk.heal();
            assert!(swap.is_of(&log));
            swap.finish(&disk).unwrap();
        }
        disk.heal();
        pass(&mut log, &disk, &mut model, NOW.0);
        let crashed = disk.fork();
        crashed.crash();
        for disk in [&disk, &crashed] {
            let (log, report) = open(disk, config(), false);
            assert_eq!(report.damages, [], "stopped after {calls} calls");
            compare(&log, &model);
        }
        if done {
            return;
        }
    }
    panic!("a swap takes more than 40 calls");
}
