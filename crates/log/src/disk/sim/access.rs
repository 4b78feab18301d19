//! The simulated disk as a [`Disk`].

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::calls::{SimCall, SimEvent};
use super::file::SimFile;
use super::{SimDisk, SimState};
use crate::disk::{Disk, DiskFile, Entry, OpenMode, Space};

impl SimDisk {
    /// Makes one call: counted, refused or performed, noted.
    fn call<T>(
        &self,
        call: SimCall,
        path: &Path,
        perform: impl FnOnce(&mut SimState) -> io::Result<T>,
    ) -> io::Result<T> {
        let event = SimEvent { call, path, position: 0, bytes: 0 };
        let mut state = self.enter(&event);
        let result = state.begin(call, path).and_then(|()| perform(&mut state));
        state.note(&event, &result);
        result
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let makes = matches!(mode, OpenMode::CreateNew | OpenMode::Truncate);
        let call = if makes { SimCall::Create } else { SimCall::Open };
        let (content, incarnation) = self.call(call, path, |state| {
            let content = match (state.tree.file(path), mode) {
                (Ok(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
                (Ok(content), OpenMode::Truncate) => {
                    let mut inner = content.lock();
                    state.shrink(inner.live.len(), 0);
                    inner.set_len(0);
                    drop(inner);
                    Ok(content)
                }
                (Err(error), OpenMode::CreateNew | OpenMode::Truncate)
                    if error.kind() == io::ErrorKind::NotFound =>
                {
                    state.tree.add_file(path)
                }
                (found, _) => found,
            };
            Ok((content?, state.incarnation))
        })?;
        let (disk, path, writable) = (self.clone(), path.into(), mode != OpenMode::Read);
        Ok(Arc::new(SimFile { disk, path, content, incarnation, writable }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(SimCall::Rename, from, |state| {
            let replaced = state.tree.file(to).ok().filter(|_| from != to);
            state.tree.rename(from, to)?;
            if let Some(replaced) = replaced {
                state.shrink(replaced.lock().live.len(), 0);
            }
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(SimCall::Remove, path, |state| {
            let content = state.tree.file(path)?;
            state.tree.remove_file(path)?;
            state.shrink(content.lock().live.len(), 0);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(SimCall::Remove, path, |state| state.tree.remove_dir(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(SimCall::CreateDir, path, |state| state.tree.create_dir_all(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.call(SimCall::List, dir, |state| {
            let entries = state.tree.list(dir)?.into_iter().map(|(name, file)| match file {
                None => Entry { name, is_dir: true, bytes: 0 },
                Some(content) => Entry { name, is_dir: false, bytes: content.lock().live.len() as u64 },
            });
            Ok(entries.collect())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(SimCall::SyncDir, dir, |state| {
            if state.syncs_ignored == Some(SimCall::SyncDir) {
                return state.tree.dir(dir).map(drop);
            }
            state.tree.sync_dir(dir)
        })
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.call(SimCall::Space, path, |state| {
            let total_bytes = state.capacity_bytes.unwrap_or(1 << 50);
            Ok(Space { free_bytes: total_bytes.saturating_sub(state.used_bytes), total_bytes })
        })
    }
}
