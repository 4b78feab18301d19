//! `logctl group reset`: a plan, and with `--execute` the same plan carried out.

mod target;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use corduroy_client::{GroupOffset, OffsetSpec, PartitionIndex, TimestampMs};
use corduroy_types::{ErrorCode, LeaderEpoch, Offset};

use self::target::TargetOffset;
use super::{
    plan::{Doing, PlanRow, carry_out},
    snapshot::{Bounds, GroupSnapshot, TopicPartition, bounds},
    stored,
};
use crate::{
    cli::{ResetGroupArgs, TopicPart},
    connect::{self, Session, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    output::Cell,
    position::Position,
    range::now,
    ui::Ui,
};

/// What is wanted in one partition, and what to commit next to the offset.
struct Target {
    target: TargetOffset,
    leader_epoch: Option<LeaderEpoch>,
    metadata: String,
}

impl From<TargetOffset> for Target {
    fn from(target: TargetOffset) -> Self {
        Self { target, leader_epoch: None, metadata: String::new() }
    }
}

pub(crate) async fn run(args: &ResetGroupArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    if args.topics.is_empty() && !args.to.names_partitions() {
        let message = format!("--to {} needs --topics: which partitions it is for", position(&args.to));
        return Err(CliError::usage(message)
            .with_hint(format!("logctl group describe {} --offsets", shell_word(&args.name)))
            .into());
    }
    let session = connect::open_to_change(ui, !args.execute)?;
    let to = args.to.clone().at(now());
    let (targets, bounds) = targets(&session, args, &to).await?;
    let snapshot = GroupSnapshot::of(&session, &args.name).await?;
    let rows = rows(args, &to, &snapshot, &targets, &bounds, ui)?;
    snapshot.note_if_new(ui);
    let doing = if args.execute { Doing::Commit } else { Doing::Plan };
    let exit = carry_out(ui, &session, &snapshot, &args.name, rows, doing).await?;
    let name = shell_word(&args.name);
    if args.execute {
        ui.note(format!("how far behind it is now: logctl group lag {name}"));
    } else {
        let again = again(args, &to);
        ui.note(format!(
            "nothing was changed; to apply the plan: logctl group reset {name}{again} --execute"
        ));
    }
    Ok(exit)
}

/// What is wanted where, and the bounds of all topics that it is about.
async fn targets(
    session: &Session,
    args: &ResetGroupArgs,
    to: &Position,
) -> Result<(BTreeMap<TopicPartition, Target>, BTreeMap<TopicPartition, Bounds>), CliError> {
    let mut topics: BTreeSet<String> = args.topics.iter().map(|part| part.topic.clone()).collect();
    let copied = match to {
        Position::Group(other) => Some(of_group(session, other).await?),
        Position::File(path) => Some(of_file(path)?),
        _ => None,
    };
    if let Some(copied) = copied {
        if args.topics.is_empty() {
            topics.extend(copied.keys().map(|(topic, _)| topic.clone()));
        }
        let bounds = bounds(session, &topics).await?;
        check_parts(session, args, &bounds)?;
        let chosen = |partition: &TopicPartition| {
            args.topics.is_empty() || args.topics.iter().any(|part| part.has(partition))
        };
        let targets: BTreeMap<TopicPartition, Target> =
            copied.into_iter().filter(|(partition, _)| chosen(partition)).collect();
        if let Some((topic, partition)) = targets.keys().find(|partition| !bounds.contains_key(*partition)) {
            return Err(no_partition(session, topic, *partition));
        }
        if targets.is_empty() {
            let message = format!("{} holds no offset for what --topics names", position(to));
            return Err(CliError::usage(message).in_context(&session.target.describe()));
        }
        return Ok((targets, bounds));
    }
    let bounds = bounds(session, &topics).await?;
    check_parts(session, args, &bounds)?;
    let partitions =
        bounds.keys().filter(|partition| args.topics.iter().any(|part| part.has(partition))).cloned();
    let targets = match to {
        Position::Time(time) => at_time(session, partitions.collect(), *time).await?,
        Position::Start => partitions.map(|partition| (partition, TargetOffset::Start.into())).collect(),
        Position::Offset(offset) => {
            partitions.map(|partition| (partition, TargetOffset::Offset(*offset).into())).collect()
        }
        Position::Forward(count) => {
            partitions.map(|partition| (partition, TargetOffset::Forward(*count).into())).collect()
        }
        Position::Back(count) => {
            partitions.map(|partition| (partition, TargetOffset::Back(*count).into())).collect()
        }
        Position::End | Position::Ago(_) | Position::Group(_) | Position::File(_) => {
            partitions.map(|partition| (partition, TargetOffset::End.into())).collect()
        }
    };
    Ok((targets, bounds))
}

/// What another group has committed.
async fn of_group(session: &Session, other: &str) -> Result<BTreeMap<TopicPartition, Target>, CliError> {
    let failed = |error| session.group_error(other, &error);
    let offsets =
        session.read(|admin| async move { admin.fetch_offsets(other).await }).await.map_err(failed)?;
    let mut targets = BTreeMap::new();
    for GroupOffset { topic, partition, committed, error, .. } in offsets {
        if let Some(error) = error {
            return Err(session.group_error(other, &error));
        }
        let Some(committed) = committed else { continue };
        let target = Target {
            target: TargetOffset::Offset(committed.offset),
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata,
        };
        targets.insert((topic.to_string(), partition.0), target);
    }
    if targets.is_empty() {
        // A group that no one has committed for answers like one that does not exist.
        let described = session.read(|admin| async move { admin.describe_group(other).await }).await;
        let described = described.map_err(failed)?;
        return Err(CliError::usage(format!("group {:?} has committed nothing", described.name))
            .in_context(&session.target.describe())
            .with_hint(format!("logctl group describe {}", shell_word(other))));
    }
    Ok(targets)
}

/// What was exported.
fn of_file(path: &Path) -> Result<BTreeMap<TopicPartition, Target>, CliError> {
    let read = stored::read_file(path)?;
    let target = |line: stored::StoredOffset| {
        let (partition, offset, leader_epoch) = (line.partition(), line.offset(), line.leader_epoch());
        (partition, Target { target: TargetOffset::Offset(offset), leader_epoch, metadata: line.metadata })
    };
    Ok(read.offsets.into_iter().map(|(_, line)| target(line)).collect())
}

async fn at_time(
    session: &Session,
    partitions: Vec<TopicPartition>,
    time: TimestampMs,
) -> Result<BTreeMap<TopicPartition, Target>, CliError> {
    let failed = |error| session.error(&error);
    let listing = session.read_each(&partitions, |admin, partitions| async move {
        let asked = partitions.iter();
        let asked =
            asked.map(|(topic, partition)| (topic, PartitionIndex(*partition), OffsetSpec::Time(time)));
        admin.list_offsets(asked).await
    });
    let listed = listing.await.map_err(failed)?;
    let mut targets = BTreeMap::new();
    for (partition, found) in partitions.into_iter().zip(listed) {
        targets.insert(partition, TargetOffset::Offset(found.map_err(failed)?.offset).into());
    }
    Ok(targets)
}

/// The plan, ordered by topic and partition.
fn rows(
    args: &ResetGroupArgs,
    to: &Position,
    snapshot: &GroupSnapshot,
    targets: &BTreeMap<TopicPartition, Target>,
    bounds: &BTreeMap<TopicPartition, Bounds>,
    ui: &mut Ui<'_>,
) -> Result<Vec<PlanRow>, CliError> {
    let (mut rows, mut without) = (Vec::new(), Vec::new());
    for (partition, target) in targets {
        let Some(bounds) = bounds.get(partition) else { continue };
        let committed = snapshot.committed(partition);
        let Some(resolved) = target.target.at(committed, *bounds) else {
            without.push(format!("{}:{}", partition.0, partition.1));
            continue;
        };
        let row = PlanRow::new(partition, committed, resolved.offset, *bounds);
        rows.push(match resolved.wanted {
            // What stood next to an offset does not belong to another one.
            Some(outside) => row.noted(Some(outside.note())),
            None => row.with_rest(target.leader_epoch, &target.metadata),
        });
    }
    if rows.is_empty() && !without.is_empty() {
        let name = &args.name;
        let message = if snapshot.exists() {
            format!(
                "--to {} counts from the committed offset, and group {name:?} has none there",
                position(to)
            )
        } else {
            format!(
                "--to {} counts from the committed offset, and group {name:?} does not exist",
                position(to)
            )
        };
        let code = if snapshot.exists() { ErrorCode::Usage } else { ErrorCode::GroupNotFound };
        return Err(CliError::new(code, message).with_hint("give start, end, an offset or @TIME"));
    }
    if !without.is_empty() {
        ui.note(format!("nothing is committed, so nothing can be counted from, in {}", without.join(" ")));
    }
    Ok(rows)
}

/// Refuses partitions that a topic does not have.
fn check_parts(
    session: &Session,
    args: &ResetGroupArgs,
    bounds: &BTreeMap<TopicPartition, Bounds>,
) -> Result<(), CliError> {
    for part in &args.topics {
        for partition in part.partitions.iter().flatten() {
            if !bounds.contains_key(&(part.topic.clone(), *partition)) {
                return Err(no_partition(session, &part.topic, *partition));
            }
        }
    }
    Ok(())
}

fn no_partition(session: &Session, topic: &str, partition: u32) -> CliError {
    CliError::new(ErrorCode::PartitionNotFound, format!("topic {topic:?} has no partition {partition}"))
        .in_context(&session.target.describe())
        .with_hint(format!("logctl topic describe {topic} --partitions"))
        .with_detail("topic", topic)
        .with_detail("partition", partition)
}

impl TopicPart {
    fn has(&self, partition: &TopicPartition) -> bool {
        self.topic == partition.0
            && self.partitions.as_ref().is_none_or(|partitions| partitions.contains(&partition.1))
    }
}

/// The place as it can be typed again.
fn position(to: &Position) -> String {
    match to {
        Position::Start => "start".to_owned(),
        Position::End => "end".to_owned(),
        Position::Offset(offset) => Offset::to_string(offset),
        Position::Forward(count) => format!("+{count}"),
        Position::Back(count) => format!("-{count}"),
        Position::Time(time) => format!("@{}", Cell::Time(*time).plain()),
        Position::Ago(duration_ms) => format!("@-{}", corduroy_types::format_duration_ms(*duration_ms)),
        Position::Group(other) => format!("group:{other}"),
        Position::File(path) => format!("file:{}", path.display()),
    }
}

/// The flags that make the same plan again; a relative time as the one that it was.
fn again(args: &ResetGroupArgs, to: &Position) -> String {
    let mut text = String::new();
    if !args.topics.is_empty() {
        text.push_str(" --topics");
    }
    for part in &args.topics {
        let partitions: Option<Vec<String>> =
            part.partitions.as_ref().map(|all| all.iter().map(u32::to_string).collect());
        let part = match partitions {
            Some(partitions) => format!("{}:{}", part.topic, partitions.join(",")),
            None => part.topic.clone(),
        };
        text.push_str(&format!(" {}", shell_word(&part)));
    }
    text.push_str(&format!(" --to {}", shell_word(&position(to))));
    text
}
