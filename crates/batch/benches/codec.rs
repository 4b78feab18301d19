//! How fast batches are built, checked and read: `cargo bench -p corduroy-batch`.
//!
//! Prints the best of several runs, in records and megabytes (10^6 bytes of keys and values) a second, on one core.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use corduroy_batch::{
    AppendRules, Batch, BatchBuilder, BatchError, Compression, DecompressLimits, PushOutcome, crc32c,
    validate_for_append,
};
use corduroy_types::TimestampMs;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const BATCH_BYTES: u32 = 1024 * 1024;
const RUNS: usize = 7;

/// Lines like those of a log file: they compress as such files do.
fn lines(value_bytes: usize, count: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words =
        ["GET", "/api/v1/orders", "status=200", "user=", "took_ms=", "region=eu", "cache=miss", "id="];
    (0..count)
        .map(|_| {
            let mut line = Vec::with_capacity(value_bytes + 32);
            while line.len() < value_bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let word = usize::try_from(state >> 61).ok().and_then(|index| words.get(index));
                line.extend_from_slice(word.copied().unwrap_or_default().as_bytes());
                line.extend_from_slice((state >> 44 & 0xfff).to_string().as_bytes());
                line.push(b' ');
            }
            line.truncate(value_bytes);
            line
        })
        .collect()
}

fn build_all(
    builder: &mut BatchBuilder,
    lines: &[Vec<u8>],
    out: &mut impl FnMut(Bytes),
) -> Result<(), BatchError> {
    for line in lines {
        if builder.push(NOW, None, Some(line), [])? == PushOutcome::Full {
            out(builder.build()?);
            let PushOutcome::Added = builder.push(NOW, None, Some(line), [])? else { continue };
        }
    }
    out(builder.build()?);
    Ok(())
}

fn best(mut run: impl FnMut() -> Result<(), BatchError>) -> Result<Duration, BatchError> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let begun = Instant::now();
        run()?;
        best = best.min(begun.elapsed());
    }
    Ok(best)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(what: &str, codec: Compression, lines: &[Vec<u8>], time: Duration) {
    let bytes: usize = lines.iter().map(Vec::len).sum();
    println!(
        "{what:<24} {codec:<7} {:>9.0} MB/s {:>7.2} M records/s",
        bytes as f64 / time.as_secs_f64() / 1e6,
        lines.len() as f64 / time.as_secs_f64() / 1e6,
    );
}

fn one_shape(value_bytes: usize, total_bytes: usize) -> Result<(), BatchError> {
    let lines = lines(value_bytes, total_bytes / value_bytes);
    println!("values of {value_bytes} bytes, batches of {BATCH_BYTES} bytes");
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let mut batches = Vec::new();
        build_all(&mut BatchBuilder::new(codec, BATCH_BYTES), &lines, &mut |bytes| batches.push(bytes))?;
        let mut builder = BatchBuilder::new(codec, BATCH_BYTES);
        let time = best(|| build_all(&mut builder, &lines, &mut |bytes| drop(black_box(bytes))))?;
        report("build", codec, &lines, time);
        read_back(codec, &lines, &batches)?;
    }
    Ok(())
}

fn read_back(codec: Compression, lines: &[Vec<u8>], batches: &[Bytes]) -> Result<(), BatchError> {
    let rules = AppendRules::default();
    let time = best(|| {
        for bytes in batches {
            black_box(crc32c(black_box(bytes)));
        }
        Ok(())
    })?;
    report("crc-32c", codec, lines, time);
    let parsed = batches.iter().map(|bytes| Batch::parse(bytes.clone())).collect::<Result<Vec<_>, _>>()?;
    let time = best(|| {
        for batch in &parsed {
            black_box(validate_for_append(batch, &rules, NOW)?);
        }
        Ok(())
    })?;
    report("validate", codec, lines, time);
    let time = best(|| {
        for bytes in batches {
            let records = Batch::parse(bytes.clone())?.records(DecompressLimits::default())?;
            for record in &records {
                black_box(record?);
            }
        }
        Ok(())
    })?;
    report("parse, decode, iterate", codec, lines, time);
    Ok(())
}

fn main() -> Result<(), BatchError> {
    one_shape(100, 64 << 20)?;
    one_shape(1000, 64 << 20)
}
