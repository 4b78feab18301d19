//! How long it takes to open a log after a crash, by how much of it was not known to be durable.

use std::time::Instant;

use corduroy_benches::{Failure, median};
use corduroy_log::{Known, Log, LogConfig};
use corduroy_types::Durability;

use crate::{
    Effort,
    data_dir::{NOW, batch, disk, fill, open_log},
    raw, table,
};

/// Bytes before the durable mark, which recovery must not read.
const DURABLE_BYTES: u64 = 128 << 20;
const UNSYNCED_BYTES: [u64; 4] = [0, 16 << 20, 64 << 20, 256 << 20];

/// Recovery with batches of 16 KiB, with the page cache as a killed process leaves it, and empty as after power loss.
pub(crate) fn suite(effort: Effort) -> Result<(), Failure> {
    table::head(
        "Recovery of one log, by bytes behind the durable mark",
        &[
            "unsynced",
            "page cache",
            "to open, ms",
            "bytes scanned",
            "and for producers",
            "raw pread of those unsynced, ms",
            "ratio",
        ],
    );
    for unsynced in UNSYNCED_BYTES {
        for cold in [false, true] {
            let mut runs = Vec::new();
            for _ in 0..effort.rounds {
                runs.push(recover(effort.scaled(DURABLE_BYTES), effort.scaled(unsynced), cold)?);
            }
            let of = |figure: fn(&[f64; 4]) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
            table::row([
                table::size(effort.scaled(unsynced)),
                if cold { "cold" } else { "warm" }.to_owned(),
                table::two(of(|run| run[0]) * 1e3),
                table::whole(of(|run| run[1])),
                table::whole(of(|run| run[3])),
                table::two(of(|run| run[2]) * 1e3),
                table::two(of(|run| run[2] / run[0])),
            ]);
        }
    }
    println!("\nThe log has {} before the mark.", table::size(effort.scaled(DURABLE_BYTES)));
    Ok(())
}

/// Seconds to open, bytes scanned, seconds of reading as many bytes, bytes scanned for the state of producers.
fn recover(durable: u64, unsynced: u64, cold: bool) -> Result<[f64; 4], Failure> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("log");
    // One segment: what was sealed is known to be whole and is not looked at.
    let config = LogConfig { tail_bytes: 0, segment_bytes: 1 << 30, ..LogConfig::default() };
    let (disk_used, mut log) = open_log(path.clone(), config)?;
    let (batch, _) = batch(100, 16 << 10)?;
    fill(&mut log, &*disk_used, &batch, durable)?;
    let mark = log.durable_mark();
    log.set_config(LogConfig { durability: Durability::Background, ..config });
    fill(&mut log, &*disk_used, &batch, durable + unsynced)?;
    drop(log);
    // What the disk has yet to write is no part of recovery.
    for (file, _) in raw::segments(&path)? {
        file.sync_all()?;
    }
    if cold {
        raw::forget(&path)?;
    }
    let known = Known { mark: Some(mark), ..Known::default() };
    let began = Instant::now();
    let (log, report) = Log::open(disk(), path.clone(), config, known, NOW)?;
    let seconds = began.elapsed().as_secs_f64();
    let behind = log.stats().bytes - mark.position;
    if log.stats().bytes < durable + unsynced || report.scanned_bytes < behind {
        return Err(format!("not all was recovered: {report:?}").into());
    }
    drop(log);
    if cold {
        raw::forget(&path)?;
    }
    let began = Instant::now();
    for (file, bytes) in raw::segments(&path)? {
        for at in (durable.min(bytes)..bytes).step_by(1 << 20) {
            raw::read_at(&file, at, usize::try_from((bytes - at).min(1 << 20))?)?;
        }
    }
    let raw_seconds = began.elapsed().as_secs_f64();
    Ok([seconds, report.scanned_bytes as f64, raw_seconds, report.producer_scanned_bytes as f64])
}
