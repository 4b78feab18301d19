//! `logctl context ..`

use clap::{Args, Subcommand};

use super::MutationArgs;

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Add a context; the first one is also selected
    #[command(before_long_help = "\
Examples:
  logctl context add prod --server http://b1:9480,http://b2:9480 --read-only")]
    Add(AddContextArgs),
    /// List contexts
    #[command(
        visible_alias = "list",
        before_long_help = "\
Examples:
  logctl context ls"
    )]
    Ls,
    /// Select a context
    #[command(before_long_help = "\
Examples:
  logctl context use prod
  logctl context use -")]
    Use(UseContextArgs),
    /// Show a context, by default the selected one
    #[command(before_long_help = "\
Examples:
  logctl context show
  logctl context show prod -o yaml")]
    Show(ShowContextArgs),
    /// Remove a context
    #[command(
        visible_alias = "remove",
        before_long_help = "\
Examples:
  logctl context rm prod"
    )]
    Rm(RemoveContextArgs),
    /// Check the file of contexts, and with --connect the brokers too
    #[command(before_long_help = "\
Examples:
  logctl context validate
  logctl context validate --connect")]
    Validate(ValidateContextArgs),
}

/// What `context add` takes. The brokers come with the global `--server`.
#[derive(Debug, Args)]
pub(crate) struct AddContextArgs {
    /// The name: a-z A-Z 0-9 . _ -
    pub(crate) name: String,
    /// Refuse every command that changes something
    #[arg(long)]
    pub(crate) read_only: bool,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `context use` takes.
#[derive(Debug, Args)]
pub(crate) struct UseContextArgs {
    /// The context; - is the one selected before
    #[arg(value_name = "NAME|-", add = crate::complete::contexts())]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `context show` takes.
#[derive(Debug, Args)]
pub(crate) struct ShowContextArgs {
    /// The context
    #[arg(add = crate::complete::contexts())]
    pub(crate) name: Option<String>,
}

/// What `context rm` takes.
#[derive(Debug, Args)]
pub(crate) struct RemoveContextArgs {
    /// The context
    #[arg(add = crate::complete::contexts())]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What `context validate` takes.
#[derive(Debug, Args)]
pub(crate) struct ValidateContextArgs {
    /// Also connect to every context's brokers
    #[arg(long)]
    pub(crate) connect: bool,
}
