//! One partition's log on a [`Disk`].
//!
//! [`Log`] takes batches into memory and decides; what it wants done on disk it hands out as values that the
//! caller performs, without the log's lock: a [`Round`] makes appends durable, a [`ReadPlan`] or
//! [`TimeLookupPlan`] reads, a [`Removal`] deletes, a [`Reopen`] repairs after a failed write. The only methods
//! that touch the disk themselves are [`Log::open`] and [`Log::close`].
//!
//! | module | what it holds |
//! |---|---|
//! | `disk` | the door to storage: the trait, the real one, the simulated one |
//! | `log` | the [`Log`] itself: its parts, cursors, figures |
//! | `append`, `round` | batches into memory; commit rounds; what a failed one means |
//! | `read`, `time_lookup`, `tail` | reads by offset and by time; the newest batches in memory |
//! | `retention` | retention by size and time, delete-records |
//! | `recovery`, `reopen`, `close` | from files to a log and back |
//! | `producers` | which batches of idempotent producers are in the log, so that none gets in twice |
//! | `segment`, `index`, `scan` | segment files, their indexes, walking through them |
//! | `damage`, `unscanned_prefix` | what cannot be read and where it ends; what recovery did not look at |
//! | `mark` | the durable mark, which distinguishes a torn tail from damage |
//! | `salvage` | giving up what cannot be read |
//! | `scrub` | looking for damage before a reader meets it |
//! | `state_file`, `catalogue` | the log start and what each sealed segment is, durable, in two copies |
//! | `journal` | the commit journal: many logs made durable by one sync, replica state, replay |
//! | `epoch_log`, `truncate` | the epoch history; cutting a log, or emptying it |
//! | `offline` | a partition's directory without a log: listing, reading, counting, verifying |
//!
//! Never: threads, a clock, tokio, the network. Time is an argument; retries and waiting belong to the caller.

mod append;
mod catalogue;
mod close;
mod compaction;
mod config;
mod cursors;
mod damage;
pub mod disk;
mod epoch_log;
mod error;
mod gaps;
mod index;
pub mod journal;
mod log;
mod mark;
pub mod offline;
pub mod producers;
mod read;
mod read_disk;
mod recovery;
mod reopen;
mod retention;
mod round;
mod salvage;
mod scan;
mod scrub;
mod segment;
mod shared;
mod state_file;
mod swap;
mod tail;
mod time_lookup;
mod truncate;
mod unscanned_prefix;

pub use append::Appended;
pub use compaction::{
    Compacted, Compaction, CompactionError, CompactionNeed, CompactionProgress, CompactionStep,
    CompactionTotals,
};
pub use config::{BATCH_BYTES_MAX, CompactionConfig, LogConfig};
pub use corduroy_types::{EpochEntry, EpochHistory, EpochOrder};
pub use cursors::{CursorOrder, Cursors};
pub use damage::DamagedRange;
pub use disk::{Disk, DiskFile, RealDisk, SimDisk};
pub use error::{AppendError, DeleteRecordsError, LogError, ReadError, StorageFailure};
pub use gaps::StretchWithGaps;
pub use index::{IndexDoubt, IndexFault};
pub use journal::{Journal, JournalConfig, PartitionKey};
pub use log::{Log, LogStats};
pub use mark::{DurableMark, Known};
pub use read::{ReadBatches, ReadCursor, ReadPlan};
pub use recovery::{Cut, RecoveryReport};
pub use reopen::Reopen;
pub use retention::{ObsoleteFiles, Removal, RetentionBlock};
pub use round::{Round, RoundResult, Step};
pub use salvage::{Salvage, SalvagePlan, Salvaged};
pub use scan::{Damage, DamageReason};
pub use scrub::{Scrub, ScrubStep};
pub use state_file::{StateFault, StateFaultReason};
pub use swap::Swap;
pub use time_lookup::{FoundRecord, TimeLookupPlan};
pub use truncate::{TruncateError, Truncation};
