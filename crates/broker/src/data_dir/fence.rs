//! A fence before a disk: while it is up, nothing is written and no path is followed.
//!
//! It goes up when the data directory is no longer the one that was locked. What is open then may be deleted, and what
//! is found at a path may belong to another broker.

use std::{io, path::Path, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use corduroy_log::{
    Disk,
    disk::{DiskFile, Entry, OpenMode, Space},
};

/// Raises and lowers the fence of the disks that were made with it. Copies are one fence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence {
    reason: Arc<ArcSwapOption<String>>,
}

impl Fence {
    /// `disk` behind this fence.
    pub(super) fn before(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(FencedDisk { disk, fence: self.clone() })
    }

    /// From now on every call fails for this reason, but reading files that are open.
    pub(super) fn raise(&self, reason: String) {
        self.reason.store(Some(Arc::new(reason)));
    }

    /// Calls reach the disk again.
    pub(super) fn lower(&self) {
        self.reason.store(None);
    }

    fn pass(&self) -> io::Result<()> {
        match &*self.reason.load() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(reason.as_str().to_owned())),
        }
    }
}

#[derive(Debug)]
struct FencedDisk {
    disk: Arc<dyn Disk>,
    fence: Fence,
}

#[derive(Debug)]
struct FencedFile {
    file: Arc<dyn DiskFile>,
    fence: Fence,
}

impl Disk for FencedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.fence.pass()?;
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(FencedFile { file, fence: self.fence.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fence.pass()?;
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fence.pass()?;
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.fence.pass()?;
        self.disk.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fence.pass()?;
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.fence.pass()?;
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fence.pass()?;
        self.disk.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.fence.pass()?;
        self.disk.space(path)
    }
}

impl DiskFile for FencedFile {
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize> {
        self.file.read_at(buffer, position, max_bytes)
    }

    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        self.fence.pass()?;
        self.file.write_at(parts, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.fence.pass()?;
        self.file.sync()?;
        // Raised meanwhile: what was synced may be a deleted file.
        self.fence.pass()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.fence.pass()?;
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[cfg(test)]
mod tests {
    use corduroy_log::SimDisk;

    use super::*;

    #[test]
    fn a_raised_fence_lets_nothing_through_but_reads_of_open_files() {
        let (sim, fence) = (SimDisk::new(), Fence::default());
        let disk = fence.before(Arc::new(sim.clone()));
        let (dir, path) = (Path::new("/d"), Path::new("/d/file"));
        disk.create_dir_all(dir).unwrap();
        let file = disk.open(path, OpenMode::CreateNew).unwrap();
        file.write_at(&[Bytes::from_static(b"old")], 0).unwrap();
        fence.raise("the directory is gone".to_owned());
        let calls = sim.calls();
        let refused = [
            disk.open(path, OpenMode::Read).map(drop),
            disk.rename(path, Path::new("/d/other")),
            disk.remove_file(path),
            disk.remove_dir(dir),
            disk.create_dir_all(Path::new("/d/more")),
            disk.list(dir).map(drop),
            disk.sync_dir(dir),
            disk.space(dir).map(drop),
            file.write_at(&[Bytes::from_static(b"new")], 0),
            file.sync(),
            file.set_len(0),
        ];
        for (at, result) in refused.into_iter().enumerate() {
            assert_eq!(result.unwrap_err().to_string(), "the directory is gone", "call {at}");
        }
        assert_eq!(sim.calls(), calls, "nothing reached the disk");
        let mut read = Vec::new();
        file.read_at(&mut read, 0, 3).unwrap();
        assert_eq!(read, b"old");
        fence.lower();
        file.write_at(&[Bytes::from_static(b"new")], 0).unwrap();
        file.sync().unwrap();
    }
}
