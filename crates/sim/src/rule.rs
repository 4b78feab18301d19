//! Rules that can be broken on purpose, one in a run, to see that the simulator finds it.

/// A rule that is kept by what surrounds the state machine of a partition: its broker, its disk, the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// R1: a promise is durable before it is reported.
    PromiseIsDurable,
    /// R2: an election is won by the last epoch first, and by the log end only among equals.
    LastEpochFirst,
    /// R2: an election has reports of so many replicas that every quorum has one of them.
    EnoughReports,
    /// R2: only reports of this attempt count.
    ReportsOfThisAttempt,
    /// R4: an epoch's entry is durable in a follower before it is acknowledged.
    EntryIsDurable,
    /// R7: a cut is durable in the journal before it is performed, and the history after it with it.
    CutIsDurable,
    /// R8: an offset counts once it is synced.
    CountsWhenDurable,
    /// R8: a sync makes durable what was written. Broken on the disk of broker 0.
    SyncsAreHonest,
    /// R18: a leader serves reads only while a round trip to a quorum is no older than the lease.
    LeaseForReads,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 9] = [
        Self::PromiseIsDurable,
        Self::LastEpochFirst,
        Self::EnoughReports,
        Self::ReportsOfThisAttempt,
        Self::EntryIsDurable,
        Self::CutIsDurable,
        Self::CountsWhenDurable,
        Self::SyncsAreHonest,
        Self::LeaseForReads,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PromiseIsDurable => "promise-is-durable",
            Self::LastEpochFirst => "last-epoch-first",
            Self::EnoughReports => "enough-reports",
            Self::ReportsOfThisAttempt => "reports-of-this-attempt",
            Self::EntryIsDurable => "entry-is-durable",
            Self::CutIsDurable => "cut-is-durable",
            Self::CountsWhenDurable => "counts-when-durable",
            Self::SyncsAreHonest => "syncs-are-honest",
            Self::LeaseForReads => "lease-for-reads",
        }
    }
}
