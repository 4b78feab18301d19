//! `logctl partition recover`

use corduroy_client::DamagedRange;
use corduroy_types::PartitionIndex;
use serde::Serialize;

use crate::{
    cli::RecoverPartitionArgs,
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, human_count, write_rows},
    prompt,
    ui::Ui,
};

/// Offsets that are lost: from `start` to `end`, exclusive.
#[derive(Serialize)]
struct LostRow {
    start: u64,
    end: u64,
    file: String,
    position: u64,
}

impl Row for LostRow {
    const COLUMNS: &'static [Column] = &[column("START"), column("END"), column("FILE"), column("POSITION")];

    fn name(&self) -> String {
        self.start.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::Count(self.start),
            Cell::Count(self.end),
            Cell::text(&self.file),
            Cell::Count(self.position),
        ]
    }
}

pub(crate) async fn run(args: &RecoverPartitionArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let mut rows = recover(&session, args, true).await?;
    if rows.is_empty() {
        ui.note("no damage is known in it: nothing to give up");
    } else if dry_run {
        ui.note("dry run: nothing was changed; these offsets would be lost");
    } else {
        let offsets: u64 = rows.iter().map(|row| row.end - row.start).sum();
        let topic = &args.partition.topic;
        let question = format!(
            "Give up {} offsets of {topic}:{} that cannot be read?",
            human_count(offsets),
            args.partition.partition
        );
        prompt::retype(ui, &question, topic).map_err(|error| error.in_context(&session.target.describe()))?;
        rows = recover(&session, args, false).await?;
        ui.note("given up; reads pass over these offsets from now on");
    }
    write_rows(ui, &rows)?;
    Ok(Exit::Ok)
}

async fn recover(
    session: &Session,
    args: &RecoverPartitionArgs,
    validate_only: bool,
) -> Result<Vec<LostRow>, CliError> {
    let (topic, partition) = (&args.partition.topic, PartitionIndex(args.partition.partition));
    let recovering = session.change(|admin| async move {
        let request = admin.recover_partition(topic, partition);
        if validate_only { request.validate_only().await } else { request.await }
    });
    let ranges = recovering.await.map_err(|error| session.topic_error(topic, &error))?;
    let row = |DamagedRange { start, end, file, position, .. }| LostRow {
        start: start.get(),
        end: end.get(),
        file,
        position,
    };
    Ok(ranges.into_iter().map(row).collect())
}
