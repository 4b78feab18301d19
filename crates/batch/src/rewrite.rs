//! A stored batch with fewer records: what compaction makes.
//!
//! Base offset, last offset, producer fields and codec stay, so every offset keeps its record or none.

use bytes::BytesMut;
use corduroy_types::TimestampMs;

use crate::{
    Batch, BatchError, BatchHeader, Compression, DecompressLimits, HEADER_BYTES, RecordRef, TimestampType,
    batch::{length_field, seal},
    compress::Compressor,
    error::RecordFault,
    varint::{Scratch, VARLONG_BYTES_MAX, take_varint, take_varlong, varint_bytes},
    walk,
};

/// The base timestamp of a batch without records (Kafka's).
const NO_TIMESTAMP: TimestampMs = TimestampMs(-1);

/// Writes batches again with some of their records, one after the other with the same buffers.
#[derive(Debug)]
pub struct BatchRewriter {
    limits: DecompressLimits,
    /// The codec that `compressor` is for.
    codec: Compression,
    compressor: Option<Compressor>,
    records: BytesMut,
}

impl BatchRewriter {
    /// A rewriter that refuses batches which decompress to more than `limits`.
    #[must_use]
    pub fn new(limits: DecompressLimits) -> Self {
        Self { limits, codec: Compression::None, compressor: None, records: BytesMut::new() }
    }

    /// The batch with only those records for which `keep` says `true`, in the same codec.
    ///
    /// With `horizon`, it also carries that as its delete horizon (KIP-534: attribute bit 6, and the base timestamp);
    /// without, the horizon that it has stays. Timestamps of records do not change. A batch left without records is
    /// its header alone.
    ///
    /// # Errors
    /// As [`Batch::records`]; [`BatchError::TimestampDelta`] when a record's timestamp is 2^63 ms away from
    /// `horizon`; [`BatchError::Compression`].
    pub fn rewrite(
        &mut self,
        batch: &Batch,
        horizon: Option<TimestampMs>,
        mut keep: impl FnMut(&RecordRef<'_>) -> bool,
    ) -> Result<Batch, BatchError> {
        let old = batch.header();
        let mut header = old.clone();
        if let Some(horizon) = horizon {
            header.attributes = header.attributes.with_delete_horizon(true);
            header.base_timestamp = horizon;
        }
        let mut kept = Kept { records: &mut self.records, count: 0, max_timestamp: TimestampMs(i64::MIN) };
        kept.records.clear();
        let mut beyond = None;
        walk::walk(batch, self.limits, |seen| {
            if beyond.is_some() || !keep(&seen.record) {
                return Ok(());
            }
            match rebased(old, &header, seen.record.timestamp) {
                Ok(delta) => kept.add(seen, delta),
                Err(error) => {
                    beyond = Some(error);
                    Ok(())
                }
            }
        })?;
        if let Some(error) = beyond {
            return Err(error);
        }
        header.record_count = kept.count;
        match (kept.count, old.timestamp_type()) {
            (0, _) => {
                header.attributes = header.attributes.with_delete_horizon(false);
                header.base_timestamp = NO_TIMESTAMP;
            }
            (_, TimestampType::CreateTime) => header.max_timestamp = kept.max_timestamp,
            (_, TimestampType::LogAppendTime) => {}
        }
        self.encode(header)
    }

    /// Puts the header before the records, compressed as it says.
    fn encode(&mut self, mut header: BatchHeader) -> Result<Batch, BatchError> {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.records.len());
        out.extend_from_slice(&[0; HEADER_BYTES]);
        let codec = header.compression();
        if codec == Compression::None || header.record_count == 0 {
            out.extend_from_slice(&self.records);
        } else {
            if self.codec != codec {
                self.compressor = Compressor::new(codec)?;
                self.codec = codec;
            }
            if let Some(compressor) = &mut self.compressor {
                compressor.compress(&self.records, &mut out)?;
            }
        }
        header.batch_length = length_field(out.len());
        seal(&mut header, &mut out);
        Batch::parse(out.freeze())
    }
}

/// The timestamp delta of a record under another base, if the base changes.
fn rebased(old: &BatchHeader, new: &BatchHeader, timestamp: TimestampMs) -> Result<Option<i64>, BatchError> {
    if old.base_timestamp == new.base_timestamp {
        return Ok(None);
    }
    match (timestamp.0.checked_sub(new.base_timestamp.0), old.timestamp_type()) {
        // No one looks at the delta then.
        (_, TimestampType::LogAppendTime) => Ok(None),
        (Some(delta), _) => Ok(Some(delta)),
        (None, _) => Err(BatchError::TimestampDelta { got: timestamp, base: new.base_timestamp }),
    }
}

struct Kept<'a> {
    records: &'a mut BytesMut,
    count: u32,
    max_timestamp: TimestampMs,
}

impl Kept<'_> {
    /// Takes a record as it is, but for its timestamp delta where one is given.
    fn add(&mut self, seen: &walk::Seen<'_>, delta: Option<i64>) -> Result<(), RecordFault> {
        match delta {
            None => self.records.extend_from_slice(seen.encoded),
            Some(delta) => {
                let mut rest = seen.encoded;
                let lost = |field| RecordFault::Varint { field };
                take_varint(&mut rest).ok_or(lost("length"))?;
                let (attributes, mut rest) = rest.split_first().ok_or(RecordFault::Missing)?;
                take_varlong(&mut rest).ok_or(lost("timestamp delta"))?;
                let length = 1 + varint_bytes(delta) + rest.len();
                let mut front = Scratch::<{ 1 + 2 * VARLONG_BYTES_MAX }>::new();
                front.put_varint(i64::try_from(length).unwrap_or(i64::MAX));
                front.put_u8(*attributes);
                front.put_varint(delta);
                self.records.extend_from_slice(front.as_slice());
                self.records.extend_from_slice(rest);
            }
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(seen.record.timestamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{BatchBuilder, ProducerFields, PushOutcome};
    use corduroy_types::{LeaderEpoch, Offset};

    type Owned = (u64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

    fn owned(batch: &Batch) -> Vec<Owned> {
        let records = batch.records(DecompressLimits::default()).unwrap();
        let owned = |record: RecordRef<'_>| {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            (record.offset.get(), record.timestamp.0, key, value, record.headers.len())
        };
        records.iter().map(|record| owned(record.unwrap())).collect()
    }

    fn stored(codec: Compression, times: &[i64], log_append: bool) -> Batch {
        let mut builder = BatchBuilder::new(codec, 1 << 20);
        builder.set_producer(ProducerFields { id: 9, epoch: 2, base_sequence: 40 });
        for (n, time) in times.iter().enumerate() {
            let (key, value) = ([u8::try_from(n).unwrap()], vec![b'v'; n * 13 % 200]);
            let value = (n % 3 != 0).then_some(&value[..]);
            let headers = (0..n % 2).map(|_| ("h", Some(&b"x"[..])));
            let pushed = builder.push(TimestampMs(*time), Some(&key), value, headers).unwrap();
            assert_eq!(pushed, PushOutcome::Added);
        }
        let mut batch = Batch::parse(builder.build().unwrap()).unwrap();
        if log_append {
            batch = batch.with_log_append_time(TimestampMs(777));
        }
        let stamped = batch.stamp(Offset::new(500).unwrap(), LeaderEpoch::new(3).unwrap());
        Batch::parse(stamped.to_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_kept_is_as_it_was(
            codec in 0_u16..5,
            times in prop::collection::vec(-1_000_i64..1_000_000, 1..40),
            picked in prop::collection::vec(any::<bool>(), 40),
            horizon in prop::option::of(-5_i64..5_000_000),
            log_append: bool,
        ) {
            let codec = Compression::from_bits(codec).filter(|codec| codec.is_supported()).unwrap_or_default();
            let batch = stored(codec, &times, log_append);
            let mut rewriter = BatchRewriter::new(DecompressLimits::default());
            let keep = |record: &RecordRef<'_>| picked[record.offset_delta as usize];
            let horizon = horizon.map(TimestampMs);
            let kept = rewriter.rewrite(&batch, horizon, keep).unwrap();
            let expected: Vec<_> = owned(&batch).into_iter().filter(|record| picked[usize::try_from(record.0).unwrap() - 500]).collect();
            prop_assert_eq!(&owned(&kept), &expected);
            let (old, new) = (batch.header(), kept.header());
            prop_assert_eq!((new.base_offset, new.last_offset()), (old.base_offset, old.last_offset()));
            prop_assert_eq!((new.producer_id, new.base_sequence, new.leader_epoch), (9, 40, LeaderEpoch::new(3)));
            prop_assert_eq!(new.compression(), codec);
            prop_assert_eq!(new.record_count as usize, expected.len());
            prop_assert_eq!(new.delete_horizon(), horizon.filter(|_| !expected.is_empty()));
            let max = expected.iter().map(|record| record.1).max();
            prop_assert_eq!(new.max_timestamp.0, max.unwrap_or(old.max_timestamp.0));
            if expected.is_empty() {
                prop_assert_eq!(kept.bytes().len(), HEADER_BYTES);
            }
            // Once more, with nothing to do: the horizon stays, and so do the records.
            let again = rewriter.rewrite(&kept, None, |_| true).unwrap();
            prop_assert_eq!(again.header().delete_horizon(), new.delete_horizon());
            prop_assert_eq!(owned(&again), expected);
        }
    }

    #[test]
    fn a_horizon_out_of_reach_is_refused() {
        let batch = stored(Compression::None, &[i64::MIN + 1], false);
        let mut rewriter = BatchRewriter::new(DecompressLimits::default());
        let refused = rewriter.rewrite(&batch, Some(TimestampMs(5)), |_| true);
        assert!(matches!(refused, Err(BatchError::TimestampDelta { .. })), "{refused:?}");
        assert!(rewriter.rewrite(&batch, None, |_| true).is_ok());
    }
}
