//! Figures of a partition's stored batches.

use std::path::Path;

use corduroy_batch::Compression;
use corduroy_types::{Offset, TimestampMs};

use super::{SegmentReader, list};
use crate::disk::Disk;
use crate::error::{LogError, ReadError};
use crate::scan::Damage;

/// What is stored in a partition's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Segment files.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Sound batches.
    pub batches: u64,
    /// Records that their headers count.
    pub records: u64,
    /// Size of the smallest batch, 0 without any.
    pub batch_bytes_min: u64,
    /// Size of the largest batch.
    pub batch_bytes_max: u64,
    /// Where the log starts, if the state file says so.
    pub log_start: Option<Offset>,
    /// The first offset that is stored.
    pub first_offset: Option<Offset>,
    /// The offset after the last that is stored.
    pub log_end: Offset,
    /// The least base timestamp of a batch.
    pub timestamp_min: Option<TimestampMs>,
    /// The greatest timestamp of a batch.
    pub timestamp_max: Option<TimestampMs>,
    /// Segments in which offsets may be missing: compacted, or sealed after damage.
    pub segments_with_gaps: u64,
    /// Offsets below `log_end` that are in such a segment and have no record.
    pub missing_offsets: u64,
    /// Batches without records, which compaction has left to say where a segment or a producer is.
    pub empty_batches: u64,
    /// Batches with tombstones that compaction has met and keeps until their delete horizon.
    pub horizon_batches: u64,
    /// Batches and their bytes by codec, those that occur.
    pub by_compression: Vec<(Compression, u64, u64)>,
    /// Where a segment could not be read on. The rest of it is not counted.
    pub damages: Vec<Damage>,
}

/// Reads a partition through and counts.
///
/// # Errors
/// [`LogError::Io`], [`LogError::NewerFormat`]. Damage is no error: it is counted.
pub fn stats(disk: &dyn Disk, dir: &Path) -> Result<PartitionStats, LogError> {
    let listing = list(disk, dir)?;
    let mut stats = PartitionStats { log_start: listing.log_start, ..PartitionStats::default() };
    stats.log_end = listing.log_start.unwrap_or_default();
    for segment in &listing.segments {
        stats.segments += 1;
        stats.bytes += segment.bytes;
        let mut reader = SegmentReader::open_listed(disk, segment)?;
        let (records_before, damages_before) = (stats.records, stats.damages.len());
        for stored in &mut reader {
            match stored {
                Ok(stored) => stats.count(stored.batch.header()),
                Err(ReadError::Corrupt { damage, .. }) => stats.damages.push(*damage),
                Err(ReadError::Io { file, source }) => return Err(LogError::io("read", file)(source)),
                Err(ReadError::BelowStart { .. } | ReadError::AboveEnd { .. }) => {}
            }
        }
        let end = segment.end_offset.unwrap_or_else(|| reader.next_offset());
        if segment.may_have_gaps {
            stats.segments_with_gaps += 1;
            // The rest of a damaged segment is not counted: no one knows what it has.
            let end = if stats.damages.len() > damages_before { reader.next_offset() } else { end };
            let records = stats.records - records_before;
            stats.missing_offsets += end.distance_from(segment.base_offset).saturating_sub(records);
        }
        stats.log_end = stats.log_end.max(end);
    }
    stats.by_compression.sort_by_key(|(compression, ..)| compression.bits());
    Ok(stats)
}

impl PartitionStats {
    fn count(&mut self, header: &corduroy_batch::BatchHeader) {
        let bytes = u64::from(header.total_bytes());
        self.batch_bytes_min = if self.batches == 0 { bytes } else { self.batch_bytes_min.min(bytes) };
        self.batch_bytes_max = self.batch_bytes_max.max(bytes);
        self.batches += 1;
        self.records += u64::from(header.record_count);
        self.empty_batches += u64::from(header.record_count == 0);
        self.horizon_batches += u64::from(header.attributes.has_delete_horizon());
        self.first_offset.get_or_insert(header.base_offset);
        let (base, max) = (header.base_timestamp, header.max_timestamp);
        // In a batch that compaction has stamped, the base is when its tombstones may go; in one that it has
        // emptied, there is none.
        if header.record_count > 0 && !header.attributes.has_delete_horizon() {
            self.timestamp_min = Some(self.timestamp_min.map_or(base, |min| min.min(base)));
        }
        self.timestamp_max = self.timestamp_max.max(Some(max));
        let compression = header.compression();
        match self.by_compression.iter_mut().find(|(codec, ..)| *codec == compression) {
            Some((_, batches, codec_bytes)) => {
                *batches += 1;
                *codec_bytes += bytes;
            }
            None => self.by_compression.push((compression, 1, bytes)),
        }
    }
}
