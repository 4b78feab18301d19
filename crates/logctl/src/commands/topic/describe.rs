//! `logctl topic describe`

use corduroy_client::{ConfigSource, PartitionDescription, TopicConfig, TopicDescription};
use serde::Serialize;

use super::{
    readers::{self, GroupRow},
    writers::{self, ProducerRow},
};
use crate::{
    cli::{DescribeTopicArgs, OutputForm},
    commands::items,
    connect,
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, human_bytes, human_count, is_structured, write_table, write_value},
    ui::Ui,
    watch,
};

#[derive(Serialize)]
struct Topic {
    name: String,
    id: Option<String>,
    internal: bool,
    replication: u32,
    partition_count: usize,
    record_count: u64,
    stored_bytes: u64,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<Vec<PartitionRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configs: Option<Vec<ConfigRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<Vec<StorageRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<GroupRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producers: Option<Vec<ProducerRow>>,
}

#[derive(Serialize)]
struct PartitionRow {
    partition: u32,
    leader: u32,
    leader_epoch: u32,
    replicas: Vec<u32>,
    in_sync_replicas: Vec<u32>,
    log_start: u64,
    high_watermark: u64,
    record_count: u64,
    /// Set where a record of the future keeps retention by time from going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_blocked_until: Option<String>,
    error: Option<String>,
}

impl PartitionRow {
    fn state(&self) -> String {
        match (&self.error, &self.retention_blocked_until) {
            (Some(error), _) => error.clone(),
            (None, Some(until)) => {
                format!("a record with a timestamp in the future keeps retention.ms waiting until {until}")
            }
            (None, None) => "ok".to_owned(),
        }
    }
}

impl Row for PartitionRow {
    const COLUMNS: &'static [Column] = &[
        column("PARTITION"),
        column("LEADER"),
        column("EPOCH"),
        column("REPLICAS"),
        column("IN-SYNC"),
        column("START"),
        column("END"),
        column("RECORDS"),
        column("STATE"),
    ];

    fn name(&self) -> String {
        self.partition.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        let list = |ids: &[u32]| Cell::text(ids.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
        vec![
            Cell::Count(self.partition.into()),
            Cell::Count(self.leader.into()),
            Cell::Count(self.leader_epoch.into()),
            list(&self.replicas),
            list(&self.in_sync_replicas),
            Cell::Count(self.log_start),
            Cell::Count(self.high_watermark),
            Cell::Count(self.record_count),
            Cell::text(self.state()),
        ]
    }
}

#[derive(Serialize)]
struct StorageRow {
    partition: u32,
    segment_count: u32,
    stored_bytes: u64,
    log_end: u64,
}

impl Row for StorageRow {
    const COLUMNS: &'static [Column] =
        &[column("PARTITION"), column("SEGMENTS"), column("SIZE"), column("LOG-END")];

    fn name(&self) -> String {
        self.partition.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::Count(self.partition.into()),
            Cell::Count(self.segment_count.into()),
            Cell::Bytes(self.stored_bytes),
            Cell::Count(self.log_end),
        ]
    }
}

#[derive(Serialize)]
struct ConfigRow {
    key: String,
    value: String,
    default_value: String,
    source: &'static str,
}

impl Row for ConfigRow {
    const COLUMNS: &'static [Column] =
        &[column("CONFIG"), column("VALUE"), column("DEFAULT"), column("SOURCE")];

    fn name(&self) -> String {
        self.key.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.key),
            Cell::text(&self.value),
            Cell::text(&self.default_value),
            Cell::text(self.source),
        ]
    }
}

pub(crate) async fn run(args: &DescribeTopicArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open(ui)?;
    watch::repeat(ui, args.watch.watch, async |ui| {
        let described =
            session.read_each(&args.names, |admin, names| async move { admin.describe_topics(&names).await });
        let described = described.await;
        let described = described.map_err(|error| session.error(&error))?;
        let groups = if args.groups { Some(readers::groups(&session).await?) } else { None };
        let (mut topics, mut failures) = (Vec::new(), Vec::new());
        for (name, result) in args.names.iter().zip(described) {
            match result {
                Ok(topic) => {
                    let mut shown = topic_of(&topic, args, is_structured(ui.settings.output));
                    shown.groups = groups.as_ref().map(|groups| readers::of_topic(groups, name));
                    if args.producers {
                        let (rows, notes) = writers::of_topic(&session, name).await?;
                        shown.producers = Some(rows);
                        notes.into_iter().for_each(|note| ui.note(note));
                    }
                    topics.push(shown);
                }
                Err(error) => failures.push((name.clone(), session.topic_error(name, &error))),
            }
        }
        if failures.is_empty() || !ui.settings.json_errors() {
            show(&topics, ui)?;
        }
        items::finish(ui, args.names.len(), failures)?;
        Ok(Exit::Ok)
    })
    .await
}

/// Without a flag scripts get everything, and people the partitions and the configs that someone set.
fn topic_of(topic: &TopicDescription, args: &DescribeTopicArgs, structured: bool) -> Topic {
    let any = args.partitions || args.configs || args.storage || args.groups || args.producers;
    let set_only = !any && !structured;
    let configs = topic.configs.iter().filter(|config| !set_only || config.source == ConfigSource::Topic);
    let records = |partition: &PartitionDescription| partition.record_count;
    Topic {
        name: topic.name.to_string(),
        id: topic.id.map(|id| id.to_string()),
        internal: topic.internal,
        replication: topic.replication,
        partition_count: topic.partitions.len(),
        record_count: topic.partitions.iter().map(records).sum(),
        stored_bytes: topic.partitions.iter().map(|partition| partition.stored_bytes).sum(),
        created_at: Cell::Time(topic.created_at).plain(),
        partitions: (args.partitions || !any).then(|| topic.partitions.iter().map(partition_row).collect()),
        configs: (args.configs || !any).then(|| configs.map(config_row).collect()),
        storage: (args.storage || (!any && structured))
            .then(|| topic.partitions.iter().map(storage_row).collect()),
        groups: None,
        producers: None,
    }
}

fn partition_row(partition: &PartitionDescription) -> PartitionRow {
    PartitionRow {
        partition: partition.partition.0,
        leader: partition.leader.0,
        leader_epoch: partition.leader_epoch.get(),
        replicas: partition.replicas.iter().map(|id| id.0).collect(),
        in_sync_replicas: partition.in_sync_replicas.iter().map(|id| id.0).collect(),
        log_start: partition.log_start.get(),
        high_watermark: partition.high_watermark.get(),
        record_count: partition.record_count,
        retention_blocked_until: partition.retention_block.map(|block| Cell::Time(block.until).plain()),
        error: partition.error.as_ref().map(|error| format!("{}: {}", error.code(), error.message())),
    }
}

fn storage_row(partition: &PartitionDescription) -> StorageRow {
    StorageRow {
        partition: partition.partition.0,
        segment_count: partition.segment_count,
        stored_bytes: partition.stored_bytes,
        log_end: partition.log_end.get(),
    }
}

fn config_row(config: &TopicConfig) -> ConfigRow {
    ConfigRow {
        key: config.key.clone(),
        value: config.value.clone(),
        default_value: config.default_value.clone(),
        source: match config.source {
            ConfigSource::Topic => "topic",
            _ => "default",
        },
    }
}

fn show(topics: &[Topic], ui: &mut Ui<'_>) -> Result<(), Stop> {
    match ui.settings.output {
        OutputForm::Json | OutputForm::Yaml => return write_value(ui, &topics),
        OutputForm::Jsonl => return topics.iter().try_for_each(|topic| write_value(ui, topic)),
        OutputForm::Name => return topics.iter().try_for_each(|topic| ui.line(&topic.name)),
        OutputForm::Table | OutputForm::Wide => {}
    }
    let wide = ui.settings.output == OutputForm::Wide;
    for (index, topic) in topics.iter().enumerate() {
        if index > 0 {
            ui.line("")?;
        }
        let text = summary(topic, ui.for_people());
        ui.line(text)?;
        if let Some(rows) = &topic.partitions {
            write_table(ui, rows, wide)?;
        }
        if let Some(rows) = topic.configs.as_ref().filter(|rows| !rows.is_empty()) {
            write_table(ui, rows, wide)?;
        }
        if let Some(rows) = &topic.storage {
            write_table(ui, rows, wide)?;
        }
        match &topic.groups {
            Some(rows) if rows.is_empty() => ui.note(format!("no group reads {}", topic.name)),
            Some(rows) => write_table(ui, rows, wide)?,
            None => {}
        }
        match &topic.producers {
            Some(rows) if rows.is_empty() => {
                ui.note(format!("{} remembers no producers with an id", topic.name));
            }
            Some(rows) => write_table(ui, rows, wide)?,
            None => {}
        }
    }
    Ok(())
}

fn summary(topic: &Topic, for_people: bool) -> String {
    let (records, size) = if for_people {
        (human_count(topic.record_count), human_bytes(topic.stored_bytes))
    } else {
        (topic.record_count.to_string(), topic.stored_bytes.to_string())
    };
    format!(
        "{}  partitions {}  replication {}  records {records}  size {size}  created {}",
        topic.name, topic.partition_count, topic.replication, topic.created_at
    )
}
