//! The epoch history: which leader epoch wrote which offsets. Evidence, not a cache.

use crate::{LeaderEpoch, Offset};

/// The beginning of an epoch in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset of its first record, or that the first one would have had: an epoch takes no offset itself.
    pub start: Offset,
}

/// Why an entry is not taken into a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "epoch {} from offset {} cannot follow epoch {} from offset {}: epochs grow and offsets never go back",
    entry.epoch, entry.start, last.epoch, last.start
)]
pub struct EpochOrder {
    /// What was to be added.
    pub entry: EpochEntry,
    /// The entry that it would follow.
    pub last: EpochEntry,
}

/// The epochs of a log, oldest first: epochs grow strictly, starts never go back.
///
/// Each replica keeps one, durable in the commit journal. It is never rebuilt from batches, because an epoch
/// without a record is evidence too; and a start is never rewritten, not when the log start passes it either
/// (rules R4 and R7 of the replication design; KAFKA-7897 shows what a guessed history costs). Offsets below the
/// first start are of an unknown epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory {
    entries: Vec<EpochEntry>,
}

impl EpochHistory {
    /// A history of these entries.
    ///
    /// # Errors
    /// [`EpochOrder`] where one does not follow the one before it.
    pub fn from_entries(entries: impl IntoIterator<Item = EpochEntry>) -> Result<Self, EpochOrder> {
        let mut history = Self::default();
        for entry in entries {
            history.push(entry)?;
        }
        Ok(history)
    }

    /// Adds the newest epoch. The same entry again changes nothing.
    ///
    /// # Errors
    /// [`EpochOrder`]; the history is as it was.
    pub fn push(&mut self, entry: EpochEntry) -> Result<(), EpochOrder> {
        match self.last() {
            Some(last) if last == entry => Ok(()),
            Some(last) if entry.epoch <= last.epoch || entry.start < last.start => {
                Err(EpochOrder { entry, last })
            }
            _ => {
                self.entries.push(entry);
                Ok(())
            }
        }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest entry: the only epoch that is appended in.
    pub fn last(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The epoch of the record at `offset`; `None` below the first start, where it is unknown.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        let entry = after.checked_sub(1).and_then(|at| self.entries.get(at))?;
        Some(entry.epoch)
    }

    /// Forgets epochs that end at or below the log start. The one in force there keeps its own start.
    pub fn forget_below(&mut self, log_start: Offset) {
        let after = self.entries.partition_point(|entry| entry.start <= log_start);
        self.entries.drain(..after.saturating_sub(1));
    }

    /// The history's first `count` entries.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self { entries: self.entries.iter().take(count).copied().collect() }
    }

    /// The history after a cut at `end`: without the epochs that begin behind it. One that begins exactly there
    /// stays, as an epoch without records.
    #[must_use]
    pub fn cut_at(&self, end: Offset) -> Self {
        let kept = self.entries.partition_point(|entry| entry.start <= end);
        self.first(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u32, start: u64) -> EpochEntry {
        EpochEntry { epoch: LeaderEpoch::new(epoch).unwrap(), start: Offset::new(start).unwrap() }
    }

    fn at(offset: u64) -> Offset {
        Offset::new(offset).unwrap()
    }

    #[test]
    fn epochs_grow_and_starts_never_go_back() {
        let mut history = EpochHistory::from_entries([entry(1, 0), entry(3, 10), entry(4, 10)]).unwrap();
        for refused in [entry(4, 11), entry(3, 12), entry(5, 9)] {
            let before = history.clone();
            assert!(history.push(refused).is_err());
            assert_eq!(history, before);
        }
        history.push(entry(4, 10)).unwrap();
        assert_eq!(history.entries().len(), 3);
    }

    #[test]
    fn an_offset_belongs_to_the_last_epoch_that_began_at_or_below_it() {
        let history = EpochHistory::from_entries([entry(1, 5), entry(3, 10), entry(4, 10)]).unwrap();
        let epoch = |offset| history.epoch_at(at(offset)).map(LeaderEpoch::get);
        assert_eq!(epoch(4), None, "unknown is not epoch 0");
        assert_eq!((epoch(5), epoch(9), epoch(10), epoch(99)), (Some(1), Some(1), Some(4), Some(4)));
    }

    #[test]
    fn forgetting_never_rewrites_a_start() {
        let entries = [entry(0, 0), entry(1, 5), entry(3, 10)];
        for log_start in 0..12 {
            let mut history = EpochHistory::from_entries(entries).unwrap();
            let all = history.clone();
            history.forget_below(at(log_start));
            assert!(history.entries().iter().all(|entry| entries.contains(entry)));
            for offset in log_start..15 {
                assert_eq!(history.epoch_at(at(offset)), all.epoch_at(at(offset)), "{log_start} {offset}");
            }
        }
    }

    #[test]
    fn a_cut_drops_the_epochs_behind_it() {
        let history = EpochHistory::from_entries([entry(1, 0), entry(3, 10), entry(4, 20)]).unwrap();
        assert_eq!(history.cut_at(at(10)).last(), Some(entry(3, 10)));
        assert_eq!(history.cut_at(at(9)).last(), Some(entry(1, 0)));
        assert_eq!(history.cut_at(at(30)), history);
    }
}
