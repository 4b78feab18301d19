//! `logctl log ..`: offline, on a stopped broker's files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::MutationArgs;

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// List partitions and their segments
    #[command(before_long_help = "\
Examples:
  logctl log ls brokerd-data
  logctl log ls brokerd-data -o json")]
    Ls(LogDirArgs),
    /// Print the batches of a segment file, or its records; or what a snapshot of producers holds
    #[command(before_long_help = "\
Examples:
  logctl log dump 00000000000000000000.log
  logctl log dump 00000000000000000000.log --from 100 --to 200 --records
  logctl log dump 00000000000000004711.snapshot")]
    Dump(DumpArgs),
    /// Check every stored batch; exits 9 where something is wrong
    #[command(before_long_help = "\
Examples:
  logctl log verify brokerd-data")]
    Verify(LogDirArgs),
    /// Sums of batches, records and bytes for each partition
    #[command(before_long_help = "\
Examples:
  logctl log stats brokerd-data")]
    Stats(LogDirArgs),
    /// Check indexes against their segments, or write them again
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl log index check brokerd-data
  logctl log index rebuild brokerd-data --dry-run"
    )]
    Index(LogIndexCommand),
    /// Repair the metadata log of a broker that does not start because of it
    #[command(
        subcommand,
        before_long_help = "\
Examples:
  logctl log metadata repair brokerd-data
  logctl log metadata repair brokerd-data --accept-data-loss"
    )]
    Metadata(LogMetadataCommand),
}

/// What to do with the metadata log.
#[derive(Debug, Subcommand)]
pub(crate) enum LogMetadataCommand {
    /// Say what of the metadata is lost and what would be kept; with --accept-data-loss, put that in its place
    #[command(before_long_help = "\
Examples:
  logctl log metadata repair brokerd-data
  logctl log metadata repair brokerd-data --accept-data-loss")]
    Repair(RepairMetadataArgs),
}

/// What `log metadata repair` takes.
#[derive(Debug, Args)]
pub(crate) struct RepairMetadataArgs {
    /// The data directory
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Confirm that metadata which cannot be read is lost for good, and carry the repair out; the old log is kept
    #[arg(long)]
    pub(crate) accept_data_loss: bool,
}

/// What to do with indexes.
#[derive(Debug, Subcommand)]
pub(crate) enum LogIndexCommand {
    /// Say for each segment whether its indexes agree with it; exits 9 where one does not
    #[command(before_long_help = "\
Examples:
  logctl log index check brokerd-data")]
    Check(LogIndexArgs),
    /// Write the indexes of sealed segments again, from their batches
    #[command(before_long_help = "\
Examples:
  logctl log index rebuild brokerd-data --dry-run
  logctl log index rebuild 00000000000000000000.log")]
    Rebuild(RebuildIndexArgs),
}

/// A directory, or a segment.
#[derive(Debug, Args)]
pub(crate) struct LogIndexArgs {
    /// The data directory, one partition's directory in it, or a segment file
    #[arg(value_name = "DIR|SEGMENT", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
}

/// What `log index rebuild` takes.
#[derive(Debug, Args)]
pub(crate) struct RebuildIndexArgs {
    #[command(flatten)]
    pub(crate) of: LogIndexArgs,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

impl LogCommand {
    /// The directory or file it is about.
    pub(crate) fn place(&self) -> &Path {
        match self {
            Self::Ls(args) | Self::Verify(args) | Self::Stats(args) => &args.dir,
            Self::Dump(args) => &args.file,
            Self::Index(LogIndexCommand::Check(args)) => &args.path,
            Self::Index(LogIndexCommand::Rebuild(args)) => &args.of.path,
            Self::Metadata(LogMetadataCommand::Repair(args)) => &args.dir,
        }
    }
}

/// A directory.
#[derive(Debug, Args)]
pub(crate) struct LogDirArgs {
    /// The data directory, or one partition's directory in it
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// What `log dump` takes.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The segment file, or a snapshot of producers
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Begin with the batch that holds this offset
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<u64>,
    /// Stop before this offset
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to: Option<u64>,
    /// Print records instead of batches, as jsonl
    #[arg(long)]
    pub(crate) records: bool,
}
