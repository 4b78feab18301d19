//! What a producer knows of what it sent, and whether the log agrees.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Where one value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// Sent, and no answer yet or none ever.
    Unknown,
    /// Acknowledged at this partition and offset.
    Acknowledged(u32, u64),
    /// Refused before it was appended.
    NotWritten,
}

/// Every value that was ever sent. Values are unique.
#[derive(Default)]
pub struct Ledger {
    sent: BTreeMap<Bytes, RecordOutcome>,
}

impl Ledger {
    pub fn send(&mut self, value: Bytes) {
        assert_eq!(self.sent.insert(value, RecordOutcome::Unknown), None, "values must be unique");
    }

    pub fn settle(&mut self, value: &Bytes, state: RecordOutcome) {
        *self.sent.get_mut(value).expect("it was sent") = state;
    }

    /// All values, with where they stand.
    pub fn states(&self) -> impl Iterator<Item = (Bytes, RecordOutcome)> + '_ {
        self.sent.iter().map(|(value, state)| (value.clone(), *state))
    }

    pub fn acknowledged(&self) -> usize {
        self.sent.values().filter(|state| matches!(state, RecordOutcome::Acknowledged(..))).count()
    }

    /// Holds the log, as `(partition, offset, value)`, against what was sent.
    ///
    /// An acknowledged value is at its offset and nowhere else, an unknown one is there at most once, one that was
    /// refused is not there, and nothing is there that was never sent.
    pub fn check(&self, log: &[(u32, u64, Bytes)], context: &str) {
        let mut found: BTreeMap<&Bytes, Vec<(u32, u64)>> = BTreeMap::new();
        for (partition, offset, value) in log {
            assert!(self.sent.contains_key(value), "{context}: {partition}@{offset} was never sent");
            found.entry(value).or_default().push((*partition, *offset));
        }
        for (value, state) in &self.sent {
            let places = found.get(value).map_or(&[][..], Vec::as_slice);
            match state {
                RecordOutcome::Acknowledged(partition, offset) => {
                    assert_eq!(places, [(*partition, *offset)], "{context}: an acknowledged record");
                }
                RecordOutcome::Unknown => {
                    assert!(places.len() <= 1, "{context}: an unknown record at {places:?}")
                }
                RecordOutcome::NotWritten => {
                    assert!(places.is_empty(), "{context}: a refused record at {places:?}")
                }
            }
        }
    }
}
