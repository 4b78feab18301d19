//! Batches written by foreign implementations, read field by field; see `golden/README.md`.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests, outside of the test functions"
)]

mod support;

use std::{fs, path::Path};

use bytes::Bytes;
use corduroy_batch::{AppendRules, Batch, Compression, DecompressLimits, TimestampType, validate_for_append};
use corduroy_types::{Offset, TimestampMs};
use support::owned::{OwnedRecord, build, read};

// As in golden/content.py.
const BASE_MS: i64 = 1_700_000_000_000;
const APPEND_MS: i64 = 1_700_000_999_999;

fn record(timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> OwnedRecord {
    OwnedRecord {
        timestamp,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    }
}

fn small() -> Vec<OwnedRecord> {
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let ramp: Vec<u8> = (0..20_000_u32).map(|i| (i % 256) as u8).collect();
    let mut records = vec![
        record(BASE_MS, Some(b"alpha"), Some(b"first")),
        record(BASE_MS + 5, None, Some(b"no key")),
        record(BASE_MS - 7, Some(b"deleted"), None),
        record(BASE_MS + 100_000, Some(b""), Some(b"")),
        record(BASE_MS + 5, Some(&[b'k'; 70]), Some(&ramp)),
    ];
    records[3].headers = vec![
        header("trace", Some(b"\x00\xff")),
        header("empty", Some(b"")),
        header("null", None),
        header("trace", Some("Größe ✓".as_bytes())),
        header("ключ", Some(b"1")),
    ];
    records
}

fn large() -> Vec<OwnedRecord> {
    (0..4000_i64)
        .map(|i| {
            let value = format!("line {i} of the large batch, user={} status={}", i * 7919 % 1000, i % 5);
            record(BASE_MS + i, Some((i % 97).to_string().as_bytes()), Some(value.as_bytes()))
        })
        .collect()
}

fn load(name: &str) -> Batch {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.bin"));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Batch::parse(bytes.into()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Reads the batch in both ways that exist, and compares.
fn assert_holds(name: &str, codec: Compression, records: &[OwnedRecord]) -> Batch {
    let batch = load(name);
    let header = batch.header();
    assert_eq!(header.compression(), codec, "{name}");
    assert_eq!(header.record_count as usize, records.len(), "{name}");
    assert_eq!(header.base_offset, Offset::ZERO, "{name}");
    assert_eq!(header.next_offset().get(), records.len() as u64, "{name}");
    assert_eq!(read(&batch).as_deref(), Ok(records), "{name}");
    batch
}

fn assert_appendable(name: &str, batch: &Batch) {
    let valid = validate_for_append(batch, &AppendRules::default(), TimestampMs(BASE_MS + 100_000))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(valid.batch(), batch, "{name}");
}

#[test]
fn every_codec_of_both_packages() {
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        for package in ["kafka-python", "aiokafka"] {
            let name = format!("{package}-{codec}");
            let batch = assert_holds(&name, codec, &small());
            assert_eq!(batch.header().base_timestamp.0, BASE_MS);
            assert_eq!(batch.header().max_timestamp.0, BASE_MS + 100_000);
            assert_appendable(&name, &batch);
        }
        if codec != Compression::None {
            let name = format!("large-{codec}");
            assert_appendable(&name, &assert_holds(&name, codec, &large()));
        }
    }
}

#[test]
fn forms_of_the_codecs_that_other_clients_write() {
    for (name, codec, records) in [
        ("snappy-raw", Compression::Snappy, small()),
        ("large-snappy-raw", Compression::Snappy, large()),
        ("large-lz4-checksums-independent", Compression::Lz4, large()),
        ("large-lz4-checksums-linked", Compression::Lz4, large()),
        ("lz4-4mib-blocks", Compression::Lz4, small()),
    ] {
        assert_appendable(name, &assert_holds(name, codec, &records));
    }
}

#[test]
fn producer_fields_and_log_append_time() {
    let batch = assert_holds("producer-fields", Compression::None, &small());
    let header = batch.header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4711, 3, 17));

    let appended: Vec<_> =
        small().into_iter().map(|record| OwnedRecord { timestamp: APPEND_MS, ..record }).collect();
    for (name, codec) in [("log-append-time", Compression::None), ("log-append-time-gzip", Compression::Gzip)]
    {
        let batch = assert_holds(name, codec, &appended);
        assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(batch.header().base_timestamp.0, BASE_MS);
    }
}

/// The leader's rewrite gives the very bytes that the script's does.
#[test]
fn our_log_append_time_is_the_same_bytes() {
    let rewritten = load("kafka-python-none").with_log_append_time(TimestampMs(APPEND_MS));
    assert_eq!(rewritten, load("log-append-time"));
}

/// Without a codec there is only one way to write a batch; the leader epoch alone is free.
#[test]
fn our_uncompressed_batch_is_the_same_bytes() {
    let ours = build(Compression::None, &small()).unwrap();
    for package in ["kafka-python", "aiokafka"] {
        let theirs = load(&format!("{package}-none")).into_bytes();
        assert_eq!(ours[..12], theirs[..12]);
        assert_eq!(ours[16..], theirs[16..]);
    }
}

/// A key can be kept without copying it: it shares the batch's bytes, or those it was decompressed to.
#[test]
fn keys_and_values_share_the_buffer() {
    for name in ["kafka-python-none", "kafka-python-gzip"] {
        let records = load(name).records(DecompressLimits::default()).unwrap();
        let first = records.iter().next().unwrap().unwrap();
        let value: Bytes = records.buffer().slice_ref(first.value.unwrap());
        assert_eq!(&value[..], b"first");
    }
}

/// Writes batches for `golden/check.py`, which has the foreign implementations read them.
#[test]
#[ignore = "writes files; run it with CORDUROY_BATCH_OUT set, then golden/check.py"]
fn write_batches_for_the_foreign_implementations() {
    let directory = std::env::var_os("CORDUROY_BATCH_OUT").expect("set CORDUROY_BATCH_OUT to a directory");
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        for (size, records) in [("small", small()), ("large", large())] {
            let path = Path::new(&directory).join(format!("{size}-{codec}.bin"));
            fs::write(path, build(codec, &records).unwrap()).unwrap();
        }
    }
}
