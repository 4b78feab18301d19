//! Everything that the crate does with bytes from outside, and what must hold afterwards.

use bytes::Bytes;
use corduroy_batch::{
    AppendRules, Batch, BatchHeader, DecompressLimits, HEADER_BYTES, LENGTH_PREFIX_BYTES, TimestampType,
    crc32c, validate_for_append,
};
use corduroy_types::{LeaderEpoch, Offset, TimestampMs};

/// What one batch may grow to here.
pub(crate) const DECOMPRESSED_MAX_BYTES: u64 = 256 * 1024;

/// Reads `data` as it is, and once more with magic, length and checksum put right, so that what lies behind those
/// checks is reached too.
///
/// # Panics
/// Where two ways through the crate disagree about the same bytes.
pub(crate) fn exercise(data: &[u8]) {
    read_as_is(data);
    if let Some(repaired) = repair(data) {
        let batch = Batch::parse(repaired);
        // Whatever is wrong now is not the checksum.
        assert!(!matches!(batch, Err(corduroy_batch::BatchError::BadCrc { .. })), "{batch:?}");
        if let Ok(batch) = batch {
            read_records(&batch);
        }
    }
}

fn read_as_is(data: &[u8]) {
    let _ = BatchHeader::parse(data);
    let mut rest = Bytes::copy_from_slice(data);
    while let Ok(Some(batch)) = Batch::parse_prefix(&mut rest) {
        assert_eq!(Batch::parse(batch.bytes().clone()).as_ref(), Ok(&batch));
        read_records(&batch);
    }
}

/// The same bytes with a header that passes the first checks.
fn repair(data: &[u8]) -> Option<Bytes> {
    let mut data = data.to_vec();
    let length = u32::try_from(data.len().checked_sub(LENGTH_PREFIX_BYTES)?).ok()?;
    data.get_mut(8..12)?.copy_from_slice(&length.to_be_bytes());
    *data.get_mut(16)? = 2;
    let crc = crc32c(data.get(21..)?);
    data.get_mut(17..21)?.copy_from_slice(&crc.to_be_bytes());
    (data.len() >= HEADER_BYTES).then(|| data.into())
}

fn read_records(batch: &Batch) {
    let header = batch.header();
    let limits = DecompressLimits::new(DECOMPRESSED_MAX_BYTES);
    // By the iterator: `Some(count)` when every record is right.
    let iterated = batch.records(limits).ok().and_then(|records| {
        let mut count = 0_u32;
        for record in &records {
            let record = record.ok()?;
            assert_eq!(record.headers.count(), record.headers.len());
            assert!(record.offset >= header.base_offset && record.offset <= header.last_offset());
            if let Some(key) = record.key.filter(|key| !key.is_empty()) {
                assert_eq!(records.buffer().slice_ref(key), key);
            }
            count += 1;
        }
        assert_eq!(count, header.record_count);
        Some(count)
    });
    // By the leader's walk, which streams: it may refuse more, never less.
    let rules = AppendRules {
        max_batch_bytes: u32::MAX,
        timestamp_type: TimestampType::LogAppendTime,
        decompress: limits,
        ..AppendRules::default()
    };
    if let Ok(valid) = validate_for_append(batch, &rules, TimestampMs(1)) {
        assert!(iterated.is_some(), "the walk accepts what the iterator refuses");
        let valid = valid.into_batch();
        assert_eq!(Batch::parse(valid.bytes().clone()).as_ref(), Ok(&valid), "the rewrite is not a batch");
    }
    let stamped = batch.clone().stamp(Offset::ZERO, LeaderEpoch::ZERO);
    let again = Batch::parse(stamped.to_bytes());
    assert_eq!(again.as_ref().map(Batch::header), Ok(stamped.header()));
}
