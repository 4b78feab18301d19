//! Putting a repaired metadata log in the place of the damaged one, which is kept.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use corduroy_batch::{Batch, BatchBuilder, BatchError, Compression, PushOutcome};
use corduroy_log::{Disk, Journal, JournalConfig, Known, Log, LogError, RealDisk, journal::JournalRequest};
use corduroy_metadata::Record;
use corduroy_types::{ErrorCode, LeaderEpoch, TimestampMs};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::stored::{KEY, log_config};
use crate::{commands::log::from_log, error::CliError};

/// The directory in which the new log is written.
const NEW_DIR: &str = "metadata.repaired";
/// Bytes of one batch.
const BATCH_BYTES: u32 = 1 << 20;

/// Writes the records as a new metadata log, puts it in the place of the old one, and has the commit journal forget
/// the old one. Returns where the old one is kept.
///
/// A crash before the exchange leaves everything as it was, one after it a log that can be repaired in the same way.
///
/// # Errors
/// `FILE_FAILED`: what failed. It can be run again.
pub(super) fn replace(
    data_dir: &Path,
    records: &[Record],
    last_epoch: LeaderEpoch,
    now: TimestampMs,
) -> Result<PathBuf, CliError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    // As a start does: what only the journal holds comes into the segments of all partitions first.
    let (mut journal, _) =
        Journal::open(&disk, data_dir, JournalConfig::default()).map_err(|error| from_log(&error))?;
    let new = data_dir.join(NEW_DIR);
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(CliError::file(&new, "remove", &error));
        }
        _ => {}
    }
    write(&disk, &new, records, last_epoch, now)?;
    let kept = exchange(data_dir, &new, now).map_err(|error| CliError::file(&new, "put in place", &error))?;
    let mut commit = journal.plan(Vec::new(), vec![JournalRequest::Drop(KEY)], true);
    commit.perform(&*disk);
    let forgotten = journal.finish(commit).requests;
    forgotten
        .map_err(|reason| CliError::new(ErrorCode::FileFailed, format!("the commit journal: {reason}")))?;
    Ok(kept)
}

fn write(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    records: &[Record],
    epoch: LeaderEpoch,
    now: TimestampMs,
) -> Result<(), CliError> {
    let opened = Log::open(Arc::clone(disk), dir.to_owned(), log_config(), Known::default(), now);
    let (mut log, _) = opened.map_err(|error| from_log(&error))?;
    let mut left = records;
    while !left.is_empty() {
        let (batch, taken) = batch(left, now)
            .map_err(|error| CliError::new(ErrorCode::Internal, format!("metadata records: {error}")))?;
        left = left.get(taken..).unwrap_or_default();
        log.append(batch, epoch, now)
            .map_err(|error| CliError::new(ErrorCode::FileFailed, error.to_string()))?;
    }
    let mut written = Ok(());
    while let Some(round) = log.take_round() {
        let result = round.perform(&**disk);
        written = written.and(log.round_done(result).map(drop));
    }
    written.and_then(|()| log.close()).map_err(|error: LogError| from_log(&error))
}

/// The first records as one batch, and how many they are.
fn batch(records: &[Record], now: TimestampMs) -> Result<(Batch, usize), BatchError> {
    let mut builder = BatchBuilder::new(Compression::None, BATCH_BYTES);
    let mut taken = 0;
    for record in records {
        if builder.push(now, None, Some(&record.encode()), [])? == PushOutcome::Full {
            break;
        }
        taken += 1;
    }
    Ok((Batch::parse(builder.build()?)?, taken))
}

/// Exchanges the two directories, so that at every moment one of them is the metadata log; then names the old one.
fn exchange(data_dir: &Path, new: &Path, now: TimestampMs) -> io::Result<PathBuf> {
    let dir = KEY.dir(data_dir);
    let topic = dir.parent().unwrap_or(data_dir);
    let kept = data_dir.join(format!("metadata.backup-{}", now.0));
    if dir.exists() {
        renameat_with(CWD, new, CWD, &dir, RenameFlags::EXCHANGE)?;
    } else {
        std::fs::create_dir_all(&dir)?;
        renameat_with(CWD, new, CWD, &dir, RenameFlags::EXCHANGE)?;
    }
    RealDisk.sync_dir(topic)?;
    std::fs::rename(new, &kept)?;
    RealDisk.sync_dir(data_dir)?;
    Ok(kept)
}
