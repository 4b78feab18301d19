//! `logctl log ..`: offline, on a stopped broker's files.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// List partitions and their segments
    #[command(before_long_help = "\
Examples:
  logctl log ls brokerd-data
  logctl log ls brokerd-data -o json")]
    Ls(LogDirArgs),
    /// Print the batches of a segment file, or its records
    #[command(before_long_help = "\
Examples:
  logctl log dump 00000000000000000000.log
  logctl log dump 00000000000000000000.log --from 100 --to 200 --records")]
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
    /// The segment file
    #[arg(value_name = "SEGMENT", value_hint = clap::ValueHint::FilePath)]
    pub(crate) segment: PathBuf,
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
