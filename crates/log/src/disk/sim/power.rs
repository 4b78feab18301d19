//! A power loss, and how it is recorded.

use std::fmt;
use std::path::{Path, PathBuf};

use super::content::{Content, Loss};
use super::kept::{Chooser, Kept};
use super::tree::LossReport;

/// What a power loss left of the unsynced changes. Printed, it says what to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerLoss {
    kept: Kept,
    names: Vec<(PathBuf, usize, Vec<String>)>,
    files: Vec<(PathBuf, Loss)>,
    pub(super) used_bytes: u64,
}

impl PowerLoss {
    pub(super) fn new(kept: Kept) -> Self {
        Self { kept, names: Vec::new(), files: Vec::new(), used_bytes: 0 }
    }

    /// Whether there was nothing unsynced, so that nothing could be lost.
    pub fn found_all_durable(&self) -> bool {
        self.names.is_empty() && self.files.is_empty()
    }
}

impl LossReport for PowerLoss {
    fn chooser(&mut self, path: &Path) -> Chooser {
        // Of the path, so that a file more or less does not change what happens to the others.
        Chooser::new(self.kept, u64::from(crc32fast::hash(path.as_os_str().as_encoded_bytes())) << 1)
    }

    fn names(&mut self, dir: &Path, changes: usize, names: Vec<String>) {
        self.names.push((dir.to_owned(), changes, names));
    }

    fn file(&mut self, path: &Path, content: &mut Content) {
        if !content.is_durable() {
            let salt = (u64::from(crc32fast::hash(path.as_os_str().as_encoded_bytes())) << 1) | 1;
            let loss = content.lose(&mut Chooser::new(self.kept, salt));
            self.files.extend(loss.map(|loss| (path.to_owned(), loss)));
        }
        self.used_bytes += content.live.len() as u64;
    }
}

impl fmt::Display for PowerLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "power loss, kept: {:?}", self.kept)?;
        for (dir, changes, names) in &self.names {
            writeln!(f, "  {}: {changes} unsynced names: {}", dir.display(), names.join(" "))?;
        }
        for (path, loss) in &self.files {
            let Loss { changes, sectors, sectors_lost, len_before, len_after } = loss;
            writeln!(
                f,
                "  {}: {changes} unsynced changes, {sectors_lost} of {sectors} sectors lost, {len_before} bytes before and {len_after} after",
                path.display()
            )?;
        }
        Ok(())
    }
}
