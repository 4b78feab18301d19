//! The same log on the operating system's file system.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::{Model, NOW, batch, commit, compare, small_config};
use corduroy_batch::DecompressLimits;
use corduroy_log::disk::{OpenMode, read_file, replace_file};
use corduroy_log::{Disk, Known, Log, LogConfig, RealDisk, offline};
use corduroy_types::{LeaderEpoch, TimestampMs};

fn open(dir: &Path, clean: bool) -> Log {
    let (log, report) =
        Log::open(RealDisk::shared(), dir.to_owned(), small_config(), Known::clean(clean), NOW).unwrap();
    assert_eq!((report.cut, report.damages), (None, vec![]));
    log
}

#[test]
fn a_log_on_real_files_is_the_model() {
    let data_dir = tempfile::tempdir().unwrap();
    let dir = data_dir.path().join("5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/7");
    let mut log = open(&dir, false);
    let mut model = Model::default();
    for round in 0..40_u32 {
        for seed in 0..3 {
            let timestamps = vec![i64::from(round * 13 % 29), 4];
            let batch = batch(&timestamps, 700, u64::from(round) * 3 + seed);
            let appended = log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
            model.append(batch, timestamps, LeaderEpoch::ZERO, appended);
        }
        commit(&mut log, &RealDisk);
        match round {
            10 => log = open(&dir, false), // as after a kill: the files are in the page cache
            20 => {
                log.close().unwrap();
                log = open(&dir, true);
            }
            30 => {
                let end = log.cursors().counted_end();
                let removal = log.plan_delete_records(end.saturating_sub(20), end).unwrap().unwrap();
                removal.persist(&RealDisk).unwrap();
                log.apply_removal(&removal).unwrap().remove(&RealDisk).unwrap();
                model.log_start = removal.log_start().get();
            }
            _ => {}
        }
        compare(&log, &model);
    }
    let end = log.cursors().log_end();
    let found = log.plan_time_lookup(TimestampMs(20), end).perform().unwrap();
    let found = found.map(|found| (found.offset.get(), found.timestamp.0));
    assert_eq!(found, model.first_at_or_after(20, end.get()));
    log.close().unwrap();
    let verification = offline::verify(&RealDisk, &dir, DecompressLimits::default()).unwrap();
    assert_eq!(verification.findings, []);
    let partitions = offline::partitions(&RealDisk, data_dir.path()).unwrap();
    assert!(matches!(&partitions[..], [one] if one.path == dir && one.partition.0 == 7));
    let stats = offline::stats(&RealDisk, &dir).unwrap();
    assert_eq!((stats.log_end, stats.records), (end, verification.records));
}

#[test]
fn many_small_parts_and_a_large_one_are_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
    let parts: Vec<Bytes> = (0..2_500_u32)
        .map(|n| Bytes::from(n.to_be_bytes()[4 - (n % 5) as usize..].to_vec()))
        .chain([Bytes::from(vec![7; 3 << 20]), Bytes::new()])
        .collect();
    file.write_at(&parts, 5).unwrap();
    file.sync().unwrap();
    let expected = parts.concat();
    let mut read = vec![1];
    assert_eq!(file.read_at(&mut read, 5, expected.len() + 99).unwrap(), expected.len());
    assert!(read[0] == 1 && read[1..] == expected[..]);
    file.set_len(7).unwrap();
    assert_eq!(file.len().unwrap(), 7);
    assert!(RealDisk.open(&path, OpenMode::CreateNew).is_err());
}

#[test]
fn small_files_are_replaced_and_read_within_limits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    for contents in ["first", "second"] {
        replace_file(&RealDisk, &path, Bytes::from_static(contents.as_bytes())).unwrap();
        assert_eq!(read_file(&RealDisk, &path, 10).unwrap(), contents.as_bytes());
    }
    let error = read_file(&RealDisk, &path, 3).unwrap_err();
    assert!(error.to_string().contains("6 bytes, more than the 3"), "{error}");
    assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1, "no temporary file stays");
    assert!(RealDisk.space(dir.path()).unwrap().total_bytes > 0);
    assert_eq!(read_file(&RealDisk, &path, u64::MAX).unwrap(), b"second");
}

#[test]
fn files_are_opened_again_after_an_idle_log_gave_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("t/0");
    let config = LogConfig { tail_bytes: 1 << 20, ..small_config() };
    let disk: Arc<dyn Disk> = RealDisk::shared();
    let (mut log, _) = Log::open(Arc::clone(&disk), dir, config, Known::default(), NOW).unwrap();
    let mut model = Model::default();
    for seed in 0..30 {
        let batch = batch(&[3], 500, seed);
        let appended = log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
        model.append(batch, vec![3], LeaderEpoch::ZERO, appended);
        commit(&mut log, &*disk);
        log.release_idle();
        assert_eq!(log.stats().tail_bytes, 0);
    }
    compare(&log, &model);
}
