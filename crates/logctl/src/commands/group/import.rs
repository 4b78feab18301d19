//! `logctl group import`

use std::collections::BTreeSet;

use corduroy_types::ErrorCode;

use super::{
    note_dry_run,
    plan::{Doing, PlanRow, carry_out},
    snapshot::{Bounds, GroupSnapshot, bounds},
    stored::{self, Stored, StoredOffset},
};
use crate::{
    cli::ImportGroupArgs,
    connect::{self, Session, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    ui::Ui,
};

pub(crate) async fn run(args: &ImportGroupArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let stored = stored::read_file(&args.file)?;
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let snapshot = GroupSnapshot::of(&session, &args.name).await?;
    // What is said of a dry run is what would be said without.
    if let Some(error) = snapshot.with_members(&session) {
        return Err(error.into());
    }
    let rows = rows(&session, &stored, &snapshot).await?;
    snapshot.note_if_new(ui);
    let doing = if dry_run { Doing::Plan } else { Doing::Commit };
    let exit = carry_out(ui, &session, &snapshot, &args.name, rows, doing).await?;
    if dry_run {
        note_dry_run(ui);
    } else {
        ui.note(format!("how far behind it is now: logctl group lag {}", shell_word(&args.name)));
    }
    Ok(exit)
}

/// The plan; every line must name a partition that exists.
async fn rows(
    session: &Session,
    stored: &Stored,
    snapshot: &GroupSnapshot,
) -> Result<Vec<PlanRow>, CliError> {
    let topics: BTreeSet<String> = stored.offsets.iter().map(|(_, offset)| offset.partition().0).collect();
    let bounds = bounds(session, &topics).await.map_err(|error| {
        let topic = error.details.get("topic").and_then(|topic| topic.as_str()).map(str::to_owned);
        let line = stored.offsets.iter().find(|(_, offset)| Some(offset.partition().0) == topic);
        match line {
            Some((number, _)) => {
                let message = format!("{}:{number}: {}", stored.name, error.message);
                CliError { message, ..error }
            }
            None => error,
        }
    })?;
    let mut rows = Vec::with_capacity(stored.offsets.len());
    for (number, line) in &stored.offsets {
        let partition = line.partition();
        let Some(bounds) = bounds.get(&partition) else {
            let (topic, partition) = partition;
            let message = format!("{}:{number}: topic {topic:?} has no partition {partition}", stored.name);
            return Err(CliError::new(ErrorCode::PartitionNotFound, message)
                .in_context(&session.target.describe())
                .with_hint(format!("logctl topic describe {topic} --partitions")));
        };
        if line.offset() > bounds.high_watermark {
            return Err(beyond_the_end(session, stored, *number, line, *bounds));
        }
        let row = PlanRow::new(&partition, snapshot.committed(&partition), line.offset(), *bounds);
        rows.push(row.noted(remark(line.offset(), *bounds)).with_rest(line.leader_epoch(), &line.metadata));
    }
    Ok(rows)
}

/// A position where there is no record, and where the next one will not be either: its consumer would fail.
fn beyond_the_end(
    session: &Session,
    stored: &Stored,
    number: usize,
    line: &StoredOffset,
    bounds: Bounds,
) -> CliError {
    let ((topic, partition), offset, end) = (line.partition(), line.offset(), bounds.high_watermark);
    let message = format!(
        "{}:{number}: offset {offset} lies beyond the end of {topic}:{partition}, which is {end}",
        stored.name
    );
    CliError::new(ErrorCode::InvalidInput, message)
        .in_context(&session.target.describe())
        .with_hint("if the topic was deleted and created, begin at a place of its own: logctl group reset")
        .with_detail("line", number)
        .with_detail("high_watermark", end.get())
}

/// An import changes no offset, but it says where one cannot be read.
fn remark(offset: corduroy_types::Offset, bounds: Bounds) -> Option<String> {
    if offset < bounds.log_start {
        let gone = bounds.log_start.distance_from(offset);
        Some(format!("before the start: {gone} offsets are gone"))
    } else {
        None
    }
}
