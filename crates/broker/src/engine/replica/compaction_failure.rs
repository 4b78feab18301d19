//! Why a partition is not compacted.

use std::fmt;

/// Why a partition is not compacted.
#[derive(Clone, Debug)]
pub(crate) struct CompactionFailure {
    pub(in crate::engine) text: String,
    /// Monotonic; `None` until the log is opened again.
    pub(in crate::engine) retry_at_ms: Option<u64>,
}

impl fmt::Display for CompactionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
