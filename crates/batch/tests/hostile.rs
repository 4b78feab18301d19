//! Bytes that no one meant well: no panic, and all ways through the crate agree. The fuzz target does the same for
//! longer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests, outside of the test functions"
)]

mod support;

use bytes::Bytes;
use corduroy_batch::Compression;
use support::{
    exercise::exercise,
    owned::{OwnedRecord, build},
};

/// xorshift64*: the tests need variety, not quality, and the same inputs on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn seeds() -> Vec<Bytes> {
    let record = |i: usize| OwnedRecord {
        timestamp: i64::try_from(i).unwrap() * 1000,
        key: (!i.is_multiple_of(3)).then(|| vec![b'k'; i]),
        value: (!i.is_multiple_of(5)).then(|| b"some text, some text. ".repeat(i)),
        headers: (0..i % 3).map(|h| (format!("header-{h}"), (h > 0).then(|| vec![0; i]))).collect(),
    };
    let supported = Compression::ALL.into_iter().filter(|codec| codec.is_supported());
    supported
        .flat_map(|codec| {
            [1, 4, 12].map(|count| build(codec, &(0..count).map(record).collect::<Vec<_>>()).unwrap())
        })
        .collect()
}

/// Some bytes replaced, removed, doubled, or set to the values that varints and lengths turn on.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        // Mostly behind the header: the front is easily refused.
        let at = if random.below(3) == 0 { random.below(bytes.len()) } else { 61 + random.below(40) };
        let at = at.min(bytes.len().saturating_sub(1));
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 2, 3][random.below(7)],
            3 => bytes.truncate(at.max(1)),
            4 => drop(bytes.splice(at..at, [0xff; 4])),
            _ => {
                let copy = bytes[at..].to_vec();
                bytes.extend_from_slice(&copy);
            }
        }
    }
    bytes
}

#[test]
fn mutated_batches_never_panic() {
    let seeds = seeds();
    let mut random = Random(0x00c0_4d02_0fab_21c5);
    for round in 0..20_000_usize {
        let input = mutate(&seeds[round % seeds.len()], &mut random);
        let outcome = std::panic::catch_unwind(|| exercise(&input));
        assert!(outcome.is_ok(), "round {round} panicked with {input:02x?}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(0x5eed);
    for _ in 0..5_000 {
        let length = random.below(200);
        let input: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        exercise(&input);
    }
}
