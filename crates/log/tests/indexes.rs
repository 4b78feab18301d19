//! An index is a cache: whatever happens to its files, look-ups answer what the segment says, and nothing is damage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{NOW, at, batch, commit, dir, new_disk, small_config};
use corduroy_log::disk::{Disk, OpenMode, SimCall, SimDisk, read_file};
use corduroy_log::{Known, Log, LogConfig, RealDisk};
use corduroy_types::{LeaderEpoch, TimestampMs};

/// Batches in which some timestamps lie before those of the batch before.
fn timestamps(n: i64) -> [i64; 2] {
    [n * 10, n * 10 - 25]
}

fn fill(log: &mut Log, disk: &dyn Disk, batches: i64) {
    for n in 0..batches {
        log.append(batch(&timestamps(n), 40, n.cast_unsigned()), LeaderEpoch::ZERO, NOW).unwrap();
    }
    commit(log, disk);
}

/// What look-ups by offset and by time answer, by every way.
fn answers(log: &Log) -> Vec<(u64, Option<u64>)> {
    let end = log.cursors().log_end();
    let by_offset = (0..end.get()).step_by(3).map(|from| {
        let read = log.plan_read(at(from), 1, end).unwrap().perform().unwrap();
        (from, Some(read.next_offset.get()))
    });
    let by_time = (0..end.get()).map(|at| {
        let wanted = TimestampMs(at.cast_signed() * 5);
        let found = log.plan_time_lookup(wanted, end).perform().unwrap();
        (at, found.map(|found| found.offset.get()))
    });
    let greatest = log.plan_max_timestamp_lookup(end).perform().unwrap();
    by_offset.chain(by_time).chain([(0, greatest.map(|found| found.offset.get()))]).collect()
}

fn open(disk: Arc<dyn Disk>, dir: PathBuf, known: Known) -> Log {
    let config = LogConfig { index_interval_bytes: 200, ..small_config() };
    Log::open(disk, dir, config, known, NOW).unwrap().0
}

#[test]
fn no_flipped_bit_of_an_index_changes_an_answer_or_is_damage() {
    let disk = new_disk();
    let mut log = open(Arc::new(disk.clone()), dir(), Known::default());
    fill(&mut log, &disk, 60);
    let expected = answers(&log);
    log.close().unwrap();
    for suffix in ["index", "timeindex"] {
        let path = dir().join(format!("{:020}.{suffix}", 0));
        let sound = read_file(&disk, &path, u64::MAX).unwrap();
        assert!(sound.len() > 40, "{}", sound.len());
        for byte in 0..sound.len() {
            let disk = disk.fork();
            assert!(disk.damage(&path, byte as u64, |bytes| bytes[0] ^= 1 << (byte % 8)));
            let log = open(Arc::new(disk.clone()), dir(), Known::clean(true));
            assert_eq!(answers(&log), expected, "bit {} of byte {byte} of .{suffix}", byte % 8);
            assert_eq!(log.damages(), []);
            assert_eq!(read_file(&disk, &path, u64::MAX).unwrap(), sound, "it is written again");
        }
    }
}

#[test]
fn the_index_of_the_last_segment_is_believed_only_with_its_checksum() {
    let disk = new_disk();
    let config = LogConfig { segment_bytes: 1 << 20, index_interval_bytes: 200, ..small_config() };
    let open =
        |disk: &SimDisk, known| Log::open(Arc::new(disk.clone()), dir(), config, known, NOW).unwrap().0;
    let mut log = open(&disk, Known::default());
    fill(&mut log, &disk, 700);
    let (mark, expected) = (log.durable_mark(), answers(&log));
    assert!(log.stats().bytes > 64 << 10);
    log.close().unwrap();
    for suffix in ["index", "timeindex"] {
        let path = dir().join(format!("{:020}.{suffix}", 0));
        for byte in (3..600).step_by(37) {
            let disk = disk.fork();
            assert!(disk.damage(&path, byte, |bytes| bytes[0] ^= 1));
            let log = open(&disk, Known { mark: Some(mark), ..Known::clean(true) });
            assert_eq!(answers(&log), expected, "byte {byte} of .{suffix}");
            assert_eq!(log.damages(), []);
        }
    }
}

#[test]
fn an_index_that_cannot_be_read_costs_a_walk_through_its_segment() {
    let disk = new_disk();
    let mut log = open(Arc::new(disk.clone()), dir(), Known::default());
    fill(&mut log, &disk, 60);
    let expected = answers(&log);
    for nth in 0..4 {
        log.release_idle();
        // Reads of the segment fail too, which is an error of that read only.
        disk.fail_nth(SimCall::Read, nth);
        let end = log.cursors().log_end();
        let _may_fail = log.plan_read(at(5), 1, end).unwrap().perform();
        disk.heal();
        assert_eq!(answers(&log), expected, "read {nth} failed");
    }
    assert_eq!(log.damages(), []);
}

/// Idle logs are released under the lock that appends need.
#[test]
fn giving_back_what_is_idle_waits_for_no_reader_whose_disk_hangs() {
    // Of a sealed segment, and of the part of the active one that was there when the log was opened.
    for (call, from) in [(SimCall::Open, 1), (SimCall::Read, 1), (SimCall::Open, 119), (SimCall::Read, 119)] {
        let disk = new_disk();
        let mut log = open(Arc::new(disk.clone()), dir(), Known::default());
        fill(&mut log, &disk, 60);
        let known = Known { mark: Some(log.durable_mark()), ..Known::default() };
        drop(log);
        let mut log = open(Arc::new(disk.clone()), dir(), known);
        assert!(log.stats().segments > 1);
        log.release_idle();
        let plan = log.plan_read(at(from), 1, log.cursors().log_end()).unwrap();
        let gate = disk.hold(call);
        std::thread::scope(|threads| {
            let reader = threads.spawn(|| plan.perform().map(|read| read.next_offset));
            while gate.waiting() == 0 {
                std::thread::yield_now();
            }
            let (done, released) = std::sync::mpsc::channel();
            threads.spawn(move || {
                log.release_idle();
                done.send(()).unwrap();
            });
            // It returns at once; the time is there only so that a failure is no test that hangs.
            let in_time = released.recv_timeout(Duration::from_secs(30));
            gate.open();
            assert_eq!(reader.join().unwrap().unwrap(), at(from / 2 * 2 + 2), "{call:?} of {from}");
            assert_eq!(in_time, Ok(()), "{call:?} of {from}: it waited for the reader");
        });
    }
}

#[test]
fn an_index_file_that_is_cut_while_it_is_in_use_kills_no_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("5f0c54b6-0f0e-4d2c-9a43-6f4e0f1a2b3c/0");
    let mut log = open(RealDisk::shared(), dir.clone(), Known::default());
    fill(&mut log, &RealDisk, 60);
    log.release_idle();
    let expected = answers(&log);
    for suffix in ["index", "timeindex"] {
        let path = dir.join(format!("{:020}.{suffix}", 0));
        RealDisk.open(&path, OpenMode::ReadWrite).unwrap().set_len(0).unwrap();
        assert_eq!(answers(&log), expected, "as read before");
        log.release_idle();
        assert_eq!(answers(&log), expected, "built again");
        assert!(RealDisk.open(&path, OpenMode::Read).unwrap().len().unwrap() > 0, "and written again");
    }
    assert_eq!(log.damages(), []);
}
