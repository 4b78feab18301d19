//! What the checks found: findings, their count, and the verdict.

use std::{collections::BTreeMap, fmt};

/// How many offsets and operations one finding lists. The rest is counted.
const LISTED_MAX: usize = 8;

/// The checks, numbered as in the failure catalogue. C13 to C21 are about groups, transactions and the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// C1: one offset, two values.
    DivergentOffset,
    /// C2: one value of an idempotent producer at two offsets.
    Duplicate,
    /// C3: an acknowledged record is not there.
    LostWrite,
    /// C4: a record that no one sent like this.
    Phantom,
    /// C5: a record whose produce ended *not written*.
    FailedRead,
    /// C6: the records of a batch, or of a fetch, are torn apart.
    BatchIntegrity,
    /// C7: a reader passed over a visible record.
    PollSkip,
    /// C8: a reader went back.
    PollBack,
    /// C9: a producer's records are not in the order in which it sent them.
    ProducerOrder,
    /// C10: a record stands before one that was there before it was sent.
    RealTimeOrder,
    /// C11: an end or a high watermark went back.
    EndRegress,
    /// C12: an end was older than the lease allows.
    Staleness,
    /// C22: the cluster does not serve after its faults are healed, or the history does not show enough.
    Liveness,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 13] = [
        Self::DivergentOffset,
        Self::Duplicate,
        Self::LostWrite,
        Self::Phantom,
        Self::FailedRead,
        Self::BatchIntegrity,
        Self::PollSkip,
        Self::PollBack,
        Self::ProducerOrder,
        Self::RealTimeOrder,
        Self::EndRegress,
        Self::Staleness,
        Self::Liveness,
    ];

    /// The number and a name, like `C3 lost write`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::DivergentOffset => "C1 divergent offset",
            Self::Duplicate => "C2 duplicate",
            Self::LostWrite => "C3 lost write",
            Self::Phantom => "C4 phantom or corrupt record",
            Self::FailedRead => "C5 failed write was read",
            Self::BatchIntegrity => "C6 batch integrity",
            Self::PollSkip => "C7 poll skipped",
            Self::PollBack => "C8 poll went back",
            Self::ProducerOrder => "C9 producer order",
            Self::RealTimeOrder => "C10 real-time order",
            Self::EndRegress => "C11 end went back",
            Self::Staleness => "C12 stale end",
            Self::Liveness => "C22 liveness and coverage",
        }
    }
}

/// How heavy a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A promise was broken.
    Violation,
    /// The history does not show enough to judge.
    MissingCoverage,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// Whether it is a violation.
    pub weight: Weight,
    /// The partition, as `topic/index`; `None` where it is about the whole run.
    pub partition: Option<String>,
    /// The first offsets concerned.
    pub offsets: Vec<u64>,
    /// How many offsets are concerned.
    pub offset_count: usize,
    /// The first operations concerned, by their numbers in the history.
    pub ops: Vec<u32>,
    /// How many operations are concerned.
    pub op_count: usize,
    /// What was expected and what was there, in one sentence.
    pub expected: String,
}

impl Finding {
    /// A violation without partition, offsets and operations.
    pub(crate) fn new(check: Check, expected: String) -> Self {
        let (offsets, ops) = (Vec::new(), Vec::new());
        let weight = Weight::Violation;
        Self { check, weight, partition: None, offsets, offset_count: 0, ops, op_count: 0, expected }
    }

    /// The same as missing coverage.
    pub(crate) fn missing(self) -> Self {
        Self { weight: Weight::MissingCoverage, ..self }
    }

    /// In this partition.
    pub(crate) fn partition(self, name: &str) -> Self {
        Self { partition: Some(name.to_owned()), ..self }
    }

    /// At these offsets.
    pub(crate) fn offsets(self, offsets: &[u64]) -> Self {
        let listed = offsets.iter().copied().take(LISTED_MAX).collect();
        Self { offsets: listed, offset_count: offsets.len(), ..self }
    }

    /// By these operations.
    pub(crate) fn ops(self, ops: &[u32]) -> Self {
        Self { ops: ops.iter().copied().take(LISTED_MAX).collect(), op_count: ops.len(), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.partition.clone().unwrap_or_default(),
            list("offset", &self.offsets, self.offset_count),
            list("op", &self.ops, self.op_count),
        ];
        let place: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        match self.weight {
            Weight::Violation => {}
            Weight::MissingCoverage => f.write_str("not covered: ")?,
        }
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        f.write_str(&self.expected)
    }
}

/// `op 7`, `ops 7 8 9`, or `ops 7 8 9 and 5 more`.
fn list(word: &str, items: &[impl fmt::Display], count: usize) -> String {
    let listed: Vec<_> = items.iter().map(ToString::to_string).collect();
    match (listed.len(), count.saturating_sub(listed.len())) {
        (0, _) => String::new(),
        (1, 0) => format!("{word} {}", listed.concat()),
        (_, 0) => format!("{word}s {}", listed.join(" ")),
        (_, more) => format!("{word}s {} and {more} more", listed.join(" ")),
    }
}

/// What a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was covered, and nothing was found.
    Valid,
    /// A promise was broken.
    Invalid,
    /// Nothing was found, but the history does not show enough. This is not [`Verdict::Valid`].
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Valid => "valid",
            Self::Invalid => "INVALID",
            Self::Unknown => "unknown",
        })
    }
}

/// The findings of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many violations there are.
    pub violations: u64,
    /// How often coverage is missing.
    pub missing: u64,
    /// The first findings, at most as many as the options say.
    pub first: Vec<Finding>,
}

/// What all checks found in one history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many operations were checked.
    pub ops: usize,
    /// How many records fetches returned.
    pub records_read: u64,
    /// Values of producers without an id that stand at more than one offset. A retry may do that (C2).
    pub duplicates_allowed: u64,
    /// Records that were acknowledged with `acks=one` and are gone after a fault or a change of leader (C3).
    pub losses_allowed: u64,
    tallies: BTreeMap<Check, Tally>,
    first_max: usize,
}

impl Report {
    /// A report that keeps the first `first_max` findings of each check.
    pub(crate) fn new(first_max: usize) -> Self {
        Self { first_max, ..Self::default() }
    }

    /// Counts a finding of this check, and keeps it while there is room. `finding` is called only then.
    pub(crate) fn add(&mut self, check: Check, weight: Weight, finding: impl FnOnce() -> Finding) {
        let tally = self.tallies.entry(check).or_default();
        match weight {
            Weight::Violation => tally.violations += 1,
            Weight::MissingCoverage => tally.missing += 1,
        }
        if tally.first.len() < self.first_max {
            tally.first.push(finding());
        }
    }

    /// The findings of one check.
    #[must_use]
    pub fn tally(&self, check: Check) -> Option<&Tally> {
        self.tallies.get(&check)
    }

    /// How many violations this check found.
    #[must_use]
    pub fn violations(&self, check: Check) -> u64 {
        self.tally(check).map_or(0, |tally| tally.violations)
    }

    /// The checks that found a violation.
    #[must_use]
    pub fn violated(&self) -> Vec<Check> {
        Check::ALL.into_iter().filter(|check| self.violations(*check) > 0).collect()
    }

    /// Valid, invalid or unknown.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let missing: u64 = self.tallies.values().map(|tally| tally.missing).sum();
        match (self.violated().is_empty(), missing) {
            (false, _) => Verdict::Invalid,
            (true, 0) => Verdict::Valid,
            (true, _) => Verdict::Unknown,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} operations, {} records read", self.verdict(), self.ops, self.records_read)?;
        for (check, tally) in &self.tallies {
            let missing = match tally.missing {
                0 => String::new(),
                missing => format!(", {missing} not covered"),
            };
            writeln!(f, "{}: {} found{missing}", check.title(), tally.violations)?;
            for finding in &tally.first {
                writeln!(f, "  {finding}")?;
            }
            let all = tally.violations + tally.missing;
            match all.saturating_sub(tally.first.len() as u64) {
                0 => {}
                more => writeln!(f, "  and {more} more")?,
            }
        }
        if self.duplicates_allowed > 0 {
            writeln!(
                f,
                "allowed: {} values of producers without an id stand twice",
                self.duplicates_allowed
            )?;
        }
        if self.losses_allowed > 0 {
            writeln!(f, "allowed: {} records of acks=one are gone after a fault", self.losses_allowed)?;
        }
        Ok(())
    }
}
