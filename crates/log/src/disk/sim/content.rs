//! A file's bytes: what is read now, what a power loss may leave, and the changes between the two.

use std::collections::BTreeMap;

use super::kept::{Chooser, SECTOR_BYTES};

/// Unsynced changes kept apart from each other; beyond this many, appends that follow one another are merged. It
/// keeps a file that is never synced from remembering every small write.
const CHANGES_APART: usize = 4096;

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What is read: the page cache.
    pub(super) live: Vec<u8>,
    /// Changes since the last sync, oldest first; undone in reverse they lead back to what was live then.
    changes: Vec<Change>,
    /// Length on disk as of the last sync.
    durable_len: usize,
    /// Sectors whose bytes on disk are not what was live at the last sync, though the cache takes them for clean.
    stale: BTreeMap<usize, Vec<u8>>,
}

/// One change: bytes replaced from `position` up to `end`, and the length.
#[derive(Clone, Debug)]
struct Change {
    position: usize,
    end: usize,
    /// What was there before, as far as it existed. What came instead is found by undoing the later changes.
    old: Vec<u8>,
    len_before: usize,
    len_after: usize,
}

impl Change {
    fn sectors(&self) -> std::ops::Range<usize> {
        if self.position >= self.end {
            return 0..0;
        }
        self.position / SECTOR_BYTES..self.end.div_ceil(SECTOR_BYTES)
    }
}

/// What a power loss did to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Changes that were not synced.
    pub(super) changes: usize,
    /// Sectors they touched, and those of them that are not as last seen.
    pub(super) sectors: usize,
    pub(super) sectors_lost: usize,
    pub(super) len_before: usize,
    pub(super) len_after: usize,
}

impl Content {
    /// Whether all that is live is on disk.
    pub(super) fn is_durable(&self) -> bool {
        self.changes.is_empty() && self.stale.is_empty() && self.durable_len == self.live.len()
    }

    /// How many unsynced changes are remembered.
    #[cfg(test)]
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (len_before, end) = (self.live.len(), position + bytes.len());
        let old = self.live.get(position..end.min(len_before)).unwrap_or_default().to_vec();
        if len_before < position {
            self.live.resize(position, 0);
        }
        let overlap = self.live.len().min(end) - position;
        let (over, beyond) = bytes.split_at(overlap);
        if let Some(target) = self.live.get_mut(position..position + overlap) {
            target.copy_from_slice(over);
        }
        self.live.extend_from_slice(beyond);
        self.note(Change { position, end, old, len_before, len_after: self.live.len() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let len_before = self.live.len();
        let old = self.live.get(len..).unwrap_or_default().to_vec();
        self.live.resize(len, 0);
        let position = len.min(len_before);
        self.note(Change { position, end: len_before, old, len_before, len_after: len });
    }

    fn note(&mut self, change: Change) {
        if self.changes.len() >= CHANGES_APART
            && change.old.is_empty()
            && let Some(last) = self.changes.last_mut()
            && last.end == change.position
            && last.len_after == change.len_before
        {
            last.end = change.end;
            last.len_after = change.len_after;
            return;
        }
        self.changes.push(change);
    }

    /// All that is live is on disk, but for pages that were lost before and not written again since.
    pub(super) fn sync(&mut self) {
        if !self.stale.is_empty() {
            for sector in self.changes.iter().flat_map(Change::sectors) {
                self.stale.remove(&sector);
            }
        }
        // Writing back what lies beyond the length on disk moves that, too.
        let durable_len = self.durable_len;
        let moves = |change: &Change| change.len_before != change.len_after || change.end > durable_len;
        if self.changes.iter().any(moves) {
            self.durable_len = self.live.len();
        }
        self.changes.clear();
    }

    /// A sync failed: of the changes only what `chooser` picks is on disk, and the cache takes all for clean, so
    /// that the next sync says nothing. They are read until the power goes.
    pub(super) fn drop_as_clean(&mut self, chooser: &mut Chooser) {
        let (image, _) = self.image(chooser);
        let touched = self.changes.iter().flat_map(Change::sectors);
        let touched: Vec<usize> = touched.chain(self.stale.keys().copied()).collect();
        for sector in touched {
            let on_disk = sector_of(&image, sector);
            if on_disk == sector_of(&self.live, sector) {
                self.stale.remove(&sector);
            } else {
                self.stale.insert(sector, on_disk);
            }
        }
        self.durable_len = image.len();
        self.changes.clear();
    }

    /// The power went: what `chooser` picks of the changes is all there is.
    pub(super) fn lose(&mut self, chooser: &mut Chooser) -> Option<Loss> {
        if self.is_durable() {
            return None;
        }
        let (image, loss) = self.image(chooser);
        *self = Self { durable_len: image.len(), live: image, ..Self::default() };
        Some(loss)
    }

    /// What would be on disk if of each sector's and of the length's history as much were kept as `chooser` says.
    fn image(&self, chooser: &mut Chooser) -> (Vec<u8>, Loss) {
        let (mut full, replaced) = self.undone();
        let lengths = self.changes.iter().map(|change| change.len_after);
        let longest = lengths.chain([full.len(), self.durable_len]).max().unwrap_or_default();
        let mut image = full.clone();
        image.resize(longest, 0);
        for (sector, on_disk) in &self.stale {
            copy_sector(on_disk, 0, &mut image, *sector);
        }
        let chosen = self.choose_sectors(chooser);
        let len = self.choose_len(chooser);
        for (index, (change, bytes)) in self.changes.iter().zip(&replaced).enumerate() {
            full.resize(change.len_after, 0);
            if let Some(target) = full.get_mut(change.position..change.position + bytes.len()) {
                target.copy_from_slice(bytes);
            }
            for sector in change.sectors().filter(|sector| chosen.get(sector) == Some(&(index + 1))) {
                copy_sector(&full, sector, &mut image, sector);
            }
        }
        image.resize(len, 0);
        let lost =
            chosen.keys().filter(|sector| sector_of(&image, **sector) != sector_of(&self.live, **sector));
        let loss = Loss {
            changes: self.changes.len(),
            sectors: chosen.len(),
            sectors_lost: lost.count(),
            len_before: self.live.len(),
            len_after: len,
        };
        (image, loss)
    }

    /// What was live at the last sync, and for each change since what it put in place.
    fn undone(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut image = self.live.clone();
        let mut replaced = Vec::with_capacity(self.changes.len());
        for change in self.changes.iter().rev() {
            let end = change.end.min(change.len_after);
            replaced.push(image.get(change.position..end).unwrap_or_default().to_vec());
            image.resize(change.len_before, 0);
            if let Some(target) = image.get_mut(change.position..change.position + change.old.len()) {
                target.copy_from_slice(&change.old);
            }
        }
        replaced.reverse();
        (image, replaced)
    }

    fn choose_sectors(&self, chooser: &mut Chooser) -> BTreeMap<usize, usize> {
        let mut histories: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, change) in self.changes.iter().enumerate() {
            for sector in change.sectors() {
                histories.entry(sector).or_default().push(index);
            }
        }
        let all = self.changes.len();
        histories.into_iter().map(|(sector, mine)| (sector, chooser.choose(&mine, all))).collect()
    }

    fn choose_len(&self, chooser: &mut Chooser) -> usize {
        let resizing = self.changes.iter().enumerate();
        let resizing = resizing.filter(|(_, change)| change.len_before != change.len_after);
        let mine: Vec<usize> = resizing.map(|(index, _)| index).collect();
        let version = chooser.choose(&mine, self.changes.len());
        let change = version.checked_sub(1).and_then(|index| self.changes.get(index));
        change.map_or(self.durable_len, |change| change.len_after)
    }

    /// A write that the device said it made and did not: the length grows, the bytes stay, for good.
    pub(super) fn lose_write(&mut self, position: usize, bytes: usize) {
        let end = position + bytes;
        if end > self.live.len() {
            self.set_len(end);
        }
    }

    /// Changes bytes in place, in the cache, on disk and in the history, as bit rot does.
    pub(super) fn damage(&mut self, position: usize, change: impl FnOnce(&mut [u8])) -> bool {
        match self.live.get_mut(position..) {
            Some(bytes) if !bytes.is_empty() => {
                change(bytes);
                true
            }
            _ => false,
        }
    }
}

/// The bytes of one sector, with zeros where the file ends.
fn sector_of(bytes: &[u8], sector: usize) -> Vec<u8> {
    let rest = bytes.get(sector * SECTOR_BYTES..).unwrap_or_default();
    let mut found = rest.get(..SECTOR_BYTES).unwrap_or(rest).to_vec();
    found.resize(SECTOR_BYTES, 0);
    found
}

/// Copies the sector `from_sector` of `from` over the sector `sector` of `to`, as far as `to` reaches.
fn copy_sector(from: &[u8], from_sector: usize, to: &mut [u8], sector: usize) {
    let bytes = sector_of(from, from_sector);
    if let Some(target) = to.get_mut(sector * SECTOR_BYTES..) {
        let len = target.len().min(SECTOR_BYTES);
        if let (Some(target), Some(bytes)) = (target.get_mut(..len), bytes.get(..len)) {
            target.copy_from_slice(bytes);
        }
    }
}
