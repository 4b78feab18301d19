//! `logctl group lag`

use std::time::Duration;

use corduroy_client::{GroupDescription, GroupPartition};
use corduroy_types::ErrorCode;
use serde::Serialize;

use super::beyond_end;
use crate::{
    cli::{GroupCondition, LagArgs},
    connect::{self, Session, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, counted, human_counted, human_duration, wide, write_rows},
    ui::Ui,
    watch,
};

/// How long a condition is waited for where no one says.
const WAIT: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct LagRow {
    topic: String,
    partition: u32,
    committed: Option<u64>,
    high_watermark: u64,
    lag_records: Option<u64>,
    lag_ms: Option<u64>,
    lost_offset_count: u64,
    beyond_end_count: u64,
    owner: Option<String>,
    error: Option<String>,
}

impl Row for LagRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        column("PARTITION"),
        column("COMMITTED"),
        column("END"),
        column("LAG"),
        column("LAG-TIME"),
        column("LOST"),
        column("OWNER"),
        wide("STATE"),
    ];

    fn name(&self) -> String {
        format!("{}:{}", self.topic, self.partition)
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.topic),
            Cell::Count(self.partition.into()),
            self.committed.map_or(Cell::Nothing, Cell::Count),
            Cell::Count(self.high_watermark),
            match self.beyond_end_count {
                0 => self.lag_records.map_or(Cell::Nothing, Cell::Count),
                beyond => Cell::text(format!("{beyond} beyond the end")),
            },
            self.lag_ms.map_or(Cell::Nothing, Cell::DurationMs),
            if self.lost_offset_count == 0 { Cell::Nothing } else { Cell::Count(self.lost_offset_count) },
            self.owner.as_ref().map_or(Cell::Nothing, Cell::text),
            Cell::text(self.error.as_deref().unwrap_or("ok")),
        ]
    }
}

pub(crate) async fn run(args: &LagArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open(ui)?;
    watch::repeat(ui, args.watch.watch, async |ui| {
        let group = match args.wait_for {
            Some(GroupCondition::CaughtUp) => {
                let within = ui.settings.given_timeout.unwrap_or(WAIT);
                until_caught_up(&session, &args.name, within).await?
            }
            None => {
                let described =
                    session.read(|admin| async move { admin.describe_group(&args.name).await }).await;
                described.map_err(|error| session.group_error(&args.name, &error))?
            }
        };
        let rows: Vec<LagRow> = group.partitions.iter().map(row).collect();
        write_rows(ui, &rows)?;
        let summary = summary(&group, ui.settings.terminal.stderr_tty);
        ui.note(summary);
        Ok(Exit::Ok)
    })
    .await
}

/// Looks again and again until nothing is left to read. A broker that cannot answer for a moment is asked again, and so
/// is one that does not know the group, since its first member may just be starting.
async fn until_caught_up(
    session: &Session,
    name: &str,
    within: Duration,
) -> Result<GroupDescription, CliError> {
    let mut last: Option<GroupDescription> = None;
    let mut trouble: Option<CliError> = None;
    let waiting = async {
        loop {
            match session.client.admin().describe_group(name).await {
                Ok(group) if is_caught_up(&group) => return Ok(group),
                Ok(group) => (last, trouble) = (Some(group), None),
                Err(error) if error.is_retriable() || error.code() == ErrorCode::GroupNotFound => {
                    trouble = Some(session.group_error(name, &error));
                }
                Err(error) => return Err(session.group_error(name, &error)),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = tokio::time::timeout(within, waiting).await;
    match ended {
        Ok(result) => result,
        Err(_) => Err(trouble
            .unwrap_or_else(|| not_caught_up(name, within, last.as_ref()))
            .in_context(&session.target.describe())),
    }
}

fn not_caught_up(name: &str, within: Duration, last: Option<&GroupDescription>) -> CliError {
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let behind = last.map_or_else(|| "nothing is known of it".to_owned(), |group| behind(group, true));
    let message = format!("group {name:?} was not caught up within {}: {behind}", human_duration(within_ms));
    let word = shell_word(name);
    let error = CliError::new(ErrorCode::TimedOut, message)
        .with_hint(format!("logctl group lag {word} --watch"))
        .with_detail("group", name);
    match last {
        Some(group) => error.with_detail("lag_records", total_lag(group)),
        None => error,
    }
}

/// Whether the group has read everything that there is in every partition that it reads. One that has no partition yet
/// has read nothing.
fn is_caught_up(group: &GroupDescription) -> bool {
    let done = |partition: &GroupPartition| {
        let GroupPartition { offset, lag_records, .. } = partition;
        offset.error.is_none() && *lag_records == Some(0) && beyond_end(offset) == 0
    };
    !group.partitions.is_empty() && group.partitions.iter().all(done)
}

fn total_lag(group: &GroupDescription) -> u64 {
    group.partitions.iter().filter_map(|partition| partition.lag_records).sum()
}

/// How far, in words: `120 records in 2 partitions, 3m 2s`.
fn behind(group: &GroupDescription, for_people: bool) -> String {
    let lagging =
        group.partitions.iter().filter(|partition| partition.lag_records.is_some_and(|lag| lag > 0));
    let (count, lag_ms) = (lagging.clone().count(), lagging.filter_map(|p| p.lag_ms).max().unwrap_or(0));
    let records = total_lag(group);
    let is_unread =
        |partition: &&GroupPartition| partition.lag_records.is_none() && partition.offset.committed.is_none();
    let unread = group.partitions.iter().filter(is_unread).count();
    let mut text = if records == 0 {
        "no record behind".to_owned()
    } else {
        let records = if for_people { human_counted(records, "record") } else { counted(records, "record") };
        let partitions = counted(count as u64, "partition");
        let duration = if for_people { human_duration(lag_ms) } else { format!("{lag_ms} ms") };
        format!("{records} behind in {partitions}, {duration}")
    };
    let beyond = group.partitions.iter().filter(|partition| beyond_end(&partition.offset) > 0).count();
    if beyond > 0 {
        text.push_str(&format!("; beyond the end in {}", counted(beyond as u64, "partition")));
    }
    if unread > 0 {
        text.push_str(&format!("; nothing committed in {}", counted(unread as u64, "partition")));
    }
    text
}

/// The last line: how far behind, what is lost, and what to do next.
fn summary(group: &GroupDescription, for_people: bool) -> String {
    let name = shell_word(&group.name);
    let lost = group.partitions.iter().find(|partition| partition.offset.lost_offset_count > 0);
    if let Some(partition) = lost {
        let all: u64 = group.partitions.iter().map(|partition| partition.offset.lost_offset_count).sum();
        let place = format!("{}:{}", partition.offset.topic, partition.offset.partition);
        return format!(
            "{name} has lost {} that it had not read; to go on behind them: logctl group reset {name} --topics {place} --to start",
            human_counted(all, "offset")
        );
    }
    if let Some(partition) = group.partitions.iter().find(|partition| beyond_end(&partition.offset) > 0) {
        let partition = format!("{}:{}", partition.offset.topic, partition.offset.partition);
        return format!(
            "{name} has committed a position beyond the end of {partition}, where nothing can be read; to go on at the end: logctl group reset {name} --topics {partition} --to end"
        );
    }
    if group.partitions.is_empty() {
        return format!("{name} reads nothing yet; see its members with logctl group describe {name}");
    }
    if is_caught_up(group) {
        return format!("{name} has caught up");
    }
    let behind = behind(group, for_people);
    format!("{behind}; wait for it with logctl group lag {name} --wait-for caught-up")
}

fn row(partition: &GroupPartition) -> LagRow {
    let offset = &partition.offset;
    let beyond_end = beyond_end(offset);
    LagRow {
        topic: offset.topic.to_string(),
        partition: offset.partition.0,
        committed: offset.committed.as_ref().map(|committed| committed.offset.get()),
        high_watermark: offset.high_watermark.get(),
        lag_records: partition.lag_records.filter(|_| beyond_end == 0),
        lag_ms: partition.lag_ms.filter(|_| beyond_end == 0),
        lost_offset_count: offset.lost_offset_count,
        beyond_end_count: beyond_end,
        owner: partition.owner.clone(),
        error: offset.error.as_ref().map(|error| format!("{}: {}", error.code(), error.message())),
    }
}
