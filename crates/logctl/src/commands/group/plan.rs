//! A plan: for each partition where the group is, and where it will go on.

use corduroy_client::OffsetToCommit;
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex};
use serde::Serialize;

use super::snapshot::{Bounds, GroupSnapshot, TopicPartition};
use crate::{
    commands::items,
    connect::Session,
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, counted, write_rows},
    ui::Ui,
};

/// One partition of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PlanRow {
    topic: String,
    partition: u32,
    committed: Option<u64>,
    offset: u64,
    change: Option<i64>,
    log_start: u64,
    high_watermark: u64,
    /// What is remarkable about it.
    note: Option<String>,
    /// Said only where nothing happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) dry_run: bool,
    #[serde(skip)]
    leader_epoch: Option<LeaderEpoch>,
    #[serde(skip)]
    metadata: String,
}

impl Row for PlanRow {
    const COLUMNS: &'static [Column] = &[
        column("TOPIC"),
        column("PARTITION"),
        column("COMMITTED"),
        column("NEW"),
        column("CHANGE"),
        column("START"),
        column("END"),
        column("NOTE"),
    ];

    fn name(&self) -> String {
        format!("{}:{}", self.topic, self.partition)
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.topic),
            Cell::Count(self.partition.into()),
            self.committed.map_or(Cell::Nothing, Cell::Count),
            Cell::Count(self.offset),
            self.change.map_or(Cell::Nothing, Cell::Change),
            Cell::Count(self.log_start),
            Cell::Count(self.high_watermark),
            self.note.as_ref().map_or(Cell::Nothing, Cell::text),
        ]
    }
}

impl PlanRow {
    /// One partition that goes to `offset`.
    pub(super) fn new(
        partition: &TopicPartition,
        committed: Option<Offset>,
        offset: Offset,
        bounds: Bounds,
    ) -> Self {
        let change = committed.map(|committed| offset.as_i64() - committed.as_i64());
        Self {
            topic: partition.0.clone(),
            partition: partition.1,
            committed: committed.map(Offset::get),
            offset: offset.get(),
            change,
            log_start: bounds.log_start.get(),
            high_watermark: bounds.high_watermark.get(),
            note: None,
            dry_run: false,
            leader_epoch: None,
            metadata: String::new(),
        }
    }

    /// The same with what is remarkable about it.
    #[must_use]
    pub(super) fn noted(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    /// The same with what stood next to the offset where it comes from.
    #[must_use]
    pub(super) fn with_rest(self, leader_epoch: Option<LeaderEpoch>, metadata: &str) -> Self {
        Self { leader_epoch, metadata: metadata.to_owned(), ..self }
    }

    fn to_commit(&self) -> OffsetToCommit {
        let offset = Offset::new(self.offset).unwrap_or(Offset::MAX);
        OffsetToCommit::new(&self.topic, PartitionIndex(self.partition), offset)
            .leader_epoch(self.leader_epoch)
            .metadata(&self.metadata)
    }
}

/// What becomes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It is checked and printed.
    Plan,
    /// It is carried out.
    Commit,
}

/// Prints a plan, after the broker has checked it or carried it out. A group with
/// members gets no more than a plan, and a warning with it.
///
/// # Errors
/// `GROUP_NOT_EMPTY` instead of carrying it out; of partitions that the broker refuses, as [`items::finish`].
pub(super) async fn carry_out(
    ui: &mut Ui<'_>,
    session: &Session,
    snapshot: &GroupSnapshot,
    group: &str,
    mut rows: Vec<PlanRow>,
    doing: Doing,
) -> Result<Exit, Stop> {
    let in_the_way = snapshot.with_members(session);
    if let (Doing::Commit, Some(error)) = (doing, &in_the_way) {
        return Err(error.clone().into());
    }
    let mut failures: Vec<(String, CliError)> = Vec::new();
    if in_the_way.is_none() {
        let offsets: Vec<OffsetToCommit> = rows.iter().map(PlanRow::to_commit).collect();
        let committing = session.change_each(&offsets, |admin, offsets| async move {
            let request = admin.commit_offsets(group, offsets);
            if doing == Doing::Plan { request.validate_only().await } else { request.await }
        });
        let results = committing.await.map_err(|error| session.group_error(group, &error))?;
        for (row, result) in rows.iter().zip(results) {
            if let Err(error) = result {
                let mut ours = session.group_error(group, &error);
                ours.message = format!("{}: {}", row.name(), ours.message);
                failures.push((row.name(), ours));
            }
        }
    }
    let total = rows.len();
    rows.retain(|row| failures.iter().all(|(name, _)| *name != row.name()));
    rows.iter_mut().for_each(|row| row.dry_run = doing == Doing::Plan);
    if failures.is_empty() || !ui.settings.json_errors() {
        write_rows(ui, &rows)?;
    }
    if doing == Doing::Commit && !rows.is_empty() {
        ui.note(format!("{} committed", counted(rows.len() as u64, "offset")));
    }
    let exit = items::finish(ui, total, failures)?;
    if let Some(error) = in_the_way {
        ui.flush()?;
        ui.warn(format!("warning: {}; {}", error.message, error.hints.join("; ")));
    }
    Ok(exit)
}
