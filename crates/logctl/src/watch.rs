//! `--watch`: the same answer again and again.

use std::{
    ops::AsyncFnMut,
    time::{Duration, Instant},
};

use corduroy_types::ExitClass;

use crate::{
    cli::OutputForm,
    error::{CliError, Stop},
    exit::Exit,
    output::human_duration,
    signals::Signals,
    ui::Ui,
};

/// Answers once, or with an interval again and again until Ctrl-C. Must be called within a runtime.
///
/// Once there was an answer, a broker that cannot be reached for a while is waited for: that is said when it begins and
/// when it ends.
///
/// # Errors
/// Of the first answer; later, of an answer that no waiting changes. Ctrl-C ends the command.
pub(crate) async fn repeat<'a>(
    ui: &mut Ui<'a>,
    interval: Option<Duration>,
    mut answer: impl AsyncFnMut(&mut Ui<'a>) -> Result<Exit, Stop>,
) -> Result<Exit, Stop> {
    let Some(interval) = interval else { return answer(ui).await };
    let mut signals = Signals::new()?;
    let mut outage = Outage::default();
    loop {
        let answered = tokio::select! {
            biased;
            exit = signals.next() => return Err(Stop::signal(exit)),
            answered = answer(ui) => answered,
        };
        match answered {
            Ok(_) => {
                if let Some(since) = outage.ended() {
                    ui.note(format!("answered again after {}", human_duration(millis(since.elapsed()))));
                }
            }
            Err(Stop::Error(error)) if outage.covers(&error) => {
                if outage.begins() {
                    ui.warn(format!("error[{}]: {}; trying again", error.code, error.message));
                }
            }
            Err(other) => return Err(other),
        }
        ui.flush()?;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            exit = signals.next() => return Err(Stop::signal(exit)),
        }
        if !outage.is_on() {
            part(ui)?;
        }
    }
}

/// Parts the last answer from the next one.
fn part(ui: &mut Ui<'_>) -> Result<(), Stop> {
    let is_table = matches!(ui.settings.output, OutputForm::Table | OutputForm::Wide);
    if ui.for_people() && is_table {
        // To the upper left corner, and clear what is below.
        write!(ui.out, "\u{1b}[H\u{1b}[2J")?;
    } else if is_table {
        ui.line("")?;
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether there was an answer yet, and since when there is none.
#[derive(Debug, Default)]
struct Outage {
    answered: bool,
    since: Option<Instant>,
}

impl Outage {
    /// There was an answer: since when there had been none.
    fn ended(&mut self) -> Option<Instant> {
        self.answered = true;
        self.since.take()
    }

    /// Whether the error is one to wait for the end of.
    fn covers(&self, error: &CliError) -> bool {
        self.answered && error.code.is_retriable() && error.code.exit_class() == ExitClass::Unavailable
    }

    /// There was no answer: whether there was one before.
    fn begins(&mut self) -> bool {
        let begins = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        begins
    }

    fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use corduroy_types::ErrorCode;

    use super::*;

    #[test]
    fn an_outage_is_waited_for_only_behind_an_answer() {
        let gone = CliError::new(ErrorCode::Unavailable, "cannot be reached");
        let mut outage = Outage::default();
        assert!(!outage.covers(&gone));
        assert!(outage.ended().is_none());
        assert!(outage.covers(&gone));
        assert!(!outage.covers(&CliError::new(ErrorCode::TopicNotFound, "no such topic")));
        assert!(outage.begins() && !outage.begins() && outage.is_on());
        assert!(outage.ended().is_some() && !outage.is_on());
    }
}
