//! What was typed: the tree of commands and flags, checked for shape only. Nothing is contacted here.

mod broker;
mod consume;
mod context;
mod globals;
mod group;
mod log;
mod partition;
mod produce;
mod topic;
mod usage;

pub(crate) use broker::{AcceptJournalDamageArgs, BrokerCommand, LogLevelArgs};
pub(crate) use consume::ConsumeArgs;
pub(crate) use context::{
    AddContextArgs, ContextCommand, RemoveContextArgs, ShowContextArgs, UseContextArgs, ValidateContextArgs,
};
pub(crate) use globals::{ColorChoice, GlobalArgs, MutationArgs, OutputForm, ProgressForm, WatchArgs};
pub(crate) use group::{
    DeleteGroupArgs, DescribeGroupArgs, ExportGroupArgs, GroupCommand, GroupCondition, ImportGroupArgs,
    KickArgs, LagArgs, ListGroupsArgs, ResetGroupArgs, TopicPart,
};
pub(crate) use log::{
    DumpArgs, LogCommand, LogDirArgs, LogIndexCommand, LogMetadataCommand, RebuildIndexArgs,
    RepairMetadataArgs,
};
pub(crate) use partition::{PartitionCommand, RecoverPartitionArgs};
pub(crate) use produce::{OnError, ProduceArgs, Report};
pub(crate) use topic::{
    AddPartitionsArgs, CreateTopicArgs, DeleteRecordsArgs, DeleteTopicArgs, DescribeTopicArgs,
    ListTopicsArgs, SetConfigArgs, TopicCommand, TopicSort, UnsetConfigArgs,
};
pub(crate) use usage::{asked_for_json, usage_error};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The command line of Corduroy, a distributed log.
#[derive(Debug, Parser)]
#[command(
    name = "logctl",
    bin_name = "logctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 100,
    before_long_help = "\
Examples:
  logctl topic create hello
  echo hi | logctl produce hello
  logctl consume hello -n 1
  logctl status"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Health, brokers and disk on one screen
    ///
    /// The exit status is 9 when the broker is not HEALTHY.
    #[command(before_long_help = "\
Examples:
  logctl status
  logctl status --watch=5s
  logctl status --wait-for ready --timeout 60s
  logctl status -o json")]
    Status(StatusArgs),
    /// Create, look at, change and delete topics
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl topic ls
  logctl topic create orders -p 3 --set retention.ms=7d
  logctl topic describe orders"
    )]
    Topic(TopicCommand),
    /// Act on single brokers
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl broker log-level 1 corduroy_log=debug --for 10m"
    )]
    Broker(BrokerCommand),
    /// Act on single partitions
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl partition recover orders:0 --dry-run"
    )]
    Partition(PartitionCommand),
    /// Write records from files or stdin, one record per line unless a format says otherwise
    Produce(ProduceArgs),
    /// Read records and follow the topic
    Consume(ConsumeArgs),
    /// Look after consumer groups: members, committed offsets, lag
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl group ls
  logctl group lag billing --watch
  logctl group reset billing --topics orders --to start"
    )]
    Group(GroupCommand),
    /// Remember brokers under a name
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl context add prod --server http://b1:9480 --read-only
  logctl context use prod
  logctl context ls"
    )]
    Context(ContextCommand),
    /// Look into a stopped broker's data directory
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl log ls brokerd-data
  logctl log verify brokerd-data
  logctl log stats brokerd-data"
    )]
    Log(LogCommand),
    /// Explain an error code, a log event, a configuration key or a metric
    #[command(before_long_help = "\
Examples:
  logctl explain E1203
  logctl explain retention.ms
  logctl explain storage.disk_block_watermark
  logctl explain brokerd_fsync_seconds")]
    Explain(ExplainArgs),
    /// Print the script that completes logctl's commands, topics and contexts in a shell
    #[command(before_long_help = "\
Examples:
  logctl completions bash > ~/.local/share/bash-completion/completions/logctl
  logctl completions fish > ~/.config/fish/completions/logctl.fish")]
    Completions(CompletionsArgs),
    /// Print the help of a command, as --help does
    #[command(before_long_help = "\
Examples:
  logctl help produce
  logctl help topic create")]
    Help(HelpArgs),
    /// Print the version
    #[command(before_long_help = "\
Examples:
  logctl version
  logctl version -o json")]
    Version,
}

/// What `logctl status` takes.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Wait until it is so, at most --timeout (by default 30s); exit 6 if it is not by then
    ///
    /// A broker that is not there yet is waited for.
    #[arg(long, value_enum, value_name = "CONDITION", conflicts_with = "watch")]
    pub(crate) wait_for: Option<StatusCondition>,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusCondition {
    /// It has started and answers
    Ready,
    /// It is HEALTHY
    Healthy,
}

/// What `logctl explain` takes.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// An error code (E1203, TOPIC_NOT_FOUND, C0007), a log event (B0101), a config key or a metric
    #[arg(value_name = "CODE|CONFIG_KEY|METRIC", add = crate::complete::explained())]
    pub(crate) what: String,
}

/// What `logctl help` takes.
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// The command's words; none: all commands
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What `logctl completions` takes.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    pub(crate) shell: String,
}
