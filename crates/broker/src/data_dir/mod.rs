//! A data directory: whose it is, whether its last broker stopped cleanly, and who uses it now.
//!
//! Three files at its root are ours: `directory.toml` (identity and format version), `clean-shutdown` (there only
//! while no broker runs, and only after a clean stop) and `LOCK`.

mod fence;
mod identity;
mod lock;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use corduroy_log::disk::{Disk, is_out_of_handles, read_file, replace_file};
use corduroy_types::{BrokerId, DATA_FORMAT_VERSION};
use uuid::Uuid;

use crate::config::BrokerConfig;

use fence::Fence;
pub use identity::Identity;
pub use lock::DirLock;
pub(crate) use watch::Watch;

const IDENTITY_FILE: &str = "directory.toml";
const CLEAN_FILE: &str = "clean-shutdown";
const CLEAN_TEXT: &[u8] = b"This broker stopped cleanly. Removed at its next start.\n";
const LOCK_FILE: &str = "LOCK";
/// Far more than the identity takes; a larger file is none of ours.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused. Correct it, or choose another directory.
    #[error("data directory {}: cannot {action}: {source}; correct this, or choose another with --data-dir", .dir.display())]
    Failed {
        /// The directory.
        dir: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it. Stop that one, or choose another directory.
    #[error("data directory {} is in use by {}; stop it, or choose another with --data-dir", .dir.display(), holder(*.pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds the lock, if it said so.
        pid: Option<u32>,
    },
    /// It has files, but not ours. Choose an empty directory.
    #[error("{} is no data directory of brokerd: it has no {IDENTITY_FILE}, but {entry:?}; choose an empty one with --data-dir", .dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// One name that was found in it.
        entry: String,
    },
    /// A newer version of the broker wrote it. Use that version.
    #[error("data directory {} has format version {found}, this brokerd reads {DATA_FORMAT_VERSION} at most; use the version that wrote it", .dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format version.
        found: u64,
    },
    /// It belongs to another broker or cluster. Correct the configuration, or choose another directory.
    #[error("data directory {} belongs to {found}, but the configuration says {wanted}; correct {key}, or choose another with --data-dir", .dir.display())]
    OtherOwner {
        /// The directory.
        dir: PathBuf,
        /// The configuration key that does not fit.
        key: &'static str,
        /// Whose it is.
        found: String,
        /// Who wants it.
        wanted: String,
    },
    /// The identity file is damaged. Restore it from a backup.
    #[error("data directory {}: {IDENTITY_FILE} is damaged: {text}; restore it, for it says whose data this is", .dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong in it.
        text: String,
    },
}

/// Why a data directory in use is no longer the one that was locked.
#[derive(Debug, thiserror::Error)]
pub enum DirLost {
    /// It, or its lock file, was removed or renamed.
    #[error("{} was removed while the broker was using it", .path.display())]
    Removed {
        /// What is gone.
        path: PathBuf,
    },
    /// Something else is in its place: another directory, a mount, a new lock file.
    #[error("{} was replaced while the broker was using it", .path.display())]
    Replaced {
        /// What is another one now.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error("{} cannot be reached any more: {source}", .path.display())]
    Unreachable {
        /// What cannot be looked at.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A data directory that a broker uses.
///
/// It was checked and its clean-shutdown mark removed: until [`DataDir::close`] a crash leaves it unclean. The
/// lock is taken apart from this, by the caller that uses a real disk: see [`DirLock`].
#[derive(Debug)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Identity,
    was_clean: bool,
    faults: Vec<String>,
}

impl DataDir {
    /// Opens `config.node.data_dir`, and creates it with a new identity when it is empty or missing.
    ///
    /// # Errors
    /// [`DataDirError`]; the directory is as it was before.
    pub fn open(disk: Arc<dyn Disk>, config: &BrokerConfig) -> Result<Self, DataDirError> {
        let path = config.node.data_dir.clone();
        let failed =
            |action| move |source| DataDirError::Failed { dir: config.node.data_dir.clone(), action, source };
        disk.create_dir_all(&path).map_err(failed("create it"))?;
        let stored = match read_file(&*disk, &path.join(IDENTITY_FILE), IDENTITY_BYTES_MAX) {
            Ok(bytes) => Some(Identity::decode(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read directory.toml")(error)),
        };
        let is_current = stored.as_ref().is_none_or(|(_, is_current)| *is_current);
        let identity = match stored {
            Some((identity, _)) => identity,
            None => {
                let entries = disk.list(&path).map_err(failed("list it"))?;
                refuse_foreign(&path, entries.iter().map(|entry| entry.name.as_ref()))?;
                let identity = Identity::new(config.node.id, &config.cluster.name);
                replace_file(&*disk, &path.join(IDENTITY_FILE), identity.encode())
                    .map_err(failed("write in it"))?;
                sync_parent(&*disk, &path).map_err(failed("sync the directory above it"))?;
                identity
            }
        };
        refuse_other_owner(&path, &identity, config)?;
        if !is_current {
            replace_file(&*disk, &path.join(IDENTITY_FILE), identity.encode())
                .map_err(failed("write in it"))?;
        }
        let mut opened = Self { disk, path, identity, was_clean: false, faults: Vec::new() };
        opened.was_clean = opened.take_clean_mark().map_err(failed("remove its clean-shutdown mark"))?;
        Ok(opened)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the broker before this one stopped cleanly; then its logs need no check.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// What was not as it should be with its own files, and did no harm.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Leaves the clean-shutdown mark: the last act of a broker whose logs are all closed and synced.
    ///
    /// Returns whether the mark is durable; without it the next start checks the logs, which costs time only.
    pub fn close(self) -> bool {
        match replace_file(&*self.disk, &self.path.join(CLEAN_FILE), Bytes::from_static(CLEAN_TEXT)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(dir = %self.path.display(), %error, "the clean-shutdown mark could not be written");
                false
            }
        }
    }

    /// Removes the mark, durably, before anything is loaded: from here on a crash is seen as one.
    /// One that does not read as it was written says nothing, and the logs are checked as after a crash.
    fn take_clean_mark(&mut self) -> io::Result<bool> {
        let mark = self.path.join(CLEAN_FILE);
        let sound = match read_file(&*self.disk, &mark, CLEAN_TEXT.len() as u64) {
            Ok(text) => text == CLEAN_TEXT,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if is_out_of_handles(&error) => return Err(error),
            Err(_) => false,
        };
        if !sound {
            self.faults.push(format!("{} was damaged: the stop was taken for unclean", mark.display()));
        }
        self.disk.remove_file(&mark)?;
        self.disk.sync_dir(&self.path)?;
        Ok(sound)
    }
}

/// The new directory's own name must survive a power cut too.
fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(parent) => disk.sync_dir(parent),
        None => Ok(()),
    }
}

fn refuse_foreign<'a>(dir: &Path, mut names: impl Iterator<Item = &'a str>) -> Result<(), DataDirError> {
    // What a first start that was cut off, or mkfs, leaves behind.
    let harmless = |name: &str| [LOCK_FILE, "directory.toml.tmp", "lost+found"].contains(&name);
    match names.find(|name| !harmless(name)) {
        Some(entry) => Err(DataDirError::Foreign { dir: dir.to_owned(), entry: entry.to_owned() }),
        None => Ok(()),
    }
}

fn refuse_other_owner(dir: &Path, found: &Identity, config: &BrokerConfig) -> Result<(), DataDirError> {
    let other =
        |key, found, wanted| Err(DataDirError::OtherOwner { dir: dir.to_owned(), key, found, wanted });
    if found.node_id != config.node.id {
        return other("node.id", format!("node {}", found.node_id), format!("node {}", config.node.id));
    }
    if found.cluster_name != config.cluster.name {
        return other(
            "cluster.name",
            format!("cluster {:?} ({})", found.cluster_name, found.cluster_id),
            format!("{:?}", config.cluster.name),
        );
    }
    Ok(())
}

impl Identity {
    fn new(node_id: BrokerId, cluster_name: &str) -> Self {
        Self {
            cluster_id: Uuid::new_v4(),
            cluster_name: cluster_name.to_owned(),
            node_id,
            directory_id: Uuid::new_v4(),
        }
    }
}

#[cfg(test)]
mod tests;
