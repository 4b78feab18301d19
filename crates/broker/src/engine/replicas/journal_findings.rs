//! Damage of the commit journal that was found, until an operator accepts it.
//!
//! The start goes on with what the journal keeps twice, and writes the journal again: so what was found is kept in a file of
//! its own, written before the damaged journal is changed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use corduroy_log::disk::{Disk, read_file, replace_file};
use parking_lot::Mutex;

const FILE: &str = "journal-findings";
const MAGIC: [u8; 4] = *b"CDJF";
const VERSION: u16 = 1;
/// Findings that are kept.
const FINDINGS_MAX: usize = 64;
/// The entry that replaces those for which there is no room.
const MORE: &str = "more was found than is listed here: see the broker's log";
/// Bytes of one.
const TEXT_BYTES_MAX: usize = 1_000;
const FILE_BYTES_MAX: u64 = 4 + 2 + (FINDINGS_MAX * (4 + TEXT_BYTES_MAX)) as u64 + 4;

/// What is said of a file that holds something else than was stored.
const DAMAGED: &str = "journal-findings was damaged: what had been found before is not known";

/// What was found and is not accepted, in words, oldest first.
#[derive(Debug)]
pub(crate) struct JournalFindings {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    open: Mutex<Vec<String>>,
}

impl JournalFindings {
    /// Adds what was found now to what is on record. Where it cannot be stored, as on a full disk, it lasts until the
    /// broker stops.
    pub(super) fn record(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        found: impl IntoIterator<Item = String>,
    ) -> Self {
        let path = data_dir.join(FILE);
        let stored = load(&**disk, &path);
        let is_newer = matches!(stored, Stored::NewerFormat(_));
        let (mut open, mut is_stored) = match stored {
            Stored::Findings(stored) => (stored, true),
            Stored::Damaged => (vec![DAMAGED.to_owned()], false),
            // It may be readable at the next start: it is replaced only for what is found now.
            Stored::Unreadable(error) => (vec![format!("journal-findings cannot be read: {error}")], true),
            Stored::NewerFormat(version) => (vec![newer_format(version)], true),
        };
        for mut text in found {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            if open.len() + 1 >= FINDINGS_MAX {
                MORE.clone_into(&mut text);
            }
            if !open.contains(&text) {
                open.push(text);
                is_stored = false;
            }
        }
        // What a newer version wrote is not replaced.
        if !is_stored
            && !is_newer
            && let Err(error) = store(&**disk, &path, &open)
        {
            tracing::warn!(%error, "findings in the commit journal cannot be stored: the next start does not know them");
        }
        Self { disk: Arc::clone(disk), path, open: Mutex::new(open) }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.open.lock().clone()
    }

    /// Forgets them, durably. Returns what they were. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's: they stay.
    pub(super) fn accept(&self) -> io::Result<Vec<String>> {
        let open = self.list();
        if open.is_empty() {
            return Ok(open);
        }
        // Nothing is written, so that a full disk is no hindrance.
        match self.disk.remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))?;
        self.open.lock().retain(|text| !open.contains(text));
        Ok(open)
    }
}

/// What the file holds.
enum Stored {
    Findings(Vec<String>),
    Damaged,
    Unreadable(io::Error),
    /// A newer version wrote it. It is left as it is.
    NewerFormat(u16),
}

fn newer_format(version: u16) -> String {
    format!(
        "journal-findings has format {version}, and this version knows {VERSION}: what it holds is shown by the version \
         that wrote it"
    )
}

/// Stored, big-endian: magic `CDJF` · version u16 (1) · for each finding its length u32 and its text in UTF-8 · CRC-32 u32 over all before it.
fn store(disk: &dyn Disk, path: &Path, open: &[String]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    for text in open {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    replace_file(disk, path, Bytes::from(bytes))
}

/// Without a file there are none.
fn load(disk: &dyn Disk, path: &Path) -> Stored {
    match read_file(disk, path, FILE_BYTES_MAX) {
        Ok(bytes) => decode(&bytes).unwrap_or(Stored::Damaged),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Stored::Findings(Vec::new()),
            // It is longer than any that was stored.
            io::ErrorKind::InvalidData => Stored::Damaged,
            _ => Stored::Unreadable(error),
        },
    }
}

fn decode(bytes: &[u8]) -> Option<Stored> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let body = body.strip_prefix(&MAGIC).filter(|_| crc32fast::hash(body) == u32::from_be_bytes(*crc))?;
    let (version, behind) = body.split_first_chunk::<2>()?;
    let mut rest = match u16::from_be_bytes(*version) {
        VERSION => behind,
        // The first form had no version: these are the first bytes of a length.
        0 => body,
        newer => return Some(Stored::NewerFormat(newer)),
    };
    let mut open = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (text, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        open.push(std::str::from_utf8(text).ok()?.to_owned());
        rest = behind;
    }
    rest.is_empty().then_some(Stored::Findings(open))
}

#[cfg(test)]
mod tests {
    use corduroy_log::{SimDisk, disk::Kept};

    use super::*;

    fn record(disk: &SimDisk, found: &[&str]) -> JournalFindings {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        JournalFindings::record(&shared, Path::new("/"), found.iter().map(|text| (*text).to_owned()))
    }

    #[test]
    fn they_stay_over_restarts_until_they_are_accepted() {
        let disk = SimDisk::new();
        assert_eq!(record(&disk, &[]).list(), <[String; 0]>::default());
        assert!(disk.files().is_empty(), "nothing is written where nothing was found");
        record(&disk, &["a.journal is gone"]);
        record(&disk, &[]);
        let both = record(&disk, &["b.journal", "a.journal is gone"]);
        assert_eq!(both.list(), ["a.journal is gone", "b.journal"]);
        assert_eq!(both.accept().unwrap(), ["a.journal is gone", "b.journal"]);
        assert!(both.list().is_empty() && record(&disk, &[]).list().is_empty());
        assert!(disk.files().is_empty(), "no file is left that could be damaged");
    }

    #[test]
    fn a_damaged_file_is_a_finding_of_its_own() {
        let disk = SimDisk::new();
        record(&disk, &["a.journal is gone"]);
        disk.damage(Path::new("/journal-findings"), 9, |bytes| bytes[0] ^= 1);
        assert_eq!(record(&disk, &["later"]).list(), [DAMAGED, "later"]);
        assert_eq!(record(&disk, &[]).list(), [DAMAGED, "later"]);
    }

    #[test]
    fn other_forms_are_read_or_kept() {
        let disk = SimDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let write = |body: &[u8]| {
            let mut bytes = [MAGIC.as_slice(), body].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            replace_file(&*shared, Path::new("/journal-findings"), Bytes::from(bytes)).unwrap();
        };
        write(b"\0\0\0\x03old");
        assert_eq!(record(&disk, &["new"]).list(), ["old", "new"]);
        assert_eq!(record(&disk, &[]).list(), ["old", "new"], "it was stored in the present form");
        write(b"\0\x02whatever");
        assert_eq!(record(&disk, &["new"]).list(), [newer_format(2), "new".to_owned()]);
        assert_eq!(record(&disk, &[]).list(), [newer_format(2)], "it is not replaced");
    }

    #[test]
    fn there_is_an_end_to_how_many_and_how_long_they_are() {
        let disk = SimDisk::new();
        let long: Vec<_> = (0..100).map(|n| format!("{n}{}", "ü".repeat(2_000))).collect();
        let texts: Vec<_> = long.iter().map(String::as_str).collect();
        let open = record(&disk, &texts).list();
        assert_eq!((open.len(), open.last().map(String::as_str)), (FINDINGS_MAX, Some(MORE)));
        assert!(open.iter().all(|text| text.len() <= TEXT_BYTES_MAX));
        assert_eq!(record(&disk, &[]).list(), open);
    }

    #[test]
    fn what_cannot_be_stored_is_known_until_the_broker_stops() {
        let disk = SimDisk::new();
        disk.set_capacity(Some(0));
        let findings = record(&disk, &["a.journal is gone"]);
        assert_eq!(findings.list(), ["a.journal is gone"]);
    }

    #[test]
    fn they_are_accepted_on_a_full_disk_and_stay_where_the_disk_fails() {
        let disk = SimDisk::new();
        record(&disk, &["a.journal is gone"]);
        disk.set_capacity(Some(0));
        let findings = record(&disk, &[]);
        disk.stop_after(0);
        assert!(findings.accept().is_err());
        assert_eq!(findings.list(), ["a.journal is gone"]);
        disk.lose_power(Kept::Nothing);
        let findings = record(&disk, &[]);
        assert_eq!(findings.accept().unwrap(), ["a.journal is gone"]);
        assert!(record(&disk, &[]).list().is_empty());
    }
}
