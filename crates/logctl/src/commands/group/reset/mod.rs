//! `logctl group reset`: a plan, and with `--execute` the same plan carried out.

mod aim;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use corduroy_client::{GroupOffset, OffsetSpec, PartitionIndex, TimestampMs};
use corduroy_types::{ErrorCode, LeaderEpoch, Offset};

use self::aim::Aim;
use super::{
    plan::{Doing, PlanRow, carry_out},
    situation::{Bounds, Place, Situation, bounds},
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

/// What is wanted in one partition, and what to commit beside the offset.
struct Wish {
    aim: Aim,
    leader_epoch: Option<LeaderEpoch>,
    metadata: String,
}

impl From<Aim> for Wish {
    fn from(aim: Aim) -> Self {
        Self { aim, leader_epoch: None, metadata: String::new() }
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
    let (wishes, bounds) = wishes(&session, args, &to).await?;
    let situation = Situation::of(&session, &args.name).await?;
    let rows = rows(args, &to, &situation, &wishes, &bounds, ui)?;
    situation.note_if_new(ui);
    let doing = if args.execute { Doing::Commit } else { Doing::Plan };
    let exit = carry_out(ui, &session, &situation, &args.name, rows, doing).await?;
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
async fn wishes(
    session: &Session,
    args: &ResetGroupArgs,
    to: &Position,
) -> Result<(BTreeMap<Place, Wish>, BTreeMap<Place, Bounds>), CliError> {
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
        let chosen = |place: &Place| args.topics.is_empty() || args.topics.iter().any(|part| part.has(place));
        let wishes: BTreeMap<Place, Wish> = copied.into_iter().filter(|(place, _)| chosen(place)).collect();
        if let Some((topic, partition)) = wishes.keys().find(|place| !bounds.contains_key(*place)) {
            return Err(no_partition(session, topic, *partition));
        }
        if wishes.is_empty() {
            let message = format!("{} holds no offset for what --topics names", position(to));
            return Err(CliError::usage(message).in_context(&session.target.describe()));
        }
        return Ok((wishes, bounds));
    }
    let bounds = bounds(session, &topics).await?;
    check_parts(session, args, &bounds)?;
    let places = bounds.keys().filter(|place| args.topics.iter().any(|part| part.has(place))).cloned();
    let wishes = match to {
        Position::Time(time) => at_time(session, places.collect(), *time).await?,
        Position::Start => places.map(|place| (place, Aim::Start.into())).collect(),
        Position::Offset(offset) => places.map(|place| (place, Aim::Offset(*offset).into())).collect(),
        Position::Forward(count) => places.map(|place| (place, Aim::Forward(*count).into())).collect(),
        Position::Back(count) => places.map(|place| (place, Aim::Back(*count).into())).collect(),
        Position::End | Position::Ago(_) | Position::Group(_) | Position::File(_) => {
            places.map(|place| (place, Aim::End.into())).collect()
        }
    };
    Ok((wishes, bounds))
}

/// What another group has committed.
async fn of_group(session: &Session, other: &str) -> Result<BTreeMap<Place, Wish>, CliError> {
    let failed = |error| session.group_error(other, &error);
    let offsets =
        session.read(|admin| async move { admin.fetch_offsets(other).await }).await.map_err(failed)?;
    let mut wishes = BTreeMap::new();
    for GroupOffset { topic, partition, committed, error, .. } in offsets {
        if let Some(error) = error {
            return Err(session.group_error(other, &error));
        }
        let Some(committed) = committed else { continue };
        let wish = Wish {
            aim: Aim::Offset(committed.offset),
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata,
        };
        wishes.insert((topic.to_string(), partition.0), wish);
    }
    if wishes.is_empty() {
        // A group that nobody has committed for answers like one that does not exist.
        let described = session.read(|admin| async move { admin.describe_group(other).await }).await;
        let described = described.map_err(failed)?;
        return Err(CliError::usage(format!("group {:?} has committed nothing", described.name))
            .in_context(&session.target.describe())
            .with_hint(format!("logctl group describe {}", shell_word(other))));
    }
    Ok(wishes)
}

/// What was exported.
fn of_file(path: &Path) -> Result<BTreeMap<Place, Wish>, CliError> {
    let read = stored::read_file(path)?;
    let wish = |line: stored::StoredOffset| {
        let (place, offset, leader_epoch) = (line.place(), line.offset(), line.leader_epoch());
        (place, Wish { aim: Aim::Offset(offset), leader_epoch, metadata: line.metadata })
    };
    Ok(read.offsets.into_iter().map(|(_, line)| wish(line)).collect())
}

async fn at_time(
    session: &Session,
    places: Vec<Place>,
    time: TimestampMs,
) -> Result<BTreeMap<Place, Wish>, CliError> {
    let failed = |error| session.error(&error);
    let listing = session.read_each(&places, |admin, places| async move {
        let asked = places.iter();
        let asked =
            asked.map(|(topic, partition)| (topic, PartitionIndex(*partition), OffsetSpec::Time(time)));
        admin.list_offsets(asked).await
    });
    let listed = listing.await.map_err(failed)?;
    let mut wishes = BTreeMap::new();
    for (place, found) in places.into_iter().zip(listed) {
        wishes.insert(place, Aim::Offset(found.map_err(failed)?.offset).into());
    }
    Ok(wishes)
}

/// The plan, ordered by topic and partition.
fn rows(
    args: &ResetGroupArgs,
    to: &Position,
    situation: &Situation,
    wishes: &BTreeMap<Place, Wish>,
    bounds: &BTreeMap<Place, Bounds>,
    ui: &mut Ui<'_>,
) -> Result<Vec<PlanRow>, CliError> {
    let (mut rows, mut without) = (Vec::new(), Vec::new());
    for (place, wish) in wishes {
        let Some(bounds) = bounds.get(place) else { continue };
        let committed = situation.committed(place);
        let Some(aimed) = wish.aim.at(committed, *bounds) else {
            without.push(format!("{}:{}", place.0, place.1));
            continue;
        };
        let row = PlanRow::new(place, committed, aimed.offset, *bounds);
        rows.push(match aimed.wanted {
            // What stood beside an offset does not belong to another one.
            Some(outside) => row.noted(Some(outside.note())),
            None => row.with_rest(wish.leader_epoch, &wish.metadata),
        });
    }
    if rows.is_empty() && !without.is_empty() {
        let name = &args.name;
        let message = if situation.exists() {
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
        let code = if situation.exists() { ErrorCode::Usage } else { ErrorCode::GroupNotFound };
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
    bounds: &BTreeMap<Place, Bounds>,
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
    fn has(&self, place: &Place) -> bool {
        self.topic == place.0
            && self.partitions.as_ref().is_none_or(|partitions| partitions.contains(&place.1))
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
