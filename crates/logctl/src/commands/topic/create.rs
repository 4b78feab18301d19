//! `logctl topic create`

use corduroy_client::{CreatedTopic, NewTopic};
use serde::Serialize;

use crate::{
    cli::{CreateTopicArgs, OutputForm},
    commands::items,
    connect,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, counted, write_rows},
    ui::Ui,
};

#[derive(Serialize)]
struct CreatedRow {
    name: String,
    id: Option<String>,
    partition_count: u32,
    replication: u32,
    existed: bool,
    /// Said only where nothing happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip)]
    retention: String,
}

impl Row for CreatedRow {
    const COLUMNS: &'static [Column] =
        &[column("TOPIC"), column("PARTITIONS"), column("REPLICATION"), column("ID")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::Count(self.partition_count.into()),
            Cell::Count(self.replication.into()),
            self.id.as_ref().map_or(Cell::Nothing, Cell::text),
        ]
    }
}

pub(crate) async fn run(args: &CreateTopicArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let creating = session.change_each(&args.names, |admin, names| async move {
        let mut request = admin.create_topics(names.iter().map(|name| new_topic(name, args)));
        if args.if_not_exists {
            request = request.if_not_exists();
        }
        if dry_run {
            request = request.validate_only();
        }
        request.await
    });
    let results = creating.await.map_err(|error| session.error(&error))?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, result) in args.names.iter().zip(results) {
        match result {
            Ok(created) => rows.push(row(created, dry_run)),
            Err(error) => failures.push((name.clone(), session.error(&error))),
        }
    }
    if ui.settings.output == OutputForm::Table {
        for row in &rows {
            ui.line(sentence(row, dry_run))?;
        }
    } else if failures.is_empty() || !ui.settings.json_errors() {
        write_rows(ui, &rows)?;
    }
    for row in rows.iter().filter(|row| row.existed) {
        note_differences(row, args, ui);
    }
    if rows.iter().any(|row| row.replication == 1 && !row.existed) && !dry_run {
        ui.note("note: replication 1 means this disk holds the only copy (fine for development)");
    }
    items::finish(ui, args.names.len(), failures)
}

/// A topic that was there already is success, but it may not be the one that was asked for.
fn note_differences(row: &CreatedRow, args: &CreateTopicArgs, ui: &mut Ui<'_>) {
    let CreatedRow { name, partition_count, replication, .. } = row;
    if let Some(wanted) = args.partitions.filter(|wanted| wanted != partition_count) {
        let has = counted((*partition_count).into(), "partition");
        let mut text = format!("warning: {name} has {has}, not {wanted}");
        if wanted > *partition_count {
            text.push_str(&format!("; to grow it: logctl topic add-partitions {name} --to {wanted}"));
        }
        ui.warn(text);
    }
    if let Some(wanted) = args.replication.filter(|wanted| wanted != replication) {
        ui.warn(format!("warning: {name} has replication {replication}, not {wanted}"));
    }
}

fn new_topic(name: &str, args: &CreateTopicArgs) -> NewTopic {
    let mut topic = NewTopic::named(name);
    if let Some(count) = args.partitions {
        topic = topic.partitions(count);
    }
    if let Some(replicas) = args.replication {
        topic = topic.replication(replicas);
    }
    args.configs.iter().fold(topic, |topic, pair| topic.config(&pair.key, &pair.value))
}

fn row(created: CreatedTopic, dry_run: bool) -> CreatedRow {
    let retention = created.configs.iter().find(|config| config.key == "retention.ms");
    CreatedRow {
        retention: retention.map(|config| config.value.clone()).unwrap_or_default(),
        name: created.name,
        id: created.id.map(|id| id.to_string()),
        partition_count: created.partition_count,
        replication: created.replication,
        existed: created.existed,
        dry_run,
    }
}

fn sentence(row: &CreatedRow, dry_run: bool) -> String {
    let verb = match (row.existed, dry_run) {
        (true, _) => "exists already",
        (false, true) => "would create",
        (false, false) => "created",
    };
    let mut text =
        format!("{verb} {}  partitions {}  replication {}", row.name, row.partition_count, row.replication);
    if !row.retention.is_empty() {
        text.push_str(&format!("  retention {}", row.retention));
    }
    text
}
