//! The binary `brokerd` as a library, so that another package can build it: flags, configuration, signals, the
//! start-up report.
//!
//! Never: anything testable that belongs in `corduroy-broker`.

mod banner;
mod cli;
mod config_command;
mod exit;
mod logging;
mod notify;
mod probe;
mod reload;
mod run;
mod signals;
mod sources;

use std::{io::Write as _, process::ExitCode, time::Instant};

use clap::Parser as _;

use cli::{Cli, Command};

/// Runs `brokerd` with the arguments and the environment of this process, until it is stopped.
///
/// The status is 0 after a clean stop or a command that succeeded, 1 after a failure, 2 for a wrong command line
/// and 78 for a wrong configuration.
pub fn main() -> ExitCode {
    let since = Instant::now();
    let cli = Cli::parse();
    match &cli.command {
        None => run::run(&cli.flags, since),
        Some(Command::Config(command)) => config_command::run(command, &cli.flags),
        Some(Command::Health) => probe::run(&cli.flags),
        Some(Command::Version) => print(&format!("brokerd {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

/// Writes to standard output. A reader that went away is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => exit::FAILED,
    }
}

/// Writes to standard error; where that fails, no one listens.
fn complain(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
