//! The record batch: Kafka's RecordBatch v2, byte for byte.
//!
//! A batch is built once by a producer ([`BatchBuilder`]), checked by the leader ([`validate_for_append`]), given
//! its place in the log ([`Batch::stamp`]) and from then on only copied. Consumers iterate its records in place
//! ([`Batch::records`]). Nothing here trusts a length before it is checked against what remains, and no input makes
//! it panic.
//!
//! | module | what it holds |
//! |---|---|
//! | `header`, `attributes` | the fixed 61 bytes and their bits |
//! | `batch`, `record` | a whole batch, its records, borrowed iteration |
//! | `builder` | encoding |
//! | `stamped` | a batch with base offset and leader epoch, without a copy |
//! | `validate`, `walk` | the leader's checks, in one pass |
//! | `rewrite` | a stored batch with fewer records: what compaction makes |
//! | `compress` | the codecs, streaming and capped |
//! | `crc`, `varint` | checksum and integers |
//! | `partitioner` | keys to partitions |
//! | `error` | everything that can be wrong, with its API code |
//!
//! Never: files, sockets, clocks.
//!
//! ```
//! use corduroy_batch::{AppendRules, Batch, BatchBuilder, Compression, DecompressLimits, validate_for_append};
//! use corduroy_types::{LeaderEpoch, Offset, TimestampMs};
//!
//! // The producer builds,
//! let now = TimestampMs(1_700_000_000_000);
//! let mut builder = BatchBuilder::new(Compression::Lz4, 1024 * 1024);
//! let headers = [("trace", Some(&b"42"[..]))];
//! let _added = builder.push(now, Some(b"alice"), Some(b"hello"), headers)?;
//! let bytes = builder.build()?;
//!
//! // the leader checks and stamps,
//! let batch = Batch::parse(bytes)?;
//! let batch = validate_for_append(&batch, &AppendRules::default(), now)?.into_batch();
//! let stored = batch.stamp(Offset::ZERO, LeaderEpoch::ZERO).to_bytes();
//!
//! // and the consumer reads in place.
//! let records = Batch::parse(stored)?.records(DecompressLimits::default())?;
//! for record in &records {
//!     let record = record?;
//!     assert_eq!((record.offset, record.value), (Offset::ZERO, Some(&b"hello"[..])));
//! }
//! # Ok::<(), corduroy_batch::BatchError>(())
//! ```

mod attributes;
mod batch;
mod builder;
mod compress;
mod crc;
mod error;
mod header;
mod partitioner;
mod record;
mod rewrite;
mod stamped;
mod survey;
mod validate;
mod varint;
mod walk;

pub use attributes::{Attributes, Compression};
pub use batch::{Batch, RecordIter, Records};
pub use builder::{BatchBuilder, ProducerFields, PushOutcome, record_encoded_bytes};
pub use compress::DecompressLimits;
pub use corduroy_types::TimestampType;
pub use crc::{crc32c, crc32c_append};
pub use error::{BatchError, CountLimit, RecordFault};
pub use header::{BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC};
pub use partitioner::partition_for_key;
pub use record::{Headers, RecordRef};
pub use rewrite::BatchRewriter;
pub use stamped::{STAMP_BYTES, StampedBatch};
pub use validate::{AppendRules, ValidBatch, validate_for_append};
