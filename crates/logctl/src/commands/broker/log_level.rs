//! `logctl broker log-level`

use corduroy_types::BrokerId;
use serde::Serialize;

use crate::{
    cli::LogLevelArgs,
    connect,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, write_rows},
    ui::Ui,
};

/// What a broker logs.
#[derive(Serialize)]
struct LevelRow {
    broker: u32,
    filter: String,
}

impl Row for LevelRow {
    const COLUMNS: &'static [Column] = &[column("BROKER"), column("FILTER")];

    fn name(&self) -> String {
        self.broker.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::Count(self.broker.into()), Cell::text(&self.filter)]
    }
}

pub(crate) async fn run(args: &LogLevelArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let filter = args.filter.as_deref().unwrap_or_default();
    let setting = session.change(|admin| async move {
        let mut request = admin.set_log_level(BrokerId(args.id), filter);
        if let Some(keep) = args.keep {
            request = request.keep_for(keep);
        }
        if dry_run { request.validate_only().await } else { request.await }
    });
    let filter = setting.await.map_err(|error| session.error(&error))?;
    if dry_run {
        ui.note("dry run: nothing was changed; this is logged now");
    }
    write_rows(ui, &[LevelRow { broker: args.id, filter }])?;
    Ok(Exit::Ok)
}
