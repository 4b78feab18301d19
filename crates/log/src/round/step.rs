//! The steps of a round.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use corduroy_types::Offset;

use crate::catalogue::CatalogueEntry;
use crate::disk::{Disk, OpenMode, create_partition_dir};
use crate::producers::SnapshotStep;
use crate::segment::SegmentFile;
use crate::shared::Shared;

/// One thing to do on disk. Steps of a round are performed in order; after a failure none that follows is.
pub struct Step(pub(super) Kind);

/// What a step is.
pub(super) enum Kind {
    /// The names above the directory are synced, unless that was done.
    CreateDir {
        shared: Arc<Shared>,
        log_start: Offset,
        named: bool,
    },
    Create {
        file: Arc<SegmentFile>,
    },
    SyncDir {
        dir: Arc<Path>,
    },
    Write {
        file: Arc<SegmentFile>,
        position: u64,
        parts: Vec<Bytes>,
        bytes: u64,
    },
    Sync {
        file: Arc<SegmentFile>,
    },
    WriteIndex {
        path: PathBuf,
        contents: Bytes,
    },
    RemoveIndex {
        path: PathBuf,
    },
    Catalogue {
        shared: Arc<Shared>,
        entry: CatalogueEntry,
    },
    Snapshot(SnapshotStep),
}

impl Step {
    /// Performs this step.
    ///
    /// # Errors
    /// The disk's. Report it with [`super::Round::failed`], and perform nothing more of the round.
    pub fn perform(&self, disk: &dyn Disk) -> io::Result<()> {
        match &self.0 {
            Kind::CreateDir { shared, log_start, named } => {
                if !named {
                    create_partition_dir(disk, &shared.dir)?;
                }
                shared.state.raise_log_start(disk, *log_start)
            }
            Kind::Create { file } => file.create(disk),
            Kind::SyncDir { dir } => disk.sync_dir(dir),
            Kind::Write { file, position, parts, .. } => file.open(disk)?.write_at(parts, *position),
            Kind::Sync { file } => file.sync(disk),
            Kind::WriteIndex { path, contents } => {
                let file = disk.open(path, OpenMode::Truncate)?;
                file.write_at(std::slice::from_ref(contents), 0)?;
                file.sync()
            }
            Kind::RemoveIndex { path } => match disk.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Kind::Catalogue { shared, entry } => shared.state.enter(disk, *entry),
            Kind::Snapshot(snapshot) => {
                snapshot.perform(disk);
                Ok(())
            }
        }
    }

    /// Whether this step makes appended bytes durable: a sync of a segment file.
    pub fn is_sync(&self) -> bool {
        matches!(self.0, Kind::Sync { .. })
    }

    /// Bytes of batches that this step writes; 0 for one that writes none.
    pub fn bytes(&self) -> u64 {
        if let Kind::Write { bytes, .. } = &self.0 { *bytes } else { 0 }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::CreateDir { shared, .. } => write!(f, "creation of {}", shared.dir.display()),
            Kind::Create { file } => write!(f, "creation of {file:?}"),
            Kind::SyncDir { dir } => write!(f, "sync of directory {}", dir.display()),
            Kind::Write { file, position, bytes, .. } => {
                write!(f, "write of {bytes} bytes at {position} of {file:?}")
            }
            Kind::Sync { file } => write!(f, "sync of {file:?}"),
            Kind::WriteIndex { path, .. } => write!(f, "write of {}", path.display()),
            Kind::RemoveIndex { path } => write!(f, "removal of {}", path.display()),
            Kind::Snapshot(snapshot) => write!(f, "snapshot of producers at offset {}", snapshot.offset),
            Kind::Catalogue { shared, .. } => write!(f, "write of {}", shared.state.path().display()),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
