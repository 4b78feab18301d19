//! Voters and sets of them.

use std::{collections::BTreeMap, sync::Arc};

use corduroy_types::BrokerId;

/// How many voters a cluster has at most: more make each commit wait for more disks, and five survive the loss of two.
pub const VOTERS_MAX: usize = 5;

/// The identity of a data directory, made together with it. A wiped or exchanged disk has another one, and with it none of the promises
/// of the one before (rule R16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub [u8; 16]);

/// A voter: a broker with one data directory (rule V6; KIP-853).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoterId {
    /// The broker.
    pub broker: BrokerId,
    /// The directory that holds its metadata log.
    pub directory: DirectoryId,
}

/// Why no set is made of these voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VotersError {
    /// None, or too many.
    #[error("{got} voters; a cluster has 1 to {VOTERS_MAX}")]
    Count {
        /// How many were named.
        got: usize,
    },
    /// One broker with two directories, or one voter twice.
    #[error("broker {broker} is named twice; a broker votes once, with one directory")]
    BrokerTwice {
        /// The broker.
        broker: BrokerId,
    },
}

/// One voter comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// It votes from now on. It follows the leader already, so that the quorum does not wait for its log.
    Add(VoterId),
    /// It votes no more. A leader that removes itself leads on until that is committed.
    Remove(VoterId),
}

/// Why a change of the voters is refused. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Ask the leader.
    #[error("this broker does not lead the metadata log; ask its leader")]
    NotLeading,
    /// A quorum does not hold the entry of the leader's epoch yet, so an earlier leader's change may still be open. Retriable.
    #[error("the leader does not know yet what is committed; try again")]
    NotActivated,
    /// An earlier change is not committed. Retriable.
    #[error("another change of the voters is not committed yet; try again")]
    ChangeOpen,
    /// It is a voter already.
    #[error("broker {broker} votes already with this directory")]
    IsVoter {
        /// The broker.
        broker: BrokerId,
    },
    /// The broker votes with another directory.
    #[error("broker {broker} votes with another directory; remove that voter first")]
    OtherDirectory {
        /// The broker.
        broker: BrokerId,
    },
    /// It is no voter.
    #[error("broker {broker} does not vote with this directory")]
    NoVoter {
        /// The broker.
        broker: BrokerId,
    },
    /// It would be one too many, or none would be left.
    #[error(transparent)]
    Set(#[from] VotersError),
    /// The broker to be added does not follow the leader, or has not reached the present epoch. Retriable.
    #[error("broker {broker} does not follow the metadata log up to the present epoch yet; try again")]
    NotFollowing {
        /// The broker.
        broker: BrokerId,
    },
}

/// A set of 1 to [`VOTERS_MAX`] voters, each broker once. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters(Arc<BTreeMap<BrokerId, DirectoryId>>);

impl Voters {
    /// A set of these.
    ///
    /// # Errors
    /// [`VotersError`]: none, too many, or a broker twice.
    pub fn new(ids: impl IntoIterator<Item = VoterId>) -> Result<Self, VotersError> {
        let mut set = BTreeMap::new();
        for VoterId { broker, directory } in ids {
            if set.insert(broker, directory).is_some() {
                return Err(VotersError::BrokerTwice { broker });
            }
        }
        match set.len() {
            1..=VOTERS_MAX => Ok(Self(Arc::new(set))),
            got => Err(VotersError::Count { got }),
        }
    }

    /// The set of one that a first start makes (rule V8).
    pub fn of_one(id: VoterId) -> Self {
        Self(Arc::new(BTreeMap::from([(id.broker, id.directory)])))
    }

    /// Whether this broker votes, with this directory.
    pub fn contains(&self, id: VoterId) -> bool {
        self.0.get(&id.broker) == Some(&id.directory)
    }

    /// The voters, in the order of their brokers.
    pub fn iter(&self) -> impl Iterator<Item = VoterId> {
        self.0.iter().map(|(broker, directory)| VoterId { broker: *broker, directory: *directory })
    }

    /// Their brokers: the replica set of the partition that is the metadata log.
    pub fn brokers(&self) -> Arc<[BrokerId]> {
        self.0.keys().copied().collect()
    }

    /// How many there are: 1 or more.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Qv: how many voters make a majority.
    pub fn quorum(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether a majority satisfies `has`.
    pub fn is_quorum(&self, has: impl Fn(VoterId) -> bool) -> bool {
        self.iter().filter(|id| has(*id)).count() >= self.quorum()
    }

    /// The set after a change.
    ///
    /// # Errors
    /// [`ChangeRefused`], where it changes nothing or leaves no valid set.
    pub fn after(&self, change: VoterChange) -> Result<Self, ChangeRefused> {
        match change {
            VoterChange::Add(VoterId { broker, directory }) => match self.0.get(&broker) {
                Some(present) if *present == directory => Err(ChangeRefused::IsVoter { broker }),
                Some(_) => Err(ChangeRefused::OtherDirectory { broker }),
                None => Ok(Self::new(self.iter().chain([VoterId { broker, directory }]))?),
            },
            VoterChange::Remove(id) if self.contains(id) => {
                Ok(Self::new(self.iter().filter(|voter| *voter != id))?)
            }
            VoterChange::Remove(VoterId { broker, .. }) => Err(ChangeRefused::NoVoter { broker }),
        }
    }

    /// How many voters are in one of two sets and not in the other.
    pub(crate) fn difference(&self, other: &Self) -> usize {
        let lacks = |a: &Self, b: &Self| a.iter().filter(|id| !b.contains(*id)).count();
        lacks(self, other) + lacks(other, self)
    }
}
