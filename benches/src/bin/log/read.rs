//! Reads from files: in order and at random, from the page cache and after it was emptied.

use std::{path::Path, time::Instant};

use corduroy_batch::crc32c;
use corduroy_benches::{Failure, median};
use corduroy_log::{Log, LogConfig, ReadCursor};
use corduroy_types::Offset;

use crate::{
    Effort,
    data_dir::{Noise, batch, fill, open_log},
    raw, table,
};

const LOG_BYTES: u64 = 512 << 20;
const RANDOM_WARM: u64 = 100_000;
const RANDOM_COLD: u64 = 2_000;

/// Batches of many records, of some, and of one.
const SIZES: [(&str, usize, u32); 3] =
    [("1 MiB", 1000, 1 << 20), ("16 KiB", 100, 16 << 10), ("1 KiB", 1024 - 80, 1)];

/// All reads.
pub(crate) fn suite(effort: Effort) -> Result<(), Failure> {
    let mut logs = Vec::new();
    for (name, value_bytes, batch_bytes) in SIZES {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("log");
        // Nothing is kept in memory: every read goes to the file.
        let (disk, mut log) = open_log(path.clone(), LogConfig { tail_bytes: 0, ..LogConfig::default() })?;
        let (batch, records) = batch(value_bytes, batch_bytes)?;
        fill(&mut log, &*disk, &batch, effort.scaled(LOG_BYTES))?;
        logs.push(Stored { name, path, log, batch_bytes: batch.total_bytes(), records, _dir: dir });
    }
    in_order(effort, &logs)?;
    at_random(effort, &logs)
}

struct Stored {
    name: &'static str,
    path: std::path::PathBuf,
    log: Log,
    batch_bytes: u32,
    records: u32,
    _dir: tempfile::TempDir,
}

fn in_order(effort: Effort, logs: &[Stored]) -> Result<(), Failure> {
    table::head(
        "Sequential read",
        &[
            "batches",
            "page cache",
            "a read",
            "log, GB/s",
            "raw pread, GB/s",
            "ratio",
            "CRC-32C alone, GB/s",
            "from disk",
        ],
    );
    for stored in logs {
        let bytes = stored.log.stats().bytes;
        let crc = checksum_rate(stored.batch_bytes as usize, bytes)?;
        for (cold, read_bytes) in [(false, 1 << 20), (false, 8 << 20), (true, 1 << 20)] {
            let mut runs = Vec::new();
            for _ in 0..effort.rounds {
                prepare(&stored.path, cold)?;
                let before = raw::disk_read_bytes();
                let seconds = read_log(&stored.log, read_bytes)?;
                let from_disk = raw::disk_read_bytes().zip(before).map(|(after, before)| after - before);
                prepare(&stored.path, cold)?;
                let raw_seconds = raw::read_all(&stored.path, read_bytes as usize)?;
                runs.push([seconds, raw_seconds, from_disk.unwrap_or(0) as f64]);
            }
            let of = |figure: fn(&[f64; 3]) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
            let gigabytes = bytes as f64 / 1e9;
            table::row([
                stored.name.to_owned(),
                state(cold),
                table::size(read_bytes.into()),
                table::two(gigabytes / of(|run| run[0])),
                table::two(gigabytes / of(|run| run[1])),
                table::two(of(|run| run[1] / run[0])),
                table::two(crc),
                format!("{:.0} %", 100.0 * of(|run| run[2]) / bytes as f64),
            ]);
        }
    }
    Ok(())
}

fn at_random(effort: Effort, logs: &[Stored]) -> Result<(), Failure> {
    table::head(
        "Random read, one batch each",
        &["batches", "page cache", "log, reads/s", "median, us", "raw pread, reads/s", "ratio"],
    );
    for stored in logs.iter().filter(|stored| stored.batch_bytes < 1 << 17) {
        for (cold, count) in [(false, RANDOM_WARM), (true, RANDOM_COLD)] {
            let count = effort.scaled(count);
            let mut runs = Vec::new();
            for round in 0..effort.rounds {
                prepare(&stored.path, cold)?;
                let (seconds, middle_us) = read_batches(stored, count, round as u64)?;
                prepare(&stored.path, cold)?;
                let raw_seconds = read_pieces(stored, count, round as u64)?;
                runs.push([seconds, raw_seconds, middle_us]);
            }
            let of = |figure: fn(&[f64; 3]) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
            table::row([
                stored.name.to_owned(),
                state(cold),
                table::whole(count as f64 / of(|run| run[0])),
                format!("{:.1}", of(|run| run[2])),
                table::whole(count as f64 / of(|run| run[1])),
                table::two(of(|run| run[1] / run[0])),
            ]);
        }
    }
    Ok(())
}

fn state(cold: bool) -> String {
    if cold { "cold" } else { "warm" }.to_owned()
}

/// Empties the page cache of these files, or fills it.
fn prepare(path: &Path, cold: bool) -> Result<(), Failure> {
    if cold { raw::forget(path) } else { raw::read_all(path, 8 << 20).map(drop) }
}

/// Seconds to read all of a log.
fn read_log(log: &Log, read_bytes: u32) -> Result<f64, Failure> {
    let end = log.cursors().log_end();
    let (mut cursor, mut bytes) = (ReadCursor::from(Offset::ZERO), 0);
    let began = Instant::now();
    while cursor.offset < end {
        let read = log.plan_read_at(cursor, read_bytes, end)?.perform()?;
        bytes += read.bytes.len() as u64;
        cursor = read.next;
    }
    let seconds = began.elapsed().as_secs_f64();
    if bytes == log.stats().bytes {
        Ok(seconds)
    } else {
        Err(format!("{bytes} of {} bytes were read", log.stats().bytes).into())
    }
}

/// Seconds to read batches at random offsets, and the median of their microseconds.
fn read_batches(stored: &Stored, count: u64, seed: u64) -> Result<(f64, f64), Failure> {
    let end = stored.log.cursors().log_end();
    let mut noise = Noise::new(seed + 1);
    let mut each_us = Vec::with_capacity(usize::try_from(count)?);
    let began = Instant::now();
    for _ in 0..count {
        let from = Offset::new(noise.below(end.get())).ok_or("not an offset")?;
        let this = Instant::now();
        let read = stored.log.plan_read(from, 1, end)?.perform()?;
        each_us.push(this.elapsed().as_secs_f64() * 1e6);
        if read.bytes.len() != stored.batch_bytes as usize {
            return Err(format!("{} bytes were read at {from}", read.bytes.len()).into());
        }
    }
    Ok((began.elapsed().as_secs_f64(), median(&each_us)))
}

/// Seconds to read the same batches by their positions.
fn read_pieces(stored: &Stored, count: u64, seed: u64) -> Result<f64, Failure> {
    let segments = raw::segments(&stored.path)?;
    let end = stored.log.cursors().log_end().get();
    let mut noise = Noise::new(seed + 1);
    let batch_bytes = u64::from(stored.batch_bytes);
    let began = Instant::now();
    for _ in 0..count {
        let mut at = noise.below(end) / u64::from(stored.records) * batch_bytes;
        for (file, bytes) in &segments {
            if at < *bytes {
                raw::read_at(file, at, stored.batch_bytes as usize)?;
                break;
            }
            at -= bytes;
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// GB/s of checksums over memory, in pieces of a batch: what a read costs beyond fetching bytes.
fn checksum_rate(batch_bytes: usize, bytes: u64) -> Result<f64, Failure> {
    // More than a processor's caches hold.
    let memory: Vec<u8> = (0..64 << 20).map(|at: usize| (at % 251).to_le_bytes()[0]).collect();
    let mut done = 0;
    let began = Instant::now();
    while done < bytes {
        for piece in memory.chunks(batch_bytes) {
            std::hint::black_box(crc32c(piece));
            done += piece.len() as u64;
        }
    }
    Ok(done as f64 / 1e9 / began.elapsed().as_secs_f64())
}
