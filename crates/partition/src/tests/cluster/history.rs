//! What has been seen from outside, and what must be true of it.

use std::collections::BTreeMap;

use corduroy_types::Incarnation;

/// A record: the epoch that it was written in, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rec {
    pub(super) epoch: u32,
    pub(super) value: u64,
}

/// Everything that may never be taken back.
#[derive(Debug, Default)]
pub(super) struct History {
    /// I1: who led in an epoch.
    leaders: BTreeMap<u32, (usize, Incarnation)>,
    /// I2: which value was written at (epoch, offset).
    written: BTreeMap<(u32, usize), u64>,
    /// I5: what was committed at an offset.
    pub(super) committed: BTreeMap<usize, Rec>,
    /// I9: what was acknowledged by a quorum, by offset.
    pub(super) acknowledged: BTreeMap<usize, Rec>,
}

impl History {
    pub(super) fn led(&mut self, epoch: u32, node: usize, incarnation: Incarnation) {
        let first = *self.leaders.entry(epoch).or_insert((node, incarnation));
        assert_eq!(first, (node, incarnation), "I1: epoch {epoch} has two leaders");
    }

    pub(super) fn wrote(&mut self, offset: usize, rec: Rec) {
        let first = *self.written.entry((rec.epoch, offset)).or_insert(rec.value);
        assert_eq!(first, rec.value, "I2: epoch {} offset {offset} names two records", rec.epoch);
    }

    pub(super) fn committed(&mut self, node: usize, offset: usize, rec: Rec) {
        let first = *self.committed.entry(offset).or_insert(rec);
        assert_eq!(first, rec, "I5: the committed record at {offset} is another one on replica {node}");
    }

    pub(super) fn acknowledged(&mut self, offset: usize, rec: Rec) {
        assert_eq!(self.committed.get(&offset), Some(&rec), "I9: acknowledged at {offset}, not committed");
        self.acknowledged.insert(offset, rec);
    }

    /// I4: a replica that begins to lead holds everything that is committed.
    pub(super) fn check_leader(&self, epoch: u32, log: &[Rec]) {
        for (offset, rec) in &self.committed {
            assert_eq!(
                log.get(*offset),
                Some(rec),
                "I4: the leader of {epoch} lacks the record committed at {offset}"
            );
        }
    }
}

/// I3: two logs that have the same epoch at an offset are the same up to there.
pub(super) fn check_matching(logs: &[&[Rec]]) {
    for (at, a) in logs.iter().enumerate() {
        for b in logs.iter().skip(at + 1) {
            let same = a.iter().zip(b.iter()).rposition(|(a, b)| a.epoch == b.epoch);
            if let Some(last) = same {
                assert_eq!(a[..=last], b[..=last], "I3: logs that agree at {last} differ before it");
            }
        }
    }
}
