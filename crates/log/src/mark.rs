//! The durable mark, and what the caller that opens a log knows about it from elsewhere.

use corduroy_types::{EpochHistory, Offset, TimestampMs};

/// A place in the log, as offset and as position in a segment, and what is stored there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) offset: Offset,
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
    /// CRC-32C over all bytes of the segment up to `position`.
    pub(crate) checksum: u32,
    /// The greatest timestamp in the segment up to there, and the last offset of the batch that has it.
    pub(crate) max_timestamp: Option<(TimestampMs, Offset)>,
    /// The checksum that the segment's first batch carries.
    pub(crate) first_crc: Option<u32>,
}

/// A point of the log up to which everything is known to be on stable storage.
///
/// Kept outside the log's own files (in the commit journal), it distinguishes a torn tail from damage: recovery checks
/// and may cut what lies behind it, and never cuts what lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableMark {
    /// The base offset of the segment it is in.
    pub segment_base: Offset,
    /// The position in that segment: the first byte that is not covered.
    pub position: u64,
    /// The offset that the batch at `position` has, or will have.
    pub offset: Offset,
    /// CRC-32C over all bytes of the segment before `position`.
    pub checksum: u32,
    /// The greatest timestamp in the segment before `position`, and the last offset of the batch that has it;
    /// `None` where no record has one.
    pub max_timestamp: Option<(TimestampMs, Offset)>,
    /// The checksum that the segment's first batch carries: it says whose file the segment is. `None` where that is not
    /// on record.
    pub first_crc: Option<u32>,
}

impl From<Point> for DurableMark {
    fn from(point: Point) -> Self {
        let Point { offset, segment_base, position, checksum, max_timestamp, first_crc } = point;
        Self { segment_base, position, offset, checksum, max_timestamp, first_crc }
    }
}

/// What is known about a log before it is opened. By default nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether the log was closed with [`crate::Log::close`] and nothing was changed since. Who knows so has
    /// removed that knowledge from disk before opening.
    pub clean: bool,
    /// Whether the name of the log's directory, and those above it, are known to be durable.
    pub named: bool,
    /// The newest durable mark on record; `None` when there is none, which makes opening read the whole last
    /// segment. An older one is no mistake, only slower.
    pub mark: Option<DurableMark>,
    /// The history of leader epochs. An empty one says nothing: no batch is held to it.
    pub history: EpochHistory,
}

impl Known {
    /// That the log was closed cleanly, or not, and nothing else.
    pub fn clean(clean: bool) -> Self {
        Self { clean, ..Self::default() }
    }
}
