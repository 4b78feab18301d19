//! Which partitions a directory means: all of a data directory, or one.

use std::path::{Path, PathBuf};

use corduroy_log::{RealDisk, offline};
use corduroy_types::ErrorCode;

use super::{from_log, lock::DirLock};
use crate::error::CliError;

/// A partition's directory and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionPlace {
    /// The topic's id; empty for a directory that lies in none.
    pub(super) topic_id: String,
    pub(super) partition: String,
    pub(super) path: PathBuf,
}

/// The partitions of a directory, and the lock that keeps a broker out.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) partitions: Vec<PartitionPlace>,
    /// Held as long as this is.
    #[expect(dead_code, reason = "it locks by being there")]
    pub(super) lock: DirLock,
}

impl Places {
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
        let mut partitions: Vec<PartitionPlace> = found
            .into_iter()
            .map(|found| PartitionPlace {
                topic_id: found.topic_id.to_string(),
                partition: found.partition.to_string(),
                path: found.path,
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
                partitions.push(place_of(dir));
            }
        }
        Ok(Self { partitions, lock })
    }
}

/// The names of a partition's directory, from its path.
pub(super) fn place_of(dir: &Path) -> PartitionPlace {
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    PartitionPlace {
        topic_id: name(absolute.parent()),
        partition: name(Some(&absolute)),
        path: dir.to_owned(),
    }
}
