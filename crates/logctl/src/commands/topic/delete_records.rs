//! `logctl topic delete-records`

use corduroy_client::{DeletedRecords, OffsetSpec};
use corduroy_types::{Offset, PartitionIndex};
use serde::Serialize;

use super::note_dry_run;
use crate::{
    cli::DeleteRecordsArgs,
    commands::items,
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, human_counted, write_rows},
    prompt,
    range::now,
    ui::Ui,
};

#[derive(Serialize)]
struct DeletedRow {
    partition: u32,
    log_start: u64,
    deleted_offset_count: u64,
    /// Said only where nothing happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

impl Row for DeletedRow {
    const COLUMNS: &'static [Column] = &[column("PARTITION"), column("START"), column("DELETED-OFFSETS")];

    fn name(&self) -> String {
        self.partition.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::Count(self.partition.into()),
            Cell::Count(self.log_start),
            Cell::Count(self.deleted_offset_count),
        ]
    }
}

type DeleteOutcome = (Vec<DeletedRow>, Vec<(String, CliError)>);

pub(crate) async fn run(args: &DeleteRecordsArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let before = places(&session, args).await?;
    let (mut rows, mut failures) = delete(&session, &args.name, &before, true).await?;
    if !dry_run && !rows.is_empty() {
        let count: u64 = rows.iter().map(|row| row.deleted_offset_count).sum();
        let question =
            format!("Delete the records of {} of topic {:?}?", human_counted(count, "offset"), args.name);
        prompt::confirm(ui, &question).map_err(|error| error.in_context(&session.target.describe()))?;
        (rows, failures) = delete(&session, &args.name, &before, false).await?;
    }
    if failures.is_empty() || !ui.settings.json_errors() {
        write_rows(ui, &rows)?;
    }
    if dry_run {
        note_dry_run(ui);
    }
    items::finish(ui, before.len(), failures)
}

/// The first offset to keep, for each partition.
async fn places(
    session: &Session,
    args: &DeleteRecordsArgs,
) -> Result<Vec<(PartitionIndex, Offset)>, CliError> {
    let failed = |error| session.topic_error(&args.name, &error);
    let partitions: Vec<PartitionIndex> = if args.partitions.is_empty() {
        let topic = session.read(|admin| async move { admin.describe_topic(&args.name).await }).await;
        let topic = topic.map_err(failed)?;
        topic.partitions.iter().map(|partition| partition.partition).collect()
    } else {
        args.partitions.iter().map(|partition| PartitionIndex(*partition)).collect()
    };
    let spec = OffsetSpec::from(args.before.at(now()));
    let listing = session.read_each(&partitions, |admin, partitions| async move {
        let asked = partitions.into_iter().map(|partition| (&args.name, partition, spec));
        admin.list_offsets(asked).await
    });
    let listed = listing.await.map_err(failed)?;
    let found = listed.into_iter().map(|listed| listed.map(|listed| (listed.partition, listed.offset)));
    found.collect::<Result<_, _>>().map_err(failed)
}

async fn delete(
    session: &Session,
    topic: &str,
    before: &[(PartitionIndex, Offset)],
    validate_only: bool,
) -> Result<DeleteOutcome, CliError> {
    let deleting = session.change_each(before, |admin, before| async move {
        let request = admin.delete_records(topic, before);
        if validate_only { request.validate_only().await } else { request.await }
    });
    let results = deleting.await.map_err(|error| session.topic_error(topic, &error))?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for ((partition, _), result) in before.iter().zip(results) {
        match result {
            Ok(DeletedRecords { partition, log_start, deleted_offset_count }) => {
                rows.push(DeletedRow {
                    partition: partition.0,
                    log_start: log_start.get(),
                    deleted_offset_count,
                    dry_run: validate_only,
                });
            }
            Err(error) => {
                failures.push((format!("partition {partition}"), session.topic_error(topic, &error)))
            }
        }
    }
    Ok((rows, failures))
}
