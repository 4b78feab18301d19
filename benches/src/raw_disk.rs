//! What the disk itself does for the same pattern, in the same run.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

/// Appends `total_bytes` in pieces of `piece_bytes`, one sync after each; returns how long it took.
///
/// # Errors
/// The disk's.
pub fn raw_appends(path: &Path, total_bytes: usize, piece_bytes: usize) -> io::Result<Duration> {
    let piece: Vec<u8> = (0..piece_bytes).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let mut file = File::create(path)?;
    let began = Instant::now();
    for _ in 0..total_bytes.div_ceil(piece_bytes) {
        file.write_all(&piece)?;
        file.sync_data()?;
    }
    let took = began.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

/// The time of one small append with its sync: the mean over `count` of them.
///
/// # Errors
/// The disk's.
pub fn raw_latency(path: &Path, count: u32) -> io::Result<Duration> {
    Ok(raw_appends(path, 200 * count as usize, 200)? / count)
}
