//! Checking everything in a partition's directory, and saying what is wrong.

use std::path::Path;

use corduroy_batch::{DecompressLimits, crc32c_append};

use super::agreement::Agreement;
use super::evidence::Evidence;
use super::producers::{ReadSnapshotError, read_snapshot};
use super::{Finding, Listing, Note, SegmentFiles, SegmentReader, list};
use crate::disk::Disk;
use crate::error::{LogError, ReadError};
use crate::journal::{PartitionKey, Replay};
use crate::scan::{Damage, DamageReason};
use crate::segment::{LOG_SUFFIX, file_path};
use crate::state_file::STATE_FILE;

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
    /// What is as it should be, though it may not look so.
    pub notes: Vec<Note>,
}

/// Checks a partition: every batch's checksum and records, that offsets follow one another within and across
/// segments (where they have to), that sealed segments are what they were when they were sealed, and that the indexes
/// agree with them.
///
/// Records are decompressed up to `limits`. Without the commit journal nothing says where the synced part of the last
/// segment ends: see [`verify_against`].
///
/// # Errors
/// [`LogError::Io`], [`LogError::NewerFormat`]. What is wrong with the contents is no error: it is found.
pub fn verify(disk: &dyn Disk, dir: &Path, limits: DecompressLimits) -> Result<Verification, LogError> {
    check(disk, dir, limits, &Evidence::default())
}

/// The same, against what the commit journal says of the partition: a loss below its durable mark is distinguished from a torn
/// tail, and what a start writes again from the journal is no damage.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(
    disk: &dyn Disk,
    dir: &Path,
    limits: DecompressLimits,
    journal: &Replay,
    key: PartitionKey,
) -> Result<Verification, LogError> {
    check(disk, dir, limits, &Evidence::of(journal, key))
}

fn check(
    disk: &dyn Disk,
    dir: &Path,
    limits: DecompressLimits,
    evidence: &Evidence<'_>,
) -> Result<Verification, LogError> {
    let mut found = Verification::default();
    let listing = match list(disk, dir) {
        Err(LogError::OtherPartition { dir, expected, found: of }) => {
            found.findings.push(Finding::OtherPartition { dir, expected, found: of });
            return Ok(found);
        }
        other => other?,
    };
    found.listed(dir, &listing);
    let log_start = listing.log_start.unwrap_or_default();
    for segment in &listing.segments {
        if segment.end_offset.is_some_and(|end| end <= log_start) {
            found.findings.push(Finding::BelowLogStart { file: segment.path.clone(), log_start });
            continue;
        }
        found.segment(&Check { disk, dir, segment, limits, evidence })?;
    }
    found.findings.extend(evidence.missing(dir, &listing).map(Finding::Damage));
    for file in &listing.snapshots {
        match read_snapshot(disk, file) {
            Ok(_) => {}
            Err(ReadSnapshotError::Fault { file, fault }) => {
                found.notes.push(Note::Snapshot { file, fault });
            }
            Err(ReadSnapshotError::Log(error)) => return Err(error),
        }
    }
    Ok(found)
}

struct Check<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    segment: &'a SegmentFiles,
    limits: DecompressLimits,
    evidence: &'a Evidence<'a>,
}

/// Follows a segment's batches.
struct Following {
    agreement: Option<Agreement>,
    /// CRC-32C of what was read, which is all of it while there is no damage.
    checksum: u32,
    whole: bool,
    /// Findings of damage that sound batches follow, and the records up to there.
    within: Vec<(usize, u64)>,
}

impl Verification {
    /// What the listing alone shows.
    fn listed(&mut self, dir: &Path, listing: &Listing) {
        for name in &listing.unknown_files {
            self.findings.push(Finding::UnknownFile { file: dir.join(name) });
        }
        self.notes.extend(listing.leftovers.iter().map(|file| Note::Leftover { file: file.clone() }));
        if listing.state_is_damaged || (listing.log_start.is_none() && !listing.segments.is_empty()) {
            self.findings.push(Finding::State { file: dir.join(STATE_FILE) });
        }
        self.findings.extend(listing.state_fault.clone().map(Finding::StateCopy));
        for range in &listing.missing {
            let (file, reason) =
                (file_path(dir, range.start, LOG_SUFFIX), DamageReason::Missing { next: range.end });
            self.findings.push(Finding::Damage(Damage { file, position: 0, offset: range.start, reason }));
        }
    }

    fn segment(&mut self, check: &Check<'_>) -> Result<(), LogError> {
        self.segments += 1;
        let agreement = self.agreement(check);
        let mut reader = SegmentReader::open_listed(check.disk, check.segment)?;
        let mut following = Following { agreement, checksum: 0, whole: true, within: Vec::new() };
        while let Some(stored) = reader.next() {
            match stored {
                Ok(stored) => self.batch(check, &mut following, &stored),
                Err(ReadError::Corrupt { damage, .. }) => {
                    following.whole = false;
                    let failed = LogError::io("read", &check.segment.path);
                    let next = reader.go_on_behind(&damage).map_err(failed)?;
                    let whole = check.segment.entry.map_or(0, |entry| entry.bytes).max(check.segment.bytes);
                    let to = if next.is_some() { reader.position() } else { whole };
                    match next {
                        _ if self.is_restored(check, damage.position, to) => {}
                        Some(next_good) => {
                            following.within.push((self.findings.len(), self.records));
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
        for (index, records_before) in following.within {
            if let Some(Finding::DamageWithin { sound_records, .. }) = self.findings.get_mut(index) {
                *sound_records = self.records - records_before;
            }
        }
        if following.whole {
            let damage = damage_of_whole(check.segment, &reader, following.checksum);
            let damage = damage.or_else(|| self.ends_early(check, &reader));
            self.findings.extend(damage.map(Finding::Damage));
            let doubts = following.agreement.map(Agreement::finish).into_iter().flatten();
            self.findings.extend(doubts.map(Finding::Index));
        }
        if let Some(entry) = check.segment.entry.filter(|entry| entry.bytes < reader.bytes()) {
            let (file, bytes) = (check.segment.path.clone(), reader.bytes());
            self.findings.push(Finding::Surplus { file, bytes, sealed_bytes: entry.bytes });
        }
        Ok(())
    }

    /// What compares the indexes, if they count: those of the last segment are of its last clean close, and only then
    /// believed.
    fn agreement(&mut self, check: &Check<'_>) -> Option<Agreement> {
        let segment = check.segment;
        let end = segment.end_offset.filter(|_| !segment.is_swapping())?;
        let missing: Vec<_> =
            [(segment.has_index, segment.index_path()), (segment.has_time_index, segment.time_index_path())]
                .into_iter()
                .filter_map(|(present, file)| (!present).then_some(Note::NoIndex { file }))
                .collect();
        if !missing.is_empty() {
            self.notes.extend(missing);
            return None;
        }
        Some(Agreement::new(check.disk, check.dir, segment, end))
    }

    /// Whether a part of a segment is written again from the journal when the log is opened; it is noted then.
    fn is_restored(&mut self, check: &Check<'_>, position: u64, to: u64) -> bool {
        // Behind the durable mark nothing need be there.
        let needed = to.max(check.evidence.proven_bytes(check.segment.base_offset));
        let restored = check.evidence.restores(check.segment.base_offset, position, needed);
        if restored {
            let (file, bytes) = (check.segment.path.clone(), needed - position);
            self.notes.push(Note::Restored { file, position, bytes });
        }
        restored
    }

    /// A last segment without damage that ends before the durable mark.
    fn ends_early(&mut self, check: &Check<'_>, reader: &SegmentReader) -> Option<Damage> {
        let (segment, end) = (check.segment, reader.bytes());
        let proven = check.evidence.proven_bytes(segment.base_offset);
        if segment.entry.is_some() || end >= proven || self.is_restored(check, end, proven) {
            return None;
        }
        let reason = DamageReason::Shortened { stored_bytes: proven };
        Some(Damage { file: segment.path.clone(), position: end, offset: reader.next_offset(), reason })
    }

    fn batch(&mut self, check: &Check<'_>, following: &mut Following, stored: &super::StoredBatch) {
        self.batches += 1;
        let marked = || check.evidence.first_crc(check.segment.base_offset);
        let first_crc = check.segment.entry.map_or_else(marked, |entry| entry.first_crc);
        if stored.position == 0 && first_crc.is_some_and(|crc| crc != stored.batch.header().crc) {
            self.findings.push(Finding::OtherSegment { file: check.segment.path.clone() });
        }
        if let Some(reason) = check.evidence.wrong_epoch(stored.batch.header()) {
            let (file, position) = (check.segment.path.clone(), stored.position);
            let offset = stored.batch.header().base_offset;
            // A write that was torn has no right checksum: where only the epoch is wrong, it was changed later.
            self.findings.push(Finding::Damage(Damage { file, position, offset, reason }));
        }
        self.records += u64::from(stored.batch.header().record_count);
        self.bytes += u64::from(stored.batch.total_bytes());
        following.checksum = crc32c_append(following.checksum, stored.batch.bytes());
        let end = stored.position + u64::from(stored.batch.total_bytes());
        let segment = check.segment;
        if following.whole
            && segment.entry.is_none()
            && let Some(stored) = check.evidence.checksum_at(segment.base_offset, end)
            && stored != following.checksum
        {
            let (file, offset) = (segment.path.clone(), segment.base_offset);
            let reason = DamageReason::WrongChecksum { stored, computed: following.checksum };
            self.findings.push(Finding::Damage(Damage { file, position: 0, offset, reason }));
        }
        if let Some(agreement) = &mut following.agreement {
            agreement.note(stored.batch.header(), stored.position);
        }
        self.records_of(check, stored);
    }

    fn damage(&mut self, check: &Check<'_>, damage: Damage) {
        self.findings.push(match check.segment.end_offset {
            Some(_) => Finding::Damage(damage),
            None if damage.position < check.evidence.proven_bytes(check.segment.base_offset) => {
                Finding::Damage(damage)
            }
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

/// What is wrong with a segment in which every batch is sound.
fn damage_of_whole(segment: &SegmentFiles, reader: &SegmentReader, checksum: u32) -> Option<Damage> {
    let damage = |position, offset, reason| Damage { file: segment.path.clone(), position, offset, reason };
    if let Some(entry) = segment.entry {
        if reader.bytes() < entry.bytes {
            let reason = DamageReason::Shortened { stored_bytes: entry.bytes };
            return Some(damage(reader.position(), reader.next_offset(), reason));
        }
        if entry.checksum != checksum {
            let reason = DamageReason::WrongChecksum { stored: entry.checksum, computed: checksum };
            return Some(damage(0, segment.base_offset, reason));
        }
    }
    segment.end_offset.and_then(|end| reader.missing_before(end))
}
