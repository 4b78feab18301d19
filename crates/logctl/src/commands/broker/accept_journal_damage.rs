//! `logctl broker accept-journal-damage`

use corduroy_types::BrokerId;
use serde::Serialize;

use crate::{
    cli::AcceptJournalDamageArgs,
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, write_rows},
    prompt,
    ui::Ui,
};

/// Damage that was found.
#[derive(Serialize)]
struct DamageRow {
    broker: u32,
    damage: String,
}

impl Row for DamageRow {
    const COLUMNS: &'static [Column] = &[column("BROKER"), column("DAMAGE")];

    fn name(&self) -> String {
        self.damage.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::Count(self.broker.into()), Cell::text(&self.damage)]
    }
}

pub(crate) async fn run(args: &AcceptJournalDamageArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let mut rows = accept(&session, args, true).await?;
    if rows.is_empty() {
        ui.note("no damage of its commit journal is known: nothing to accept");
    } else if dry_run {
        ui.note("dry run: nothing was changed; this would be accepted");
    } else {
        let question = format!("Accept this damage of the commit journal of broker {}?", args.id);
        for row in &rows {
            ui.note(&row.damage);
        }
        prompt::confirm(ui, &question).map_err(|error| error.in_context(&session.target.describe()))?;
        rows = accept(&session, args, false).await?;
        ui.note("accepted; status names it no more");
    }
    write_rows(ui, &rows)?;
    Ok(Exit::Ok)
}

async fn accept(
    session: &Session,
    args: &AcceptJournalDamageArgs,
    validate_only: bool,
) -> Result<Vec<DamageRow>, CliError> {
    let accepting = session.change(|admin| async move {
        let request = admin.accept_journal_damage(BrokerId(args.id));
        if validate_only { request.validate_only().await } else { request.await }
    });
    let damages = accepting.await.map_err(|error| session.error(&error))?;
    Ok(damages.into_iter().map(|damage| DamageRow { broker: args.id, damage }).collect())
}
