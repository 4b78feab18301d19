//! `.timeindex`: timestamp → offset. Twelve bytes an entry, big-endian: timestamp i64, relative offset u31.
//!
//! An entry says "the greatest timestamp so far, and the last offset of the batch that has it"; timestamps
//! strictly increase, and the last entry of a sealed segment holds its greatest (Kafka's time index).

use corduroy_types::{Offset, TimestampMs};

use super::IndexFault;

/// Bytes of one entry.
pub(crate) const ENTRY_BYTES: usize = 12;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// The greatest timestamp so far.
    pub(crate) timestamp: TimestampMs,
    /// Last offset of the batch that has it, less the segment's base offset.
    pub(crate) relative: u32,
}

impl TimeEntry {
    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (front, back) = bytes.split_at_mut(8);
        front.copy_from_slice(&self.timestamp.0.to_be_bytes());
        back.copy_from_slice(&self.relative.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Self {
            timestamp: TimestampMs(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            relative: u32::from_be_bytes([i, j, k, l]),
        }
    }

    pub(crate) fn offset(self, base: Offset) -> Offset {
        base.saturating_add(self.relative.into())
    }
}

/// The entries of an index.
pub(crate) fn entries(index: &[u8]) -> impl DoubleEndedIterator<Item = TimeEntry> + '_ {
    index.as_chunks::<ENTRY_BYTES>().0.iter().map(TimeEntry::from_bytes)
}

/// The last entry, if there is any.
pub(crate) fn last(index: &[u8]) -> Option<TimeEntry> {
    index.as_chunks::<ENTRY_BYTES>().0.last().map(TimeEntry::from_bytes)
}

/// The offset from which a scan finds the first record at or after `target`: every record before it is older.
pub(crate) fn offset_before(index: &[u8], base: Offset, target: TimestampMs) -> Offset {
    let (entries, _) = index.as_chunks::<ENTRY_BYTES>();
    let not_below = entries.partition_point(|bytes| TimeEntry::from_bytes(bytes).timestamp < target);
    let found = not_below.checked_sub(1).and_then(|at| entries.get(at));
    found.map_or(base, |bytes| TimeEntry::from_bytes(bytes).offset(base))
}

/// Whether an index can belong to a segment of `span` offsets.
///
/// # Errors
/// An [`IndexFault`] of its form or of an entry.
pub(crate) fn check(index: &[u8], span: u64) -> Result<(), IndexFault> {
    if !index.len().is_multiple_of(ENTRY_BYTES) {
        return Err(IndexFault::Length { bytes: index.len(), entry_bytes: ENTRY_BYTES });
    }
    let mut previous: Option<TimeEntry> = None;
    for entry in entries(index) {
        let grows = previous.is_none_or(|p| p.timestamp < entry.timestamp && p.relative < entry.relative);
        if !grows || u64::from(entry.relative) >= span {
            let (entry, previous) = (format!("{entry:?}"), format!("{previous:?}"));
            return Err(IndexFault::Entry { entry, previous, span, bytes: None });
        }
        previous = Some(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(i64, u32)]) -> Vec<u8> {
        let entry =
            |&(at, relative): &(i64, u32)| TimeEntry { timestamp: TimestampMs(at), relative }.to_bytes();
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn layout_is_kafkas() {
        assert_eq!(index(&[(258, 3)]), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]);
    }

    #[test]
    fn a_scan_begins_before_every_record_that_could_match() {
        let index = index(&[(10, 2), (20, 5)]);
        let base = Offset::new(100).unwrap();
        let offset = |target| offset_before(&index, base, TimestampMs(target)).get();
        // 10 is reached at 102 or before, perhaps in an earlier record of that batch.
        assert_eq!([offset(5), offset(10), offset(11), offset(20), offset(21)], [100, 100, 102, 102, 105]);
    }

    #[test]
    fn doubtful_indexes_are_refused() {
        assert!(check(&index(&[(-5, 0), (7, 3)]), 4).is_ok());
        for (entries, span) in [(&[(0, 0), (0, 0)][..], 9), (&[(5, 1), (6, 1)], 9), (&[(5, 9)], 9)] {
            assert!(check(&index(entries), span).is_err(), "{entries:?}");
        }
    }
}
