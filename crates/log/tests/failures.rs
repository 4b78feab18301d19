//! Failing, full and damaged disks: what is refused, what is reported, what goes on.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "a test may stop")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{NOW, at, batch, commit, dir, new_disk, open, read_all, small_config};
use corduroy_batch::DecompressLimits;
use corduroy_log::disk::{OpenMode, SimCall, read_file};
use corduroy_log::offline::{self, Finding};
use corduroy_log::{
    AppendError, DamageReason, DeleteRecordsError, Disk, Log, LogConfig, LogError, ReadError, SimDisk,
};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

fn append(log: &mut Log, batches: u64) {
    for seed in 0..batches {
        let seed = log.cursors().log_end().get() + seed;
        log.append(batch(&[seed.cast_signed(), 7], 400, seed), LeaderEpoch::ZERO, NOW).unwrap();
    }
}

fn segment_path(base: u64, suffix: &str) -> PathBuf {
    dir().join(format!("{base:020}.{suffix}"))
}

/// Some segments, all committed; the bases of the segments.
fn filled(disk: &SimDisk) -> (Log, Vec<u64>) {
    let (mut log, _) = open(disk, small_config(), false);
    for _ in 0..10 {
        append(&mut log, 4);
        commit(&mut log, disk);
    }
    let listing = offline::list(disk, &dir()).unwrap();
    let bases: Vec<u64> = listing.segments.iter().map(|segment| segment.base_offset.get()).collect();
    assert!(bases.len() > 3);
    (log, bases)
}

#[test]
fn a_failed_sync_stops_the_log_and_nothing_above_is_believed() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, small_config(), false);
    append(&mut log, 2);
    commit(&mut log, &disk);
    append(&mut log, 2);
    disk.fail_nth(SimCall::Sync, 0);
    let round = log.take_round().unwrap();
    assert!(log.take_round().is_none(), "one round at a time");
    append(&mut log, 1);
    let result = round.perform(&disk);
    let Err(LogError::StorageFailed(failure)) = log.round_done(result) else { panic!("not noticed") };
    assert_eq!(failure.lost, at(4)..at(10));
    assert!(failure.in_sync);
    let refused = log.append(batch(&[1], 1, 1), LeaderEpoch::ZERO, NOW).unwrap_err();
    assert_eq!(refused, AppendError::StorageFailed(failure));
    assert!(log.plan_read(at(4), 1 << 20, Offset::MAX).unwrap().perform().unwrap().bytes.is_empty());
    assert!(!log.plan_read(at(3), 1 << 20, Offset::MAX).unwrap().perform().unwrap().bytes.is_empty());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut log, report) = log.plan_reopen().unwrap().perform(&shared, NOW).unwrap();
    assert_eq!((log.cursors().log_end(), report.cut), (at(4), None));
    assert!(log.plan_reopen().is_none());
    append(&mut log, 1);
    commit(&mut log, &disk);
    disk.crash();
    assert_eq!(open(&disk, small_config(), false).0.cursors().log_end(), at(6));
}

#[test]
fn a_full_disk_stops_appends_and_recovers_when_space_returns() {
    let disk = new_disk();
    let (mut log, _) = filled(&disk);
    let end = log.cursors().durable_end();
    let used = disk.space(&dir()).unwrap();
    disk.set_capacity(Some(used.total_bytes - used.free_bytes + 300));
    append(&mut log, 3);
    let round = log.take_round().unwrap();
    assert!(log.round_done(round.perform(&disk)).is_err());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = log.plan_reopen().unwrap().perform(&shared, NOW).unwrap();
    assert_eq!(log.cursors().log_end(), end);
    assert!(!read_all(&log, at(0), end, 1 << 20, true).is_empty());
    disk.set_capacity(None);
    let mut log = log;
    append(&mut log, 3);
    commit(&mut log, &disk);
    assert_eq!(log.cursors().durable_end(), at(end.get() + 6));
}

#[test]
fn damage_in_a_sealed_segment_is_reported_skipped_and_never_cut() {
    let disk = new_disk();
    let (log, bases) = filled(&disk);
    let end = log.cursors().log_end();
    drop(log);
    let path = segment_path(bases[1], "log");
    // The second batch of the second segment, within its records.
    let first_bytes =
        offline::SegmentReader::open(&disk, &path).unwrap().next().unwrap().unwrap().batch.total_bytes();
    assert!(disk.damage(&path, u64::from(first_bytes) + 100, |bytes| bytes[0] ^= 1));
    let (mut log, report) = open(&disk, small_config(), false);
    assert_eq!(report.cut, None, "damage below a sound segment is not cut");
    assert_eq!(log.cursors().log_end(), end);
    let damaged = at(bases[1] + 2);
    let error = log.plan_read(damaged, 1 << 20, end).unwrap().perform().unwrap_err();
    let ReadError::Corrupt { damage, next_good: Some(next_good) } = error else { panic!("{error}") };
    assert_eq!((damage.file.clone(), damage.position, damage.offset), (path, first_bytes.into(), damaged));
    assert!(next_good > damaged && next_good <= at(bases[2]));
    assert!(!log.plan_read(next_good, 1 << 20, end).unwrap().perform().unwrap().bytes.is_empty());
    // What comes before it is served, up to it.
    let before = log.plan_read(at(bases[1]), 1 << 20, end).unwrap().perform().unwrap();
    assert_eq!(before.next_offset, damaged);
    append(&mut log, 2);
    commit(&mut log, &disk);
    let found = offline::verify(&disk, &dir(), DecompressLimits::default()).unwrap().findings;
    let [Finding::DamageWithin { damage, next_good: sound_from, sound_records }] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((damage.position, *sound_from), (u64::from(first_bytes), next_good));
    assert_eq!(*sound_records, (bases[2] - next_good.get()));
}

#[test]
fn a_flipped_bit_in_the_last_segment_is_no_torn_tail() {
    let disk = new_disk();
    let (log, bases) = filled(&disk);
    let end = log.cursors().log_end();
    drop(log);
    let last = *bases.last().unwrap();
    let path = segment_path(last, "log");
    let batches: Vec<_> = offline::SegmentReader::open(&disk, &path).unwrap().map(Result::unwrap).collect();
    assert!(batches.len() > 2, "{}", batches.len());
    // In each part of the first batch: offset, length, magic, checksum, counts, records.
    for byte in [7, 10, 11, 16, 20, 26, 60, 100] {
        assert!(disk.damage(&path, byte, |bytes| bytes[0] ^= 1));
        let found = offline::verify(&disk, &dir(), DecompressLimits::default()).unwrap();
        let next = batches[1].batch.header().base_offset;
        let [finding @ Finding::DamageWithin { damage, next_good, sound_records }] = &found.findings[..]
        else {
            panic!("byte {byte}: {:?}", found.findings)
        };
        assert!(finding.is_damage());
        assert_eq!((damage.position, *next_good), (0, next), "byte {byte}");
        assert_eq!(*sound_records, end.get() - next.get());
        assert!(finding.to_string().ends_with(&format!("follow from offset {next} on")), "{finding}");
        assert!(disk.damage(&path, byte, |bytes| bytes[0] ^= 1));
    }
    // The last batch is another matter: nothing distinguishes it from a write that was interrupted.
    let tail = batches.last().unwrap().position + 70;
    assert!(disk.damage(&path, tail, |bytes| bytes[0] ^= 1));
    let found = offline::verify(&disk, &dir(), DecompressLimits::default()).unwrap().findings;
    assert!(matches!(&found[..], [Finding::TornTail { .. }]), "{found:?}");
}

#[test]
fn a_flipped_bit_outside_the_checksum_is_found_too() {
    for (byte, bit) in [(7, 1), (0, 0x10), (6, 4), (11, 1), (8, 0x40), (16, 1)] {
        let disk = new_disk();
        let (log, bases) = filled(&disk);
        let end = log.cursors().log_end();
        let second = {
            let mut reader = offline::SegmentReader::open(&disk, &segment_path(bases[1], "log")).unwrap();
            reader.next().unwrap().unwrap().batch.total_bytes()
        };
        let damaged = disk.damage(&segment_path(bases[1], "log"), u64::from(second) + byte, |b| b[0] ^= bit);
        assert!(damaged);
        let read = log.plan_read(at(bases[1] + 2), 1 << 20, end).unwrap().perform();
        assert!(matches!(read, Err(ReadError::Corrupt { .. })), "byte {byte}: {read:?}");
        let found = offline::verify(&disk, &dir(), DecompressLimits::default()).unwrap().findings;
        assert!(found.iter().any(Finding::is_damage), "byte {byte}: {found:?}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_said_so() {
    for keep in [1_u64, 30, 61, 200] {
        let disk = new_disk();
        let (log, bases) = filled(&disk);
        drop(log);
        let path = segment_path(*bases.last().unwrap(), "log");
        let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
        let (sound, whole) = (file.len().unwrap(), batch(&[1], 500, 0).into_bytes());
        file.write_at(&[whole.slice(..keep as usize)], sound).unwrap();
        file.sync().unwrap();
        let found = offline::verify(&disk, &dir(), DecompressLimits::default()).unwrap().findings;
        assert!(matches!(&found[..], [Finding::TornTail { bytes, .. }] if *bytes == keep), "{found:?}");
        let (_, report) = open(&disk, small_config(), false);
        let cut = report.cut.unwrap();
        assert_eq!((cut.damage.position, cut.bytes), (sound, keep));
        assert_eq!(open(&disk, small_config(), false).1.cut, None);
    }
}

#[test]
fn a_missing_segment_is_a_hole_and_not_silence() {
    let disk = new_disk();
    let (log, bases) = filled(&disk);
    let end = log.cursors().log_end();
    drop(log);
    disk.remove_file(&segment_path(bases[2], "log")).unwrap();
    let (log, report) = open(&disk, small_config(), false);
    let reason = DamageReason::Missing { next: at(bases[3]) };
    assert!(matches!(&report.damages[..], [damage] if damage.damage.reason == reason), "{report:?}");
    let read = log.plan_read(at(bases[2]), 1 << 20, end).unwrap().perform();
    let Err(ReadError::Corrupt { next_good, .. }) = read else { panic!("{read:?}") };
    assert_eq!(next_good, Some(at(bases[3])));
}

#[test]
fn doubtful_indexes_are_not_believed() {
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 4] = [
        ("index", |bytes| bytes[4..8].copy_from_slice(&77_u32.to_be_bytes())),
        ("index", |bytes| bytes.fill(0)),
        ("index", |bytes| bytes[3] ^= 1),
        ("timeindex", |bytes| bytes.fill(0)),
    ];
    for (suffix, change) in changes {
        let disk = new_disk();
        let (log, bases) = filled(&disk);
        let end = log.cursors().log_end();
        let expected = read_all(&log, at(0), end, 1, false);
        let (time, greatest) =
            (log.plan_time_lookup(TimestampMs(20), end), log.plan_max_timestamp_lookup(end));
        let expected_times = (time.perform().unwrap(), greatest.perform().unwrap());
        drop(log);
        assert!(disk.damage(&segment_path(bases[1], suffix), 0, change));
        let (log, _) = open(&disk, small_config(), false);
        assert!(read_all(&log, at(0), end, 1, false) == expected, "a bad {suffix} changed what is read");
        let (time, greatest) =
            (log.plan_time_lookup(TimestampMs(20), end), log.plan_max_timestamp_lookup(end));
        assert_eq!((time.perform().unwrap(), greatest.perform().unwrap()), expected_times);
        let found = offline::verify(&disk, &dir(), DecompressLimits::default()).unwrap().findings;
        assert_eq!((found, log.damages()), (vec![], vec![]), "built again and written, and no damage");
    }
}

#[test]
fn a_read_that_deletion_overtakes_is_below_the_start() {
    let disk = new_disk();
    let (mut log, bases) = filled(&disk);
    log.release_idle();
    let end = log.cursors().log_end();
    let (plan, lookup) =
        (log.plan_read(at(1), 1 << 20, end).unwrap(), log.plan_time_lookup(TimestampMs(0), end));
    let removal = log.plan_delete_records(at(bases[2]), end).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    log.apply_removal(&removal).unwrap().remove(&disk).unwrap();
    assert!(
        matches!(plan.perform(), Err(ReadError::BelowStart { log_start, .. }) if log_start == at(bases[2]))
    );
    assert_eq!(lookup.perform().unwrap().unwrap().offset, at(bases[2]));
    let beyond = log.plan_delete_records(at(end.get() + 1), end);
    assert!(matches!(beyond, Err(DeleteRecordsError::AboveHighWatermark { .. })));
    assert!(log.plan_delete_records(at(1), end).unwrap().is_none(), "already gone");
}

#[test]
fn other_files_are_left_alone_and_reported() {
    let disk = new_disk();
    let (log, _) = filled(&disk);
    drop(log);
    disk.open(&dir().join("notes.txt"), OpenMode::CreateNew).unwrap();
    let (_, report) = open(&disk, small_config(), false);
    assert_eq!(report.unknown_files, ["notes.txt"]);
    assert!(disk.open(&dir().join("notes.txt"), OpenMode::Read).is_ok());
}

#[test]
fn a_segment_of_old_records_is_rolled_and_then_deleted() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, LogConfig { retention_ms: Some(1_000), ..small_config() }, false);
    append(&mut log, 3);
    commit(&mut log, &disk);
    let (now, end) = (TimestampMs(5_000), log.cursors().counted_end());
    assert!(log.plan_retention(now, at(2)).is_none(), "not beyond the high watermark");
    assert!(log.plan_retention(now, end).is_none(), "rolled first");
    commit(&mut log, &disk);
    let removal = log.plan_retention(now, end).unwrap();
    removal.persist(&disk).unwrap();
    let obsolete = log.apply_removal(&removal).unwrap();
    assert_eq!(obsolete.segments(), 1);
    obsolete.remove(&disk).unwrap();
    assert_eq!((log.cursors().log_start(), log.cursors().log_end()), (end, end));
    disk.crash();
    let (log, _) = open(&disk, small_config(), false);
    assert_eq!((log.cursors().log_start(), log.cursors().log_end()), (end, end));
}

#[test]
fn deletion_leaves_alone_what_a_round_has_still_to_seal() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, LogConfig { retention_ms: Some(1_000), ..small_config() }, false);
    append(&mut log, 3);
    commit(&mut log, &disk);
    let end = log.cursors().counted_end();
    assert!(
        log.plan_retention(TimestampMs(5_000), end).is_none(),
        "rolled, and to be sealed by the next round"
    );
    let removal = log.plan_delete_records(end, end).unwrap().unwrap();
    removal.persist(&disk).unwrap();
    let obsolete = log.apply_removal(&removal).unwrap();
    assert_eq!(obsolete.segments(), 0);
    obsolete.remove(&disk).unwrap();
    log.release_idle();
    commit(&mut log, &disk);
    assert_eq!(log.cursors().log_start(), end);
    let removal = log.plan_retention(TimestampMs(5_000), end).unwrap();
    removal.persist(&disk).unwrap();
    assert_eq!(log.apply_removal(&removal).unwrap().segments(), 1, "the next retention takes it away");
}

#[test]
fn a_clean_close_makes_the_indexes_durable() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, LogConfig { segment_bytes: 1 << 20, ..small_config() }, false);
    while log.stats().bytes < 100_000 {
        append(&mut log, 4);
        commit(&mut log, &disk);
    }
    log.close().unwrap();
    let contents = |suffix| read_file(&disk, &segment_path(0, suffix), u64::MAX).unwrap();
    let before = (contents("index"), contents("timeindex"));
    assert!(!before.0.is_empty() && !before.1.is_empty());
    disk.crash();
    assert_eq!((contents("index"), contents("timeindex")), before);
}

#[test]
fn a_small_idle_log_is_closed_and_opened_without_a_change_of_the_disk() {
    let disk = new_disk();
    let (mut log, _) = open(&disk, LogConfig::default(), false);
    append(&mut log, 8);
    commit(&mut log, &disk);
    let (end, calls) = (log.cursors().log_end(), disk.calls());
    log.close().unwrap();
    let (log, report) = open(&disk, LogConfig::default(), true);
    assert_eq!((log.cursors().durable_end(), report.cut), (end, None));
    assert_eq!(disk.calls(), calls);
}
