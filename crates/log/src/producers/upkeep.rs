//! When a snapshot is due, and which files of snapshots there are.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use corduroy_types::Offset;

use super::{Producers, Snapshot};
use crate::disk::{Disk, OpenMode};
use crate::mark::Point;
use crate::segment::{SNAPSHOT_SUFFIX, file_path};

/// Bytes appended between two snapshots, about: what is read when a log is opened after a crash, next to its tail.
const EVERY_BYTES: u64 = 16 << 20;
/// Snapshots within segments that are kept: the newest, and one for when that is damaged.
pub(super) const BETWEEN_MAX: usize = 2;

/// The snapshots of one log: one at the base of each segment but the first, and the newest within the active one.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    bytes_since: u64,
    /// What is to be written once everything below its offset is durable: one that is found must never be ahead of
    /// its log.
    waiting: Option<(Offset, Bytes)>,
    /// The offsets of those that are at no segment's base, oldest first.
    between: VecDeque<Offset>,
}

impl Upkeep {
    /// With what was found when the log was opened: `bytes` were read behind the newest snapshot.
    pub(super) fn resume(bytes: u64, between: VecDeque<Offset>) -> Self {
        Self { bytes_since: bytes, waiting: None, between }
    }

    /// A batch of so many bytes was appended and noted; `end` is the log's end now.
    pub(crate) fn appended(&mut self, dir: &Path, producers: &Producers, bytes: u64, end: Point) {
        self.bytes_since += bytes;
        if self.bytes_since >= EVERY_BYTES && self.waiting.is_none() {
            self.bytes_since = 0;
            let Point { offset, segment_base, position, .. } = end;
            let place = (offset, segment_base, position);
            self.waiting = Some((offset, Snapshot::encode(dir, producers, place, None)));
        }
    }

    /// A segment begins at `base`: returns the contents of the snapshot there.
    pub(crate) fn rolled(&mut self, dir: &Path, producers: &Producers, base: Offset) -> Bytes {
        self.bytes_since = 0;
        self.waiting = None;
        Snapshot::encode(dir, producers, (base, base, 0), None)
    }

    /// The snapshot to write now, if one is due and everything below it is durable.
    pub(crate) fn due(&mut self, durable_end: Offset, dir: &Arc<Path>) -> Option<SnapshotStep> {
        let (offset, contents) = self.waiting.take_if(|(offset, _)| *offset <= durable_end)?;
        self.between.push_back(offset);
        let obsolete = if self.between.len() > BETWEEN_MAX { self.between.pop_front() } else { None };
        Some(SnapshotStep { dir: Arc::clone(dir), offset, contents, obsolete })
    }
}

/// Writing of a snapshot within a segment.
pub(crate) struct SnapshotStep {
    dir: Arc<Path>,
    pub(crate) offset: Offset,
    contents: Bytes,
    obsolete: Option<Offset>,
}

impl SnapshotStep {
    /// Writes it, without a sync: one that is torn or missing is passed over, so nothing waits for it, and no append
    /// fails because it failed.
    pub(crate) fn perform(&self, disk: &dyn Disk) {
        let path = file_path(&self.dir, self.offset, SNAPSHOT_SUFFIX);
        let written = disk
            .open(&path, OpenMode::Truncate)
            .and_then(|file| file.write_at(std::slice::from_ref(&self.contents), 0));
        // The older one only goes when there is a newer one.
        if let (Ok(()), Some(obsolete)) = (written, self.obsolete) {
            let _left_behind = disk.remove_file(&file_path(&self.dir, obsolete, SNAPSHOT_SUFFIX));
        }
    }
}
