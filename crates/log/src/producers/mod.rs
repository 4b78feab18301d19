//! Producer state: which batches of idempotent producers are in the log, so that none gets in twice.
//!
//! [`Producers`] is a pure state machine: a function of the batches below an offset (`note` each of them, in order)
//! and of nothing else, above all of no clock. [`Snapshot`] is its stored form; `recover` finds the newest sound one
//! and reads the headers behind it; `upkeep` decides when one is due.
//!
//! The rules, from Kafka's (KIP-98, KIP-360) where they do not say otherwise:
//! - A producer's sequences begin at 0 in each partition and each epoch, and go on without a gap.
//! - The last five batches of its newest epoch are remembered. One that comes again is a duplicate.
//! - What is behind the window, and what comes with a later sequence than 0 from a producer that is not remembered,
//!   is *unknown*: it may be in the log. (Kafka takes the latter as new; then it is not noticed that records are lost,
//!   and a retry after the state expired is there twice.)
//! - So is what comes of an older epoch: only batches of the newest one are remembered.
//! - So is a gap of a producer that was forgotten before, and has begun again at 0 in the same epoch: it may have written
//!   the batch before. Which producers were forgotten is not remembered, only the greatest id among them.
//! - A producer is forgotten once the log's own time, the greatest timestamp in it, is further than the expiration
//!   beyond what it was at the producer's last batch; and when there are too many, the one that was quiet longest.

mod producer;
mod recover;
mod sequence;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod upkeep;

pub use producer::{Producer, ProducerBatch, WINDOW_BATCHES};
pub use sequence::Sequence;
pub use snapshot::{Snapshot, SnapshotFault};
pub use table::{PRODUCERS_MAX, Producers, SequenceError};

pub(crate) use recover::{RecoveredProducers, Segments, index_checksum, recover};
pub(crate) use snapshot::SNAPSHOT_BYTES_MAX;
pub(crate) use upkeep::{SnapshotStep, Upkeep};
