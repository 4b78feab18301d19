//! The batches of one segment file, in order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_batch::Batch;
use corduroy_types::Offset;

use super::resync::next_sound;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{LogError, ReadError};
use crate::index::ScanStart;
use crate::scan::{Damage, DamageReason, Depth, Walk, WalkError};
use crate::segment::{LOG_SUFFIX, parse_file_name};

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
    bytes: u64,
    done: bool,
}

impl SegmentReader {
    /// Opens the segment file at `path`, which bears its base offset as its name.
    ///
    /// # Errors
    /// [`LogError::NotASegment`] for another name, [`LogError::Io`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, LogError> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_file_name);
        let Some((base, LOG_SUFFIX)) = name else {
            return Err(LogError::NotASegment { path: path.to_owned() });
        };
        Self::open_at(disk, path, base)
    }

    fn open_at(disk: &dyn Disk, path: &Path, base: Offset) -> Result<Self, LogError> {
        let file = disk.open(path, OpenMode::Read).map_err(LogError::io("open", path))?;
        let bytes = file.len().map_err(LogError::io("read", path))?;
        let walk = Walk::new(&file, path.to_owned(), Depth::Checksums, ScanStart::of_segment(base), bytes);
        Ok(Self { walk, file, path: path.to_owned(), bytes, done: false })
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
        let Some(start) = next_sound(&self.file, damage, self.bytes)? else { return Ok(None) };
        self.walk = Walk::new(&self.file, self.path.clone(), Depth::Checksums, start, self.bytes);
        self.done = false;
        Ok(Some(start.expect.offset()))
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
