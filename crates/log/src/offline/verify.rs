//! Checking everything in a partition's directory, and saying what is wrong.

use std::path::{Path, PathBuf};

use corduroy_batch::DecompressLimits;
use corduroy_types::Offset;

use super::agreement::Agreement;
use super::{SegmentFiles, SegmentReader, list};
use crate::disk::Disk;
use crate::error::{LogError, ReadError};
use crate::index::IndexDoubt;
use crate::scan::{Damage, DamageReason};
use crate::state_file::{self, Found, STATE_FILE};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Damage behind which nothing sound follows in its segment, though another segment does.
    #[error(transparent)]
    Damage(Damage),
    /// Damage in the midst of sound batches: no interrupted write leaves that behind.
    #[error("{damage}; {} from offset {next_good} on", counted(*sound_records))]
    DamageWithin {
        /// Where, and what is wrong there.
        damage: Damage,
        /// The first offset behind it that can be read.
        next_good: Offset,
        /// Records in the sound batches behind it, up to the end of the file.
        sound_records: u64,
    },
    /// The last segment ends in bytes that are no whole batch, as after a crash. Opening the log cuts them; none
    /// of them was acknowledged after a sync.
    #[error("{damage}; opening the log cuts the last {bytes} bytes")]
    TornTail {
        /// Where, and what is wrong there.
        damage: Damage,
        /// Bytes from there to the end of the file.
        bytes: u64,
    },
    /// A batch passes its checksum, but its records cannot be read.
    #[error("{}: the batch at position {position}, offset {offset}: {reason}", file.display())]
    UnreadableRecords {
        /// The segment file.
        file: PathBuf,
        /// Where the batch begins.
        position: u64,
        /// Its base offset.
        offset: Offset,
        /// What is wrong.
        reason: corduroy_batch::BatchError,
    },
    /// An index that is missing, malformed, or does not agree with its segment. It is built anew when needed.
    #[error(transparent)]
    Index(IndexDoubt),
    /// The state file is missing or damaged: the log start is not known, so deleted records may be visible.
    #[error("{} is missing or damaged; the log will start at its first segment", file.display())]
    State {
        /// The file.
        file: PathBuf,
    },
    /// A segment that lies below the log start, left by an interrupted deletion. Opening the log removes it.
    #[error("{} lies below the log start {log_start}", file.display())]
    BelowLogStart {
        /// The segment file.
        file: PathBuf,
        /// Where the log starts.
        log_start: Offset,
    },
    /// A name that is not the log's.
    #[error("{} is not a file of the log", file.display())]
    UnknownFile {
        /// The file.
        file: PathBuf,
    },
}

fn counted(sound_records: u64) -> String {
    if sound_records == 1 {
        "1 sound record follows".to_owned()
    } else {
        format!("{sound_records} sound records follow")
    }
}

impl Finding {
    /// Whether records are lost or cannot be read. The rest is repaired by opening the log, or harmless.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damage(_) | Self::DamageWithin { .. } | Self::UnreadableRecords { .. })
    }
}

/// What a check looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Segment files.
    pub segments: u64,
    /// Sound batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, in the order of the files.
    pub findings: Vec<Finding>,
}

/// Checks a partition: every batch's checksum and records, that offsets follow one another within and across
/// segments, and that the indexes agree with them.
///
/// Records are decompressed up to `limits`.
///
/// # Errors
/// [`LogError::Io`], [`LogError::NewerFormat`]. What is wrong with the contents is no error: it is found.
pub fn verify(disk: &dyn Disk, dir: &Path, limits: DecompressLimits) -> Result<Verification, LogError> {
    let listing = list(disk, dir)?;
    let mut found = Verification::default();
    for name in &listing.unknown_files {
        found.findings.push(Finding::UnknownFile { file: dir.join(name) });
    }
    let damaged = state_file::read(disk, dir)? == Found::Damaged;
    if damaged || (listing.log_start.is_none() && !listing.segments.is_empty()) {
        found.findings.push(Finding::State { file: dir.join(STATE_FILE) });
    }
    let log_start = listing.log_start.unwrap_or_default();
    for (index, segment) in listing.segments.iter().enumerate() {
        let next = listing.segments.get(index + 1).map(|next| next.base_offset);
        if next.is_some_and(|next| next <= log_start) {
            found.findings.push(Finding::BelowLogStart { file: segment.path.clone(), log_start });
            continue;
        }
        found.segment(&Check { disk, dir, segment, next, limits })?;
    }
    Ok(found)
}

struct Check<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    segment: &'a SegmentFiles,
    /// Where the following segment begins.
    next: Option<Offset>,
    limits: DecompressLimits,
}

impl Verification {
    fn segment(&mut self, check: &Check<'_>) -> Result<(), LogError> {
        self.segments += 1;
        // The last segment's index files are of its last clean close, and only then believed.
        let mut agreement = check.next.map(|next| Agreement::new(check.disk, check.dir, check.segment, next));
        let mut reader = SegmentReader::open(check.disk, &check.segment.path)?;
        let mut whole = true;
        let mut within = Vec::new();
        while let Some(stored) = reader.next() {
            match stored {
                Ok(stored) => {
                    self.batches += 1;
                    self.records += u64::from(stored.batch.header().record_count);
                    self.bytes += u64::from(stored.batch.total_bytes());
                    if let Some(agreement) = &mut agreement {
                        agreement.note(stored.batch.header(), stored.position);
                    }
                    self.records_of(check, &stored);
                }
                Err(ReadError::Corrupt { damage, .. }) => {
                    whole = false;
                    let failed = LogError::io("read", &check.segment.path);
                    match reader.go_on_behind(&damage).map_err(failed)? {
                        Some(next_good) => {
                            within.push((self.findings.len(), self.records));
                            let damage = *damage;
                            self.findings.push(Finding::DamageWithin { damage, next_good, sound_records: 0 });
                        }
                        None => self.damage(check, *damage),
                    }
                }
                Err(ReadError::Io { file, source }) => return Err(LogError::io("read", file)(source)),
                Err(ReadError::BelowStart { .. } | ReadError::AboveEnd { .. }) => {}
            }
        }
        for (index, records_before) in within {
            if let Some(Finding::DamageWithin { sound_records, .. }) = self.findings.get_mut(index) {
                *sound_records = self.records - records_before;
            }
        }
        let (ends_at, position) = (reader.next_offset(), reader.position());
        if let Some(next) = check.next.filter(|next| whole && *next != ends_at) {
            let file = check.segment.path.clone();
            let reason = DamageReason::Missing { next };
            self.findings.push(Finding::Damage(Damage { file, position, offset: ends_at, reason }));
        }
        let doubts = agreement.filter(|_| whole).map(Agreement::finish);
        self.findings.extend(doubts.into_iter().flatten().map(Finding::Index));
        Ok(())
    }

    fn damage(&mut self, check: &Check<'_>, damage: Damage) {
        self.findings.push(match check.next {
            Some(_) => Finding::Damage(damage),
            None => {
                let bytes = check.segment.bytes.saturating_sub(damage.position);
                Finding::TornTail { damage, bytes }
            }
        });
    }

    fn records_of(&mut self, check: &Check<'_>, stored: &super::StoredBatch) {
        let records = stored.batch.records(check.limits);
        let failed = records.and_then(|records| records.iter().try_for_each(|record| record.map(|_| ())));
        if let Err(reason) = failed {
            self.findings.push(Finding::UnreadableRecords {
                file: check.segment.path.clone(),
                position: stored.position,
                offset: stored.batch.header().base_offset,
                reason,
            });
        }
    }
}
