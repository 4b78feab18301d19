//! Compaction of a log in which every key was written several times.

use std::{fs::File, io::Write, time::Instant};

use corduroy_batch::{Batch, BatchBuilder, Compression, PushOutcome};
use corduroy_benches::{Failure, median};
use corduroy_log::{
    CompactionConfig, CompactionProgress, CompactionStep, CompactionTotals, Disk, Log, LogConfig,
};
use corduroy_types::LeaderEpoch;

use crate::{
    Effort,
    data_dir::{NOW, Noise, commit, open_log},
    raw, table,
};

const LOG_BYTES: u64 = 256 << 20;
const BATCH_BYTES: u32 = 16 << 10;
/// On average each key is written this often.
const VERSIONS: u64 = 4;
const MAP_BYTES: u64 = 128 << 20;

/// One pass over logs with records of several sizes.
pub(crate) fn suite(effort: Effort) -> Result<(), Failure> {
    table::head(
        "Compaction, one pass on one thread",
        &[
            "value",
            "bytes in",
            "bytes out",
            "keys",
            "seconds",
            "MiB/s in",
            "records/s in",
            "raw disk: read twice, write, sync; MiB/s in",
            "ratio",
        ],
    );
    for value_bytes in [100, 1000] {
        let mut runs = Vec::new();
        for _ in 0..effort.rounds {
            runs.push(pass(effort.scaled(LOG_BYTES), value_bytes)?);
        }
        let of = |figure: fn(&Pass) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
        let rate = |bytes: u64, seconds: f64| bytes as f64 / f64::from(1 << 20) / seconds;
        let Some(first) = runs.first() else { continue };
        table::row([
            table::size(value_bytes as u64),
            table::whole(first.bytes as f64),
            table::whole(first.totals.copied_bytes as f64),
            table::whole(first.totals.keys as f64),
            table::two(of(|pass| pass.seconds)),
            table::whole(rate(first.bytes, of(|pass| pass.seconds))),
            table::whole(first.records as f64 / of(|pass| pass.seconds)),
            table::whole(rate(first.bytes, of(|pass| pass.raw_seconds))),
            table::two(of(|pass| pass.raw_seconds / pass.seconds)),
        ]);
    }
    Ok(())
}

struct Pass {
    bytes: u64,
    records: u64,
    totals: CompactionTotals,
    seconds: f64,
    raw_seconds: f64,
}

fn pass(bytes: u64, value_bytes: usize) -> Result<Pass, Failure> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("log");
    let config = LogConfig {
        tail_bytes: 0,
        segment_bytes: bytes / 8,
        compaction: Some(CompactionConfig::default()),
        ..LogConfig::default()
    };
    let (disk, mut log) = open_log(path.clone(), config)?;
    let records = fill_with_keys(&mut log, &*disk, bytes, value_bytes)?;
    let dirty =
        log.compaction_need(NOW, log.cursors().counted_end()).ok_or("it is not compacted")?.dirty_bytes;
    let records = records * dirty / log.stats().bytes;
    let began = Instant::now();
    let totals = compact(&mut log, &*disk)?;
    let seconds = began.elapsed().as_secs_f64();
    drop(log);
    let raw_seconds = repeat(&dir.path().join("raw"), dirty, totals.copied_bytes)?;
    Ok(Pass { bytes: dirty, records, totals, seconds, raw_seconds })
}

/// Appends batches of random keys; returns how many records.
fn fill_with_keys(log: &mut Log, disk: &dyn Disk, bytes: u64, value_bytes: usize) -> Result<u64, Failure> {
    let keys = bytes / (value_bytes as u64 + 30) / VERSIONS;
    let mut noise = Noise::new(value_bytes as u64);
    let value = vec![b'v'; value_bytes];
    let (mut appends, mut records) = (0_u64, 0);
    let mut builder = BatchBuilder::new(Compression::None, BATCH_BYTES);
    while log.stats().bytes < bytes {
        let key = format!("key-{:010}", noise.below(keys));
        if builder.push(NOW, Some(key.as_bytes()), Some(&value), std::iter::empty())? == PushOutcome::Added {
            records += 1;
            continue;
        }
        log.append(Batch::parse(builder.build()?)?, LeaderEpoch::ZERO, NOW)?;
        builder = BatchBuilder::new(Compression::None, BATCH_BYTES);
        appends += 1;
        if appends.is_multiple_of(256) {
            commit(log, disk)?;
        }
    }
    commit(log, disk)?;
    Ok(records)
}

fn compact(log: &mut Log, disk: &dyn Disk) -> Result<CompactionTotals, Failure> {
    let end = log.cursors().counted_end();
    let mut pass = log.plan_compaction(NOW, end, MAP_BYTES).ok_or("there is nothing to compact")?;
    loop {
        match pass.step(CompactionStep { max_bytes: 8 << 20 })? {
            CompactionProgress::More => {}
            CompactionProgress::Swap(swap) => {
                swap.commit(disk)?;
                if !log.apply_swap(&swap) {
                    return Err("a segment is gone".into());
                }
                swap.finish(disk)?;
            }
            CompactionProgress::Done(compacted) => {
                compacted.persist(disk)?;
                log.apply_compacted(&compacted);
                return Ok(pass.totals());
            }
        }
    }
}

/// The least that a pass asks of the disk: every byte read to learn the keys and again to copy, and the copy written
/// and synced. Returns the seconds.
fn repeat(path: &std::path::Path, bytes_in: u64, bytes_out: u64) -> Result<f64, Failure> {
    let piece = vec![7; 1 << 20];
    let mut source = File::create_new(path)?;
    for _ in 0..bytes_in.div_ceil(1 << 20) {
        source.write_all(&piece)?;
    }
    source.sync_all()?;
    let source = File::open(path)?;
    let began = Instant::now();
    for _ in 0..2 {
        for at in 0..bytes_in.div_ceil(1 << 20) {
            raw::read_at(&source, at << 20, 1 << 20)?;
        }
    }
    let mut copy = File::create_new(path.with_extension("copy"))?;
    for _ in 0..bytes_out.div_ceil(1 << 20) {
        copy.write_all(&piece)?;
    }
    copy.sync_all()?;
    Ok(began.elapsed().as_secs_f64())
}
