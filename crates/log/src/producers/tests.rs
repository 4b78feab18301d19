//! The state machine against a naive model, and its stored form.

use std::{collections::BTreeMap, path::Path};

use corduroy_batch::{BatchBuilder, BatchHeader, Compression, ProducerFields};
use corduroy_types::{Offset, TimestampMs};
use proptest::prelude::*;

use super::*;

const EXPIRATION_MS: u64 = 1_000;

fn at(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

/// The header of a batch of `count` records at `offset`.
fn header(offset: u64, producer: (i64, i16, i32), count: u32, timestamp: i64) -> BatchHeader {
    let (id, epoch, base_sequence) = producer;
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    builder.set_producer(ProducerFields { id, epoch, base_sequence });
    for _ in 0..count {
        let pushed = builder.push(TimestampMs(timestamp), None, Some(b"v"), std::iter::empty());
        assert!(pushed.is_ok());
    }
    let bytes = builder.build().unwrap();
    BatchHeader { base_offset: at(offset), ..BatchHeader::parse(&bytes).unwrap() }
}

/// What a batch of a producer should be answered, worked out from every batch in the log.
fn naive(log: &[BatchHeader], batch: &BatchHeader) -> AppendAnswer {
    let id = batch.producer_id;
    let times = log.iter().scan(i64::MIN, |time, one| {
        *time = (*time).max(one.max_timestamp.0);
        Some(*time)
    });
    let times: Vec<_> = times.collect();
    let now = times.last().copied().unwrap_or(i64::MIN);
    // A producer that was quiet for too long at any time was forgotten then.
    let mut known: Vec<&BatchHeader> = Vec::new();
    let mut quiet_since = i64::MIN;
    for (one, time) in log.iter().zip(&times) {
        if one.producer_id == id {
            known.push(one);
            quiet_since = *time;
        } else if quiet_since < time.saturating_sub(1_000) {
            known.clear();
        }
    }
    assert!(known.is_empty() || quiet_since >= now.saturating_sub(1_000));
    let Some(last) = known.last() else {
        return if batch.base_sequence == 0 { AppendAnswer::New } else { AppendAnswer::MayBeWritten };
    };
    if batch.producer_epoch < last.producer_epoch {
        return AppendAnswer::Fenced;
    }
    let epoch_batches = known.iter().filter(|one| one.producer_epoch == batch.producer_epoch);
    let remembered: Vec<_> = epoch_batches.rev().take(5).collect();
    let next = remembered.first().map_or(0, |one| sequence(one, one.last_offset_delta + 1));
    let first = i64::from(batch.base_sequence);
    if first == next {
        return AppendAnswer::New;
    }
    if let Some(original) = remembered.iter().find(|one| {
        (one.base_sequence, one.last_offset_delta) == (batch.base_sequence, batch.last_offset_delta)
    }) {
        return AppendAnswer::Duplicate(original.base_offset);
    }
    // Half of the circle lies ahead.
    let ahead = (first - next).rem_euclid(1 << 31) < 1 << 30;
    if ahead || remembered.is_empty() { AppendAnswer::Gap } else { AppendAnswer::MayBeWritten }
}

fn is_same(one: &BatchHeader, other: &BatchHeader) -> bool {
    let of = |header: &BatchHeader| {
        (header.producer_id, header.producer_epoch, header.base_sequence, header.last_offset_delta)
    };
    of(one) == of(other)
}

fn sequence(header: &BatchHeader, plus: u32) -> i64 {
    (i64::from(header.base_sequence) + i64::from(plus)).rem_euclid(1 << 31)
}

#[derive(Debug, PartialEq, Eq)]
enum AppendAnswer {
    New,
    Duplicate(Offset),
    Gap,
    Fenced,
    MayBeWritten,
}

fn answer(producers: &Producers, batch: &BatchHeader) -> AppendAnswer {
    match producers.check(batch) {
        Ok(None) => AppendAnswer::New,
        Ok(Some(original)) => AppendAnswer::Duplicate(original.base_offset),
        Err(SequenceError::OutOfSequence { .. }) => AppendAnswer::Gap,
        Err(error) => {
            // Only what is known to be absent is said to be.
            assert!(error.may_be_written());
            match error {
                SequenceError::Fenced { .. } => AppendAnswer::Fenced,
                _ => AppendAnswer::MayBeWritten,
            }
        }
    }
}

/// One attempt to append: of a producer, relative to where it is.
#[derive(Clone, Debug)]
struct Attempt {
    producer: i64,
    epoch_up: i16,
    /// 0: the next sequence; less: so many batches back; more: a gap.
    sequence_shift: i32,
    count: u32,
    time_up: i64,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let shift = prop_oneof![6 => Just(0), 3 => -7_i32..0, 1 => 1_i32..4];
    let time_up = prop_oneof![6 => 0_i64..50, 1 => -5_000_i64..0, 1 => 500_i64..1_500];
    let epoch_up = prop_oneof![12 => Just(0_i16), 1 => Just(1), 1 => Just(-1)];
    (-1_i64..4, epoch_up, shift, 1_u32..4, time_up).prop_map(
        |(producer, epoch_up, sequence_shift, count, time_up)| Attempt {
            producer,
            epoch_up,
            sequence_shift,
            count,
            time_up,
        },
    )
}

/// A client: its epoch, its next sequence, and the first sequence and count of every batch it sent in that epoch.
type Client = (i16, i32, Vec<(i32, u32)>);

/// Clients, by producer id.
#[derive(Default)]
struct Clients {
    by_id: BTreeMap<i64, Client>,
}

impl Clients {
    /// The fields of an attempt's batch, and how many records it has.
    fn batch(&mut self, attempt: &Attempt, wraps: bool) -> ((i64, i16, i32), u32) {
        if attempt.producer < 0 {
            return ((-1, -1, -1), attempt.count);
        }
        let start = if wraps { i32::MAX - 5 } else { 0 };
        let (epoch, next, sent) =
            self.by_id.entry(attempt.producer).or_insert_with(|| (0, start, Vec::new()));
        if attempt.epoch_up > 0 {
            (*epoch, *next) = (*epoch + 1, 0);
            sent.clear();
        }
        let epoch = *epoch + attempt.epoch_up.min(0);
        let back = usize::try_from(-attempt.sequence_shift).unwrap_or(0);
        if back > 0 && back <= sent.len() {
            let (first, count) = sent[sent.len() - back];
            return ((attempt.producer, epoch.max(0), first), count);
        }
        let first = (i64::from(*next) + i64::from(attempt.sequence_shift.max(0))) & i64::from(i32::MAX);
        ((attempt.producer, epoch.max(0), i32::try_from(first).unwrap()), attempt.count)
    }

    fn appended(&mut self, header: &BatchHeader) {
        if let Some((epoch, next, sent)) = self.by_id.get_mut(&header.producer_id)
            && *epoch == header.producer_epoch
        {
            *next = i32::try_from(sequence(header, header.last_offset_delta + 1)).unwrap();
            sent.push((header.base_sequence, header.last_offset_delta + 1));
        }
    }
}

fn run(attempts: &[Attempt], wraps: bool) -> Result<(), TestCaseError> {
    let (mut producers, mut log) = (Producers::new(EXPIRATION_MS), Vec::new());
    let (mut clients, mut time, mut end) = (Clients::default(), 0_i64, 0_u64);
    let mut snapshot = None;
    if wraps {
        // As if the sequences before the wrap had been used.
        for id in 0..4 {
            let batch = header(end, (id, 0, i32::MAX - 6), 1, 0);
            producers.note(&batch);
            log.push(batch);
            end += 1;
        }
    }
    for attempt in attempts {
        time += attempt.time_up;
        let (fields, count) = clients.batch(attempt, wraps);
        let batch = header(end, fields, count, time.max(0));
        let got = answer(&producers, &batch);
        if batch.producer_id >= 0 {
            prop_assert_eq!(&got, &naive(&log, &batch), "{:?}", batch);
            let is_in_log = log.iter().any(|one| is_same(one, &batch));
            let is_not_written = match producers.check(&batch) {
                Ok(original) => original.is_none(),
                Err(error) => !error.may_be_written(),
            };
            // One that is taken as new is written a second time; a retry that is late by more than the expiration is that.
            let is_refused = producers.check(&batch).is_err();
            prop_assert!(!(is_in_log && is_not_written && is_refused), "{:?} is in the log", batch);
        }
        if got == AppendAnswer::New {
            producers.note(&batch);
            clients.appended(&batch);
            log.push(batch.clone());
            end += u64::from(count);
        }
        // The state is a function of the log: from its beginning, and from any snapshot.
        let mut rebuilt = Producers::new(EXPIRATION_MS);
        log.iter().for_each(|one| rebuilt.note(one));
        prop_assert_eq!(&rebuilt, &producers);
        let (taken_at, bytes) = snapshot.get_or_insert_with(|| {
            (at(end), Snapshot::encode(Path::new("/"), &producers, (at(end), Offset::ZERO, 7), None))
        });
        let mut restored = Snapshot::decode(bytes, EXPIRATION_MS).unwrap();
        prop_assert_eq!((restored.offset, restored.position), (*taken_at, 7));
        log.iter().filter(|one| one.base_offset >= *taken_at).for_each(|one| restored.producers.note(one));
        prop_assert_eq!(&restored.producers, &producers);
        if attempt.count == 3 {
            snapshot = None;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn answers_are_those_of_a_naive_model(attempts in prop::collection::vec(attempt(), 0..80)) {
        run(&attempts, false)?;
    }

    #[test]
    fn answers_are_right_where_sequences_wrap(attempts in prop::collection::vec(attempt(), 0..40)) {
        run(&attempts, true)?;
    }

    #[test]
    fn any_bytes_are_a_snapshot_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(Snapshot::decode(&bytes, 0), Err(SnapshotFault::Damaged));
        // With a checksum that fits, the contents are looked at.
        let mut bytes = [b"CDPR\0\x01".as_slice(), &bytes].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let _read_or_refused = Snapshot::decode(&bytes, 0);
    }

    #[test]
    fn a_snapshot_with_a_flipped_bit_is_refused(at_bit in any::<prop::sample::Index>()) {
        let mut producers = Producers::new(EXPIRATION_MS);
        producers.note(&header(0, (3, 0, 0), 2, 5));
        let mut bytes = Snapshot::encode(Path::new("/"), &producers, (at(2), Offset::ZERO, 100), Some(9)).to_vec();
        let bit = at_bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Snapshot::decode(&bytes, EXPIRATION_MS).is_err());
    }
}

#[test]
fn the_stored_form_never_drifts() {
    let mut producers = Producers::new(EXPIRATION_MS);
    producers.note(&header(10, (3, 1, 0), 2, 5));
    let bytes = Snapshot::encode(Path::new("/"), &producers, (at(12), at(10), 70), Some(7));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (head, time) = ("000000000000000c000000000000000a00000000000000460100000007", "0000000000000005");
    let (count, id) = ("00000001", "00000000000000030001");
    let batches = "0000000000000005010000000000000001000000000000000a0000000000000005";
    let partition = "00".repeat(1 + 16 + 4);
    let body = format!("434450520004{partition}{head}{time}ffffffffffffffff{count}{id}01{batches}");
    assert_eq!(hex.split_at(hex.len() - 8).0, body);

    let as_bytes = |hex: &str| {
        let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let mut bytes: Vec<u8> = (0..hex.len()).step_by(2).map(pair).collect();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    };
    // Version 3 does not say what was forgotten, and version 2 names no partition either.
    let mut unknown = producers.clone();
    unknown.forget_all();
    unknown.note(&header(10, (3, 1, 0), 2, 5));
    for older in [
        format!("434450520003{partition}{head}{time}{count}{id}{batches}"),
        format!("434450520002{head}{time}{count}{id}{batches}"),
    ] {
        assert_eq!(Snapshot::decode(&as_bytes(&older), EXPIRATION_MS).unwrap().producers, unknown);
    }
    let newer = as_bytes(&body.replacen("0004", "0005", 1));
    assert_eq!(Snapshot::decode(&newer, 0), Err(SnapshotFault::NewerFormat(5)));
}

/// Whether the outcome of a refused gap is *unknown*.
fn gap_may_be_written(producers: &Producers, producer: (i64, i16, i32)) -> bool {
    match producers.check(&header(1_000, producer, 1, 0)) {
        Err(SequenceError::OutOfSequence { may_be_written, .. }) => may_be_written,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gap_of_a_producer_that_was_forgotten_before_is_unknown() {
    let mut producers = Producers::new(EXPIRATION_MS);
    producers.note(&header(0, (3, 0, 0), 5, 0));
    assert!(!gap_may_be_written(&producers, (3, 0, 9)), "it was remembered from the beginning on");
    producers.note(&header(5, (7, 0, 0), 1, 5_000));
    // Sequences 0 to 4 were written, and are forgotten.
    producers.note(&header(6, (3, 0, 0), 1, 5_000));
    assert!(gap_may_be_written(&producers, (3, 0, 4)));
    producers.note(&header(7, (3, 1, 0), 1, 5_000));
    assert!(gap_may_be_written(&producers, (3, 1, 4)), "its later epochs were forgotten too");
    assert!(!gap_may_be_written(&producers, (7, 0, 4)), "a greater id was never forgotten");
    producers.note(&header(8, (2, 0, 0), 1, 5_000));
    assert!(gap_may_be_written(&producers, (2, 0, 4)), "a smaller one may have been");
    producers.note(&header(9, (7, 1, 0), 1, 5_000));
    assert!(!gap_may_be_written(&producers, (7, 1, 4)), "each of its epochs was remembered");
    let mut middle = Producers::new(EXPIRATION_MS);
    middle.note(&header(0, (3, 0, 4), 1, 0));
    assert!(gap_may_be_written(&middle, (3, 0, 9)), "the log begins in the middle of the epoch");
}

#[test]
fn the_producer_that_was_quiet_longest_makes_room() {
    let mut producers = Producers::new(u64::MAX);
    for n in 0..=PRODUCERS_MAX as u64 {
        producers.note(&header(n, (i64::try_from(n).unwrap(), 0, 0), 1, 0));
    }
    assert_eq!(producers.len(), PRODUCERS_MAX);
    assert!(producers.get(0).is_none() && producers.get(1).is_some());
    let bytes = Snapshot::encode(Path::new("/"), &producers, (at(1 << 20), Offset::ZERO, 0), None);
    assert!((bytes.len() as u64) < super::snapshot::SNAPSHOT_BYTES_MAX);
    assert_eq!(Snapshot::decode(&bytes, u64::MAX).unwrap().producers, producers);
}

#[test]
fn compaction_learns_which_batches_to_keep() {
    let mut producers = Producers::new(EXPIRATION_MS);
    for (offset, producer) in [(0, (1, 0, 0)), (1, (2, 0, 0)), (2, (1, 0, 1)), (3, (-1, -1, -1))] {
        producers.note(&header(offset, producer, 1, 0));
    }
    assert_eq!(producers.last_batch_offsets().collect::<Vec<_>>(), [at(1), at(2)]);
}
