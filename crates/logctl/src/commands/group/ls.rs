//! `logctl group ls`

use corduroy_client::GroupSummary;
use serde::Serialize;

use crate::{
    cli::ListGroupsArgs,
    connect::{self, shell_word},
    error::Stop,
    exit::Exit,
    output::{Cell, Column, Row, column, write_rows},
    ui::Ui,
    watch,
};

#[derive(Serialize)]
struct GroupRow {
    name: String,
    state: String,
    member_count: u32,
    topic_count: u32,
    lag_records: u64,
    lag_ms: u64,
    lost_partition_count: u32,
}

impl Row for GroupRow {
    const COLUMNS: &'static [Column] = &[
        column("GROUP"),
        column("STATE"),
        column("MEMBERS"),
        column("TOPICS"),
        column("LAG"),
        column("LAG-TIME"),
        column("LOST"),
    ];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(&self.state),
            Cell::Count(self.member_count.into()),
            Cell::Count(self.topic_count.into()),
            Cell::Count(self.lag_records),
            Cell::DurationMs(self.lag_ms),
            Cell::Count(self.lost_partition_count.into()),
        ]
    }
}

pub(crate) async fn run(args: &ListGroupsArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open(ui)?;
    watch::repeat(ui, args.watch.watch, async |ui| {
        let states = || args.states.iter().copied().map(Into::into);
        let listed = session.read(|admin| async move { admin.list_groups_in(states()).await }).await;
        let listed = listed.map_err(|error| session.error(&error))?;
        let behind = |group: &&GroupSummary| args.lag_over.is_none_or(|over| group.lag_records > over);
        let rows: Vec<GroupRow> = listed.iter().filter(behind).map(row).collect();
        write_rows(ui, &rows)?;
        ui.note(next_command(&rows, !args.states.is_empty() || args.lag_over.is_some()));
        Ok(Exit::Ok)
    })
    .await
}

fn row(group: &GroupSummary) -> GroupRow {
    GroupRow {
        name: group.name.clone(),
        state: group.state.to_string(),
        member_count: group.member_count,
        topic_count: group.topic_count,
        lag_records: group.lag_records,
        lag_ms: group.lag_ms,
        lost_partition_count: group.lost_partition_count,
    }
}

/// What is worth a look: lost positions first, then the longest lag.
fn next_command(rows: &[GroupRow], filtered: bool) -> String {
    let worst = rows.iter().max_by_key(|row| (row.lost_partition_count, row.lag_records));
    match worst {
        Some(row) if row.lost_partition_count > 0 => {
            let name = shell_word(&row.name);
            format!("records are gone that {name} had not read; see them with logctl group describe {name}")
        }
        Some(row) => {
            let name = shell_word(&row.name);
            format!("details: logctl group lag {name}")
        }
        None if filtered => String::from("no such group; see all with logctl group ls"),
        None => {
            String::from("no groups; one begins with its first member, like logctl consume TOPIC -g GROUP")
        }
    }
}
