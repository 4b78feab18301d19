//! `logctl group ..`

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand, ValueEnum};
use corduroy_client::GroupState;

use super::{MutationArgs, WatchArgs};
use crate::position::Position;

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups: what they are up to, and how far behind
    #[command(
        visible_alias = "list",
        before_long_help = "\
Examples:
  logctl group ls
  logctl group ls --lag-over 1000 --watch
  logctl group ls --state empty -o name"
    )]
    Ls(ListGroupsArgs),
    /// Show a group's members and committed offsets
    #[command(before_long_help = "\
Examples:
  logctl group describe billing
  logctl group describe billing --members --watch
  logctl group describe billing --offsets -o wide")]
    Describe(DescribeGroupArgs),
    /// Show how far a group is behind, in records and in time
    #[command(before_long_help = "\
Examples:
  logctl group lag billing
  logctl group lag billing --watch=5s
  logctl group lag billing --wait-for caught-up --timeout 5m")]
    Lag(LagArgs),
    /// Set where a group without members goes on: prints the plan, and applies it with --execute
    #[command(before_long_help = "\
Examples:
  logctl group reset billing --topics orders --to start
  logctl group reset billing --topics orders:0,3 --to -100 --execute
  logctl group reset billing --topics orders audit --to @2026-11-20T09:00Z
  logctl group reset billing-new --to group:billing --execute
  logctl group reset billing --to file:billing.jsonl")]
    Reset(ResetGroupArgs),
    /// Print a group's committed offsets as JSON lines, for import
    ///
    /// One object per line, all there is to a committed offset: topic, partition, offset (of the next record to read),
    /// leader_epoch (of the last one read; null if unknown) and metadata (what the program wrote next to it).
    #[command(before_long_help = "\
Examples:
  logctl group export billing > billing.jsonl
  logctl group export billing | logctl group import billing-copy -")]
    Export(ExportGroupArgs),
    /// Commit what export printed, for a group without members
    ///
    /// Everything is checked before anything is committed: the partitions exist, and no offset lies beyond a partition's
    /// end. Offsets are committed as they are, even where such records are not there any more. Offsets of partitions that the file does not name stay as they are.
    #[command(before_long_help = "\
Examples:
  logctl group import billing billing.jsonl --dry-run
  logctl group import billing billing.jsonl
  logctl group export billing | logctl group import billing-copy -")]
    Import(ImportGroupArgs),
    /// Put a member out of its group; it may join again
    #[command(before_long_help = "\
Examples:
  logctl group describe billing --members
  logctl group kick billing worker-3 --dry-run
  logctl group kick billing worker-3")]
    Kick(KickArgs),
    /// Delete groups without members, and all that they have committed
    #[command(before_long_help = "\
Examples:
  logctl group delete billing
  logctl group delete billing billing-copy --yes")]
    Delete(DeleteGroupArgs),
}

/// What `group ls` takes.
#[derive(Debug, Args)]
pub(crate) struct ListGroupsArgs {
    /// Only groups in this state; may be repeated
    #[arg(long = "state", value_enum, value_name = "STATE")]
    pub(crate) states: Vec<StateName>,
    /// Only groups that are more than this many records behind
    #[arg(long, value_name = "N")]
    pub(crate) lag_over: Option<u64>,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// What a group is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateName {
    /// No members
    Empty,
    /// Every member has what it should have
    Stable,
    /// Partitions are on their way between members
    Rebalancing,
}

impl From<StateName> for GroupState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Empty => Self::Empty,
            StateName::Stable => Self::Stable,
            StateName::Rebalancing => Self::Rebalancing,
        }
    }
}

/// What `group describe` takes.
#[derive(Debug, Args)]
pub(crate) struct DescribeGroupArgs {
    /// The groups
    #[arg(required = true, value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) names: Vec<String>,
    /// What each member has, and where it is
    #[arg(long)]
    pub(crate) members: bool,
    /// What was committed in each partition
    #[arg(long)]
    pub(crate) offsets: bool,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// What `group lag` takes.
#[derive(Debug, Args)]
pub(crate) struct LagArgs {
    /// The group
    #[arg(value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) name: String,
    /// Wait until it is so, at most --timeout (by default 30s); exit 6 if it is not by then
    #[arg(long, value_enum, value_name = "CONDITION", conflicts_with = "watch")]
    pub(crate) wait_for: Option<GroupCondition>,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupCondition {
    /// Nothing is left to read in any partition
    CaughtUp,
}

/// What `group reset` takes.
#[derive(Debug, Args)]
pub(crate) struct ResetGroupArgs {
    /// The group; one that does not exist is made
    #[arg(value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) name: String,
    /// The topics, or some partitions of them
    ///
    /// Needed unless --to names a group or a file: then all that they hold.
    #[arg(
        long,
        value_name = "TOPIC[:P,..]",
        num_args = 1..,
        add = crate::complete::topics()
    )]
    pub(crate) topics: Vec<TopicPart>,
    /// Where to go on: start, end, OFFSET, +N, -N, @TIME, group:OTHER or file:FILE
    ///
    /// +N and -N count from the committed offset. @TIME is the first record of that time or later: @2026-11-20,
    /// @RFC3339 or @-15m. group:OTHER takes what another group has committed, file:FILE what export has printed.
    /// No place lies outside the log: one that would is moved to its nearest end, and the plan says so.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) to: Position,
    /// Apply the plan
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) execute: bool,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `group export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportGroupArgs {
    /// The group
    #[arg(value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) name: String,
}

/// What `group import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportGroupArgs {
    /// The group; one that does not exist is made
    #[arg(value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) name: String,
    /// What export printed; - is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `group kick` takes.
#[derive(Debug, Args)]
pub(crate) struct KickArgs {
    /// The group
    #[arg(value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) name: String,
    /// A member's id, or its instance id
    #[arg(value_name = "MEMBER")]
    pub(crate) member: String,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `group delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteGroupArgs {
    /// The groups
    #[arg(required = true, value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// `orders` or `orders:0,3`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPart {
    pub(crate) topic: String,
    /// `None`: all.
    pub(crate) partitions: Option<Vec<u32>>,
}

impl FromStr for TopicPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || "write it as TOPIC or TOPIC:P,.., like orders or orders:0,3".to_owned();
        let Some((topic, partitions)) = text.split_once(':') else {
            return if text.is_empty() || text.contains(',') {
                Err(invalid())
            } else {
                Ok(Self { topic: text.to_owned(), partitions: None })
            };
        };
        let partitions: Option<Vec<u32>> = partitions.split(',').map(|number| number.parse().ok()).collect();
        match partitions {
            Some(partitions) if !topic.is_empty() => {
                Ok(Self { topic: topic.to_owned(), partitions: Some(partitions) })
            }
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_may_name_partitions() {
        let part = |topic: &str, partitions| TopicPart { topic: topic.to_owned(), partitions };
        assert_eq!("orders".parse(), Ok(part("orders", None)));
        assert_eq!("orders:0".parse(), Ok(part("orders", Some(vec![0]))));
        assert_eq!("orders:3,0".parse(), Ok(part("orders", Some(vec![3, 0]))));
        for wrong in ["", ":0", "orders:", "orders:x", "orders:0,", "orders,audit", "orders:-1"] {
            assert!(wrong.parse::<TopicPart>().is_err(), "{wrong}");
        }
    }
}
