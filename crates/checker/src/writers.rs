//! Who sent which value: from a value to the produces that carry it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    history::History,
    line::{Call, End},
};

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

/// What is known of a value at once, however often it was sent.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Its first attempt.
    first: u32,
    /// When the first attempt began that did not end *not written*, in nanoseconds.
    sent_ns: u64,
}

/// Every value that was sent. A value may be sent more than once, when a program sends a record again.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    heads: HashMap<u64, Head, BuildHasherDefault<ValueHasher>>,
    attempts: Vec<Attempt>,
}

impl Writers {
    /// The attempts of a history, for each value in the order of its operations.
    pub(crate) fn new(history: &History) -> Self {
        let mut writers = Self::default();
        // Backwards, so that the chain of each value is in the order of the operations.
        for (op, at) in (0..history.ops.len()).rev().filter_map(|at| Some((u32::try_from(at).ok()?, at))) {
            let Some(produce) = history.ops.get(at) else { continue };
            let Call::Produce { records, .. } = &produce.call else { continue };
            let sent_ns = if produce.end == End::NotWritten { u64::MAX } else { produce.invoked_ns };
            for (at, sent) in (0_u32..).zip(records.iter()) {
                let first = u32::try_from(writers.attempts.len()).unwrap_or(NONE);
                let head = writers.heads.entry(sent.value).or_insert(Head { first: NONE, sent_ns });
                writers.attempts.push(Attempt { op, at, next: head.first });
                (head.first, head.sent_ns) = (first, head.sent_ns.min(sent_ns));
            }
        }
        writers
    }

    /// Since when this value may be in a log, in nanoseconds; `None` where every attempt ended *not written*.
    pub(crate) fn sent_ns(&self, value: u64) -> Option<u64> {
        self.heads.get(&value).map(|head| head.sent_ns).filter(|sent_ns| *sent_ns != u64::MAX)
    }

    /// The attempts with this value; none where no one sent it.
    pub(crate) fn of(&self, value: u64) -> impl Iterator<Item = Attempt> {
        let first = self.heads.get(&value).map_or(NONE, |head| head.first);
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
