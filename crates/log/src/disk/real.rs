//! The operating system's file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

use super::{Disk, DiskFile, Entry, OpenMode, Space, at};

/// As many parts as Linux takes in one vectored write.
const PARTS_PER_WRITE: usize = 1024;

/// The operating system's file system, called directly.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The real disk, ready to be shared.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
            OpenMode::Truncate => options.read(true).write(true).create(true).truncate(true),
        };
        let file = options.open(path).map_err(|error| at(path, error))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|error| at(from, error))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|error| at(path, error))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path).map_err(|error| at(path, error))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path).map_err(|error| at(path, error))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(|error| at(dir, error))? {
            let entry = entry?;
            // A file may be removed between the two calls; then it was not there.
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let is_dir = metadata.is_dir();
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, is_dir, bytes: if is_dir { 0 } else { metadata.len() } });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|file| file.sync_all()).map_err(|error| at(dir, error))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path).map_err(|error| at(path, error.into()))?;
        let unit = stat.f_frsize;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(unit),
            total_bytes: stat.f_blocks.saturating_mul(unit),
        })
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut Vec<u8>, position: u64, max_bytes: usize) -> io::Result<usize> {
        buffer.reserve(max_bytes);
        let mut done = 0;
        while done < max_bytes {
            let spare = buffer.spare_capacity_mut();
            let room = spare.len().min(max_bytes - done);
            let Some(spare) = spare.get_mut(..room) else { break };
            let from = position.saturating_add(done as u64);
            let read = match rustix::io::pread(&self.0, spare, from) {
                Err(Errno::INTR) => continue,
                other => other?.0.len(),
            };
            if read == 0 {
                break;
            }
            let filled = buffer.len() + read;
            #[expect(unsafe_code, reason = "reading into memory that was not zeroed first has no safe form")]
            // SAFETY: `pread` initialised the first `read` bytes of the spare capacity, which begins at
            // `buffer.len()`, and `read` is at most `room`, which is within the capacity.
            unsafe {
                buffer.set_len(filled);
            }
            done += read;
        }
        Ok(done)
    }

    fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        let mut position = position;
        for group in parts.chunks(PARTS_PER_WRITE) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|part| IoSlice::new(part)).collect();
            let mut left: &mut [IoSlice<'_>] = &mut slices;
            IoSlice::advance_slices(&mut left, 0); // drops empty parts in front
            while !left.is_empty() {
                let written = match rustix::io::pwritev(&self.0, left, position) {
                    Err(Errno::INTR) => continue,
                    other => other?,
                };
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                position += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        // An interrupted sync may be asked again: nothing has been marked clean by it.
        loop {
            match rustix::fs::fdatasync(&self.0) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
