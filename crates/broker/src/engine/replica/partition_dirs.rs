//! Where logs live, and opening them.

use std::path::{Path, PathBuf};

use corduroy_log::{CompactionConfig, Disk, LogConfig, disk::Entry};
use corduroy_types::{PartitionIndex, TopicConfig, TopicId};

use crate::config::BrokerConfig;

/// The topic id of the log that holds the metadata. It names no topic.
pub(in crate::engine) const METADATA_TOPIC_ID: TopicId = TopicId::METADATA;

/// `<data dir>/<topic id>`: a topic's name never becomes a path.
pub(in crate::engine) fn topic_dir(data_dir: &Path, id: TopicId) -> PathBuf {
    data_dir.join(id.to_string())
}

/// `<data dir>/<topic id>/<partition>`.
pub(in crate::engine) fn partition_dir(data_dir: &Path, id: TopicId, index: PartitionIndex) -> PathBuf {
    topic_dir(data_dir, id).join(index.to_string())
}

/// How a topic's logs behave.
pub(in crate::engine) fn log_config(
    topic: &TopicConfig,
    tail_bytes: u64,
    broker: &BrokerConfig,
) -> LogConfig {
    let expiration = broker.producers.id_expiration;
    let policy = topic.cleanup_policy;
    let compaction = CompactionConfig {
        min_lag_ms: topic.min_compaction_lag_ms,
        max_lag_ms: topic.max_compaction_lag_ms,
        min_dirty_ratio: topic.min_cleanable_dirty_ratio,
        delete_retention_ms: topic.delete_retention_ms,
    };
    LogConfig {
        durability: topic.durability,
        segment_bytes: topic.segment_bytes.into(),
        segment_ms: topic.segment_ms,
        retention_bytes: topic.retention_bytes.filter(|_| policy.deletes()),
        retention_ms: topic.retention_ms.filter(|_| policy.deletes()),
        compaction: policy.compacts().then_some(compaction),
        tail_bytes,
        producer_expiration_ms: u64::try_from(expiration.as_millis()).unwrap_or(u64::MAX),
        ..LogConfig::default()
    }
}

/// Makes the directories of new partitions, durably: one sync for each directory above them, however many there are.
///
/// # Errors
/// The disk's.
pub(in crate::engine) fn create(
    disk: &dyn Disk,
    data_dir: &Path,
    id: TopicId,
    indexes: impl Iterator<Item = PartitionIndex>,
) -> std::io::Result<()> {
    for index in indexes {
        disk.create_dir_all(&partition_dir(data_dir, id, index))?;
    }
    disk.sync_dir(&topic_dir(data_dir, id))?;
    disk.sync_dir(data_dir)
}

/// Removes a topic's directory with everything in it.
///
/// # Errors
/// The disk's; what is left is removed at the next start, because the metadata remembers the deletion.
pub(in crate::engine) fn remove_topic_dir(
    disk: &dyn Disk,
    data_dir: &Path,
    id: TopicId,
) -> std::io::Result<()> {
    let dir = topic_dir(data_dir, id);
    if remove_tree(disk, &dir)? { disk.sync_dir(data_dir) } else { Ok(()) }
}

/// Removes a directory and what is in it; returns whether there was one.
fn remove_tree(disk: &dyn Disk, dir: &Path) -> std::io::Result<bool> {
    let entries: Vec<Entry> = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_tree(disk, &path)?;
        } else {
            disk.remove_file(&path)?;
        }
    }
    disk.remove_dir(dir)?;
    Ok(true)
}
