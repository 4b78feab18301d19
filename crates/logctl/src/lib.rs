//! The command line of Corduroy: `logctl`.
//!
//! | module | what it holds |
//! |---|---|
//! | `cli` | what can be typed, checked for shape only |
//! | `settings`, `terminal`, `env`, `context` | what it means: brokers, forms of output, time-outs |
//! | `commands` | one module per noun; a command takes its client and its writers as arguments |
//! | `format`, `range`, `position`, `input` | the record format, places in a partition and for a group, reading input in chunks |
//! | `output`, `error`, `progress`, `prompt`, `reader` | tables and JSON, the one error type, what people see meanwhile, and whether anybody still does |
//!
//! Never: its own wire code; anything but data on stdout.

#![expect(
    clippy::result_large_err,
    reason = "an error ends the command, so it is made once and never moved in a loop"
)]

mod cli;
mod commands;
mod complete;
mod connect;
mod context;
mod data_dir;
mod env;
mod error;
mod exit;
mod format;
mod input;
mod output;
mod position;
mod progress;
mod prompt;
mod range;
mod reader;
mod retry;
mod settings;
mod signals;
mod terminal;
mod ui;
mod watch;

use std::{
    ffi::OsString,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use corduroy_types::ExitClass;

use clap::{CommandFactory as _, FromArgMatches as _};

use cli::Cli;
use error::{CliError, Stop};
use exit::Exit;
use settings::Settings;
use terminal::Terminal;
use ui::Ui;

/// The whole command tree, for tests and for the reference in `docs/logctl.md`.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs `logctl` on this process's arguments, environment and streams, and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    complete::answer_shell();
    let args: Vec<OsString> = std::env::args_os().collect();
    run(&args).into()
}

/// How an error is shown.
struct ErrorForm {
    json: bool,
    color: bool,
    verbose: bool,
}

fn run(args: &[OsString]) -> Exit {
    let terminal = Terminal::detect();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let early = ErrorForm {
        json: cli::asked_for_json(args),
        color: terminal.stderr_tty && !no_color,
        verbose: false,
    };
    let parsed = env::check().and_then(|()| parse(args));
    let (matches, cli) = match parsed {
        Ok(Parsed::Run(matches, cli)) => (matches, cli),
        Ok(Parsed::Shown(exit)) => return exit,
        Err(error) => return show(&error, &early),
    };
    let settings = Settings::new(&cli.globals, &matches, terminal, no_color);
    if settings.verbosity >= 2 {
        start_trace(settings.color_err);
    }
    let form = ErrorForm {
        json: settings.json_errors(),
        color: settings.color_err,
        verbose: settings.verbosity > 0,
    };
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut err = io::stderr();
    let mut ui = Ui { settings: &settings, out: &mut out, err: &mut err };
    let ended = commands::run(cli.command, &mut ui).and_then(|exit| ui.flush().map(|()| exit));
    match ended {
        Ok(exit) => exit,
        Err(Stop::Signal(exit, reported)) => {
            let _ = out.flush();
            if let Some(error) = reported.filter(|_| form.json) {
                show(&error, &form);
            }
            exit
        }
        Err(Stop::BrokenPipe) => Exit::Ok,
        Err(Stop::Error(error)) => {
            // What was data stays data: it is on its way before the error is shown.
            let _ = out.flush();
            show(&error, &form)
        }
    }
}

enum Parsed {
    Run(Box<clap::ArgMatches>, Box<Cli>),
    /// Help or the version was asked for, and is shown.
    Shown(Exit),
}

fn parse(args: &[OsString]) -> Result<Parsed, CliError> {
    let parsed = Cli::command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (matches, cli)));
    match parsed {
        Ok((matches, cli)) => Ok(Parsed::Run(Box::new(matches), Box::new(cli))),
        Err(error) if !error.use_stderr() => {
            // A closed stdout is no failure of showing help.
            let _ = error.print();
            Ok(Parsed::Shown(Exit::Ok))
        }
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Ok(Parsed::Shown(Exit::Error(ExitClass::Usage)))
        }
        Err(error) => Err(cli::usage_error(&error, args)),
    }
}

fn show(error: &CliError, form: &ErrorForm) -> Exit {
    let text = if form.json {
        error::render_json(error)
    } else {
        error::render_human(error, form.color, form.verbose)
    };
    let _ = io::stderr().write_all(text.as_bytes());
    error.exit()
}

fn start_trace(color: bool) {
    // A second subscriber can only be there in a test that runs several commands in one process.
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(color)
        .with_env_filter("info,corduroy_client=debug,corduroy_logctl=debug")
        .try_init();
}

#[cfg(test)]
mod help_tests;
