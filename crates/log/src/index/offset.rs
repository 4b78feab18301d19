//! `.index`: offset → position. Eight bytes an entry, big-endian: relative offset u31, position u31.
//!
//! An entry maps the last offset of a batch to the position of that batch (Kafka's segment index).

use super::IndexFault;

/// Bytes of one entry.
pub(crate) const ENTRY_BYTES: usize = 8;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// Last offset of a batch, less the segment's base offset.
    pub(crate) relative: u32,
    /// Where that batch begins in the segment file.
    pub(crate) position: u32,
}

impl OffsetEntry {
    pub(crate) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        (u64::from(self.relative) << 32 | u64::from(self.position)).to_be_bytes()
    }

    #[expect(clippy::cast_possible_truncation, reason = "each half of a u64 is 32 bits")]
    fn from_bytes(bytes: [u8; ENTRY_BYTES]) -> Self {
        let both = u64::from_be_bytes(bytes);
        Self { relative: (both >> 32) as u32, position: both as u32 }
    }
}

/// The entries of an index.
pub(crate) fn entries(index: &[u8]) -> impl DoubleEndedIterator<Item = OffsetEntry> + '_ {
    index.as_chunks::<ENTRY_BYTES>().0.iter().map(|bytes| OffsetEntry::from_bytes(*bytes))
}

/// The last entry, if there is any.
pub(crate) fn last(index: &[u8]) -> Option<OffsetEntry> {
    index.as_chunks::<ENTRY_BYTES>().0.last().map(|bytes| OffsetEntry::from_bytes(*bytes))
}

/// The greatest entry at or below the relative offset `target`; `None` when the scan has to begin at position 0.
pub(crate) fn lookup(index: &[u8], target: u64) -> Option<OffsetEntry> {
    let (entries, _) = index.as_chunks::<ENTRY_BYTES>();
    let above =
        entries.partition_point(|bytes| u64::from(OffsetEntry::from_bytes(*bytes).relative) <= target);
    above.checked_sub(1).and_then(|at| entries.get(at)).map(|bytes| OffsetEntry::from_bytes(*bytes))
}

/// Whether an index can belong to a segment of `span` offsets and `bytes` bytes.
///
/// # Errors
/// An [`IndexFault`] of its form or of an entry.
pub(crate) fn check(index: &[u8], span: u64, bytes: u64) -> Result<(), IndexFault> {
    if !index.len().is_multiple_of(ENTRY_BYTES) {
        return Err(IndexFault::Length { bytes: index.len(), entry_bytes: ENTRY_BYTES });
    }
    let mut previous: Option<OffsetEntry> = None;
    for entry in entries(index) {
        let grows = previous.is_none_or(|p| p.relative < entry.relative && p.position < entry.position);
        if !grows || u64::from(entry.relative) >= span || u64::from(entry.position) >= bytes {
            let (entry, previous) = (format!("{entry:?}"), format!("{previous:?}"));
            return Err(IndexFault::Entry { entry, previous, span, bytes: Some(bytes) });
        }
        previous = Some(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(entries: &[(u32, u32)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|&(relative, position)| OffsetEntry { relative, position }.to_bytes())
            .collect()
    }

    #[test]
    fn layout_is_kafkas() {
        assert_eq!(index(&[(1, 258)]), [0, 0, 0, 1, 0, 0, 1, 2]);
    }

    #[test]
    fn doubtful_indexes_are_refused() {
        assert!(check(&index(&[(1, 0), (5, 9)]), 6, 10).is_ok());
        for (entries, span, bytes) in [
            (&[(0, 0), (0, 0)][..], 9, 9),
            (&[(5, 1), (4, 2)], 9, 9),
            (&[(4, 2), (5, 2)], 9, 9),
            (&[(9, 1)], 9, 9),
            (&[(1, 9)], 9, 9),
        ] {
            assert!(check(&index(entries), span, bytes).is_err(), "{entries:?}");
        }
        assert!(check(&[0; 7], 9, 9).is_err());
    }

    proptest! {
        #[test]
        fn finds_the_greatest_entry_at_or_below(steps in prop::collection::vec((1u32..9, 1u32..9), 0..50), target in 0u64..300) {
            let mut at = (0, 0);
            let entries: Vec<_> = steps.iter().map(|step| { at = (at.0 + step.0, at.1 + step.1); at }).collect();
            let naive = entries.iter().rev().find(|e| u64::from(e.0) <= target);
            let naive = naive.map(|&(relative, position)| OffsetEntry { relative, position });
            prop_assert_eq!(lookup(&index(&entries), target), naive);
        }
    }
}
