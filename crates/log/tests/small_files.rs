//! Faults of a partition's small files: what they held is taken from elsewhere, or nothing that they vouched for is
//! served. Either is reported.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{at, batch, commit, dir, new_disk, open, small_config};
use corduroy_batch::DecompressLimits;
use corduroy_log::disk::{Disk, OpenMode, SimDisk, read_file};
use corduroy_log::offline::{self, Finding};
use corduroy_log::{
    CompactionConfig, DamageReason, EpochEntry, Known, Log, LogConfig, LogError, ReadError, RecoveryReport,
    SalvagePlan, StateFaultReason,
};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

const DELETED_BELOW: u64 = 12;
const EPOCH: EpochEntry = EpochEntry { epoch: LeaderEpoch::ZERO, start: Offset::ZERO };

fn append(log: &mut Log, batches: u64) {
    for _ in 0..batches {
        let seed = log.cursors().log_end().get();
        log.append(batch(&[seed.cast_signed()], 400, seed), LeaderEpoch::ZERO, TimestampMs(0)).unwrap();
    }
}

fn path(name: &str) -> PathBuf {
    dir().join(name)
}

/// A log of some segments, of which the first records were deleted, closed.
fn closed() -> SimDisk {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    for _ in 0..40 {
        append(&mut log, 1);
    }
    commit(&mut log, &disk);
    assert!(log.stats().segments > 3);
    let end = log.cursors().log_end();
    let removal = log.plan_delete_records(at(DELETED_BELOW), end).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    log.apply_removal(&removal).unwrap().remove(&disk).unwrap();
    log.close().unwrap();
    disk
}

fn accept(log: &mut Log, disk: &SimDisk) -> usize {
    let salvage = loop {
        match log.plan_salvage() {
            SalvagePlan::Ready(salvage) => break Some(salvage),
            SalvagePlan::AfterRound => commit(log, disk),
            SalvagePlan::Nothing => break None,
        }
    };
    let Some(mut salvage) = salvage else { return 0 };
    let mut accepted = usize::from(salvage.accept_state().unwrap().is_some());
    while let Some(salvaged) = salvage.write_next().unwrap() {
        salvaged.swap.commit(disk).unwrap();
        assert!(log.apply_swap(&salvaged.swap));
        salvaged.swap.finish(disk).unwrap();
        accepted += salvaged.given_up.len();
    }
    accepted
}

fn reads_from(log: &Log, from: u64) -> Result<u64, ReadError> {
    let read = log.plan_read(at(from), 1 << 20, log.cursors().log_end()).unwrap().perform()?;
    Ok(read.next_offset.get())
}

#[test]
fn a_state_file_that_rots_or_goes_is_taken_from_its_copy() {
    for name in ["partition.state", "partition.state.copy"] {
        for gone in [false, true] {
            let disk = closed();
            if gone {
                disk.remove_file(&path(name)).unwrap();
            } else {
                assert!(disk.damage(&path(name), 40, |bytes| bytes[0] ^= 4));
            }
            let (log, report) = open(&disk, small_config(), true);
            let [fault] = &report.faults[..] else { panic!("{report:?}") };
            assert_eq!(fault.file, path(name));
            assert_eq!(fault.reason == StateFaultReason::Missing, gone);
            assert_eq!((log.cursors().log_start(), log.faults().len()), (at(DELETED_BELOW), 1));
            assert!(log.damages().is_empty() && !report.state_lost);
            assert!(matches!(log.plan_read(at(0), 1, at(20)), Err(ReadError::BelowStart { .. })));
            log.close().unwrap();
            assert!(open(&disk, small_config(), true).1.faults.is_empty(), "it was written again");
        }
    }
}

#[test]
fn without_its_state_nothing_that_was_stored_is_served_until_that_is_accepted() {
    let disk = closed();
    disk.damage(&path("partition.state"), 8, |bytes| bytes[0] ^= 1);
    disk.remove_file(&path("partition.state.copy")).unwrap();
    let (mut log, report) = open(&disk, small_config(), true);
    let end = log.cursors().log_end();
    assert!(report.state_lost);
    let is_doubt = |log: &Log| log.damages().iter().any(corduroy_log::DamagedRange::is_doubt);
    let refused = |log: &Log, offset| match reads_from(log, offset) {
        Err(ReadError::Corrupt { damage, next_good }) => {
            assert_eq!((&damage.reason, next_good), (&DamageReason::StateLost, Some(end)));
        }
        other => panic!("{other:?}"),
    };
    let start = log.cursors().log_start().get();
    assert!(start < DELETED_BELOW, "the first segment that is left");
    for offset in [start, DELETED_BELOW, end.get() - 1] {
        refused(&log, offset);
    }
    let lookup = log.plan_time_lookup(TimestampMs(0), end).perform();
    assert!(matches!(lookup, Err(ReadError::Corrupt { .. })), "{lookup:?}");
    // Appends go on, and are read; the scrub takes nothing for truth.
    append(&mut log, 1);
    commit(&mut log, &disk);
    let mut scrub = log.plan_scrub();
    while !scrub.step(1 << 20).unwrap().done {}
    assert_eq!(reads_from(&log, end.get()).unwrap(), end.get() + 1);
    log.close().unwrap();
    // It stays so until it is accepted.
    let compacted = LogConfig { compaction: Some(CompactionConfig::default()), ..small_config() };
    let (mut log, report) = open(&disk, compacted, true);
    let to_compact = |log: &Log| log.compaction_need(TimestampMs(0), end).unwrap().dirty_bytes;
    assert!(!report.state_lost && is_doubt(&log), "{:?}", log.damages());
    refused(&log, DELETED_BELOW);
    assert_eq!(to_compact(&log), 0, "compaction waits");
    assert_eq!(accept(&mut log, &disk), 1);
    assert!(log.damages().is_empty() && to_compact(&log) > 0);
    let mut next = log.cursors().log_start().get();
    while next <= end.get() {
        next = reads_from(&log, next).unwrap();
    }
    log.close().unwrap();
    let (log, report) = open(&disk, small_config(), true);
    assert_eq!((report.damages, log.damages()), (vec![], vec![]));
}

#[test]
fn a_snapshot_of_producers_that_rots_is_reported_and_passed_over() {
    let disk = closed();
    let mut names = disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name);
    let newest = names.rfind(|name| name.ends_with(".snapshot")).unwrap();
    disk.damage(&path(&newest), 30, |bytes| bytes[0] ^= 1);
    let (log, report) = open(&disk, small_config(), true);
    let [fault] = &report.faults[..] else { panic!("{report:?}") };
    assert_eq!((&fault.file, &fault.reason), (&path(&newest), &StateFaultReason::Damaged));
    assert_eq!(log.faults().len(), 1);
    log.close().unwrap();
    assert!(open(&disk, small_config(), true).1.faults.is_empty());
}

/// What is known of a log, as the broker has it from the commit journal.
fn known(log: &Log, clean: bool) -> Known {
    Known { clean, mark: Some(log.durable_mark()), history: log.history().clone(), ..Known::default() }
}

fn open_known(disk: &SimDisk, known: Known) -> (Log, RecoveryReport) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(shared, dir(), small_config(), known, TimestampMs(0)).unwrap()
}

#[test]
fn a_directory_that_is_gone_stays_a_finding_until_it_is_accepted() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    log.begin_epoch(EPOCH).unwrap();
    for _ in 0..40 {
        append(&mut log, 1);
    }
    commit(&mut log, &disk);
    assert!(log.stats().segments > 3);
    let (end, mark) = (log.cursors().log_end(), known(&log, true));
    log.close().unwrap();
    for entry in disk.list(&dir()).unwrap() {
        disk.remove_file(&dir().join(entry.name)).unwrap();
    }
    disk.remove_dir(&dir()).unwrap();
    disk.sync_dir(dir().parent().unwrap()).unwrap();
    let lost = |log: &Log| {
        let damages = log.damages();
        let mut next = at(0);
        for range in &damages {
            assert_eq!(range.damage.offset, next);
            next = range.next_good;
        }
        next
    };
    let (mut log, report) = open_known(&disk, mark);
    assert_eq!((log.cursors().log_start(), log.cursors().log_end()), (at(0), end));
    assert_eq!(lost(&log), end, "all that was there: {report:?}");
    append(&mut log, 1);
    commit(&mut log, &disk);
    let mark = known(&log, true);
    log.close().unwrap();
    let (mut log, _) = open_known(&disk, mark);
    assert_eq!(lost(&log), end, "still");
    assert!(matches!(reads_from(&log, 0), Err(ReadError::Corrupt { .. })));
    assert_eq!(reads_from(&log, end.get()).unwrap(), end.get() + 1);
    assert!(accept(&mut log, &disk) > 0);
    assert!(log.damages().is_empty());
    let mark = known(&log, true);
    log.close().unwrap();
    let (log, _) = open_known(&disk, mark);
    assert_eq!(log.damages(), []);
    assert_eq!(log.cursors().log_end().get(), end.get() + 1);
}

/// Two partitions with equally named segments, the second with other records, closed; and what is known of them.
fn two_partitions(config: LogConfig) -> (SimDisk, [PathBuf; 2], [Known; 2]) {
    let disk = new_disk();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dirs = [dir(), dir().with_file_name("1")];
    let known = [0, 1].map(|which| {
        let open =
            Log::open(Arc::clone(&shared), dirs[which].clone(), config, Known::default(), TimestampMs(0));
        let (mut log, _) = open.unwrap();
        log.begin_epoch(EPOCH).unwrap();
        for n in 0..20 {
            let batch = batch(&[10], 300 + 7 * which, 100 * which as u64 + n);
            log.append(batch, LeaderEpoch::ZERO, TimestampMs(0)).unwrap();
        }
        commit(&mut log, &disk);
        let known = known(&log, true);
        log.close().unwrap();
        known
    });
    (disk, dirs, known)
}

fn swap_files(disk: &SimDisk, one: &PathBuf, other: &PathBuf) {
    let contents = [one, other].map(|path| read_file(disk, path, u64::MAX).unwrap());
    for (path, contents) in [one, other].into_iter().zip(contents.into_iter().rev()) {
        disk.open(path, OpenMode::Truncate).unwrap().write_at(&[contents.into()], 0).unwrap();
    }
}

#[test]
fn a_segment_of_another_partition_is_not_served() {
    for segment_bytes in [small_config().segment_bytes, 1 << 20] {
        let config = LogConfig { segment_bytes, ..small_config() };
        let (disk, dirs, known) = two_partitions(config);
        let name = "00000000000000000000.log";
        let own = dirs.clone().map(|dir| read_file(&disk, &dir.join(name), u64::MAX).unwrap());
        swap_files(&disk, &dirs[0].join(name), &dirs[1].join(name));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        // The second is the shorter one now, and is found to be so.
        let open =
            |known: Known| Log::open(Arc::clone(&shared), dirs[0].clone(), config, known, TimestampMs(0));
        for _ in 0..2 {
            let (log, _) = open(known[0].clone()).unwrap();
            let damages = log.damages();
            let [range] = &damages[..] else { panic!("{damages:?}") };
            assert_eq!(range.damage.reason, DamageReason::OtherSegment);
            match reads_from(&log, 0) {
                Err(ReadError::Corrupt { next_good, .. }) => assert_eq!(next_good, Some(range.next_good)),
                other => panic!("{other:?}"),
            }
            log.close().unwrap();
            let stored = read_file(&disk, &dirs[0].join(name), u64::MAX).unwrap();
            assert_eq!(stored, own[1], "the file is left as it is");
        }
        // The right file put back is what it was.
        disk.open(&dirs[0].join(name), OpenMode::Truncate)
            .unwrap()
            .write_at(&[own[0].clone().into()], 0)
            .unwrap();
        let (log, _) = open(known[0].clone()).unwrap();
        assert_eq!(log.damages(), []);
        assert!(reads_from(&log, 0).unwrap() > 0);
    }
}

#[test]
fn a_directory_of_another_partition_is_not_opened_and_verify_says_so() {
    let (disk, dirs, _) = two_partitions(small_config());
    let contents = dirs.clone().map(|dir| {
        let names = disk.list(&dir).unwrap().into_iter().map(|entry| entry.name);
        let files: Vec<_> =
            names.map(|name| (read_file(&disk, &dir.join(&name), u64::MAX).unwrap(), name)).collect();
        files.iter().for_each(|(_, name)| disk.remove_file(&dir.join(name)).unwrap());
        files
    });
    for (dir, files) in dirs.iter().rev().zip(contents) {
        for (bytes, name) in files {
            let file = disk.open(&dir.join(name), OpenMode::CreateNew).unwrap();
            file.write_at(&[bytes.into()], 0).unwrap();
        }
    }
    let before = disk.calls();
    for dir in dirs {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let refused = Log::open(shared, dir.clone(), small_config(), Known::default(), TimestampMs(0));
        assert!(matches!(refused, Err(LogError::OtherPartition { .. })), "{refused:?}");
        let found = offline::verify(&disk, &dir, DecompressLimits::default()).unwrap().findings;
        assert!(matches!(&found[..], [Finding::OtherPartition { .. }]), "{found:?}");
    }
    assert_eq!(disk.calls(), before, "nothing was changed");
}
