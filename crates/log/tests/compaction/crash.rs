//! The power goes between any two disk calls of appends and passes, renames and removals included.

use std::sync::Arc;

use corduroy_batch::Compression;
use corduroy_log::disk::{Kept, SimCall};
use corduroy_log::{CompactionError, Known, Log, LogConfig, LogError, SimDisk};

use crate::common::{NOW, dir, new_disk};
use crate::model::{Limits, Model, Put, RETENTION_MS, Records, append, commit, config, perform, plan, read};

const LIMITS: Limits = Limits { map_bytes: 24 * 12, step_bytes: 700 };

/// What is known of a workload that the power cut short.
struct Promised {
    model: Model,
    durable_end: u64,
    compacted_end: u64,
    finished: bool,
}

fn open(disk: &SimDisk, config: LogConfig) -> Result<(Log, Vec<corduroy_log::DamagedRange>), LogError> {
    let (log, report) = Log::open(Arc::new(disk.clone()), dir(), config, Known::default(), NOW)?;
    Ok((log, report.damages))
}

fn workload(disk: &SimDisk, config: LogConfig) -> Promised {
    let mut promised =
        Promised { model: Model::default(), durable_end: 0, compacted_end: 0, finished: false };
    promised.finished = steps(disk, config, &mut promised).is_ok();
    promised
}

fn steps(disk: &SimDisk, config: LogConfig, promised: &mut Promised) -> Result<(), CompactionError> {
    let (mut log, _) = open(disk, config)?;
    let mut now = NOW.0;
    for round in 0..3_u64 {
        for batch in 0..9 {
            let seed = round * 10 + batch;
            let put = |n: u64| Put {
                key: Some((seed * 5 + n * 3) as u8 % 12),
                value: !(seed + n).is_multiple_of(4),
            };
            let puts: Vec<_> = (0..6).map(put).collect();
            append(&mut log, &mut promised.model, &puts, Compression::None, seed, now);
            commit(&mut log, disk)?;
            promised.durable_end = log.cursors().durable_end().get();
        }
        while let Some(pass) = plan(&log, now, LIMITS) {
            let end = perform(&mut log, disk, pass, LIMITS, |_| {})?;
            promised.compacted_end = end.get();
        }
        now += RETENTION_MS as i64 * 2 / 3;
    }
    Ok(())
}

/// Of each key at most one record below `end`.
fn assert_compacted(records: &Records, end: u64) {
    let mut seen = std::collections::BTreeSet::new();
    for record in records.range(..end).map(|(_, record)| record) {
        assert!(seen.insert(record.key.clone()), "{:?} is there twice below {end}", record.key);
    }
}

fn check(disk: &SimDisk, config: LogConfig, mut promised: Promised, what: &str) {
    let (mut log, damages) = open(disk, config).unwrap();
    assert_eq!(damages, [], "{what}");
    let end = log.cursors().log_end().get();
    assert!(end >= promised.durable_end, "{what}: acknowledged records vanished above {end}");
    assert!(log.compacted_end().get() >= promised.compacted_end, "{what}");
    promised.model.cut(end);
    let all = &promised.model.all;
    let compare = |log: &Log| {
        let there = read(log, 0, 800, true);
        assert!(there.iter().all(|(at, record)| all[at] == *record), "{what}");
        assert_eq!(Model::replay(&there), Model::replay(all), "{what}");
        there
    };
    let there = compare(&log);
    assert_compacted(&there, log.compacted_end().get());
    for name in disk.files().iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)) {
        assert!(!name.ends_with(".swap") && !name.ends_with(".cleaned"), "{what}: {name} is left");
    }
    // And it can be compacted on.
    while let Some(pass) = plan(&log, NOW.0, LIMITS) {
        perform(&mut log, disk, pass, LIMITS, |_| {}).unwrap();
    }
    let there = compare(&log);
    assert_compacted(&there, log.compacted_end().get());
    drop(log);
    let (log, damages) = open(disk, config).unwrap();
    assert_eq!((compare(&log), damages), (there, vec![]), "{what}");
}

#[test]
fn whatever_the_power_takes_every_key_has_its_last_value() {
    let disk = new_disk();
    let before = disk.calls();
    let promised = workload(&disk, config());
    assert!(promised.finished && promised.compacted_end > 80);
    let calls = disk.calls() - before;
    for stop in 0..calls {
        let losses = [None, Some(Kept::Nothing), Some(Kept::Everything)];
        let subsets = (0..2).map(|n| Some(Kept::Subset { seed: stop * 2 + n }));
        for kept in losses.into_iter().chain(subsets) {
            let disk = new_disk();
            disk.stop_after(stop);
            let promised = workload(&disk, config());
            assert!(!promised.finished);
            match kept {
                // Killed: the page cache survives.
                None => disk.heal(),
                Some(kept) => drop(disk.lose_power(kept)),
            }
            if stop % 3 == 0 {
                // Recovery may be cut short too.
                for second_stop in 0..8 {
                    disk.stop_after(second_stop);
                    let _cut_short = open(&disk, config());
                    let _loss = disk.lose_power(Kept::Subset { seed: stop + second_stop });
                }
            }
            check(&disk, config(), promised, &format!("stop={stop} kept={kept:?}"));
        }
    }
}

/// Any one call fails, and the disk goes on. The pass ends; the log does not.
#[test]
fn a_call_that_fails_ends_the_pass_and_loses_nothing() {
    for call in
        [SimCall::Create, SimCall::Write, SimCall::Sync, SimCall::Rename, SimCall::Remove, SimCall::SyncDir]
    {
        for nth in 0..12 {
            let disk = new_disk();
            let (mut log, _) = open(&disk, config()).unwrap();
            let mut model = Model::default();
            for seed in 0..20_u64 {
                let puts: Vec<_> =
                    (0..6).map(|n| Put { key: Some((seed + n) as u8 % 8), value: n != 3 }).collect();
                append(&mut log, &mut model, &puts, Compression::None, seed, NOW.0);
                commit(&mut log, &disk).unwrap();
            }
            disk.fail_nth(call, nth);
            let pass = plan(&log, NOW.0, LIMITS).unwrap();
            let failed = perform(&mut log, &disk, pass, LIMITS, |_| {}).is_err();
            disk.heal();
            let what = format!("{call:?} {nth}, failed: {failed}");
            let same = |log: &Log| {
                let there = read(log, 0, 600, false);
                assert!(there.iter().all(|(at, record)| model.all[at] == *record), "{what}");
                assert_eq!(Model::replay(&there), Model::replay(&model.all), "{what}");
            };
            same(&log);
            log.release_idle();
            same(&log);
            let put = [Put { key: Some(1), value: true }];
            append(&mut log, &mut model.clone(), &put, Compression::None, 99, NOW.0);
            commit(&mut log, &disk).unwrap();
            drop(log);
            disk.crash();
            let (log, damages) = open(&disk, config()).unwrap();
            assert_eq!(damages, [], "{what}");
            let there: Records = read(&log, 0, 600, false).into_iter().filter(|(at, _)| *at < 120).collect();
            assert_eq!(Model::replay(&there), Model::replay(&model.all), "{what}");
        }
    }
}
