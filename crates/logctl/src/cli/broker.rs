//! `logctl broker ..`

use std::time::Duration;

use clap::{Args, Subcommand};

use super::MutationArgs;

/// What to do with single brokers.
#[derive(Debug, Subcommand)]
pub(crate) enum BrokerCommand {
    /// Change what a running broker logs
    ///
    /// Above its configured log.level. It ends with --for, with --reset, or with the process.
    #[command(before_long_help = "\
Examples:
  logctl broker log-level 1 corduroy_log=debug --for 10m
  logctl broker log-level 1 debug --for 30s
  logctl broker log-level 1 --reset")]
    LogLevel(LogLevelArgs),
    /// Accept damage of the commit journal that was found at a start
    ///
    /// `status` names it until then. Nothing else changes. It asks first, and needs --yes where no one can answer.
    #[command(before_long_help = "\
Examples:
  logctl broker accept-journal-damage 1 --dry-run
  logctl broker accept-journal-damage 1 --yes")]
    AcceptJournalDamage(AcceptJournalDamageArgs),
}

/// What `broker accept-journal-damage` takes.
#[derive(Debug, Args)]
pub(crate) struct AcceptJournalDamageArgs {
    /// The broker's number
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) id: u32,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `broker log-level` takes.
#[derive(Debug, Args)]
pub(crate) struct LogLevelArgs {
    /// The broker's number
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) id: u32,
    /// Levels of targets, or one for all others: corduroy_log=debug,warn
    #[arg(value_name = "TARGET=LEVEL", required_unless_present = "reset", conflicts_with = "reset")]
    pub(crate) filter: Option<String>,
    /// Revert by itself after this time; at most 30 days
    #[arg(long = "for", value_name = "DURATION", value_parser = super::globals::parse_duration, conflicts_with = "reset")]
    pub(crate) keep: Option<Duration>,
    /// Forget what was set before
    #[arg(long)]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}
