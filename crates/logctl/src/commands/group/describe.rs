//! `logctl group describe`

use corduroy_client::{GroupDescription, GroupMember, GroupPartition, TimestampMs};
use serde::Serialize;

use super::{beyond_end, partition_list, partition_names};
use crate::{
    cli::{DescribeGroupArgs, OutputForm},
    commands::items,
    connect::{self, shell_word},
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, human_count, wide, write_table, write_value},
    ui::Ui,
    watch,
};

#[derive(Serialize)]
struct Group {
    name: String,
    state: String,
    member_count: usize,
    group_epoch: u32,
    assignor: String,
    coordinator: u32,
    empty_since: Option<String>,
    lag_records: u64,
    lost_offset_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<MemberRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets: Option<Vec<OffsetRow>>,
}

#[derive(Serialize)]
struct MemberRow {
    id: String,
    instance: Option<String>,
    client_id: String,
    client_address: String,
    member_epoch: u32,
    assigned: Vec<String>,
    revoking: Vec<String>,
    target: Vec<String>,
    topics: Vec<String>,
    pattern: Option<String>,
    joined_at: String,
    #[serde(skip)]
    joined: TimestampMs,
    session_timeout_ms: u32,
    rebalance_timeout_ms: u32,
    /// The same partitions in few words.
    #[serde(skip)]
    shown: [String; 2],
}

impl Row for MemberRow {
    const COLUMNS: &'static [Column] = &[
        column("MEMBER"),
        column("INSTANCE"),
        column("CLIENT"),
        column("ADDRESS"),
        column("EPOCH"),
        column("ASSIGNED"),
        column("REVOKING"),
        wide("SUBSCRIBED"),
        wide("JOINED"),
        wide("SESSION-TIMEOUT"),
        wide("REBALANCE-TIMEOUT"),
    ];

    fn name(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        let given = |text: &str| if text.is_empty() { Cell::Nothing } else { Cell::text(text) };
        let [assigned, revoking] = &self.shown;
        let pattern = self.pattern.iter().map(|pattern| format!("/{pattern}/"));
        let subscribed: Vec<String> = self.topics.iter().cloned().chain(pattern).collect();
        vec![
            Cell::text(&self.id),
            self.instance.as_ref().map_or(Cell::Nothing, Cell::text),
            given(&self.client_id),
            given(&self.client_address),
            Cell::Count(self.member_epoch.into()),
            Cell::text(assigned),
            Cell::text(revoking),
            given(&subscribed.join(" ")),
            Cell::Time(self.joined),
            Cell::DurationMs(self.session_timeout_ms.into()),
            Cell::DurationMs(self.rebalance_timeout_ms.into()),
        ]
    }
}

#[derive(Serialize)]
struct OffsetRow {
    topic: String,
    partition: u32,
    committed: Option<u64>,
    log_start: u64,
    high_watermark: u64,
    lag_records: Option<u64>,
    lost_offset_count: u64,
    beyond_end_count: u64,
    owner: Option<String>,
    leader_epoch: Option<u32>,
    committed_at: Option<String>,
    #[serde(skip)]
    committed_time: Option<TimestampMs>,
    metadata: String,
    error: Option<String>,
}

impl Row for OffsetRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        column("PARTITION"),
        column("COMMITTED"),
        column("START"),
        column("END"),
        column("LAG"),
        column("STATE"),
        column("OWNER"),
        wide("EPOCH"),
        wide("COMMITTED-AT"),
        wide("METADATA"),
    ];

    fn name(&self) -> String {
        format!("{}:{}", self.topic, self.partition)
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.topic),
            Cell::Count(self.partition.into()),
            self.committed.map_or(Cell::Nothing, Cell::Count),
            Cell::Count(self.log_start),
            Cell::Count(self.high_watermark),
            self.lag_records.map_or(Cell::Nothing, Cell::Count),
            Cell::text(self.state()),
            self.owner.as_ref().map_or(Cell::Nothing, Cell::text),
            self.leader_epoch.map_or(Cell::Nothing, |epoch| Cell::Count(epoch.into())),
            self.committed_time.map_or(Cell::Nothing, Cell::Time),
            if self.metadata.is_empty() { Cell::Nothing } else { Cell::text(&self.metadata) },
        ]
    }
}

impl OffsetRow {
    fn state(&self) -> String {
        match (&self.error, self.lost_offset_count) {
            (Some(error), _) => error.clone(),
            (None, 0) if self.beyond_end_count > 0 => {
                format!("position beyond the end by {}", self.beyond_end_count)
            }
            (None, 0) => "ok".to_owned(),
            (None, lost) => format!("position lost: {lost} offsets gone"),
        }
    }
}

pub(crate) async fn run(args: &DescribeGroupArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open(ui)?;
    watch::repeat(ui, args.watch.watch, async |ui| {
        let described =
            session.read_each(&args.names, |admin, names| async move { admin.describe_groups(&names).await });
        let described = described.await;
        let described = described.map_err(|error| session.error(&error))?;
        let (mut groups, mut failures) = (Vec::new(), Vec::new());
        for (name, result) in args.names.iter().zip(described) {
            match result {
                Ok(group) => groups.push(group_of(&group, args)),
                Err(error) => failures.push((name.clone(), session.group_error(name, &error))),
            }
        }
        if failures.is_empty() || !ui.settings.json_errors() {
            show(&groups, ui)?;
            for group in &groups {
                ui.note(next_command(group));
            }
        }
        items::finish(ui, args.names.len(), failures)?;
        Ok(Exit::Ok)
    })
    .await
}

/// Without a flag both tables.
fn group_of(group: &GroupDescription, args: &DescribeGroupArgs) -> Group {
    let any = args.members || args.offsets;
    Group {
        name: group.name.clone(),
        state: group.state.to_string(),
        member_count: group.members.len(),
        group_epoch: group.group_epoch,
        assignor: group.assignor.clone(),
        coordinator: group.coordinator.0,
        empty_since: group.empty_since.map(|time| Cell::Time(time).plain()),
        lag_records: group.partitions.iter().filter_map(|partition| partition.lag_records).sum(),
        lost_offset_count: group.partitions.iter().map(|partition| partition.offset.lost_offset_count).sum(),
        members: (args.members || !any).then(|| group.members.iter().map(member_row).collect()),
        offsets: (args.offsets || !any).then(|| group.partitions.iter().map(offset_row).collect()),
    }
}

fn member_row(member: &GroupMember) -> MemberRow {
    MemberRow {
        id: member.id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_address: member.client_address.clone(),
        member_epoch: member.member_epoch,
        assigned: partition_names(&member.assigned),
        revoking: partition_names(&member.revoking),
        target: partition_names(&member.target),
        topics: member.topics.clone(),
        pattern: member.pattern.clone(),
        joined_at: Cell::Time(member.joined_at).plain(),
        joined: member.joined_at,
        session_timeout_ms: member.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        shown: [partition_list(&member.assigned), partition_list(&member.revoking)],
    }
}

fn offset_row(partition: &GroupPartition) -> OffsetRow {
    let offset = &partition.offset;
    let beyond_end = beyond_end(offset);
    let committed = offset.committed.as_ref();
    let committed_time = committed.map(|committed| committed.committed_at);
    OffsetRow {
        topic: offset.topic.to_string(),
        partition: offset.partition.0,
        committed: committed.map(|committed| committed.offset.get()),
        log_start: offset.log_start.get(),
        high_watermark: offset.high_watermark.get(),
        lag_records: partition.lag_records.filter(|_| beyond_end == 0),
        lost_offset_count: offset.lost_offset_count,
        beyond_end_count: beyond_end,
        owner: partition.owner.clone(),
        leader_epoch: committed.and_then(|committed| committed.leader_epoch).map(|epoch| epoch.get()),
        committed_at: committed_time.map(|time| Cell::Time(time).plain()),
        committed_time,
        metadata: committed.map(|committed| committed.metadata.clone()).unwrap_or_default(),
        error: offset.error.as_ref().map(|error| format!("{}: {}", error.code(), error.message())),
    }
}

fn show(groups: &[Group], ui: &mut Ui<'_>) -> Result<(), Stop> {
    match ui.settings.output {
        OutputForm::Json | OutputForm::Yaml => return write_value(ui, &groups),
        OutputForm::Jsonl => return groups.iter().try_for_each(|group| write_value(ui, group)),
        OutputForm::Name => return groups.iter().try_for_each(|group| ui.line(&group.name)),
        OutputForm::Table | OutputForm::Wide => {}
    }
    let wide = ui.settings.output == OutputForm::Wide;
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            ui.line("")?;
        }
        let text = summary(group, ui.for_people());
        ui.line(text)?;
        if let Some(rows) = group.members.as_ref().filter(|rows| !rows.is_empty()) {
            write_table(ui, rows, wide)?;
        }
        if let Some(rows) = group.offsets.as_ref().filter(|rows| !rows.is_empty()) {
            write_table(ui, rows, wide)?;
        }
    }
    Ok(())
}

fn summary(group: &Group, for_people: bool) -> String {
    let lag = if for_people { human_count(group.lag_records) } else { group.lag_records.to_string() };
    let mut text = format!(
        "{}  {}  members {}  epoch {}  assignor {}  coordinator {}  lag {lag}",
        group.name, group.state, group.member_count, group.group_epoch, group.assignor, group.coordinator
    );
    if let Some(since) = &group.empty_since {
        text.push_str(&format!("  empty since {since}"));
    }
    text
}

fn next_command(group: &Group) -> String {
    let name = shell_word(&group.name);
    if group.lost_offset_count > 0 {
        return format!(
            "positions are lost; decide where to go on: logctl group reset {name} --topics TOPIC --to start"
        );
    }
    if group.member_count == 0 {
        return format!(
            "no members; delete it with logctl group delete {name}, or see its lag with logctl group lag {name}"
        );
    }
    format!("how far behind it is: logctl group lag {name}")
}
