//! Reading a partition's directory without a log: for tools, on files that nobody writes.
//!
//! Nothing here changes a file. Who calls it holds the data directory's lock, or works on a copy.

mod agreement;
mod resync;
mod segment_reader;
mod stats;
mod verify;

use std::path::{Path, PathBuf};

use corduroy_types::{Offset, PartitionIndex, TopicId};

use crate::disk::Disk;
use crate::error::LogError;
use crate::recovery::look_through;
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, file_path};
use crate::state_file::{self, Found};

pub use segment_reader::{SegmentReader, StoredBatch};
pub use stats::{PartitionStats, stats};
pub use verify::{Finding, Verification, verify};

/// A partition's directory in a data directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionDir {
    /// The topic, by the name of the directory above.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where its files are.
    pub path: PathBuf,
}

/// What a partition's directory holds, by names and lengths alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Where the log starts; `None` when the state file is missing or damaged.
    pub log_start: Option<Offset>,
    /// Segments by base offset.
    pub segments: Vec<SegmentFiles>,
    /// Names that are not the log's.
    pub unknown_files: Vec<String>,
}

/// A segment's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFiles {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The file of batches.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Whether the offset index is there. The active segment has one only after a clean close.
    pub has_index: bool,
    /// Whether the time index is there.
    pub has_time_index: bool,
}

impl SegmentFiles {
    /// Where the offset index is, or would be.
    pub fn index_path(&self) -> PathBuf {
        self.path.with_extension(INDEX_SUFFIX)
    }

    /// Where the time index is, or would be.
    pub fn time_index_path(&self) -> PathBuf {
        self.path.with_extension(TIME_INDEX_SUFFIX)
    }
}

/// The partitions in a data directory, sorted. Directories with other names are passed over.
///
/// # Errors
/// [`LogError::Io`].
pub fn partitions(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<PartitionDir>, LogError> {
    let list = |dir: &Path| disk.list(dir).map_err(LogError::io("list", dir));
    let mut found = Vec::new();
    for topic in list(data_dir)?.into_iter().filter(|entry| entry.is_dir) {
        let Ok(topic_id) = topic.name.parse::<TopicId>() else { continue };
        let topic_dir = data_dir.join(&topic.name);
        for entry in list(&topic_dir)?.into_iter().filter(|entry| entry.is_dir) {
            if let Ok(partition) = entry.name.parse() {
                let path = topic_dir.join(&entry.name);
                found.push(PartitionDir { topic_id, partition: PartitionIndex(partition), path });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Lists what a partition's directory holds.
///
/// # Errors
/// [`LogError::Io`], also when there is no such directory; [`LogError::NewerFormat`].
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, LogError> {
    disk.list(dir).map_err(LogError::io("list", dir))?;
    let files = look_through(disk, dir)?;
    let log_start = match state_file::read(disk, dir)? {
        Found::Whole(state) => Some(state.log_start),
        Found::Missing | Found::Damaged => None,
    };
    let segments = files.segments.iter().map(|segment| SegmentFiles {
        base_offset: segment.base,
        path: file_path(dir, segment.base, LOG_SUFFIX),
        bytes: segment.bytes,
        has_index: files.indexes.contains(&(segment.base, INDEX_SUFFIX)),
        has_time_index: files.indexes.contains(&(segment.base, TIME_INDEX_SUFFIX)),
    });
    Ok(Listing { log_start, segments: segments.collect(), unknown_files: files.unknown })
}
