//! Reading a partition's directory without a log: for tools, on files that no one writes.
//!
//! Only [`rebuild_indexes`] changes a file, and no log. Who calls it holds the data directory's lock, or works on a copy.

mod agreement;
mod evidence;
mod finding;
mod indexes;
mod journal;
mod listing;
mod producers;
mod resync;
mod segment_reader;
mod stats;
mod verify;

use std::path::{Path, PathBuf};

use corduroy_types::{PartitionIndex, TopicId};

use crate::disk::Disk;
use crate::error::LogError;

pub use finding::{Finding, Note};
pub use indexes::{IndexState, check_indexes, rebuild_indexes};
pub use journal::{JournalSummary, journal};
pub use listing::{Listing, SegmentFiles, list};
pub use producers::{ReadSnapshotError, read_snapshot};
pub use segment_reader::{SegmentReader, StoredBatch};
pub use stats::{PartitionStats, stats};
pub use verify::{Verification, verify, verify_against};

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
