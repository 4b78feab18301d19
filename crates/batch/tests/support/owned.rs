//! Records that own their bytes, to compare with.

use bytes::Bytes;
use corduroy_batch::{Batch, BatchBuilder, BatchError, Compression, DecompressLimits, PushOutcome};
use corduroy_types::TimestampMs;

/// One record with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRecord {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// The headers as a builder takes them.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
        self.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
    }
}

/// Builds one batch of all `records`.
pub(crate) fn build(codec: Compression, records: &[OwnedRecord]) -> Result<Bytes, BatchError> {
    let mut builder = BatchBuilder::new(codec, u32::MAX);
    for record in records {
        let timestamp = TimestampMs(record.timestamp);
        let outcome =
            builder.push(timestamp, record.key.as_deref(), record.value.as_deref(), record.headers())?;
        assert_eq!(outcome, PushOutcome::Added);
    }
    builder.build()
}

/// All records of a batch.
pub(crate) fn read(batch: &Batch) -> Result<Vec<OwnedRecord>, BatchError> {
    let records = batch.records(DecompressLimits::default())?;
    let read = records.iter().map(|record| {
        record.map(|record| OwnedRecord {
            timestamp: record.timestamp.0,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        })
    });
    read.collect()
}
