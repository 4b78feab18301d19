//! Which groups read a topic, for `logctl topic describe --groups`.

use corduroy_client::{GroupDescription, GroupPartition};
use serde::Serialize;

use crate::{
    connect::Session,
    error::CliError,
    output::{Cell, Column, Row, column},
};

/// A group that has committed offsets in the topic, or has members that read it.
#[derive(Serialize)]
pub(super) struct GroupRow {
    group: String,
    state: String,
    /// Members that have partitions of the topic.
    member_count: usize,
    partition_count: usize,
    lag_records: u64,
    lag_ms: u64,
    lost_offset_count: u64,
}

impl Row for GroupRow {
    const COLUMNS: &'static [Column] = &[
        column("GROUP"),
        column("STATE"),
        column("MEMBERS"),
        column("PARTITIONS"),
        column("LAG"),
        column("LAG-TIME"),
        column("LOST"),
    ];

    fn name(&self) -> String {
        self.group.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.group),
            Cell::text(&self.state),
            Cell::Count(self.member_count as u64),
            Cell::Count(self.partition_count as u64),
            Cell::Count(self.lag_records),
            Cell::DurationMs(self.lag_ms),
            Cell::Count(self.lost_offset_count),
        ]
    }
}

/// Every group there is, described.
///
/// # Errors
/// Why there was no answer.
pub(super) async fn groups(session: &Session) -> Result<Vec<GroupDescription>, CliError> {
    let listed = session.read(|admin| async move { admin.list_groups().await }).await;
    let names: Vec<String> =
        listed.map_err(|error| session.error(&error))?.into_iter().map(|group| group.name).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let described =
        session.read_each(&names, |admin, names| async move { admin.describe_groups(&names).await }).await;
    let described = described.map_err(|error| session.error(&error))?;
    // A group that was deleted meanwhile reads nothing.
    Ok(described.into_iter().flatten().collect())
}

/// Those of them that read a topic.
pub(super) fn of_topic(groups: &[GroupDescription], topic: &str) -> Vec<GroupRow> {
    groups.iter().filter_map(|group| row(group, topic)).collect()
}

fn row(group: &GroupDescription, topic: &str) -> Option<GroupRow> {
    let partitions: Vec<&GroupPartition> =
        group.partitions.iter().filter(|partition| partition.offset.topic.as_str() == topic).collect();
    if partitions.is_empty() {
        return None;
    }
    let mut owners: Vec<&str> =
        partitions.iter().filter_map(|partition| partition.owner.as_deref()).collect();
    owners.sort_unstable();
    owners.dedup();
    Some(GroupRow {
        group: group.name.clone(),
        state: group.state.to_string(),
        member_count: owners.len(),
        partition_count: partitions.len(),
        lag_records: partitions.iter().filter_map(|partition| partition.lag_records).sum(),
        lag_ms: partitions.iter().filter_map(|partition| partition.lag_ms).max().unwrap_or(0),
        lost_offset_count: partitions.iter().map(|partition| partition.offset.lost_offset_count).sum(),
    })
}
