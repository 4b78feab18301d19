//! Flags that every command takes, and flags that every command of a kind takes.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::BoolishValueParser};

const HEADING: &str = "Global options";

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct GlobalArgs {
    /// Use the brokers of this context
    #[arg(
        short,
        long,
        global = true,
        env = "LOGCTL_CONTEXT",
        hide_env_values = true,
        value_name = "NAME",
        add = crate::complete::contexts()
    )]
    pub(crate) context: Option<String>,
    /// Use these brokers instead of a context's
    ///
    /// Each is http://HOST:PORT, with a name, an IPv4 address, or an IPv6 address in brackets: http://[::1]:9480.
    #[arg(
        long,
        global = true,
        env = "LOGCTL_SERVER",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "URL,.."
    )]
    pub(crate) server: Vec<String>,
    /// Form of the answer: table, wide, json, jsonl, yaml or name
    ///
    /// With json and jsonl an error is one JSON object on stderr, and stdout stays empty.
    #[arg(
        short,
        long,
        global = true,
        env = "LOGCTL_OUTPUT",
        hide_env_values = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true,
        value_name = "FORM"
    )]
    pub(crate) output: OutputForm,
    /// Print no notes, progress or summaries on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose", hide_short_help = true)]
    pub(crate) quiet: bool,
    /// Show what led to an error; twice: a trace of the calls
    #[arg(short, long, global = true, action = clap::ArgAction::Count, hide_short_help = true)]
    pub(crate) verbose: u8,
    /// Colour, which NO_COLOR also turns off
    #[arg(
        long,
        global = true,
        env = "LOGCTL_COLOR",
        hide_env_values = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_short_help = true
    )]
    pub(crate) color: ColorChoice,
    /// How long to wait for a broker's answer
    ///
    /// A broker that is starting, overloaded or out of disk space is asked again until then; one that is not there fails
    /// the command at once.
    #[arg(
        long,
        global = true,
        env = "LOGCTL_TIMEOUT",
        hide_env_values = true,
        value_parser = parse_duration,
        default_value = "10s",
        value_name = "DURATION",
        hide_short_help = true
    )]
    pub(crate) timeout: Duration,
    /// Answer yes to every question
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) yes: bool,
    /// Ask nothing: fail (exit 8) where an answer is needed
    #[arg(
        long,
        global = true,
        env = "LOGCTL_NON_INTERACTIVE",
        hide_env_values = true,
        value_parser = BoolishValueParser::new(),
        hide_short_help = true
    )]
    pub(crate) non_interactive: bool,
}

/// How an answer is written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// Aligned columns; on a terminal with units and relative times
    #[default]
    Table,
    /// A table with every column
    Wide,
    /// One JSON value
    Json,
    /// One JSON object per line
    Jsonl,
    /// YAML
    Yaml,
    /// Names only, one per line
    Name,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How progress is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressForm {
    /// A bar that is redrawn
    Bar,
    /// A line every 10 seconds
    Plain,
    /// A JSON object every 10 seconds
    Json,
    /// Nothing
    None,
}

/// Flags of every command that changes something.
#[derive(Debug, Clone, Args)]
pub(crate) struct MutationArgs {
    /// Check everything and say what would happen, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of every command that reads a state.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Repeat until Ctrl-C, by default every 2 seconds; --watch=5 and --watch=5s are the same
    #[arg(
        long,
        value_name = "INTERVAL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_parser = parse_interval
    )]
    pub(crate) watch: Option<Duration>,
}

/// A duration as people write it: `500ms`, `10s`. A bare number is refused, because no one knows its unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text} has no unit; write {text}s or {text}ms"));
    }
    match corduroy_types::parse_duration_ms(text) {
        Ok(0) => Err("must be longer than nothing".to_owned()),
        Ok(duration_ms) => Ok(Duration::from_millis(duration_ms)),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    // As with watch(1), a bare number is of seconds.
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = if is_bare { &format!("{text}s") } else { text };
    parse_duration(text).and_then(|interval| {
        if interval < Duration::from_millis(100) {
            Err("must be at least 100ms".to_owned())
        } else {
            Ok(interval)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_may_be_bare_seconds() {
        assert_eq!(parse_interval("1"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_interval("1500ms"), Ok(Duration::from_millis(1500)));
        assert!(parse_interval("0").is_err() && parse_interval("1x").is_err() && parse_interval("").is_err());
        assert!(parse_duration("1").is_err());
    }
}
