//! Waiting for groups.

use std::{fmt, time::Duration};

use corduroy_client::{ClientError, ErrorCode, GroupDescription, GroupState, PartitionIndex, TopicName};
use tokio::time::{Instant, sleep};

use crate::Broker;

const WITHIN: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How many partitions an error names.
const NAMED_MAX: usize = 10;

/// A group has not read everything in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group {group} has not caught up within {} ms: {reason}", within.as_millis())]
pub struct NotCaughtUp {
    /// The group.
    pub group: String,
    /// How long was waited.
    pub within: Duration,
    /// What stood in the way when that was over.
    pub reason: Behind,
}

/// What stands in the way of a group's having read everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behind {
    /// It cannot be described: it does not exist yet, say.
    NotDescribed(ClientError),
    /// It has neither members with partitions nor committed offsets.
    NoPartitions,
    /// Partitions are on their way between members.
    Rebalancing,
    /// There are records in these partitions that it is not done with.
    Lagging(Vec<Lag>),
}

/// A partition that a group has not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Which topic.
    pub topic: TopicName,
    /// Which partition.
    pub partition: PartitionIndex,
    /// How many records it has not read; `None`: it has committed nothing.
    pub records: Option<u64>,
    /// The member that reads it.
    pub owner: Option<String>,
}

impl Broker {
    /// Waits until a group has read everything that is there: it lags in no partition, by what it has committed, and no
    /// partition is on its way between members. Waits at most 30 s, and for the group to come into being, too.
    ///
    /// What is done counts when it is committed: let a consumer commit often (`Commit::Processed`) if a test shall be
    /// quick.
    ///
    /// # Errors
    /// [`NotCaughtUp`] names what lags.
    pub async fn caught_up(&self, group: &str) -> Result<(), NotCaughtUp> {
        self.caught_up_within(group, WITHIN).await
    }

    /// As [`caught_up`](Self::caught_up), within another time.
    ///
    /// # Errors
    /// As there.
    pub async fn caught_up_within(&self, group: &str, within: Duration) -> Result<(), NotCaughtUp> {
        let began = Instant::now();
        loop {
            let reason = match self.client().admin().describe_group(group).await {
                Ok(described) => match behind(&described) {
                    Some(reason) => reason,
                    None => return Ok(()),
                },
                Err(error) if error.is_retriable() || error.code() == ErrorCode::GroupNotFound => {
                    Behind::NotDescribed(error)
                }
                Err(error) => return Err(not_caught_up(group, within, Behind::NotDescribed(error))),
            };
            if began.elapsed() >= within {
                return Err(not_caught_up(group, within, reason));
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }
}

fn not_caught_up(group: &str, within: Duration, reason: Behind) -> NotCaughtUp {
    NotCaughtUp { group: group.to_owned(), within, reason }
}

fn behind(group: &GroupDescription) -> Option<Behind> {
    let lagging: Vec<_> = (group.partitions.iter())
        .filter(|partition| partition.lag_records != Some(0))
        .map(|partition| Lag {
            topic: partition.offset.topic.clone(),
            partition: partition.offset.partition,
            records: partition.lag_records,
            owner: partition.owner.clone(),
        })
        .collect();
    if !lagging.is_empty() {
        return Some(Behind::Lagging(lagging));
    }
    match group.state {
        GroupState::Stable | GroupState::Empty if group.partitions.is_empty() => Some(Behind::NoPartitions),
        GroupState::Stable | GroupState::Empty => None,
        _ => Some(Behind::Rebalancing),
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDescribed(error) => error.fmt(f),
            Self::NoPartitions => f.write_str(
                "it has no partitions: no one joined it with a topic that exists, and nothing was committed",
            ),
            Self::Rebalancing => f.write_str("partitions are on their way between members"),
            Self::Lagging(partitions) => {
                for (at, lag) in partitions.iter().take(NAMED_MAX).enumerate() {
                    write!(f, "{}{lag}", if at == 0 { "" } else { ", " })?;
                }
                match partitions.len().saturating_sub(NAMED_MAX) {
                    0 => Ok(()),
                    more => write!(f, ", and {more} more partitions"),
                }
            }
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic \"{}\" partition {}: ", self.topic, self.partition)?;
        match self.records {
            Some(1) => f.write_str("1 record behind")?,
            Some(records) => write!(f, "{records} records behind")?,
            None => f.write_str("nothing committed")?,
        }
        match &self.owner {
            Some(owner) => write!(f, ", read by {owner}"),
            None => f.write_str(", read by no one"),
        }
    }
}
