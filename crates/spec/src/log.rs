//! A log and an epoch history, as small as a state of the model needs them, and where two histories agree.

use std::{fmt, hash::Hash, marker::PhantomData};

/// A record: which epoch wrote it, and which append of that epoch it was.
///
/// The value keeps two records apart that have one epoch and one offset. That must never happen, so it must be visible.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The epoch of the leader that appended it.
    pub epoch: u8,
    /// How many appends the epoch had before; or a change of the voters ([`Record::changes`]).
    pub value: u8,
}

/// Values from here on change the voters.
const CHANGES: u8 = 8;

impl Record {
    /// A record that makes a voter of a replica, or that ends its being one (V6).
    #[must_use]
    pub fn change(epoch: u8, voter: u8) -> Self {
        Self { epoch, value: CHANGES + voter }
    }

    /// Which replica becomes a voter or is none any more, if the record is a change of the voters.
    #[must_use]
    pub fn changes(self) -> Option<u8> {
        self.value.checked_sub(CHANGES)
    }
}

/// An entry of an epoch history (R4): the epoch began at this offset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The epoch.
    pub epoch: u8,
    /// The end of its leader's log when it began.
    pub start: u8,
}

/// What fits into one byte that is not zero.
pub trait Packed: Copy {
    /// As a byte.
    fn pack(self) -> u8;
    /// From a byte.
    fn unpack(byte: u8) -> Self;
}

impl Packed for Record {
    fn pack(self) -> u8 {
        self.epoch << 4 | self.value
    }

    fn unpack(byte: u8) -> Self {
        Self { epoch: byte >> 4, value: byte & 15 }
    }
}

impl Packed for Entry {
    fn pack(self) -> u8 {
        self.epoch << 4 | self.start
    }

    fn unpack(byte: u8) -> Self {
        Self { epoch: byte >> 4, start: byte & 15 }
    }
}

/// Up to eight items. All of it is one word, because a checker clones, compares and hashes states by the million.
pub struct List<T> {
    /// Item `i` is byte `i`. No item is zero, so the first zero ends the list.
    bytes: u64,
    items: PhantomData<T>,
}

/// A log from offset 0 on.
pub type Log = List<Record>;
/// An epoch history, oldest entry first.
pub type History = List<Entry>;

impl<T: Packed> List<T> {
    fn of(bytes: u64) -> Self {
        Self { bytes, items: PhantomData }
    }

    /// How many items there are. As a log's end, it is the offset that the next record gets.
    #[must_use]
    pub fn len(self) -> u8 {
        let bits = 64 - self.bytes.leading_zeros();
        bits.div_ceil(8).to_le_bytes()[0]
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }

    /// The item at an index.
    #[must_use]
    pub fn get(self, index: u8) -> Option<T> {
        let byte = self.bytes.to_le_bytes().get(usize::from(index)).copied()?;
        (byte != 0).then(|| T::unpack(byte))
    }

    /// The last item.
    #[must_use]
    pub fn last(self) -> Option<T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        debug_assert!(self.len() < 8, "the bounds of a model are smaller than a list");
        self.bytes |= u64::from(item.pack()) << (8 * self.len());
    }

    /// Removes what lies at `len` and above.
    pub fn truncate(&mut self, len: u8) {
        *self = self.prefix(len);
    }

    /// The first `len` items.
    #[must_use]
    pub fn prefix(self, len: u8) -> Self {
        let all = u32::from(len) >= 8;
        Self::of(if all { self.bytes } else { self.bytes & ((1_u64 << (8 * len)) - 1) })
    }

    /// How many items, from the first one on, two lists have in common.
    #[must_use]
    pub fn common(self, other: Self) -> u8 {
        let same = ((self.bytes ^ other.bytes).trailing_zeros() / 8).to_le_bytes()[0];
        same.min(self.len()).min(other.len())
    }

    /// The same list with each item replaced.
    #[must_use]
    pub fn map(self, replaced: impl Fn(T) -> T) -> Self {
        let mut list = Self::default();
        self.iter().map(replaced).for_each(|item| list.push(item));
        list
    }

    /// The items in order.
    pub fn iter(self) -> impl Iterator<Item = T> {
        self.bytes.to_le_bytes().into_iter().take_while(|byte| *byte != 0).map(T::unpack)
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for List<T> {}
impl<T> Default for List<T> {
    fn default() -> Self {
        Self { bytes: 0, items: PhantomData }
    }
}
impl<T> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl<T> Eq for List<T> {}
impl<T> PartialOrd for List<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for List<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}
impl<T> Hash for List<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.bytes);
    }
}
impl<T: Packed + fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes() {
            Some(voter) => write!(f, "{}±{voter}", self.epoch),
            None => write!(f, "{}.{}", self.epoch, self.value),
        }
    }
}
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.epoch, self.start)
    }
}

impl History {
    /// The epoch of the last entry; 0 when there is none.
    #[must_use]
    pub fn last_epoch(self) -> u8 {
        self.last().map_or(0, |entry| entry.epoch)
    }

    /// The same history without the epochs that wrote nothing before another began at the log's start: the code compares
    /// histories so.
    #[must_use]
    pub fn from_log_start(self) -> Self {
        let superseded = self.iter().filter(|entry| entry.start == 0).count().saturating_sub(1);
        let mut history = Self::default();
        self.iter().skip(superseded).for_each(|entry| history.push(entry));
        history
    }

    /// Which epoch wrote the record at an offset; 0 when the history does not reach down to it.
    #[must_use]
    pub fn epoch_at(self, offset: u8) -> u8 {
        self.iter().take_while(|entry| entry.start <= offset).last().map_or(0, |entry| entry.epoch)
    }

    /// A history guessed from the records, as R7 forbids it: an epoch without records leaves no trace.
    #[must_use]
    pub fn guessed_from(log: Log) -> Self {
        let mut guessed = Self::default();
        for (record, start) in log.iter().zip(0..) {
            if record.epoch != guessed.last_epoch() {
                guessed.push(Entry { epoch: record.epoch, start });
            }
        }
        guessed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records: &[(u8, u8)]) -> Log {
        let mut log = Log::default();
        for (epoch, value) in records {
            log.push(Record { epoch: *epoch, value: *value });
        }
        log
    }

    #[test]
    fn a_list_is_what_was_pushed() {
        let list = log(&[(1, 0), (1, 1), (3, 0)]);
        assert_eq!(list.len(), 3);
        assert_eq!(list.get(1), Some(Record { epoch: 1, value: 1 }));
        assert_eq!(list.get(3), None);
        assert_eq!(list.last(), Some(Record { epoch: 3, value: 0 }));
        assert_eq!(list.prefix(2), log(&[(1, 0), (1, 1)]));
        assert_eq!(list.prefix(9), list);
        assert_eq!(list.iter().count(), 3);
        assert!(Log::default().is_empty() && Log::default().last().is_none());
    }

    #[test]
    fn two_lists_have_in_common_what_is_the_same_from_the_first_on() {
        let ours = log(&[(1, 0), (1, 1), (3, 0)]);
        assert_eq!(ours.common(log(&[(1, 0), (2, 0), (3, 0)])), 1);
        assert_eq!(ours.common(log(&[(1, 0)])), 1);
        assert_eq!(ours.common(ours), 3);
        assert_eq!(ours.common(Log::default()), 0);
    }

    #[test]
    fn a_guessed_history_lacks_the_epochs_without_records() {
        let mut history = History::default();
        for (epoch, start) in [(1, 0), (2, 1), (3, 1)] {
            history.push(Entry { epoch, start });
        }
        let log = log(&[(1, 0), (3, 0)]);
        assert_eq!((history.epoch_at(0), history.epoch_at(1), history.last_epoch()), (1, 3, 3));
        assert_eq!(format!("{:?}", History::guessed_from(log)), "[1@0, 3@1]");
        assert_eq!(format!("{history:?}"), "[1@0, 2@1, 3@1]");
    }
}
