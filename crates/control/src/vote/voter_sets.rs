//! Which set of voters is in force: that of the last record in the log, committed or not (rule V6; Raft thesis, section 4.1).

use corduroy_types::Offset;

use super::{VoteInvariant, Voters};

/// The sets of voters that a log holds.
///
/// A record is in force from the moment it is appended, on every replica that has it. When it is cut off again, the set before it is back
/// in force (NATS pull 8332 is a truncated change that stayed). What is replayed twice changes nothing (NATS pull 7850).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSets {
    /// The newest set that is certainly committed, and where its record lies; `None` for the set of a first start, which has no record.
    base: Option<(Option<Offset>, Voters)>,
    /// Later ones, oldest first.
    appended: Vec<(Offset, Voters)>,
}

impl VoterSets {
    /// Of an empty directory: no set is known, and no candidate comes from it (rule V8).
    pub fn unknown() -> Self {
        Self::default()
    }

    /// What the first start of a cluster makes (rule V8). The first leadership writes it into the log.
    pub fn founded(voters: Voters) -> Self {
        Self { base: Some((None, voters)), appended: Vec::new() }
    }

    /// What a snapshot holds: a set whose record lies at `offset`, below the log start.
    pub fn of_snapshot(offset: Offset, voters: Voters) -> Self {
        Self { base: Some((Some(offset), voters)), appended: Vec::new() }
    }

    /// The set in force; `None` where none is known.
    pub fn in_force(&self) -> Option<&Voters> {
        self.appended.last().map(|(_, voters)| voters).or(self.committed())
    }

    /// The newest set that is certainly committed.
    pub(crate) fn committed(&self) -> Option<&Voters> {
        self.base.as_ref().map(|(_, voters)| voters)
    }

    /// Whether the set in force lies in the log, rather than in the directory of a first start only.
    pub fn is_recorded(&self) -> bool {
        !self.appended.is_empty() || matches!(self.base, Some((Some(_), _)))
    }

    /// Whether a set is in force that is not certainly committed.
    pub fn has_open_change(&self) -> bool {
        !self.appended.is_empty()
    }

    /// A record is in the log. While a log is opened this is how its records are found again.
    ///
    /// # Errors
    /// [`VoteInvariant`]: it contradicts those before it; nothing has changed.
    pub fn append(&mut self, offset: Offset, voters: Voters) -> Result<(), VoteInvariant> {
        if let Some((Some(base), _)) = &self.base
            && offset <= *base
        {
            return Ok(());
        }
        if self.appended.contains(&(offset, voters.clone())) {
            return Ok(());
        }
        if self.appended.last().is_some_and(|(last, _)| *last >= offset) {
            return Err(VoteInvariant::VotersInOrder);
        }
        if self.in_force().is_some_and(|before| before.difference(&voters) > 1) {
            return Err(VoteInvariant::OneChangeAtATime);
        }
        self.appended.push((offset, voters));
        Ok(())
    }

    /// The log was cut at `end`.
    pub fn cut(&mut self, end: Offset) {
        self.appended.retain(|(offset, _)| *offset < end);
    }

    /// Everything below the high watermark is committed, and never cut off (rule R6).
    pub fn commit(&mut self, high_watermark: Offset) {
        let committed = self.appended.partition_point(|(offset, _)| *offset < high_watermark);
        if let Some((offset, voters)) = self.appended.drain(..committed).next_back() {
            self.base = Some((Some(offset), voters));
        }
    }
}
