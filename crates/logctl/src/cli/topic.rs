//! `logctl topic ..`

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::{MutationArgs, WatchArgs};
use crate::range::OffsetArg;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// List topics
    #[command(
        visible_alias = "list",
        before_long_help = "\
Examples:
  logctl topic ls
  logctl topic ls --like 'orders.*' --sort size
  logctl topic ls -o name"
    )]
    Ls(ListTopicsArgs),
    /// Create topics
    #[command(before_long_help = "\
Examples:
  logctl topic create orders -p 3
  logctl topic create audit --set retention.ms=90d --set max.message.bytes=4MiB --if-not-exists
  logctl topic create orders -p 12 --dry-run")]
    Create(CreateTopicArgs),
    /// Show a topic's partitions, configs and storage
    #[command(before_long_help = "\
Examples:
  logctl topic describe orders
  logctl topic describe orders --configs
  logctl topic describe orders --partitions --watch
  logctl topic describe orders --groups --producers")]
    Describe(DescribeTopicArgs),
    /// Set topic configs
    #[command(before_long_help = "\
Examples:
  logctl topic set orders retention.ms=30d
  logctl topic set orders retention.bytes=10GiB segment.bytes=64MiB --dry-run")]
    Set(SetConfigArgs),
    /// Return topic configs to their default
    #[command(before_long_help = "\
Examples:
  logctl topic unset orders retention.ms")]
    Unset(UnsetConfigArgs),
    /// Grow a topic; keys then go to other partitions than before
    #[command(before_long_help = "\
Examples:
  logctl topic add-partitions orders --to 12")]
    AddPartitions(AddPartitionsArgs),
    /// Delete the oldest records
    #[command(before_long_help = "\
Examples:
  logctl topic delete-records orders --before @-7d --dry-run
  logctl topic delete-records orders --before 1000 -p 0 --yes")]
    DeleteRecords(DeleteRecordsArgs),
    /// Delete topics with all their records
    #[command(before_long_help = "\
Examples:
  logctl topic delete orders
  logctl topic delete orders audit --yes")]
    Delete(DeleteTopicArgs),
}

/// What `topic ls` takes.
#[derive(Debug, Args)]
pub(crate) struct ListTopicsArgs {
    /// Only topics whose name matches
    #[arg(long, value_name = "GLOB")]
    pub(crate) like: Option<String>,
    /// Also the broker's own topics
    #[arg(long)]
    pub(crate) internal: bool,
    /// The order
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: TopicSort,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// The order of a list of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopicSort {
    /// By name
    #[default]
    Name,
    /// Largest first
    Size,
}

/// What `topic create` takes.
#[derive(Debug, Args)]
pub(crate) struct CreateTopicArgs {
    /// Names of the new topics
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Number of partitions [default: the broker's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: Option<u32>,
    /// Number of replicas of each partition [default: the broker's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replication: Option<u32>,
    /// A topic config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", add = crate::complete::config_pairs())]
    pub(crate) configs: Vec<ConfigPair>,
    /// A topic of that name that exists already is success
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `topic describe` takes.
#[derive(Debug, Args)]
pub(crate) struct DescribeTopicArgs {
    /// The topics
    #[arg(required = true, value_name = "NAME", add = crate::complete::topics())]
    pub(crate) names: Vec<String>,
    /// Leader, replicas and offsets of each partition
    #[arg(long)]
    pub(crate) partitions: bool,
    /// Value, default and source of each config
    #[arg(long)]
    pub(crate) configs: bool,
    /// Segments and bytes of each partition
    #[arg(long)]
    pub(crate) storage: bool,
    /// The groups that read it, and how far behind they are
    #[arg(long)]
    pub(crate) groups: bool,
    /// The idempotent producers that each partition remembers, the last 100 to write
    #[arg(long)]
    pub(crate) producers: bool,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// What `topic set` takes.
#[derive(Debug, Args)]
pub(crate) struct SetConfigArgs {
    /// The topic
    #[arg(add = crate::complete::topics())]
    pub(crate) name: String,
    /// The topic configs
    #[arg(required = true, value_name = "KEY=VALUE", add = crate::complete::config_pairs())]
    pub(crate) configs: Vec<ConfigPair>,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `topic unset` takes.
#[derive(Debug, Args)]
pub(crate) struct UnsetConfigArgs {
    /// The topic
    #[arg(add = crate::complete::topics())]
    pub(crate) name: String,
    /// The topic configs
    #[arg(required = true, value_name = "KEY", add = crate::complete::config_keys())]
    pub(crate) keys: Vec<String>,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `topic add-partitions` takes.
#[derive(Debug, Args)]
pub(crate) struct AddPartitionsArgs {
    /// The topic
    #[arg(add = crate::complete::topics())]
    pub(crate) name: String,
    /// The new number of partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) to: u32,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `topic delete-records` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteRecordsArgs {
    /// The topic
    #[arg(add = crate::complete::topics())]
    pub(crate) name: String,
    /// The first record to keep: an offset, end, @2026-11-20, @RFC3339 or @-15m
    #[arg(long, value_name = "OFFSET|@TIME", allow_hyphen_values = true)]
    pub(crate) before: OffsetArg,
    /// Only these partitions
    #[arg(short, long, value_name = "N,..", value_delimiter = ',')]
    pub(crate) partitions: Vec<u32>,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `topic delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteTopicArgs {
    /// The topics
    #[arg(required = true, value_name = "NAME", add = crate::complete::topics())]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// One `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigPair {
    /// Left of the first `=`.
    pub(crate) key: String,
    /// Right of it.
    pub(crate) value: String,
}

impl FromStr for ConfigPair {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("write it as KEY=VALUE, like retention.ms=7d".to_owned()),
        }
    }
}
