//! What the commit journal says of a partition that is checked.

use std::path::Path;

use corduroy_batch::BatchHeader;
use corduroy_types::Offset;

use super::Listing;
use crate::journal::{PartitionKey, Replay};
use crate::mark::DurableMark;
use crate::scan::{Damage, DamageReason};
use crate::segment::{LOG_SUFFIX, file_path};

/// A partition's part of the journal; by default nothing.
#[derive(Debug, Default)]
pub(super) struct Evidence<'a> {
    mark: Option<DurableMark>,
    journal: Option<(&'a Replay, PartitionKey)>,
}

impl<'a> Evidence<'a> {
    pub(super) fn of(journal: &'a Replay, key: PartitionKey) -> Self {
        Self { mark: journal.mark(key), journal: Some((journal, key)) }
    }

    fn mark_in(&self, base: Offset) -> Option<DurableMark> {
        self.mark.filter(|mark| mark.segment_base == base)
    }

    /// Up to where a segment is known to have been synced, as far as the mark says.
    pub(super) fn proven_bytes(&self, base: Offset) -> u64 {
        self.mark_in(base).map_or(0, |mark| mark.position)
    }

    /// What is wrong with the leader epoch of a batch: the history on record gives its offset another one.
    pub(super) fn wrong_epoch(&self, header: &BatchHeader) -> Option<DamageReason> {
        let (journal, key) = self.journal?;
        let expected = journal.history(key)?.epoch_at(header.base_offset)?;
        let got = header.leader_epoch;
        (got != Some(expected)).then_some(DamageReason::WrongEpoch { got, expected })
    }

    /// The checksum that a segment's first batch carries, if the mark says it.
    pub(super) fn first_crc(&self, base: Offset) -> Option<u32> {
        self.mark_in(base).and_then(|mark| mark.first_crc)
    }

    /// The checksum over all of a segment up to `position`, if the mark is there.
    pub(super) fn checksum_at(&self, base: Offset, position: u64) -> Option<u32> {
        self.mark_in(base).filter(|mark| mark.position == position).map(|mark| mark.checksum)
    }

    /// Whether a start writes all of that part of a segment again.
    pub(super) fn restores(&self, base: Offset, from: u64, to: u64) -> bool {
        let restored = self.journal.map(|(journal, key)| journal.restored(key, base)).unwrap_or_default();
        restored.iter().any(|part| part.start <= from && to <= part.end)
    }

    /// The segment of the mark, if it is not there and nothing says that it was deleted.
    pub(super) fn missing(&self, dir: &Path, listing: &Listing) -> Option<Damage> {
        let mark = self.mark.filter(|mark| mark.position > 0)?;
        let base = mark.segment_base;
        let deleted = listing.log_start.is_some_and(|log_start| mark.offset <= log_start);
        let there = listing.segments.iter().any(|segment| {
            segment.base_offset == base || segment.end_offset.is_some_and(|end| end >= mark.offset)
        });
        let known = listing.missing.iter().any(|range| range.contains(&base));
        if deleted || there || known {
            return None;
        }
        let (file, reason) = (file_path(dir, base, LOG_SUFFIX), DamageReason::Missing { next: mark.offset });
        Some(Damage { file, position: 0, offset: base, reason })
    }
}
