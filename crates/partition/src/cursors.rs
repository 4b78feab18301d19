//! Where a partition begins, what of it may be seen, and where it ends: one checked value.

use corduroy_types::Offset;

/// The cursors of a partition, always `log_start ≤ high_watermark ≤ log_end`. Ends are exclusive.
///
/// Read all three from one value: two reads may see two states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionCursors {
    log_start: Offset,
    high_watermark: Offset,
    log_end: Offset,
}

impl PartitionCursors {
    /// The cursors, where they are in order.
    pub fn new(log_start: Offset, high_watermark: Offset, log_end: Offset) -> Option<Self> {
        let ordered = log_start <= high_watermark && high_watermark <= log_end;
        ordered.then_some(Self { log_start, high_watermark, log_end })
    }

    /// The first offset that can be read.
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The end of what a consumer may see.
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset that the next record gets.
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    pub(crate) fn with_log_start(self, log_start: Offset) -> Option<Self> {
        Self::new(log_start, self.high_watermark, self.log_end)
    }

    pub(crate) fn with_high_watermark(self, high_watermark: Offset) -> Option<Self> {
        Self::new(self.log_start, high_watermark, self.log_end)
    }

    pub(crate) fn with_log_end(self, log_end: Offset) -> Option<Self> {
        Self::new(self.log_start, self.high_watermark, log_end)
    }
}
