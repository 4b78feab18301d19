//! What should be in a partition's directory, by the catalogue and the mark, and what is.

use std::collections::BTreeMap;

use corduroy_types::Offset;

use super::SegmentEntry;
use crate::catalogue::{Catalogue, CatalogueEntry};
use crate::mark::DurableMark;

/// One segment of the log as it will be opened. They follow one another without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// In the catalogue; the file has this many bytes, if there is one.
    Catalogued { entry: CatalogueEntry, bytes: Option<u64> },
    /// Not the last, so it was sealed, but not in the catalogue: written before there was one, or it is lost.
    Uncatalogued { segment: SegmentEntry, end: Offset },
    /// The last one, to be appended to.
    Active(SegmentEntry),
    /// The last one was synced beyond its present end, or is not there at all.
    Short { mark: DurableMark, bytes: Option<u64> },
    /// Nothing is left that says what was there.
    Hole { base: Offset, end: Offset },
}

/// What to open, and what to remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) parts: Vec<Part>,
    /// Segments that a catalogued one covers: left by a rewrite that was interrupted after it counted.
    pub(super) covered: Vec<SegmentEntry>,
    /// Where the log ends at least.
    pub(super) end: Offset,
}

#[derive(Clone, Copy)]
enum Found {
    Entry(CatalogueEntry),
    File,
    Mark(DurableMark),
}

/// Lays out what is from `log_start` on.
pub(super) fn lay_out(
    files: &[SegmentEntry],
    catalogue: &Catalogue,
    mark: Option<DurableMark>,
    log_start: Offset,
) -> Layout {
    let mut layout = Layout { end: log_start, ..Layout::default() };
    let lengths: BTreeMap<Offset, u64> = files.iter().map(|segment| (segment.base, segment.bytes)).collect();
    let entries = catalogue.entries();
    let mut found: BTreeMap<Offset, Found> =
        entries.iter().map(|entry| (entry.base, Found::Entry(*entry))).collect();
    for segment in files.iter().filter(|segment| catalogue.get(segment.base).is_none()) {
        match catalogue.covering(segment.base) {
            Some(_) => layout.covered.push(*segment),
            None => drop(found.insert(segment.base, Found::File)),
        }
    }
    let mark = mark.filter(|mark| mark.offset > log_start && catalogue.covering(mark.segment_base).is_none());
    if let Some(mark) = mark {
        let last = found.keys().next_back().is_none_or(|last| *last <= mark.segment_base);
        let length = lengths.get(&mark.segment_base);
        if last && length.is_none_or(|bytes| *bytes < mark.position) {
            found.insert(mark.segment_base, Found::Mark(mark));
        }
    }
    let bases: Vec<Offset> = found.keys().copied().collect();
    let nexts = bases.iter().skip(1).map(|base| Some(*base)).chain([None]);
    layout.end = bases.first().map_or(log_start, |first| log_start.min(*first));
    for ((base, found), next) in found.into_iter().zip(nexts) {
        layout.fill(base);
        let bytes = lengths.get(&base).copied();
        let (part, end) = match (found, next) {
            (Found::Entry(entry), _) => (Part::Catalogued { entry, bytes }, entry.end),
            // It begins where the one before it was sealed, and nothing of it was synced.
            (Found::Mark(mark), _) if mark.position == 0 => continue,
            (Found::Mark(mark), _) => (Part::Short { mark, bytes }, mark.offset),
            (Found::File, Some(end)) => {
                (Part::Uncatalogued { segment: SegmentEntry { base, bytes: bytes.unwrap_or(0) }, end }, end)
            }
            (Found::File, None) => (Part::Active(SegmentEntry { base, bytes: bytes.unwrap_or(0) }), base),
        };
        layout.parts.push(part);
        layout.end = end;
    }
    layout.end = layout.end.max(log_start);
    layout
}

impl Layout {
    /// Puts a hole before `base`, if there is one.
    fn fill(&mut self, base: Offset) {
        if self.end < base {
            self.parts.push(Part::Hole { base: self.end, end: base });
            self.end = base;
        }
    }
}
