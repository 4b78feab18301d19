//! Answers on stdout: tables for people, JSON and YAML for scripts, always from the same rows.

mod cell;
mod escape;
mod table;
mod yaml;

pub(crate) use escape::{escaped, escaped_json, without_commands, write_escaped};

pub(crate) use cell::{Cell, counted, human_bytes, human_count, human_counted, human_duration, part_of};

use serde::Serialize;

use crate::{
    cli::OutputForm,
    error::{CliError, Stop},
    ui::Ui,
};
use corduroy_types::ErrorCode;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) wide_only: bool,
}

/// A column that is always shown.
pub(crate) const fn column(title: &'static str) -> Column {
    Column { title, wide_only: false }
}

/// A column of `-o wide`.
pub(crate) const fn wide(title: &'static str) -> Column {
    Column { title, wide_only: true }
}

/// Something a list is made of.
pub(crate) trait Row: Serialize {
    /// The columns, which never change with the data.
    const COLUMNS: &'static [Column];
    /// What `-o name` prints.
    fn name(&self) -> String;
    /// One cell for each column.
    fn cells(&self) -> Vec<Cell>;
}

/// Writes a list in the form that was asked for.
///
/// # Errors
/// As [`Stop::from_stdout`].
pub(crate) fn write_rows<R: Row>(ui: &mut Ui<'_>, rows: &[R]) -> Result<(), Stop> {
    match ui.settings.output {
        OutputForm::Table => write_table(ui, rows, false),
        OutputForm::Wide => write_table(ui, rows, true),
        OutputForm::Name => rows.iter().try_for_each(|row| ui.line(row.name())),
        OutputForm::Jsonl => rows.iter().try_for_each(|row| {
            let text = serde_json::to_string(row).map_err(|error| not_json(&error))?;
            ui.line(text)
        }),
        OutputForm::Json | OutputForm::Yaml => write_value(ui, &rows),
    }
}

/// Writes rows as a table whatever form was asked for; a part of a larger answer.
///
/// # Errors
/// As [`Stop::from_stdout`].
pub(crate) fn write_table<R: Row>(ui: &mut Ui<'_>, rows: &[R], wide: bool) -> Result<(), Stop> {
    let text = table::render(rows, wide, ui.for_people(), ui.settings.terminal.width, ui.settings.color_out);
    write!(ui.out, "{text}").map_err(|error| Stop::from_stdout(&error))
}

/// Writes one value as JSON or YAML; the caller has dealt with the other forms.
///
/// # Errors
/// As [`Stop::from_stdout`].
pub(crate) fn write_value<T: Serialize>(ui: &mut Ui<'_>, value: &T) -> Result<(), Stop> {
    let text = match ui.settings.output {
        OutputForm::Yaml => {
            let value = serde_json::to_value(value).map_err(|error| not_json(&error))?;
            yaml::render(&value)
        }
        OutputForm::Json if ui.for_people() => {
            serde_json::to_string_pretty(value).map_err(|error| not_json(&error))? + "\n"
        }
        _ => serde_json::to_string(value).map_err(|error| not_json(&error))? + "\n",
    };
    let text = match ui.settings.output {
        OutputForm::Yaml => text.into(),
        _ if ui.for_people() => escaped_json(&text),
        _ => text.into(),
    };
    write!(ui.out, "{text}").map_err(|error| Stop::from_stdout(&error))
}

/// Whether the answer is for scripts, so that [`write_value`] writes it.
pub(crate) fn is_structured(form: OutputForm) -> bool {
    matches!(form, OutputForm::Json | OutputForm::Jsonl | OutputForm::Yaml)
}

fn not_json(error: &serde_json::Error) -> CliError {
    CliError::new(ErrorCode::Internal, format!("the answer cannot be written as JSON: {error}"))
}
