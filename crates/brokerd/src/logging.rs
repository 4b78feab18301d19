//! The process's log, on standard error.

use std::io::IsTerminal as _;

use corduroy_broker::config::{LogConfig, LogFormat};
use tracing_subscriber::{EnvFilter, fmt};

/// How the log reaches its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Lines, to somebody who sees the start-up report as well.
    Person,
    /// JSON or lines, to a file or a collector.
    Collector,
}

/// Sends every tracing event to standard error, in the form and at the level that `config` asks for.
pub(crate) fn install(config: &LogConfig) -> Reader {
    let terminal = std::io::stderr().is_terminal();
    let text = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let filter = EnvFilter::new(config.level.as_str());
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = if text {
        builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    // Somebody who embeds `main` may have installed a log of their own; then that one is used.
    drop(installed);
    if text && terminal { Reader::Person } else { Reader::Collector }
}
