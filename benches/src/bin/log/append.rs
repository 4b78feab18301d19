//! Appends, with sync and without.

use std::time::Duration;

use corduroy_batch::Batch;
use corduroy_benches::{Failure, median};
use corduroy_log::LogConfig;
use corduroy_types::Durability;
use tokio::runtime::Runtime;

use crate::{
    Effort,
    data_dir::{DataDir, batch},
    load::{self, Load, Outcome},
    raw::{self, RawFiles},
    table,
};

const PARTITIONS: [u32; 4] = [1, 10, 100, 1000];
const WRITERS: [usize; 3] = [1, 8, 64];
const CELL: Duration = Duration::from_millis(400);
/// What is left behind by large batches is bounded.
const CELL_BYTES: u64 = 192 << 20;
/// Appends that a writer has in flight when it does not wait for each.
const IN_FLIGHT: usize = 64;

/// One line of a table.
struct Cell {
    name: &'static str,
    batch: Batch,
    writers: usize,
    in_flight: usize,
}

impl Cell {
    fn load(&self, effort: Effort) -> Load {
        Load {
            batch: self.batch.clone(),
            writers: self.writers,
            in_flight: self.in_flight,
            time: CELL / if effort.quick { 16 } else { 1 },
            max_bytes: effort.scaled(CELL_BYTES),
        }
    }
}

/// One record of each size, and a whole batch of many.
fn batches() -> Result<[(&'static str, Batch); 3], Failure> {
    Ok([("100 B", batch(100, 1)?.0), ("1 KiB", batch(1024, 1)?.0), ("1 MiB", batch(1000, 1 << 20)?.0)])
}

/// Appends with sync, on many partitions and with many writers.
pub(crate) fn with_sync(effort: Effort) -> Result<(), Failure> {
    table::head(
        "Append with sync",
        &[
            "partitions",
            "batch",
            "writers",
            "in flight each",
            "appends/s",
            "MB/s",
            "median wait, us",
            "appends a sync",
            "through the journal",
            "checkpoints",
            "raw disk, appends/s",
            "ratio",
        ],
    );
    let runtime = Runtime::new()?;
    for partitions in PARTITIONS {
        let mut cells = Vec::new();
        for (name, batch) in batches()? {
            for writers in WRITERS {
                cells.push(Cell { name, batch: batch.clone(), writers, in_flight: 1 });
            }
            if batch.total_bytes() < 1 << 16 {
                cells.push(Cell { name, batch, writers: 64, in_flight: IN_FLIGHT });
            }
        }
        measure(effort, partitions, LogConfig::default(), &cells, &runtime)?;
    }
    println!("\nOne record in each append of 100 B or 1 KiB, records of 1000 B in those of 1 MiB.");
    Ok(())
}

/// Appends that count at once; what is measured is how fast they get into the page cache.
pub(crate) fn background(effort: Effort) -> Result<(), Failure> {
    table::head(
        "Append without sync (durability background)",
        &[
            "partitions",
            "batch",
            "writers",
            "in flight each",
            "appends/s",
            "MB/s",
            "median until written, us",
            "appends a write",
            "through the journal",
            "checkpoints",
            "raw disk, appends/s",
            "ratio",
        ],
    );
    let runtime = Runtime::new()?;
    let config = LogConfig { durability: Durability::Background, ..LogConfig::default() };
    for partitions in [1, 1000] {
        let cells: Vec<_> = batches()?
            .into_iter()
            .map(|(name, batch)| {
                let in_flight = if batch.total_bytes() < 1 << 16 { 256 } else { 1 };
                Cell { name, batch, writers: 8, in_flight }
            })
            .collect();
        measure(effort, partitions, config, &cells, &runtime)?;
    }
    Ok(())
}

fn measure(
    effort: Effort,
    partitions: u32,
    config: LogConfig,
    cells: &[Cell],
    runtime: &Runtime,
) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let data_dir = DataDir::make(dir.path(), partitions, config)?;
    let mut raw_files = RawFiles::make(&dir.path().join("raw"), partitions)?;
    for cell in cells {
        let mut pairs = Vec::new();
        for _ in 0..effort.rounds {
            raw::settle(dir.path())?;
            let outcome = load::run(&data_dir, &cell.load(effort), runtime)?;
            raw::settle(dir.path())?;
            let raw_seconds = raw_files.repeat(&outcome.trace, 2 * CELL)?;
            pairs.push((outcome, raw_seconds));
        }
        row(partitions, cell, &pairs);
    }
    Ok(())
}

fn row(partitions: u32, cell: &Cell, pairs: &[(Outcome, f64)]) {
    let of = |figure: &dyn Fn(&Outcome, f64) -> f64| {
        median(&pairs.iter().map(|(outcome, raw_seconds)| figure(outcome, *raw_seconds)).collect::<Vec<_>>())
    };
    let rate = of(&|outcome, _| outcome.rate());
    let commits = |outcome: &Outcome| outcome.trace.len().max(1) as f64;
    table::row([
        partitions.to_string(),
        cell.name.to_owned(),
        cell.writers.to_string(),
        cell.in_flight.to_string(),
        table::whole(rate),
        table::whole(rate * f64::from(cell.batch.total_bytes()) / 1e6),
        table::whole(of(&|outcome, _| outcome.wait_us)),
        format!("{:.1}", of(&|outcome, _| outcome.appends as f64 / commits(outcome))),
        format!("{:.0} %", of(&|outcome, _| 100.0 * outcome.journaled as f64 / commits(outcome))),
        table::whole(of(&|outcome, _| outcome.checkpoints as f64)),
        table::whole(of(&|outcome, raw_seconds| outcome.appends as f64 / raw_seconds)),
        table::two(of(&|outcome, raw_seconds| raw_seconds / outcome.seconds)),
    ]);
}
