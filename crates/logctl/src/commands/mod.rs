//! What commands do: one module per noun.

mod completions;
mod context;
mod explain;
mod version;

use crate::{
    cli::Command,
    error::{CliError, Stop},
    exit::Exit,
    ui::Ui,
};

/// Runs a command to its end.
///
/// # Errors
/// Whatever stopped it.
pub(crate) fn run(command: Command, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        Command::Context(command) => context::run(&command, ui),
        Command::Explain(args) => explain::run(&args, ui),
        Command::Completions(args) => completions::run(&args, ui),
        Command::Version => version::run(ui),
        _ => Err(CliError::new(corduroy_types::ErrorCode::Unsupported, "not yet").into()),
    }
}
