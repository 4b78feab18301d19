//! Measures the log next to the raw disk, in one run: appends with sync, and sequential reads that are warm.
//!
//! `cargo bench -p corduroy-log` writes under `TMPDIR`, prints a line for each figure, and removes its files.

#![allow(clippy::unwrap_used, reason = "a measurement may stop")]
#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_log::{Disk, Known, Log, LogConfig, ReadCursor, RealDisk};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

const NOW: TimestampMs = TimestampMs(0);
const MIB: usize = 1 << 20;

/// A batch of about `bytes` bytes, of records of 1000 bytes, or one record if it is smaller.
fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, u32::try_from(bytes).unwrap());
    let value = vec![b'x'; bytes.min(1_000) - 80.min(bytes / 2)];
    while builder.push(NOW, None, Some(&value), std::iter::empty()).is_ok_and(|out| out == PushOutcome::Added)
    {
    }
    Batch::parse(builder.build().unwrap()).unwrap()
}

fn open(dir: &Path, tail_bytes: u64) -> (Arc<dyn Disk>, Log) {
    let disk = RealDisk::shared();
    let config = LogConfig { tail_bytes, ..LogConfig::default() };
    let (log, _) = Log::open(Arc::clone(&disk), dir.join("log/0"), config, Known::default(), NOW).unwrap();
    (disk, log)
}

/// MB/s of the log, with `per_round` batches in each commit round.
fn append_with_sync(dir: &Path, batch: &Batch, rounds: u32, per_round: u32) -> f64 {
    let (disk, mut log) = open(dir, 0);
    let begin = Instant::now();
    for _ in 0..rounds {
        for _ in 0..per_round {
            log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
        }
        while let Some(round) = log.take_round() {
            log.round_done(round.perform(&*disk)).unwrap();
        }
    }
    rate(u64::from(rounds * per_round) * u64::from(batch.total_bytes()), begin)
}

/// MB/s of the same writes and syncs, straight to a file.
fn raw_with_sync(dir: &Path, bytes: usize, rounds: u32) -> f64 {
    let file = OpenOptions::new().write(true).create_new(true).open(dir.join("raw")).unwrap();
    let data = vec![b'x'; bytes];
    let begin = Instant::now();
    for round in 0..rounds {
        file.write_all_at(&data, u64::from(round) * bytes as u64).unwrap();
        file.sync_data().unwrap();
    }
    let rate = rate(u64::from(rounds) * bytes as u64, begin);
    std::fs::remove_file(dir.join("raw")).unwrap();
    rate
}

/// GB/s of reading everything from its start, from the page cache.
fn read_warm(log: &Log, max_bytes: u32) -> f64 {
    let end = log.cursors().log_end();
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let (mut cursor, mut bytes) = (ReadCursor::from(Offset::ZERO), 0);
        let begin = Instant::now();
        while cursor.offset < end {
            let read = log.plan_read_at(cursor, max_bytes, end).unwrap().perform().unwrap();
            bytes += read.bytes.len() as u64;
            cursor = read.next;
        }
        best = best.max(rate(bytes, begin));
    }
    best / 1_000.0
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(bytes: u64, begin: Instant) -> f64 {
    bytes as f64 / 1e6 / begin.elapsed().as_secs_f64()
}

fn main() {
    for (name, bytes, rounds, per_round) in
        [("1 MiB", MIB, 256, 1), ("1 MiB x 8", MIB, 64, 8), ("1 KiB x 64", 1 << 10, 400, 64)]
    {
        let batch = batch(bytes);
        let mut ratios: Vec<(f64, f64, f64)> = (0..5)
            .map(|_| {
                let dir = tempfile::tempdir().unwrap();
                let whole = batch.total_bytes() as usize * per_round as usize;
                let raw = raw_with_sync(dir.path(), whole, rounds);
                let log = append_with_sync(dir.path(), &batch, rounds, per_round);
                (log / raw, log, raw)
            })
            .collect();
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((ratio, log, raw)) = ratios.get(2) {
            println!(
                "append with sync, {name} a round: {log:.0} MB/s, raw disk {raw:.0} MB/s, ratio {ratio:.2}"
            );
        }
    }
    for bytes in [MIB, 16 << 10, 1 << 10] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, mut log) = open(dir.path(), 0);
        let batch = batch(bytes);
        while log.stats().bytes < 512 * MIB as u64 {
            for _ in 0..8 * MIB / bytes {
                log.append(batch.clone(), LeaderEpoch::ZERO, NOW).unwrap();
            }
            while let Some(round) = log.take_round() {
                log.round_done(round.perform(&*disk)).unwrap();
            }
        }
        for max_bytes in [256 << 10, 1 << 20, 8 << 20] {
            let rate = read_warm(&log, max_bytes);
            println!(
                "sequential read, warm, batches of {bytes} B, {} KiB a read: {rate:.2} GB/s",
                max_bytes >> 10
            );
        }
        let begin = Instant::now();
        let (_, report) =
            Log::open(disk, dir.path().join("log/0"), *log.config(), Known::default(), NOW).unwrap();
        println!("recovery of {} bytes: {:.0} MB/s", report.scanned_bytes, rate(report.scanned_bytes, begin));
    }
}
