//! What the leader refuses, and how the refusal names batch and record.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests, outside of the test functions"
)]

mod support;

use bytes::Bytes;
use corduroy_batch::{
    AppendRules, Attributes, Batch, BatchBuilder, BatchError, BatchHeader, Compression, DecompressLimits,
    HEADER_BYTES, ProducerFields, PushOutcome, RecordFault, TimestampType, crc32c, validate_for_append,
};
use corduroy_types::{ErrorCode, LeaderEpoch, Offset, TimestampMs};
use support::owned::{OwnedRecord, build, read};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

fn record(timestamp: i64, key: Option<&str>) -> OwnedRecord {
    OwnedRecord {
        timestamp,
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(vec![7; 50]),
        headers: vec![],
    }
}

fn three() -> Vec<OwnedRecord> {
    (0..3).map(|i| record(NOW.0 - i, Some("key"))).collect()
}

fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_supported())
}

fn batch(codec: Compression, records: &[OwnedRecord]) -> Batch {
    Batch::parse(build(codec, records).unwrap()).unwrap()
}

/// The same batch with another header, checksum computed again.
fn with_header(batch: &Batch, change: impl FnOnce(&mut BatchHeader)) -> Batch {
    let mut header = batch.header().clone();
    change(&mut header);
    reseal(header, &batch.bytes()[HEADER_BYTES..]).unwrap()
}

/// A batch of this header and payload, length and checksum computed again.
fn reseal(mut header: BatchHeader, payload: &[u8]) -> Result<Batch, BatchError> {
    header.batch_length = (HEADER_BYTES - 12 + payload.len()) as u32;
    let mut bytes = [&header.to_bytes()[..], payload].concat();
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::parse(bytes.into())
}

fn refusal(batch: &Batch, rules: &AppendRules) -> BatchError {
    validate_for_append(batch, rules, NOW).unwrap_err()
}

#[test]
fn a_good_batch_keeps_its_bytes() {
    for codec in codecs() {
        let batch = batch(codec, &three());
        let valid = validate_for_append(&batch, &AppendRules::default(), NOW).unwrap();
        assert_eq!(valid.batch().bytes().as_ptr(), batch.bytes().as_ptr(), "{codec}: no copy");
    }
}

#[test]
fn size_limit_counts_the_whole_batch() {
    let batch = batch(Compression::None, &three());
    let rules = |max_batch_bytes| AppendRules { max_batch_bytes, ..AppendRules::default() };
    let error = refusal(&batch, &rules(batch.total_bytes() - 1));
    assert_eq!(error.code(), ErrorCode::BatchTooLarge);
    assert!(error.to_string().contains(&batch.total_bytes().to_string()), "{error}");
    assert!(validate_for_append(&batch, &rules(batch.total_bytes()), NOW).is_ok());
}

#[test]
fn a_producer_is_named_whole_or_not_at_all() {
    let good = batch(Compression::None, &three());
    for (producer, refused) in [
        ((4711, 0, 0), None),
        ((0, i16::MAX, i32::MAX), None),
        ((-1, -1, -1), None),
        ((4711, -1, 0), Some("producer_epoch is -1")),
        ((4711, 3, -1), Some("base_sequence is -1")),
        ((-1, 3, -1), Some("producer_epoch is 3")),
        ((-1, -1, 9), Some("base_sequence is 9")),
    ] {
        let batch = with_header(&good, |header| {
            (header.producer_id, header.producer_epoch, header.base_sequence) = producer;
        });
        let checked = validate_for_append(&batch, &AppendRules::default(), NOW);
        let error = checked.err().map(|error| (error.code(), error.to_string()));
        assert_eq!(error.is_some(), refused.is_some(), "{error:?}");
        if let Some(((code, text), words)) = error.zip(refused) {
            assert!(code == ErrorCode::InvalidBatch && text.contains(words), "{text}");
        }
    }
}

#[test]
fn what_only_the_broker_writes_is_refused() {
    let good = batch(Compression::None, &three());
    for (bit, words) in [
        (3, "LogAppendTime"),
        (4, "transactions"),
        (5, "control"),
        (6, "delete-horizon"),
        (7, "unknown"),
        (15, "unknown"),
    ] {
        let batch = with_header(&good, |header| header.attributes = Attributes::from_bits(1 << bit).unwrap());
        let error = refusal(&batch, &AppendRules::default());
        assert_eq!(error.code(), ErrorCode::InvalidBatch);
        assert!(error.to_string().contains(words), "bit {bit}: {error}");
    }
    let placed = Batch::parse(good.stamp(Offset::new(9).unwrap(), LeaderEpoch::ZERO).to_bytes()).unwrap();
    assert_eq!(
        refusal(&placed, &AppendRules::default()),
        BatchError::BaseOffset { got: Offset::new(9).unwrap() }
    );
}

#[test]
fn timestamps_stay_within_bounds() {
    let rules =
        AppendRules { timestamp_before_max_ms: 100, timestamp_after_max_ms: 10, ..AppendRules::default() };
    for codec in codecs() {
        for (timestamp, allowed) in
            [(NOW.0 - 100, true), (NOW.0 - 101, false), (NOW.0 + 10, true), (NOW.0 + 11, false), (-1, false)]
        {
            let batch = batch(codec, &[record(NOW.0, None), record(timestamp, None)]);
            let result = validate_for_append(&batch, &rules, NOW);
            assert_eq!(result.is_ok(), allowed, "{codec} {timestamp}");
            if let Err(error) = result {
                assert_eq!(error.code(), ErrorCode::InvalidTimestamp);
                assert_eq!(error.record_index(), Some(1));
            }
            let log_append = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..rules.clone() };
            let appended = validate_for_append(&batch, &log_append, NOW).unwrap().into_batch();
            assert!(read(&appended).unwrap().iter().all(|record| record.timestamp == NOW.0));
            assert_eq!(Batch::parse(appended.bytes().clone()), Ok(appended));
        }
    }
}

#[test]
fn unwalked_compressed_batches_have_their_max_timestamp_bounded() {
    let rules = AppendRules { validate_compressed: false, ..AppendRules::default() };
    let batch = batch(Compression::Lz4, &[record(NOW.0 + 3_600_001, None)]);
    assert_eq!(refusal(&batch, &rules).code(), ErrorCode::InvalidTimestamp);
    let lying = with_header(&batch, |header| header.max_timestamp = NOW);
    assert!(validate_for_append(&lying, &rules, NOW).is_ok(), "only a walk can tell");
    assert!(matches!(refusal(&lying, &AppendRules::default()), BatchError::Record { index: 0, .. }));
}

#[test]
fn max_timestamp_must_be_true() {
    for codec in codecs() {
        let lying =
            with_header(&batch(codec, &three()), |header| header.max_timestamp = TimestampMs(NOW.0 + 1));
        assert_eq!(
            refusal(&lying, &AppendRules::default()),
            BatchError::MaxTimestamp { header: TimestampMs(NOW.0 + 1), records: NOW }
        );
    }
}

#[test]
fn compacted_topics_need_keys() {
    for codec in codecs() {
        let rules = AppendRules { compacted: true, validate_compressed: false, ..AppendRules::default() };
        let keyed = batch(codec, &[record(NOW.0, Some("a")), record(NOW.0, Some(""))]);
        assert!(validate_for_append(&keyed, &rules, NOW).is_ok(), "an empty key is a key");
        let error = refusal(&batch(codec, &[record(NOW.0, Some("a")), record(NOW.0, None)]), &rules);
        assert_eq!((error.code(), error.record_index()), (ErrorCode::KeyRequired, Some(1)), "{error}");
    }
}

#[test]
fn counts_and_offsets_must_agree() {
    for codec in codecs() {
        let good = batch(codec, &three());
        let gap = with_header(&good, |header| header.last_offset_delta = 5);
        assert_eq!(
            refusal(&gap, &AppendRules::default()),
            BatchError::OffsetsNotDense { last_offset_delta: 5, record_count: 3 }
        );
        assert_eq!(read(&gap), Ok(three()), "a reader accepts what compaction may leave");
        // One more or one less than there are, offsets to match.
        let more = with_header(&good, |header| (header.record_count, header.last_offset_delta) = (4, 3));
        let error = refusal(&more, &AppendRules::default());
        assert_eq!(error, BatchError::Record { index: 3, fault: RecordFault::Missing });
        assert_eq!(read(&more), Err(error));
        let fewer = with_header(&good, |header| (header.record_count, header.last_offset_delta) = (2, 1));
        let error = refusal(&fewer, &AppendRules::default());
        assert!(matches!(error, BatchError::TrailingRecordBytes { record_count: 2, .. }), "{error}");
        assert_eq!(read(&fewer), Err(error));
    }
}

#[test]
fn empty_batches_are_read_and_not_appended() {
    for codec in codecs() {
        let mut header = batch(codec, &three()).header().clone();
        header.record_count = 0;
        let empty = reseal(header, &[]).unwrap();
        assert_eq!(read(&empty), Ok(vec![]));
        assert_eq!(empty.header().next_offset().get(), 3, "its offsets stay taken");
        assert_eq!(refusal(&empty, &AppendRules::default()), BatchError::Empty);
    }
}

#[test]
fn impossible_counts_do_not_parse() {
    let header = batch(Compression::None, &three()).header().clone();
    let payload = [0; 20];
    let count =
        |record_count, last_offset_delta| BatchHeader { record_count, last_offset_delta, ..header.clone() };
    assert!(matches!(reseal(count(3, 1), &payload), Err(BatchError::RecordCount { .. })), "two offsets");
    assert!(matches!(reseal(count(3, 2), &payload), Err(BatchError::RecordCount { .. })), "20 bytes");
    assert!(reseal(count(2, 2), &payload).is_ok());
    let past_the_end = BatchHeader { base_offset: Offset::MAX, ..header };
    assert!(matches!(
        reseal(past_the_end, &payload),
        Err(BatchError::HeaderField { field: "base_offset", .. })
    ));
}

#[test]
fn each_fault_of_a_record_is_named() {
    let header = batch(Compression::None, &[record(NOW.0, None)]).header().clone();
    // length, attributes, timestamp delta, offset delta, key length, value length, header count
    let cases: [(&[u8], &str); 14] = [
        (&[12, 0, 0, 0, 1, 1, 0], ""),
        (&[12, 1, 0, 0, 1, 1, 0], "attributes are 0x01"),
        (&[14, 0, 0, 0, 1, 1, 0], "length is 7, with 6 bytes left"),
        (&[1, 0, 0, 0, 1, 1, 0], "length is -1"),
        (&[0, 0, 0, 0, 1, 1, 0], "length is 0"),
        (&[10, 0, 0, 0, 1, 1, 0], "header count is no valid varint"),
        (&[14, 0, 0, 0, 1, 1, 0, 0], "1 bytes are left"),
        (&[12, 0, 0, 2, 1, 1, 0], "offset delta is 1, expected 0..=0"),
        (&[12, 0, 0, 1, 1, 1, 0], "offset delta is -1"),
        (&[12, 0, 0, 0, 3, 1, 0], "key length is -2"),
        (&[12, 0, 0, 0, 1, 20, 0], "value length is 10, with 1 bytes left"),
        (&[12, 0, 0, 0, 1, 1, 8], "header count is 4, with 0 bytes left"),
        (&[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1], "not UTF-8"),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], "header key length is -1"),
    ];
    for (payload, words) in cases {
        let batch = reseal(header.clone(), payload).unwrap();
        match validate_for_append(&batch, &AppendRules::default(), NOW) {
            Ok(_) => assert_eq!(words, ""),
            Err(error) => {
                assert!(!words.is_empty() && error.to_string().contains(words), "{payload:?}: {error}");
                assert!(error.to_string().contains("record 0"), "{error}");
            }
        }
    }
}

#[test]
fn bombs_stop_at_the_cap() {
    let zeros = OwnedRecord { value: Some(vec![0; 3_000_000]), ..record(NOW.0, None) };
    for codec in codecs().filter(|codec| *codec != Compression::None) {
        let batch = batch(codec, std::slice::from_ref(&zeros));
        for max_bytes in [0, 1, 100_000, 2_999_999] {
            let decompress = DecompressLimits::new(max_bytes);
            let rules = AppendRules { decompress, ..AppendRules::default() };
            let error = refusal(&batch, &rules);
            assert_eq!(error.code(), ErrorCode::DecompressedTooLarge, "{codec} {max_bytes}: {error}");
            assert_eq!(batch.records(decompress).unwrap_err(), error);
        }
        let decompress = DecompressLimits::new(3_000_100);
        assert!(
            validate_for_append(&batch, &AppendRules { decompress, ..AppendRules::default() }, NOW).is_ok()
        );
        assert!(batch.records(decompress).is_ok());
    }
}

#[test]
fn damaged_compressed_data_is_an_error() {
    for codec in codecs().filter(|codec| *codec != Compression::None) {
        let good = batch(codec, &three());
        let payload = &good.bytes()[HEADER_BYTES..];
        for length in 1..payload.len() {
            let cut = reseal(good.header().clone(), &payload[..length]).unwrap();
            let error = refusal(&cut, &AppendRules::default());
            assert_eq!(error.code(), ErrorCode::InvalidBatch, "{codec} cut to {length}: {error}");
            assert!(read(&cut).is_err());
        }
        let longer = reseal(good.header().clone(), &[payload, &[0; 9]].concat()).unwrap();
        assert!(validate_for_append(&longer, &AppendRules::default(), NOW).is_err(), "{codec}: bytes behind");
    }
}

#[test]
fn builder_limits() {
    let mut builder = BatchBuilder::new(Compression::None, 200);
    let push =
        |builder: &mut BatchBuilder, length: usize| builder.push(NOW, None, Some(&vec![1; length]), []);
    assert_eq!(push(&mut builder, 100), Ok(PushOutcome::Added));
    assert_eq!(push(&mut builder, 100), Ok(PushOutcome::Full));
    assert_eq!(builder.record_count(), 1);
    assert!(matches!(push(&mut builder, 300), Err(BatchError::RecordTooLarge { max_bytes: 200, .. })));
    let first = builder.build().unwrap();
    assert!(first.len() <= 200);
    assert_eq!(builder.build(), Err(BatchError::Empty));
    // Exactly the limit, and one more.
    let room = 200 - HEADER_BYTES - 9;
    assert!(matches!(push(&mut builder, room + 1), Err(BatchError::RecordTooLarge { got_bytes: 201, .. })));
    assert_eq!(push(&mut builder, room), Ok(PushOutcome::Added));
    assert_eq!(builder.encoded_bytes(), 200);
    assert_eq!(builder.build().unwrap().len(), 200);
    assert_eq!(Batch::parse(first).unwrap().header().record_count, 1, "a later batch leaves it alone");
}

#[test]
fn one_record_may_be_above_the_limit_until_it_is_compressed() {
    // Letters that a codec makes little of.
    let mut state = 1_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    };
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(codec, 1000).allow_uncompressed(10_000);
        let push = |builder: &mut BatchBuilder, value: &[u8]| builder.push(NOW, None, Some(value), []);
        assert_eq!(push(&mut builder, &[1; 9000]), Ok(PushOutcome::Added), "{codec}");
        assert_eq!(push(&mut builder, &[2]), Ok(PushOutcome::Full), "{codec}: only alone in its batch");
        let built = builder.build().unwrap();
        assert!(built.len() <= 1000, "{codec}");
        let batch = Batch::parse(built).unwrap();
        let records = batch.records(DecompressLimits::default()).unwrap();
        let values: Vec<_> = records.iter().map(|record| record.unwrap().value.unwrap().to_vec()).collect();
        assert_eq!(values, [vec![1; 9000]], "{codec}");

        // Behind another record it has to begin a batch.
        assert_eq!(push(&mut builder, &[2]), Ok(PushOutcome::Added));
        assert_eq!(push(&mut builder, &[1; 9000]), Ok(PushOutcome::Full), "{codec}");
        builder.clear();

        let too_large = push(&mut builder, &[1; 10_001]);
        assert!(matches!(too_large, Err(BatchError::RecordTooLarge { max_bytes: 10_000, .. })), "{codec}");

        // What stays too large is an error that says so, and its records are still to be had.
        let noise = noise(5000);
        assert_eq!(push(&mut builder, &noise), Ok(PushOutcome::Added));
        match builder.build() {
            Err(BatchError::RecordTooLarge { got_bytes, max_bytes: 1000 }) => assert!(got_bytes > 1000),
            other => panic!("{codec}: {other:?}"),
        }
        let back = Batch::parse(builder.build_uncompressed().unwrap()).unwrap();
        assert_eq!(back.header().attributes.compression(), Compression::None);
        let records = back.records(DecompressLimits::default()).unwrap();
        assert_eq!(records.iter().next().unwrap().unwrap().value, Some(&noise[..]), "{codec}");
    }
    let mut plain = BatchBuilder::new(Compression::None, 1000).allow_uncompressed(10_000);
    let error = plain.push(NOW, None, Some(&[1; 1001]), []);
    assert!(matches!(error, Err(BatchError::RecordTooLarge { max_bytes: 1000, .. })));
}

#[test]
fn builder_fields() {
    let mut builder = BatchBuilder::new(Compression::None, 1000);
    builder.set_producer(ProducerFields { id: 5, epoch: 6, base_sequence: 7 });
    let empty = std::iter::empty;
    let headers: [(&str, Option<&[u8]>); 1] = [("h", None)];
    assert_eq!(builder.push(TimestampMs(i64::MAX), None, None, headers), Ok(PushOutcome::Added));
    let far = builder.push(TimestampMs(-2), None, None, empty());
    assert!(matches!(far, Err(BatchError::TimestampDelta { .. })), "{far:?}");
    builder.clear();
    assert!(builder.is_empty() && builder.max_timestamp().is_none());
    assert_eq!(builder.push(TimestampMs(-2), None, None, empty()), Ok(PushOutcome::Added));
    assert_eq!(builder.max_timestamp(), Some(TimestampMs(-2)));
    let batch = Batch::parse(builder.build().unwrap()).unwrap();
    let header = batch.header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 6, 7));
    assert_eq!((header.base_offset, header.leader_epoch), (Offset::ZERO, None));
}

/// Records that no codec makes smaller must not pass the limit because of the codec's own bytes.
#[test]
fn incompressible_records_are_sent_as_they_are() {
    for codec in codecs() {
        let mut builder = BatchBuilder::new(codec, 100);
        let noise: Vec<u8> = (0..30_u8).map(|i| i.wrapping_mul(167) ^ 0x5a).collect();
        assert_eq!(builder.push(NOW, None, Some(&noise), []), Ok(PushOutcome::Added));
        let built: Bytes = builder.build().unwrap();
        assert!(built.len() <= 100);
        assert_eq!(read(&Batch::parse(built).unwrap()).unwrap()[0].value.as_ref(), Some(&noise));
    }
}
