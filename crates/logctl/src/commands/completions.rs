//! `logctl completions`

use crate::{cli::CompletionsArgs, complete, error::Stop, exit::Exit, ui::Ui};

pub(crate) fn run(args: &CompletionsArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    complete::write_script(&args.shell, ui.out)?;
    Ok(Exit::Ok)
}
