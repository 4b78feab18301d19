//! `logctl consume`

use std::time::Duration;

use clap::Args;
use regex::bytes::Regex;

use super::ProgressForm;
use crate::range::OffsetArg;

/// What `logctl consume` takes.
#[derive(Debug, Args)]
#[command(
    before_long_help = "\
Examples:
  logctl consume orders
  logctl consume orders --to end -f '%p@%o %k=%v\\n'
  logctl consume orders --from @-15m --grep alice
  logctl consume orders -g billing
  logctl consume audit -n 1 -f '%V{big32}%v' > one.bin",
    after_long_help = crate::format::HELP
)]
pub(crate) struct ConsumeArgs {
    /// The topics
    #[arg(required_unless_present = "pattern", value_name = "TOPIC", add = crate::complete::topics())]
    pub(crate) topics: Vec<String>,
    /// Also every topic whose whole name matches now
    #[arg(short = 'e', long = "pattern", value_name = "REGEX")]
    pub(crate) pattern: Option<regex::Regex>,
    /// Read as a member of this group, from where it is, and commit what was printed
    ///
    /// The members of a group share the partitions out. Reading begins at the committed offset, and at the start where
    /// nothing was committed. Committed are records that were written to stdout and, where that is a pipe, read from it; at
    /// the end, and with Ctrl-C, what was printed is committed and the member leaves the group. Records left
    /// unread in a closed pipe are not committed. With --to end it stops when the partitions that it has been given are read up
    /// to where they ended at the beginning, and at once when others have all partitions.
    #[arg(short, long, value_name = "GROUP", add = crate::complete::groups())]
    pub(crate) group: Option<String>,
    /// With -g: commit nothing, so that the group stays where it is
    #[arg(long, requires = "group", hide_short_help = true)]
    pub(crate) no_commit: bool,
    /// With -g: after how long without a word the member counts as gone [default: 45s]
    #[arg(long, requires = "group", value_name = "DURATION", value_parser = super::globals::parse_duration, hide_short_help = true)]
    pub(crate) session_timeout: Option<Duration>,
    /// Only these partitions
    #[arg(short, long, value_name = "N,..", value_delimiter = ',')]
    pub(crate) partitions: Vec<u32>,
    /// Begin here: start, end, OFFSET, -N (N before the end), @DATE, @TIME or @-15m [default: start]
    ///
    /// A date, and a time without an offset like +01:00 or Z, are local time. @1796084116384 is a timestamp in
    /// milliseconds, as %d prints it.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) from: Option<OffsetArg>,
    /// Stop before this place instead of following the topic
    ///
    /// The same forms as --from; end is the end as it is when the command begins.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) to: Option<OffsetArg>,
    /// Stop after this many records
    #[arg(short = 'n', long = "count", value_name = "N")]
    pub(crate) count: Option<u64>,
    /// How to print: a format string, jsonl, json, kv or raw [default: %v\n]
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Send control characters to a terminal as they are, instead of writing them out like \\x1b
    ///
    /// What is printed to a file or a pipe is never changed.
    #[arg(long, hide_short_help = true)]
    pub(crate) raw: bool,
    /// Only records whose key or value matches
    #[arg(long, value_name = "REGEX")]
    pub(crate) grep: Option<Regex>,
    /// Progress on stderr: bar, plain, json or none [default: none on a terminal that shows the records, else as produce]
    #[arg(long, value_enum, value_name = "FORM", hide_possible_values = true, hide_short_help = true)]
    pub(crate) progress: Option<ProgressForm>,
}

impl ConsumeArgs {
    /// Where to begin.
    pub(crate) fn from(&self) -> OffsetArg {
        self.from.unwrap_or(OffsetArg::Start)
    }
}
