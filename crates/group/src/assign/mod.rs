//! Sharing partitions out: who should have which, given what everyone had.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use corduroy_types::TopicId;

use crate::{MemberId, TopicPartition, Topics};

/// How partitions are shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Evenly over all topics, moving as few partitions as can be.
    #[default]
    Uniform,
    /// Each topic by itself in contiguous ranges, in the order of the members' names, so that members with
    /// the same place get the same indexes of every topic.
    Range,
}

impl Assignor {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

impl fmt::Display for Assignor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no assignor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no assignor; there are uniform and range")]
pub struct UnknownAssignor(pub String);

impl FromStr for Assignor {
    type Err = UnknownAssignor;

    fn from_str(word: &str) -> Result<Self, UnknownAssignor> {
        [Self::Uniform, Self::Range]
            .into_iter()
            .find(|assignor| assignor.as_str() == word)
            .ok_or_else(|| UnknownAssignor(word.chars().take(40).collect()))
    }
}

/// A member that is to get partitions.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) member: &'a MemberId,
    /// What candidates are put in order by: a static member's instance id, so that a restart keeps its place.
    pub(crate) place: &'a str,
    pub(crate) topics: BTreeSet<TopicId>,
    /// What it was to have before.
    pub(crate) previous: &'a BTreeSet<TopicPartition>,
}

/// Who should have what. Every candidate is in the answer, every partition of a topic that someone asks for
/// goes to exactly one of those who ask for it, and the same question gets the same answer.
pub(crate) fn assign(
    assignor: Assignor,
    candidates: &mut [Candidate<'_>],
    topics: &Topics,
) -> BTreeMap<MemberId, BTreeSet<TopicPartition>> {
    candidates.sort_by(|a, b| (a.place, a.member).cmp(&(b.place, b.member)));
    let shares = match assignor {
        Assignor::Uniform => uniform::assign(candidates, topics),
        Assignor::Range => range::assign(candidates, topics),
    };
    candidates.iter().map(|candidate| candidate.member.clone()).zip(shares).collect()
}
