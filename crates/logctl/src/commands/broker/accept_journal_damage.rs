//! `logctl broker accept-journal-damage`

use corduroy_types::BrokerId;
use serde::Serialize;

use crate::{
    cli::AcceptJournalDamageArgs,
    connect,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, write_rows},
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
    let accepting = session.change(|admin| async move {
        let request = admin.accept_journal_damage(BrokerId(args.id));
        if dry_run { request.validate_only().await } else { request.await }
    });
    let damages = accepting.await.map_err(|error| session.error(&error))?;
    ui.note(match (damages.is_empty(), dry_run) {
        (true, _) => "no damage of its commit journal is known: nothing to accept",
        (false, true) => "dry run: nothing was changed; this would be accepted",
        (false, false) => "accepted; status names it no more",
    });
    let rows: Vec<_> = damages.into_iter().map(|damage| DamageRow { broker: args.id, damage }).collect();
    write_rows(ui, &rows)?;
    Ok(Exit::Ok)
}
