//! Encode → decode → equal, and whatever is damaged on the way is found.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of the test functions")]

mod support;

use bytes::Bytes;
use corduroy_batch::{Batch, Compression, DecompressLimits, ProducerFields};
use corduroy_types::{LeaderEpoch, Offset};
use proptest::{collection::vec, option, prelude::*, sample::select};
use support::owned::{OwnedRecord, build, read};

fn codec() -> impl Strategy<Value = Compression> {
    let supported: Vec<_> = Compression::ALL.into_iter().filter(|codec| codec.is_supported()).collect();
    select(supported)
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Half of them repeat a byte, so that codecs have something to do and lengths cross the varints' steps.
    prop_oneof![vec(any::<u8>(), 0..max), (any::<u8>(), 0..max * 8).prop_map(|(byte, n)| vec![byte; n])]
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let headers = vec((".{0,12}", option::of(bytes(20))), 0..4);
    // Far apart, but less than 2^63 ms.
    let timestamp = prop_oneof![-1_i64..2_000_000_000_000, any::<i64>().prop_map(|t| t / 4)];
    (timestamp, option::of(bytes(40)), option::of(bytes(300)), headers)
        .prop_map(|(timestamp, key, value, headers)| OwnedRecord { timestamp, key, value, headers })
}

proptest! {
    #[test]
    fn what_is_built_reads_back(codec in codec(), records in vec(record(), 1..40), base in 0..1_u64 << 40) {
        let built = build(codec, &records).unwrap();
        let batch = Batch::parse(built.clone()).unwrap();
        prop_assert_eq!(read(&batch).unwrap(), records.clone());
        prop_assert!(built.starts_with(&batch.header().to_bytes()));

        let base = Offset::new(base).unwrap();
        let epoch = LeaderEpoch::new(7).unwrap();
        let stamped = batch.stamp(base, epoch);
        prop_assert_eq!(stamped.parts().concat(), stamped.to_bytes());
        let batch = Batch::parse(stamped.to_bytes()).unwrap();
        prop_assert_eq!(batch.header(), stamped.header());
        prop_assert_eq!(batch.header().leader_epoch, Some(epoch));
        let decoded = batch.records(DecompressLimits::default()).unwrap();
        for (index, record) in decoded.iter().enumerate() {
            prop_assert_eq!(record.unwrap().offset.get(), base.get() + index as u64);
        }
    }

    #[test]
    fn other_numbers_are_the_same_records(
        codec in codec(), records in vec(record(), 1..10), id in 0_i64.., epoch in 0_i16.., base_sequence in 0_i32..,
    ) {
        let batch = Batch::parse(build(codec, &records).unwrap()).unwrap();
        let producer = ProducerFields { id, epoch, base_sequence };
        let numbered = Batch::parse(batch.with_producer(producer).into_bytes()).unwrap();
        let header = numbered.header();
        prop_assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (id, epoch, base_sequence));
        prop_assert_eq!(read(&numbered).unwrap(), records);
        prop_assert_eq!(numbered.with_producer(ProducerFields::NONE), batch);
    }

    #[test]
    fn concatenated_batches_come_apart(codec in codec(), all in vec(vec(record(), 1..4), 0..5)) {
        let mut joined = Vec::new();
        for records in &all {
            joined.extend_from_slice(&build(codec, records).unwrap());
        }
        let mut rest = Bytes::from(joined);
        for records in &all {
            let batch = Batch::parse_prefix(&mut rest).unwrap().unwrap();
            prop_assert_eq!(&read(&batch).unwrap(), records);
        }
        prop_assert_eq!(Batch::parse_prefix(&mut rest), Ok(None));
    }
}

/// A batch of every codec, small enough to try every bit of it.
fn samples() -> Vec<(Compression, Bytes)> {
    let records: Vec<_> = (0..5_u8)
        .map(|i| OwnedRecord {
            timestamp: 1_700_000_000_000 + i64::from(i),
            key: (i != 1).then(|| vec![b'k'; usize::from(i)]),
            value: (i != 2).then(|| b"value value value value".repeat(usize::from(i))),
            headers: if i == 3 {
                vec![("h".to_owned(), None), ("é".to_owned(), Some(vec![i]))]
            } else {
                vec![]
            },
        })
        .collect();
    let supported = Compression::ALL.into_iter().filter(|codec| codec.is_supported());
    supported.map(|codec| (codec, build(codec, &records).unwrap())).collect()
}

#[test]
fn every_truncation_is_an_error() {
    for (codec, bytes) in samples() {
        for length in 0..bytes.len() {
            assert!(Batch::parse(bytes.slice(..length)).is_err(), "{codec} cut to {length}");
            let mut prefix = bytes.slice(..length);
            assert_eq!(Batch::parse_prefix(&mut prefix).is_err(), length > 0, "{codec} cut to {length}");
            assert_eq!(prefix.len(), length, "an error takes nothing");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Batch::parse(longer.into()).is_err());
    }
}

#[test]
fn every_flipped_bit_outside_offset_and_epoch_is_an_error() {
    for (codec, bytes) in samples() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = Batch::parse(flipped.clone().into());
            let unchecked = matches!(bit / 8, 0..8 | 12..16);
            assert!(
                unchecked || parsed.is_err(),
                "{codec}: bit {} of byte {} is not noticed",
                bit % 8,
                bit / 8
            );
            assert!(unchecked || Batch::parse_prefix(&mut flipped.into()).is_err(), "{codec}: bit {bit}");
        }
    }
}
