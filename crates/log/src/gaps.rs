//! Where offsets may be missing.

use corduroy_types::Offset;

use crate::Log;

/// A stretch of a log in which offsets may be missing: compacted, or with damage that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StretchWithGaps {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub end: Offset,
    /// Bytes of its batches. Compaction changes them when it removes records.
    pub bytes: u64,
    /// Records in it; `None` where they were not counted.
    pub records: Option<u64>,
}

impl Log {
    /// The stretches with offsets from `from` on in which offsets may be missing, in order. Everywhere else each offset
    /// from the log start on has a record.
    pub fn stretches_with_gaps(&self, from: Offset) -> Vec<StretchWithGaps> {
        let behind = self.sealed.partition_point(|segment| segment.end <= from);
        let mut stretches = Vec::new();
        let mut expected = from;
        for segment in self.sealed.iter().skip(behind) {
            if expected < segment.base() {
                stretches.push(nothing_between(expected, segment.base()));
            }
            if segment.gaps || segment.lost.is_some() {
                let (base, end, bytes) = (segment.base(), segment.end, segment.bytes);
                let records = segment.records.filter(|_| segment.lost.is_none());
                stretches.push(StretchWithGaps { base, end, bytes, records });
            }
            expected = segment.end.max(expected);
        }
        if expected < self.active.base() {
            stretches.push(nothing_between(expected, self.active.base()));
        }
        stretches
    }
}

/// A stretch for which there is no segment.
fn nothing_between(base: Offset, end: Offset) -> StretchWithGaps {
    StretchWithGaps { base, end, bytes: 0, records: None }
}
