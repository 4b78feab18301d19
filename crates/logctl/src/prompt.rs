//! Questions: asked only where someone can answer, and answered No unless someone says otherwise.

use std::io::{self, BufRead as _};

use corduroy_types::ErrorCode;

use crate::{error::CliError, ui::Ui};

/// Asks to type `name` again before it is destroyed.
///
/// # Errors
/// `CONFIRMATION_NEEDED` where no one can be asked, or the answer was something else.
pub(crate) fn retype(ui: &mut Ui<'_>, question: &str, name: &str) -> Result<(), CliError> {
    let answer = match ask(ui, &format!("{question}\nType {name:?} to confirm: "))? {
        Confirmation::GivenBefore => return Ok(()),
        Confirmation::Line(answer) => answer,
    };
    if answer == name { Ok(()) } else { Err(declined()) }
}

/// Asks yes or no; anything but `y` or `yes` is no.
///
/// # Errors
/// `CONFIRMATION_NEEDED` where no one can be asked, or the answer was no.
pub(crate) fn confirm(ui: &mut Ui<'_>, question: &str) -> Result<(), CliError> {
    match ask(ui, &format!("{question} [y/N] "))? {
        Confirmation::GivenBefore => Ok(()),
        Confirmation::Line(answer) if matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") => Ok(()),
        Confirmation::Line(_) => Err(declined()),
    }
}

enum Confirmation {
    /// By `--yes`.
    GivenBefore,
    Line(String),
}

fn ask(ui: &mut Ui<'_>, text: &str) -> Result<Confirmation, CliError> {
    if ui.settings.yes {
        return Ok(Confirmation::GivenBefore);
    }
    if !ui.settings.can_prompt {
        let question = text.lines().next().unwrap_or_default().trim_end_matches(" [y/N] ");
        return Err(CliError::new(
            ErrorCode::ConfirmationNeeded,
            format!("{question} This needs a confirmation, and no one can be asked"),
        )
        .with_hint("give --yes if you mean it"));
    }
    let prompted = write!(ui.err, "{text}").and_then(|()| ui.err.flush());
    let mut answer = String::new();
    prompted.and_then(|()| io::stdin().lock().read_line(&mut answer)).map_err(|error| {
        CliError::new(ErrorCode::FileFailed, format!("the answer cannot be read: {error}"))
    })?;
    Ok(Confirmation::Line(answer.trim().to_owned()))
}

fn declined() -> CliError {
    CliError::new(ErrorCode::ConfirmationNeeded, "not confirmed; nothing was changed")
}
