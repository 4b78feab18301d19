//! Who sent which value: from a value to the produces that carry it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{history::History, line::Call};

/// One record of one produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The produce.
    pub(crate) op: u32,
    /// Which of its records, counted from 0.
    pub(crate) at: u32,
    /// The next attempt with the same value; [`NONE`] behind the last.
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Every value that was sent. A value may be sent more than once, when a program sends a record again.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    first: HashMap<u64, u32, BuildHasherDefault<ValueHasher>>,
    attempts: Vec<Attempt>,
}

impl Writers {
    /// The attempts of a history, for each value in the order of its operations.
    pub(crate) fn new(history: &History) -> Self {
        let mut writers = Self::default();
        // Backwards, so that the chain of each value is in the order of the operations.
        for (op, at) in (0..history.ops.len()).rev().filter_map(|at| Some((u32::try_from(at).ok()?, at))) {
            let Some(Call::Produce { records, .. }) = history.ops.get(at).map(|op| &op.call) else {
                continue;
            };
            for (at, sent) in (0_u32..).zip(records.iter()) {
                let number = u32::try_from(writers.attempts.len()).unwrap_or(NONE);
                let next = writers.first.insert(sent.value, number).unwrap_or(NONE);
                writers.attempts.push(Attempt { op, at, next });
            }
        }
        writers
    }

    /// The attempts with this value; none where no one sent it.
    pub(crate) fn of(&self, value: u64) -> impl Iterator<Item = Attempt> {
        let first = self.first.get(&value).copied().unwrap_or(NONE);
        let at = |number: u32| self.attempts.get(number as usize).copied();
        std::iter::successors(at(first), move |attempt| at(attempt.next))
    }
}

/// Spreads the bits of a number by one multiplication. Values come from the harness, never from an attacker.
#[derive(Default)]
struct ValueHasher(u64);

impl Hasher for ValueHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = u128::from(self.0 ^ number) * 0x9E37_79B9_7F4A_7C15;
        let [low, high] = [mixed, mixed >> 64].map(|half| half & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high).unwrap_or_default();
    }
}
