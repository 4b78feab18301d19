//! `logctl topic ls`

use corduroy_client::TopicSummary;
use globset::Glob;
use serde::Serialize;

use crate::{
    cli::{ListTopicsArgs, TopicSort},
    connect,
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, wide, write_rows},
    ui::Ui,
    watch,
};

#[derive(Serialize)]
struct TopicRow {
    name: String,
    partition_count: u32,
    replication: u32,
    record_count: u64,
    stored_bytes: u64,
    internal: bool,
    id: Option<String>,
}

impl Row for TopicRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        column("PARTITIONS"),
        column("REPLICATION"),
        column("RECORDS"),
        column("SIZE"),
        wide("INTERNAL"),
        wide("ID"),
    ];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::Count(self.partition_count.into()),
            Cell::Count(self.replication.into()),
            Cell::Count(self.record_count),
            Cell::Bytes(self.stored_bytes),
            Cell::text(if self.internal { "yes" } else { "no" }),
            self.id.as_ref().map_or(Cell::Nothing, Cell::text),
        ]
    }
}

pub(crate) async fn run(args: &ListTopicsArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let like = match &args.like {
        Some(pattern) => {
            Some(Glob::new(pattern).map_err(|error| bad_glob(pattern, &error))?.compile_matcher())
        }
        None => None,
    };
    let session = connect::open(ui)?;
    watch::repeat(ui, args.watch.watch, async |ui| {
        let listed = session.read(|admin| async move {
            if args.internal { admin.list_all_topics().await } else { admin.list_topics().await }
        });
        let listed = listed.await;
        let listed = listed.map_err(|error| session.error(&error))?;
        let matches =
            |topic: &&TopicSummary| like.as_ref().is_none_or(|like| like.is_match(topic.name.as_str()));
        let mut rows: Vec<TopicRow> = listed.iter().filter(matches).map(row).collect();
        if args.sort == TopicSort::Size {
            rows.sort_by_key(|row| std::cmp::Reverse(row.stored_bytes));
        }
        write_rows(ui, &rows)?;
        if listed.is_empty() {
            ui.note("no topics; create one with logctl topic create NAME");
        }
        Ok(Exit::Ok)
    })
    .await
}

fn row(topic: &TopicSummary) -> TopicRow {
    TopicRow {
        name: topic.name.to_string(),
        partition_count: topic.partition_count,
        replication: topic.replication,
        record_count: topic.record_count,
        stored_bytes: topic.stored_bytes,
        internal: topic.internal,
        id: topic.id.map(|id| id.to_string()),
    }
}

fn bad_glob(pattern: &str, error: &globset::Error) -> CliError {
    CliError::usage(format!("{pattern:?} is no glob: {}", error.kind()))
        .with_hint("* matches any text, ? one character")
}
