//! `logctl produce`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use corduroy_batch::Compression;
use corduroy_types::{Acks, Offset};

use super::{MutationArgs, ProgressForm};

/// What `logctl produce` takes.
#[derive(Debug, Args)]
#[command(
    before_long_help = "\
Examples:
  echo hi | logctl produce hello
  logctl produce orders orders.csv -z lz4
  printf 'alice:1\\nbob:2\\n' | logctl produce orders -f '%k:%v\\n'
  logctl consume orders --to end -f jsonl | logctl produce orders-copy -f jsonl
  logctl produce photos a.jpg b.jpg -f raw
  echo closed | logctl produce ledger -p 0 --expect-offset 7",
    after_long_help = crate::format::HELP
)]
pub(crate) struct ProduceArgs {
    /// The topic
    #[arg(add = crate::complete::topics())]
    pub(crate) topic: String,
    /// The files [default: stdin, also written -]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// The key of every record that has none of its own
    #[arg(short, long)]
    pub(crate) key: Option<String>,
    /// A header for every record, behind its own; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The partition of every record [default: by its key]
    #[arg(short, long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Append only if the first record gets this offset, and those after it the next ones; with --partition
    ///
    /// A condition on the partition: its next offset has to be this one. Otherwise nothing more is sent, OFFSET_MISMATCH
    /// names the next offset there is, and the exit status is 4. Batches are sent one by one. A batch that was written,
    /// and is sent again as its answer was lost, answers its original offset; another run of the command is a write of
    /// its own, and is refused.
    #[arg(long, value_name = "N", value_parser = parse_offset, hide_short_help = true)]
    pub(crate) expect_offset: Option<Offset>,
    /// How the input is written: a format string, jsonl, json, kv or raw
    #[arg(short, long, value_name = "FORMAT", default_value = "%v\\n")]
    pub(crate) format: String,
    /// Compress batches: none, gzip, snappy, lz4 or zstd
    #[arg(
        short = 'z',
        long = "compression",
        value_name = "CODEC",
        default_value = "none",
        hide_default_value = true
    )]
    pub(crate) compression: Compression,
    /// When a record counts as written: one, quorum or all
    #[arg(long, value_name = "WHEN", default_value = "quorum", add = crate::complete::acks())]
    pub(crate) acks: Acks,
    /// An empty value becomes a null value, which deletes the key in a compacted topic
    #[arg(long, hide_short_help = true)]
    pub(crate) tombstone_empty: bool,
    /// What to say of written records: each, summary or none
    ///
    /// each: a line on stdout for every record, with its partition and offset; summary: one line on stderr at the end.
    #[arg(long, value_enum, default_value_t = Report::Summary, hide_possible_values = true, value_name = "WHAT")]
    pub(crate) report: Report,
    /// At a record that cannot be sent: stop, or skip
    ///
    /// skip leaves it out, goes on, and exits 7 at the end.
    #[arg(long, value_enum, default_value_t = OnError::Stop, value_name = "WHAT", hide_possible_values = true)]
    pub(crate) on_error: OnError,
    /// Write records that failed to this file, as jsonl
    ///
    /// What is no record, as it does not match the format, is not among them.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) failed: Option<PathBuf>,
    /// Progress on stderr: bar, plain, json or none [default: bar on a terminal, else plain]
    #[arg(long, value_enum, value_name = "FORM", hide_possible_values = true, hide_short_help = true)]
    pub(crate) progress: Option<ProgressForm>,
    #[command(flatten)]
    pub(crate) mutation: MutationArgs,
}

/// What to say of records that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
    /// Partition and offset of each one, on stdout
    Each,
    /// How many, on stderr
    Summary,
    /// Nothing
    None,
}

/// What to do at a record that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Stop
    Stop,
    /// Leave it out, go on, and exit 7
    Skip,
}

fn parse_offset(text: &str) -> Result<Offset, String> {
    let offset = text.parse().ok().and_then(Offset::new);
    offset.ok_or_else(|| format!("an offset is a whole number from 0 to {}", Offset::MAX))
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, like trace=abc".to_owned()),
    }
}
