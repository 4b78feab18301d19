//! What has been seen from outside, and what must be true of it.

use std::{collections::BTreeMap, fmt};

use corduroy_types::Incarnation;

use crate::Voters;

/// A rule that does not hold: the run ends here.
pub(super) struct Violation {
    /// The rule, or the invariant of the replication rules.
    pub(super) rule: &'static str,
    pub(super) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

pub(super) type Checked<T = ()> = Result<T, Violation>;

pub(super) fn broken<T>(rule: &'static str, what: impl Into<String>) -> Checked<T> {
    Err(Violation { rule, what: what.into() })
}

/// A record: the epoch that it was written in, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rec {
    pub(super) epoch: u32,
    pub(super) value: u64,
    pub(super) voters: Option<Voters>,
}

/// Which run of which node.
pub(super) type Run = (usize, Incarnation);

/// Everything that may never be taken back.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Who has won an epoch.
    winners: BTreeMap<u32, Run>,
    /// Whom a node has voted for, by (node, epoch).
    votes: BTreeMap<(usize, u32), Run>,
    /// The greatest epoch that a node has said to have promised.
    promised: BTreeMap<usize, u32>,
    /// Which value was written at (epoch, offset).
    written: BTreeMap<(u32, usize), u64>,
    /// What was committed, by offset.
    pub(super) committed: Vec<Rec>,
    /// In which epoch, by offset.
    committed_in: Vec<u32>,
}

impl History {
    /// I1, V3: one epoch has one winner, in one incarnation.
    pub(super) fn won(&mut self, epoch: u32, winner: Run) -> Checked {
        let first = *self.winners.entry(epoch).or_insert(winner);
        if first != winner {
            return broken("I1", format!("epoch {epoch} was won by {first:?} and by {winner:?}"));
        }
        Ok(())
    }

    /// V2: one vote in an epoch.
    pub(super) fn voted(&mut self, node: usize, epoch: u32, candidate: Run) -> Checked {
        let first = *self.votes.entry((node, epoch)).or_insert(candidate);
        if first != candidate {
            return broken("V2", format!("node {node} voted in {epoch} for {first:?} and for {candidate:?}"));
        }
        self.said(node, epoch)
    }

    /// R1: what a node has said is for ever; it accepts nothing older.
    pub(super) fn said(&mut self, node: usize, epoch: u32) -> Checked {
        let greatest = self.promised.entry(node).or_insert(epoch);
        if epoch < *greatest {
            return broken("R1", format!("node {node} acts in {epoch} after it has promised {greatest}"));
        }
        *greatest = epoch;
        Ok(())
    }

    /// I2: (epoch, offset) names one record.
    pub(super) fn wrote(&mut self, offset: usize, rec: &Rec) -> Checked {
        let first = *self.written.entry((rec.epoch, offset)).or_insert(rec.value);
        if first != rec.value {
            return broken("I2", format!("epoch {} offset {offset} names two records", rec.epoch));
        }
        Ok(())
    }

    /// I5: what is committed stays what it is. Everything below `end` in `log` is.
    pub(super) fn committed(&mut self, node: usize, epoch: u32, log: &[Rec], end: usize) -> Checked {
        let Some(known) = log.get(..end) else {
            return broken("I5", format!("node {node}: the high watermark {end} lies above its log"));
        };
        let both = known.len().min(self.committed.len());
        if known[..both] != self.committed[..both] {
            return broken("I5", format!("node {node} has other committed records below {both}"));
        }
        self.committed.extend_from_slice(&known[both..]);
        self.committed_in.resize(self.committed.len(), epoch);
        Ok(())
    }

    /// I4: the leader of an epoch holds everything that was committed in earlier ones. One that is slow to begin may lack what a later
    /// one has committed: nothing that it appends will count.
    pub(super) fn check_leader(&self, epoch: u32, log: &[Rec]) -> Checked {
        let earlier = self.committed_in.partition_point(|committed_in| *committed_in < epoch);
        if !log.starts_with(&self.committed[..earlier]) {
            return broken("I4", format!("the leader of {epoch} lacks committed records"));
        }
        Ok(())
    }
}

/// I3: two logs that have the same epoch at an offset are the same up to there.
pub(super) fn check_matching(logs: &[&[Rec]]) -> Checked {
    for (at, a) in logs.iter().enumerate() {
        for b in logs.iter().skip(at + 1) {
            let same = a.iter().zip(b.iter()).rposition(|(a, b)| a.epoch == b.epoch);
            if same.is_some_and(|last| a[..=last] != b[..=last]) {
                return broken("I3", "two logs that agree at an offset differ before it");
            }
        }
    }
    Ok(())
}
