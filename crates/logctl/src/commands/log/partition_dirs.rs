//! Which partitions a directory means: all of a data directory, or one.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use corduroy_log::{
    PartitionKey, RealDisk,
    journal::{JOURNAL_DIR, Replay},
    offline,
};
use corduroy_types::{ErrorCode, PartitionIndex};

use super::{from_log, lock::DirLock, metadata::TopicNames};
use crate::error::CliError;

/// A partition's directory and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionDir {
    /// The topic's name, where the metadata log of the directory says it.
    pub(super) topic: Option<String>,
    /// The topic's id; empty for a directory that lies in none.
    pub(super) topic_id: String,
    pub(super) partition: String,
    pub(super) path: PathBuf,
}

impl PartitionDir {
    /// Which log of the data directory it is.
    pub(super) fn key(&self) -> Option<PartitionKey> {
        let partition = PartitionIndex(self.partition.parse().ok()?);
        Some(PartitionKey { topic_id: self.topic_id.parse().ok()?, partition })
    }

    /// The topic's name, or its id where the name is not known.
    pub(super) fn topic_name(&self) -> &str {
        self.topic.as_deref().unwrap_or(&self.topic_id)
    }
}

/// The partitions of a directory, and the lock that keeps a broker out.
#[derive(Debug)]
pub(super) struct PartitionDirs {
    pub(super) partitions: Vec<PartitionDir>,
    /// Held as long as this is.
    #[expect(dead_code, reason = "it locks by being there")]
    pub(super) lock: DirLock,
}

impl PartitionDirs {
    /// Looks at a directory.
    ///
    /// # Errors
    /// `DIRECTORY_IN_USE`; `FILE_FAILED` when it holds no partition.
    pub(super) fn of(dir: &Path) -> Result<Self, CliError> {
        Self::locked(dir, DirLock::take(dir)?)
    }

    /// The same, of a directory that is locked.
    ///
    /// # Errors
    /// `FILE_FAILED` when it holds no partition.
    pub(super) fn locked(dir: &Path, lock: DirLock) -> Result<Self, CliError> {
        let found = offline::partitions(&RealDisk, dir).map_err(|error| from_log(&error))?;
        let names = TopicNames::near(dir);
        let mut partitions: Vec<PartitionDir> = found
            .into_iter()
            .map(|found| {
                let topic_id = found.topic_id.to_string();
                PartitionDir {
                    topic: names.get(&topic_id).map(ToOwned::to_owned),
                    topic_id,
                    partition: found.partition.to_string(),
                    path: found.path,
                }
            })
            .collect();
        if partitions.is_empty() {
            let listing = offline::list(&RealDisk, dir).map_err(|error| from_log(&error))?;
            let is_data_dir = dir.join("directory.toml").is_file();
            if listing.segments.is_empty() && listing.log_start.is_none() && !is_data_dir {
                return Err(CliError::new(
                    ErrorCode::FileFailed,
                    format!("{} is neither a data directory nor a partition's", dir.display()),
                )
                .with_hint(
                    "give the directory that brokerd was started with, or one like DIR/<topic id>/0",
                ));
            }
            if !is_data_dir {
                partitions.push(partition_dir_of(dir));
            }
        }
        Ok(Self { partitions, lock })
    }

    /// Adds the partitions of a data directory that have no directory, though the journal knows that something was
    /// synced in them.
    pub(super) fn add_lost(&mut self, dir: &Path, journal: &Replay) {
        if !dir.join(JOURNAL_DIR).is_dir() {
            return;
        }
        let names = TopicNames::near(dir);
        let known: HashSet<_> = self.partitions.iter().filter_map(PartitionDir::key).collect();
        let synced = |key: &PartitionKey| journal.mark(*key).is_some_and(|mark| mark.position > 0);
        for key in journal.partitions().filter(|key| !known.contains(key) && synced(key)) {
            let topic_id = key.topic_id.to_string();
            if names.is_deleted(&topic_id) {
                continue;
            }
            let (topic, partition) = (names.get(&topic_id).map(ToOwned::to_owned), key.partition.to_string());
            self.partitions.push(PartitionDir { topic, topic_id, partition, path: key.dir(dir) });
        }
    }
}

/// The names of a partition's directory, from its path.
pub(super) fn partition_dir_of(dir: &Path) -> PartitionDir {
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let topic_id = name(absolute.parent());
    PartitionDir {
        topic: TopicNames::near(dir).get(&topic_id).map(ToOwned::to_owned),
        topic_id,
        partition: name(Some(&absolute)),
        path: dir.to_owned(),
    }
}
