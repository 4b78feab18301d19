//! `logctl group delete`

use corduroy_client::DeletedGroup;
use serde::Serialize;

use super::note_dry_run;
use crate::{
    cli::{DeleteGroupArgs, OutputForm},
    commands::items,
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, human_counted, write_rows},
    prompt,
    ui::Ui,
};

#[derive(Serialize)]
struct DeletedRow {
    name: String,
    offset_count: u32,
    /// Said only where nothing happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

impl Row for DeletedRow {
    const COLUMNS: &'static [Column] = &[column("GROUP"), column("OFFSETS")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.name), Cell::Count(self.offset_count.into())]
    }
}

type DeleteOutcome = (Vec<DeletedRow>, Vec<(String, CliError)>);

pub(crate) async fn run(args: &DeleteGroupArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let (mut rows, mut failures) = delete(&session, &args.names, true).await?;
    if !dry_run {
        // Groups that cannot be deleted are reported before anything is asked or done.
        if !failures.is_empty() && rows.is_empty() {
            return items::finish(ui, args.names.len(), failures);
        }
        for row in &rows {
            let offsets = human_counted(row.offset_count.into(), "committed offset");
            let question = format!("Delete group {:?} with its {offsets}?", row.name);
            prompt::retype(ui, &question, &row.name)
                .map_err(|error| error.in_context(&session.target.describe()))?;
        }
        let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let (deleted, more) = delete(&session, &names, false).await?;
        rows = deleted;
        failures.extend(more);
    }
    if ui.settings.output == OutputForm::Table {
        let verb = if dry_run { "would delete" } else { "deleted" };
        for row in &rows {
            ui.line(format!("{verb} {}", row.name))?;
        }
    } else if failures.is_empty() || !ui.settings.json_errors() {
        write_rows(ui, &rows)?;
    }
    if dry_run {
        note_dry_run(ui);
    }
    items::finish(ui, args.names.len(), failures)
}

async fn delete(session: &Session, names: &[String], validate_only: bool) -> Result<DeleteOutcome, CliError> {
    let deleting = session.change_each(names, |admin, names| async move {
        let request = admin.delete_groups(&names);
        if validate_only { request.validate_only().await } else { request.await }
    });
    let results = deleting.await.map_err(|error| session.error(&error))?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(DeletedGroup { name, offset_count }) => {
                rows.push(DeletedRow { name, offset_count, dry_run: validate_only });
            }
            Err(error) => failures.push((name.clone(), session.group_error(name, &error))),
        }
    }
    Ok((rows, failures))
}
