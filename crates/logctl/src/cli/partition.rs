//! `logctl partition ..`

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::MutationArgs;

/// What to do with single partitions.
#[derive(Debug, Subcommand)]
pub(crate) enum PartitionCommand {
    /// Give up records that cannot be read because stored bytes are damaged
    #[command(before_long_help = "\
Examples:
  logctl partition recover orders:0 --dry-run
  logctl partition recover orders:0 --accept-data-loss")]
    Recover(RecoverPartitionArgs),
}

/// What `partition recover` takes.
#[derive(Debug, Args)]
pub(crate) struct RecoverPartitionArgs {
    /// The partition
    #[arg(value_name = "TOPIC:PARTITION")]
    pub(crate) partition: PartitionName,
    /// Confirm that records which cannot be read are lost for good; the others keep their offsets
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) accept_data_loss: bool,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// `orders:0`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionName {
    pub(crate) topic: String,
    pub(crate) partition: u32,
}

impl FromStr for PartitionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').filter(|(topic, _)| !topic.is_empty());
        let read = parts.and_then(|(topic, partition)| Some((topic, partition.parse().ok()?)));
        match read {
            Some((topic, partition)) => Ok(Self { topic: topic.to_owned(), partition }),
            None => Err("write it as TOPIC:PARTITION, like orders:0".to_owned()),
        }
    }
}
