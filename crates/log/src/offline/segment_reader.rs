//! The batches of one segment file, in order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::Batch;
use corduroy_types::Offset;

use super::SegmentFiles;
use super::resync::next_sound;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{LogError, ReadError};
use crate::index::ScanStart;
use crate::scan::{Damage, DamageReason, Depth, Walk, WalkError};
use crate::segment::{LOG_SUFFIX, parse_file_name};
use crate::state_file::{self, Found};

/// A batch and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Position of its first byte in the segment file.
    pub position: u64,
    /// The batch; its checksum was right.
    pub batch: Batch,
}

/// Iterates over the batches of one segment file and checks each. After an error it ends.
pub struct SegmentReader {
    walk: Walk,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    gaps: bool,
    bytes: u64,
    limit: u64,
    done: bool,
}

impl SegmentReader {
    /// Opens the segment file at `path`, which bears its base offset as its name. The state file next to it says
    /// whether offsets may be missing inside; where there is none they may.
    ///
    /// # Errors
    /// [`LogError::NotASegment`] for another name, [`LogError::Io`], [`LogError::NewerFormat`] for the state file.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, LogError> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_file_name);
        let Some((base, LOG_SUFFIX)) = name else {
            return Err(LogError::NotASegment { path: path.to_owned() });
        };
        let (gaps, limit) = match state_file::read(disk, path.parent().unwrap_or(Path::new("")))? {
            Found::Whole(stored) => {
                let entry = stored.state.catalogue.get(base);
                (entry.is_some_and(|entry| entry.gaps), entry.map(|entry| entry.bytes))
            }
            Found::Missing | Found::Damaged => (true, None),
        };
        Self::open_at(disk, path, base, gaps, limit)
    }

    /// Opens a segment that was listed.
    pub(super) fn open_listed(disk: &dyn Disk, segment: &SegmentFiles) -> Result<Self, LogError> {
        let limit = segment.entry.map(|entry| entry.bytes);
        Self::open_at(disk, &segment.path, segment.base_offset, segment.may_have_gaps, limit)
    }

    fn open_at(
        disk: &dyn Disk,
        path: &Path,
        base: Offset,
        gaps: bool,
        limit: Option<u64>,
    ) -> Result<Self, LogError> {
        let file = disk.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
        let bytes = file.len().map_err(LogError::io("read", path))?;
        // What stands behind the end of a sealed segment is not the log's.
        let limit = limit.map_or(bytes, |limit| limit.min(bytes));
        let walk = walk(&file, path, ScanStart::of_segment(base), limit, gaps);
        Ok(Self { walk, file, path: path.to_owned(), gaps, bytes, limit, done: false })
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How far it was read: where the next batch begins, or where the damage is.
    pub fn position(&self) -> u64 {
        self.walk.position()
    }

    /// The offset after the last batch that was read.
    pub fn next_offset(&self) -> Offset {
        self.walk.expected()
    }

    /// Goes on behind the damage that it ended at, and says with which offset; `None` when nothing sound follows.
    pub(super) fn go_on_behind(&mut self, damage: &Damage) -> io::Result<Option<Offset>> {
        let Some(start) = next_sound(&self.file, damage, self.limit)? else { return Ok(None) };
        self.walk = walk(&self.file, &self.path, start, self.limit, self.gaps);
        self.done = false;
        Ok(Some(start.expect.offset()))
    }

    /// That it was read to its end, and that is not `next`, where the following segment begins.
    pub(super) fn missing_before(&self, next: Offset) -> Option<Damage> {
        self.walk.missing_before(next)
    }

    fn step(&mut self) -> Result<Option<StoredBatch>, ReadError> {
        match self.walk.next() {
            Ok(None) => Ok(None),
            Ok(Some(header)) => {
                let bytes = Bytes::copy_from_slice(self.walk.batch_bytes());
                let position = self.walk.batch_at();
                let batch = Batch::parse(bytes).map_err(|error| {
                    let (file, reason) = (self.path.clone(), DamageReason::Batch(error));
                    corrupt(Damage { file, position, offset: header.base_offset, reason })
                })?;
                Ok(Some(StoredBatch { position, batch }))
            }
            Err(WalkError::Damaged(damage)) => Err(corrupt(damage)),
            Err(WalkError::Io(source)) => Err(ReadError::Io { file: self.path.clone(), source }),
        }
    }
}

fn walk(file: &Arc<dyn DiskFile>, path: &Path, start: ScanStart, limit: u64, gaps: bool) -> Walk {
    Walk::new(file, path.to_owned(), Depth::Checksums, start, limit).allowing_gaps(gaps)
}

fn corrupt(damage: Damage) -> ReadError {
    ReadError::Corrupt { damage: Box::new(damage), next_good: None }
}

impl Iterator for SegmentReader {
    type Item = Result<StoredBatch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}
