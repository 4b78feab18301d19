//! How much may happen in a model, and for each rule the bounds within which its removal is found.

use std::fmt;

use crate::{EPOCHS_MAX, Invariant, REPLICAS_MAX, Rule, Rules, Spec};

/// The most records and changes: an append's value has to stay below those of changes.
const RECORDS_MAX: u8 = 7;

/// How a leader gets its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The controller numbers epochs and appoints leaders (R1, R2, R3): a partition.
    Controller,
    /// Voters elect (V2, V3): the metadata log.
    Votes,
}

/// How much may happen: a model has every behaviour within these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How a leader gets its epoch.
    pub election: Election,
    /// How many replicas there are.
    pub replicas: usize,
    /// How many epochs, of which any may stay without a leader.
    pub epochs: u8,
    /// How many appends of records, over all leaders.
    pub records: u8,
    /// How many crashes, over all replicas.
    pub crashes: u8,
    /// How many changes of the voters are appended (V6).
    pub changes: u8,
    /// The voters at first, one bit for each replica; all replicas when it is `None` (V6).
    pub voters: Option<u8>,
    /// The replica set at first, and the one that it may change to and back, one bit for each replica (R17).
    pub sets: Option<[u8; 2]>,
    /// Whether a client waits for one of the appends (R13).
    pub waits: bool,
}

impl Bounds {
    /// A partition with three replicas.
    #[must_use]
    pub fn partition(epochs: u8, records: u8, crashes: u8) -> Self {
        Self {
            election: Election::Controller,
            replicas: 3,
            epochs,
            records,
            crashes,
            changes: 0,
            voters: None,
            sets: None,
            waits: false,
        }
    }

    /// The metadata log with three voters.
    #[must_use]
    pub fn metadata(epochs: u8, records: u8, crashes: u8) -> Self {
        Self { election: Election::Votes, ..Self::partition(epochs, records, crashes) }
    }

    /// Whether a state has room for it.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let offsets = self.records.saturating_add(self.changes);
        (1..=REPLICAS_MAX).contains(&self.replicas)
            && usize::from(self.epochs) <= EPOCHS_MAX
            && offsets <= RECORDS_MAX
            && self.voters.is_none_or(|voters| voters != 0 && voters < 1 << self.replicas)
    }

    /// The same, with so many changes of the voters.
    #[must_use]
    pub fn with_changes(self, changes: u8) -> Self {
        Self { changes, ..self }
    }

    /// The same, and the replica set may change. Replicas that are in the same sets have names next to each other.
    #[must_use]
    pub fn with_sets(self, sets: [u8; 2]) -> Self {
        let last = usize::BITS - usize::from(sets[0] | sets[1]).leading_zeros();
        Self { sets: Some(sets), replicas: last as usize, ..self }
    }

    /// The same, with so many replicas.
    #[must_use]
    pub fn with_replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }

    /// The same, and only the first of the replicas are voters at first.
    #[must_use]
    pub fn with_voters(self, voters: u8) -> Self {
        Self { voters: Some(1_u8.checked_shl(voters.into()).unwrap_or(0).wrapping_sub(1)), ..self }
    }

    /// The same, and a client waits for one of the appends.
    #[must_use]
    pub fn with_a_client(self) -> Self {
        Self { waits: true, ..self }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.election {
            Election::Controller => "partition",
            Election::Votes => "metadata",
        };
        write!(f, "{name} ({}, {}, {})", self.epochs, self.records, self.crashes)?;
        if self.replicas != 3 {
            write!(f, ", {} replicas", self.replicas)?;
        }
        match self.changes {
            0 => {}
            1 => write!(f, ", 1 change of the voters")?,
            changes => write!(f, ", {changes} changes of the voters")?,
        }
        if let Some(voters) = self.voters {
            write!(f, ", voters {voters:b}")?;
        }
        if let Some([first, second]) = self.sets {
            write!(f, ", sets {first:b} and {second:b}")?;
        }
        if self.waits {
            write!(f, ", a client")?;
        }
        Ok(())
    }
}

/// What is known of the removal of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Within which bounds a violation is looked for: the smallest that have one.
    pub bounds: Bounds,
    /// Which invariant breaks. `None`: none of them, within these bounds; `docs/proof.md` says why.
    pub breaks: Option<Invariant>,
}

impl Removal {
    /// The model without the rule.
    #[must_use]
    pub fn spec(self, rule: Rule) -> Spec {
        Spec { rules: Rules::without(rule), aim: self.breaks, ..Spec::new(self.bounds) }
    }
}

/// Within which bounds the removal of a rule is found, and what it breaks.
#[must_use]
pub fn removal(rule: Rule) -> Removal {
    use Invariant::{AcknowledgedIsCommitted, LeaderIsComplete, OneLeader, OneRecord};
    let (partition, metadata) = (Bounds::partition, Bounds::metadata);
    let (bounds, breaks) = match rule {
        Rule::PromiseBeforeReport => (partition(2, 1, 0), LeaderIsComplete),
        Rule::PromiseIsDurable => (partition(2, 1, 1), LeaderIsComplete),
        Rule::EnoughReports => (partition(2, 1, 0), LeaderIsComplete),
        Rule::LastEpochThenEnd => (partition(3, 2, 0), LeaderIsComplete),
        Rule::ReportsOfThisAttempt => (partition(2, 1, 0), LeaderIsComplete),
        Rule::OneIncarnationLeads => (partition(1, 2, 1), OneRecord),
        Rule::SyncBeforeReport => (partition(3, 1, 1), LeaderIsComplete),
        Rule::EntryBeforeCount => (partition(4, 1, 0), LeaderIsComplete),
        Rule::LeadersEntryIsDurable => (partition(2, 1, 1), LeaderIsComplete),
        Rule::EntryIsDurable => (partition(2, 1, 1), LeaderIsComplete),
        Rule::CutAtAdoption => (partition(3, 3, 0), LeaderIsComplete),
        Rule::DeadBranchIsDropped => (partition(4, 2, 0), LeaderIsComplete),
        Rule::VerifiedMatch => return Removal { bounds: partition(3, 1, 1), breaks: None },
        Rule::ProgressIsForgotten => (partition(3, 2, 1), LeaderIsComplete),
        Rule::NoCutAtHighWatermark => (partition(3, 1, 0), LeaderIsComplete),
        Rule::CutBeforeDrop => (partition(4, 2, 1), LeaderIsComplete),
        Rule::CutBeforeAdopt => (partition(3, 3, 0), LeaderIsComplete),
        Rule::LogBeforeEntry => (partition(3, 1, 1), LeaderIsComplete),
        Rule::HistoryIsEvidence => (partition(4, 1, 1), LeaderIsComplete),
        Rule::DurableCounts => (partition(2, 1, 1), LeaderIsComplete),
        Rule::AnswerInItsEpoch => (partition(3, 2, 0).with_a_client(), AcknowledgedIsCommitted),
        Rule::DuplicateIsSkipped => (partition(2, 2, 0), LeaderIsComplete),
        Rule::ReportsOfEverySet => (partition(2, 1, 0).with_sets([0b01, 0b10]), LeaderIsComplete),
        Rule::OldSetsUntilActive => (partition(3, 1, 0).with_sets([0b001, 0b111]), LeaderIsComplete),
        Rule::VoteIsDurable => (metadata(1, 0, 1), OneLeader),
        Rule::VotersCompareLogs => (metadata(2, 1, 0), LeaderIsComplete),
        Rule::VotesForOneIncarnation => (metadata(1, 2, 1), OneRecord),
        Rule::CandidateGivesUp => (metadata(1, 0, 0).with_changes(2), OneLeader),
        Rule::EntryBeforeCountOfVoters => (metadata(4, 1, 0), LeaderIsComplete),
        Rule::OneChangeAtATime => (metadata(2, 0, 0).with_changes(2), LeaderIsComplete),
        Rule::ChangeAfterOwnEntry => (metadata(3, 0, 0).with_replicas(4).with_changes(2), LeaderIsComplete),
        Rule::ChangeInForceWhenAppended => (metadata(2, 1, 0).with_changes(2), LeaderIsComplete),
    };
    Removal { bounds, breaks: Some(breaks) }
}
