//! The rules that the model can express, each of which can be removed.

use std::fmt;

/// One rule, or one part of a rule, of `docs/replication.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// R1: a replica promises an epoch before it reports for it.
    PromiseBeforeReport,
    /// R1: a promise survives a crash.
    PromiseIsDurable,
    /// R2: at least E replicas report.
    EnoughReports,
    /// R2: last epochs are compared before log ends.
    LastEpochThenEnd,
    /// R2: a report of an earlier attempt does not count.
    ReportsOfThisAttempt,
    /// R3: an epoch belongs to the incarnation that was appointed for it.
    OneIncarnationLeads,
    /// R3: the log is synced before it is reported.
    SyncBeforeReport,
    /// R4: a replica counts once it holds the leader's entry.
    EntryBeforeCount,
    /// R4: a leader's entry is durable before it appends.
    LeadersEntryIsDurable,
    /// R4: a follower's entry is durable before it counts.
    EntryIsDurable,
    /// R4: what lies beyond an entry's start is cut when the entry is adopted.
    CutAtAdoption,
    /// R4: the entries of a dead branch are dropped.
    DeadBranchIsDropped,
    /// R5: a follower acknowledges what it has verified, not the end of its log.
    VerifiedMatch,
    /// R5: a leader forgets in a new epoch what followers had acknowledged before.
    ProgressIsForgotten,
    /// R6: a high watermark is no place to cut at.
    NoCutAtHighWatermark,
    /// R7: a dead branch is cut from the log before its entries are dropped.
    CutBeforeDrop,
    /// R7: the log is cut before an entry is adopted there.
    CutBeforeAdopt,
    /// R7: the log below an entry is durable before the entry is.
    LogBeforeEntry,
    /// R7: the history is never rebuilt from records.
    HistoryIsEvidence,
    /// R8: only synced records count.
    DurableCounts,
    /// R13: an append is acknowledged only in its own epoch.
    AnswerInItsEpoch,
    /// R6: what a follower has already is skipped, and cuts nothing.
    DuplicateIsSkipped,
    /// R17: an election hears E replicas of the old set, not only of the new one.
    ReportsOfEverySet,
    /// R17: an old set is heard until a quorum of a newer one holds its epoch's entry.
    OldSetsUntilActive,
    /// V2: a vote survives a crash.
    VoteIsDurable,
    /// V2: a voter compares logs.
    VotersCompareLogs,
    /// V3: votes are for the incarnation that asked.
    VotesForOneIncarnation,
    /// V3: a candidate that takes something from a leader of its epoch gives up.
    CandidateGivesUp,
    /// V3: nothing counts until a quorum of voters holds the leader's entry.
    EntryBeforeCountOfVoters,
    /// V6: no change of the voters while an earlier one is uncommitted.
    OneChangeAtATime,
    /// V6: no change of the voters before a quorum holds the leader's own entry.
    ChangeAfterOwnEntry,
    /// V6: a change is in force from the moment it is appended.
    ChangeInForceWhenAppended,
}

impl Rule {
    /// All of them, in the order of `docs/replication.md`.
    pub const ALL: [Self; 32] = [
        Self::PromiseBeforeReport,
        Self::PromiseIsDurable,
        Self::EnoughReports,
        Self::LastEpochThenEnd,
        Self::ReportsOfThisAttempt,
        Self::OneIncarnationLeads,
        Self::SyncBeforeReport,
        Self::EntryBeforeCount,
        Self::LeadersEntryIsDurable,
        Self::EntryIsDurable,
        Self::CutAtAdoption,
        Self::DeadBranchIsDropped,
        Self::VerifiedMatch,
        Self::ProgressIsForgotten,
        Self::NoCutAtHighWatermark,
        Self::CutBeforeDrop,
        Self::CutBeforeAdopt,
        Self::LogBeforeEntry,
        Self::HistoryIsEvidence,
        Self::DurableCounts,
        Self::AnswerInItsEpoch,
        Self::DuplicateIsSkipped,
        Self::ReportsOfEverySet,
        Self::OldSetsUntilActive,
        Self::VoteIsDurable,
        Self::VotersCompareLogs,
        Self::VotesForOneIncarnation,
        Self::CandidateGivesUp,
        Self::EntryBeforeCountOfVoters,
        Self::OneChangeAtATime,
        Self::ChangeAfterOwnEntry,
        Self::ChangeInForceWhenAppended,
    ];

    /// The number of the rule in `docs/replication.md`.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::PromiseBeforeReport | Self::PromiseIsDurable => "R1",
            Self::EnoughReports | Self::LastEpochThenEnd | Self::ReportsOfThisAttempt => "R2",
            Self::OneIncarnationLeads | Self::SyncBeforeReport => "R3",
            Self::EntryBeforeCount
            | Self::LeadersEntryIsDurable
            | Self::EntryIsDurable
            | Self::CutAtAdoption
            | Self::DeadBranchIsDropped => "R4",
            Self::VerifiedMatch | Self::ProgressIsForgotten => "R5",
            Self::NoCutAtHighWatermark | Self::DuplicateIsSkipped => "R6",
            Self::CutBeforeDrop | Self::CutBeforeAdopt | Self::LogBeforeEntry | Self::HistoryIsEvidence => {
                "R7"
            }
            Self::DurableCounts => "R8",
            Self::AnswerInItsEpoch => "R13",
            Self::ReportsOfEverySet | Self::OldSetsUntilActive => "R17",
            Self::VoteIsDurable | Self::VotersCompareLogs => "V2",
            Self::VotesForOneIncarnation | Self::CandidateGivesUp | Self::EntryBeforeCountOfVoters => "V3",
            Self::OneChangeAtATime | Self::ChangeAfterOwnEntry | Self::ChangeInForceWhenAppended => "V6",
        }
    }

    /// By its name, as `Display` writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.to_string() == name)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The rules that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    removed: u32,
}

impl Rules {
    /// All rules.
    #[must_use]
    pub fn all() -> Self {
        Self { removed: 0 }
    }

    /// All rules except one.
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self::all().also_without(rule)
    }

    /// These, except one more.
    #[must_use]
    pub fn also_without(self, rule: Rule) -> Self {
        Self { removed: self.removed | 1 << rule as u32 }
    }

    /// Whether a rule is in force.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.removed & (1 << rule as u32) == 0
    }

    /// Whether an epoch that ended cannot come back: only then may what was said in it be forgotten.
    pub(crate) fn forgets(self) -> bool {
        self.has(Rule::PromiseIsDurable)
            && self.has(Rule::OneIncarnationLeads)
            && self.has(Rule::VotesForOneIncarnation)
    }
}
