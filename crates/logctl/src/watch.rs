//! `--watch`: the same answer again and again.

use std::time::Duration;

use crate::{
    cli::OutputForm,
    error::{CliError, Stop},
    signals::Signals,
    ui::Ui,
};

/// What repeats an answer.
pub(crate) struct Watch {
    every: Option<(Duration, Signals)>,
}

impl Watch {
    /// Repeats every interval, or not at all. Must be made within a runtime.
    ///
    /// # Errors
    /// The system does not let signals be caught.
    pub(crate) fn new(interval: Option<Duration>) -> Result<Self, CliError> {
        let every = match interval {
            Some(interval) => Some((interval, Signals::new()?)),
            None => None,
        };
        Ok(Self { every })
    }

    /// Waits for the next turn; `false` when the one answer was all.
    ///
    /// # Errors
    /// Ctrl-C ends the command.
    pub(crate) async fn again(&mut self, ui: &mut Ui<'_>) -> Result<bool, Stop> {
        let Some((interval, signals)) = &mut self.every else { return Ok(false) };
        ui.flush()?;
        tokio::select! {
            () = tokio::time::sleep(*interval) => {}
            exit = signals.next() => return Err(Stop::signal(exit)),
        }
        let is_table = matches!(ui.settings.output, OutputForm::Table | OutputForm::Wide);
        if ui.for_people() && is_table {
            // To the upper left corner, and clear what is below.
            write!(ui.out, "\u{1b}[H\u{1b}[2J")?;
        } else if is_table {
            ui.line("")?;
        }
        Ok(true)
    }
}
