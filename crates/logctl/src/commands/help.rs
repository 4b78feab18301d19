//! `logctl help`

use crate::{
    cli::HelpArgs,
    error::{CliError, Stop},
    exit::Exit,
    ui::Ui,
};

/// Prints what `--help` of the same command prints.
pub(crate) fn run(args: &HelpArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let mut tree = crate::command();
    tree.build();
    let mut command = &mut tree;
    let mut path = "logctl".to_owned();
    for word in &args.command {
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        command = match command.find_subcommand_mut(word) {
            Some(found) => found,
            None => {
                return Err(CliError::usage(format!("{path} has no command {word:?}"))
                    .with_nearest(word, names.iter().map(String::as_str))
                    .with_hint(format!("{path} --help"))
                    .into());
            }
        };
        path = format!("{path} {}", command.get_name());
    }
    let help = command.render_long_help();
    let text = if ui.settings.color_out { help.ansi().to_string() } else { help.to_string() };
    ui.line(text.trim_end())?;
    Ok(Exit::Ok)
}
