//! What the benchmark programs share: real processes, the raw disk next to them, and medians.

mod figures;
mod process;
mod raw_disk;

pub use figures::{Figures, median};
pub use process::{Brokerd, own_cpu_time, sibling};
pub use raw_disk::{raw_appends, raw_latency};

/// Whatever went wrong; a benchmark that cannot be trusted prints it and ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
