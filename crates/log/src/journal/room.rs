//! Room on the disk for the journal, taken while there is some, and given up when there is none.

use super::file::Slot;
use super::plan::Journal;

impl Journal {
    /// Takes the room that both files need at first, so that commits, and a later start, have it on a full disk.
    pub(super) fn take_room(&mut self) {
        for slot in Slot::BOTH {
            let used = if slot == self.slot { self.position } else { 0 };
            let (begin, zeros) = (self.file_end(slot), self.zeros.clone());
            if begin > used || zeros.is_empty() {
                continue;
            }
            let file = self.file(slot);
            // Nothing but room is missing where that fails.
            match file.write_at(std::slice::from_ref(&zeros), begin).and_then(|()| file.sync()) {
                Ok(()) => self.note_written(slot, begin + zeros.len() as u64),
                Err(_) => drop(file.set_len(begin)),
            }
        }
    }

    /// Gives up the room of the file not in use, where the disk has no other: the next generation takes what it needs.
    /// For the start, before anything is committed. Performs I/O.
    pub fn give_up_room(&mut self) {
        let slot = self.slot.other();
        let file = self.file(slot);
        if self.other_is_free() && file.set_len(0).is_ok() {
            self.set_file(slot, file);
        }
    }
}
