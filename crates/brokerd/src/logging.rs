//! The process's log, on standard error.

use std::{io::IsTerminal as _, sync::Arc};

use corduroy_broker::{
    config::{LogConfig, LogFormat},
    log_levels::{ApplyFilter, LogLevels},
};
use tracing_subscriber::{EnvFilter, fmt, reload};

/// How the log reaches its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Lines, to someone who sees the start-up report as well.
    Person,
    /// JSON or lines, to a file or a collector.
    Collector,
}

/// Sends every tracing event to standard error, in the form and at the level that `config` asks for.
pub(crate) fn install(config: &LogConfig) -> (Reader, Arc<LogLevels>) {
    let terminal = std::io::stderr().is_terminal();
    let text = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let filter = EnvFilter::new(config.level.as_str());
    // What cannot be written is lost: a message about it, on the same standard error, would end the thread.
    let builder = fmt().log_internal_errors(false).with_writer(std::io::stderr);
    let (installed, apply) = if text {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        let builder = builder.with_ansi(colour).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        (builder.try_init(), apply_by(handle))
    } else {
        let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
        let builder = builder.with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        (builder.try_init(), apply_by(handle))
    };
    // Someone who embeds `main` may have installed a log of their own; then that one is used.
    drop(installed);
    let reader = if text && terminal { Reader::Person } else { Reader::Collector };
    (reader, LogLevels::new(config.level.clone(), apply))
}

fn apply_by<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> ApplyFilter {
    Box::new(move |filter| {
        // Fails only where this log was not installed.
        let _not_ours = handle.reload(EnvFilter::new(filter));
    })
}
