//! Writing the segment that is to take the place of others, next to them.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::{BatchHeader, crc32c_append};
use corduroy_types::Offset;

use super::names::Name;
use super::{NewSegment, discard};
use crate::catalogue::CatalogueEntry;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::LogError;
use crate::index::{IndexBuilder, checksum};
use crate::shared::Shared;

/// Batches are gathered up to this before they are written.
const WRITE_BYTES: u64 = 1 << 20;

/// A segment that is being written. Until it is swapped in, nothing depends on it.
pub(crate) struct SegmentWriter {
    shared: Arc<Shared>,
    base: Offset,
    file: Arc<dyn DiskFile>,
    index: IndexBuilder,
    gathered: Vec<Bytes>,
    gathered_bytes: u64,
    written_bytes: u64,
    checksum: u32,
    records: u64,
    first_crc: Option<u32>,
}

impl SegmentWriter {
    /// Begins a segment at `base`. What an earlier attempt left there is overwritten.
    pub(crate) fn create(shared: &Arc<Shared>, base: Offset) -> Result<Self, LogError> {
        // If either of two catalogues may be on disk, neither may name a file that is about to be overwritten.
        shared.state.settle(&*shared.disk).map_err(LogError::io("write", shared.state.path()))?;
        let path = Name::Cleaned.path(&shared.dir, base);
        let file = shared.disk.open(&path, OpenMode::Truncate).map_err(LogError::io("create", path))?;
        Ok(Self {
            shared: Arc::clone(shared),
            base,
            file,
            index: IndexBuilder::new(base, shared.index_interval_bytes),
            gathered: Vec::new(),
            gathered_bytes: 0,
            written_bytes: 0,
            checksum: 0,
            records: 0,
            first_crc: None,
        })
    }

    /// Bytes of batches so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.written_bytes + self.gathered_bytes
    }

    /// Adds a batch, whose offsets are greater than all before.
    pub(crate) fn push(&mut self, header: &BatchHeader, batch: Bytes) -> Result<(), LogError> {
        self.index.note(header, self.bytes());
        self.checksum = crc32c_append(self.checksum, &batch);
        self.records += u64::from(header.record_count);
        self.first_crc.get_or_insert(header.crc);
        self.gathered_bytes += batch.len() as u64;
        self.gathered.push(batch);
        if self.gathered_bytes >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), LogError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let written = self.file.write_at(&self.gathered, self.written_bytes);
        written.map_err(LogError::io("write", Name::Cleaned.path(&self.shared.dir, self.base)))?;
        self.written_bytes += self.gathered_bytes;
        self.gathered_bytes = 0;
        self.gathered.clear();
        Ok(())
    }

    /// Ends the segment at `end` and syncs it with its indexes.
    pub(crate) fn finish(mut self, end: Offset) -> Result<NewSegment, LogError> {
        self.write()?;
        let dir = &self.shared.dir;
        self.file.sync().map_err(LogError::io("sync", Name::Cleaned.path(dir, self.base)))?;
        let (offsets, times) = self.index.finish();
        let index_checksum = Some(checksum(&offsets, &times));
        for (name, contents) in [(Name::CleanedIndex, offsets), (Name::CleanedTimeIndex, times)] {
            let path = name.path(dir, self.base);
            let written = self.shared.disk.open(&path, OpenMode::Truncate).and_then(|file| {
                file.write_at(&[contents], 0)?;
                file.sync()
            });
            written.map_err(LogError::io("write", path))?;
        }
        let entry = CatalogueEntry {
            base: self.base,
            end,
            bytes: self.written_bytes,
            checksum: self.checksum,
            max_timestamp: self.index.max_timestamp().map(|(timestamp, _)| timestamp),
            gaps: true,
            records: Some(self.records),
            first_crc: self.first_crc,
            index_checksum,
            suspect: false,
        };
        Ok(NewSegment { entry, indexes: self.index.indexes() })
    }

    /// Gives up what was written.
    pub(crate) fn discard(self, disk: &dyn Disk) {
        drop(self.file);
        discard(disk, &self.shared.dir, self.base);
    }
}
