//! The end of a swap: online, and when the log is opened after a crash.

use std::io;
use std::path::Path;

use corduroy_batch::crc32c_append;
use corduroy_types::Offset;

use super::Name;
use crate::catalogue::{Catalogue, CatalogueEntry};
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::recovery::Files;
use crate::retention::remove_if_present;
use crate::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, file_path};

const READ_BYTES: usize = 1 << 20;

/// Files of swaps that did not come to their end, as listed.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(pub(crate) Vec<(Offset, Name)>);

/// Gives the segment at `base` its name in the place of the one there and of `others`.
pub(super) fn finish(disk: &dyn Disk, dir: &Path, base: Offset, others: &[Offset]) -> Result<(), LogError> {
    let sync = || disk.sync_dir(dir).map_err(LogError::io("sync", dir));
    let swap = Name::Swap.path(dir, base);
    for base in [&base].into_iter().chain(others) {
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
            remove_if_present(disk, file_path(dir, *base, suffix))?;
        }
    }
    sync()?;
    rename_if_present(disk, &swap, &file_path(dir, base, LOG_SUFFIX))?;
    // Before an old file goes, so that there is never only one file to believe.
    sync()?;
    for other in others {
        remove_if_present(disk, file_path(dir, *other, LOG_SUFFIX))?;
    }
    for (name, suffix) in [(Name::CleanedIndex, INDEX_SUFFIX), (Name::CleanedTimeIndex, TIME_INDEX_SUFFIX)] {
        rename_if_present(disk, &name.path(dir, base), &file_path(dir, base, suffix))?;
    }
    sync()
}

fn rename_if_present(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), LogError> {
    match disk.rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::io("rename", from)(error)),
        _ => Ok(()),
    }
}

/// Finishes the swaps that the catalogue names, erases the others, and corrects the listing.
pub(crate) fn settle(
    disk: &dyn Disk,
    dir: &Path,
    catalogue: &Catalogue,
    files: &mut Files,
) -> Result<(), LogError> {
    let leftovers = std::mem::take(&mut files.leftovers).0;
    let mut changed = false;
    for (base, _) in leftovers.iter().filter(|(_, name)| *name == Name::Swap) {
        let path = Name::Swap.path(dir, *base);
        changed = true;
        match catalogue.get(*base) {
            Some(entry) if is_named(disk, &path, entry).map_err(LogError::io("read", &*path))? => {
                let others: Vec<_> = covered(files, entry).collect();
                finish(disk, dir, *base, &others)?;
                files.swapped(entry, &others);
            }
            _ => remove_if_present(disk, path)?,
        }
    }
    for (base, name) in leftovers.into_iter().filter(|(_, name)| *name != Name::Swap) {
        // Gone already where its swap was just finished.
        remove_if_present(disk, name.path(dir, base))?;
        changed = true;
    }
    // The new segment had its name, and some of the old ones were still there.
    for entry in catalogue.entries() {
        let others: Vec<_> = covered(files, entry).collect();
        let present = files.segments.iter().any(|file| (file.base, file.bytes) == (entry.base, entry.bytes));
        for other in others.iter().filter(|_| present) {
            for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
                remove_if_present(disk, file_path(dir, *other, suffix))?;
            }
            changed = true;
        }
        if present {
            files.gone(&others);
        }
    }
    if changed { disk.sync_dir(dir).map_err(LogError::io("sync", dir)) } else { Ok(()) }
}

/// The segment files within an entry but for its own.
fn covered(files: &Files, entry: &CatalogueEntry) -> impl Iterator<Item = Offset> {
    let (base, end) = (entry.base, entry.end);
    files.segments.iter().map(|file| file.base).filter(move |other| base < *other && *other < end)
}

/// Whether a file is the one that an entry describes.
fn is_named(disk: &dyn Disk, path: &Path, entry: &CatalogueEntry) -> io::Result<bool> {
    let file = disk.open(path, OpenMode::Read)?;
    if file.len()? != entry.bytes {
        return Ok(false);
    }
    let (mut checksum, mut position, mut buffer) = (0, 0, Vec::new());
    loop {
        buffer.clear();
        let count = file.read_at(&mut buffer, position, READ_BYTES)?;
        if count == 0 {
            return Ok(checksum == entry.checksum);
        }
        checksum = crc32c_append(checksum, &buffer);
        position += count as u64;
    }
}
