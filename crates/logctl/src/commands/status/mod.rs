//! `logctl status`

mod wait;

use corduroy_client::{BrokerDescription, ClusterDescription, GroupSummary, Health};
use corduroy_types::ExitClass;
use serde::Serialize;

use crate::{
    cli::{OutputForm, StatusArgs},
    connect::{self, shell_word},
    context::ChosenBy,
    error::Stop,
    exit::Exit,
    output::{
        Cell, Column, Row, column, counted, human_counted, human_duration, is_structured, write_table,
        write_value,
    },
    ui::Ui,
    watch,
};

#[derive(Serialize)]
struct Status {
    health: String,
    cluster_id: String,
    cluster_name: String,
    answered_by: u32,
    topic_count: u32,
    partition_count: u32,
    findings: Vec<FindingRow>,
    worst_lag: Option<LagRow>,
    brokers: Vec<BrokerRow>,
}

#[derive(Serialize)]
struct FindingRow {
    severity: String,
    message: String,
    hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<DamageRow>,
}

/// Records that cannot be read: those from `start` to `end`, exclusive.
#[derive(Serialize)]
struct DamageRow {
    topic: String,
    partition: u32,
    file: String,
    position: u64,
    start: u64,
    end: u64,
}

/// The group that has gone without reading what there is for the longest time.
#[derive(Serialize)]
struct LagRow {
    group: String,
    lag_records: u64,
    lag_ms: u64,
}

#[derive(Serialize)]
struct BrokerRow {
    id: u32,
    address: String,
    version: String,
    started_at: String,
    #[serde(skip)]
    started: corduroy_types::TimestampMs,
    recovery_ms: u64,
    disk_total_bytes: u64,
    disk_free_bytes: u64,
    stored_bytes: u64,
    memory_bytes: u64,
    connection_count: u32,
}

impl Row for BrokerRow {
    const COLUMNS: &'static [Column] = &[
        column("BROKER"),
        column("ADDRESS"),
        column("VERSION"),
        column("STARTED"),
        column("RECOVERY"),
        column("DISK-FREE"),
        column("STORED"),
        column("MEMORY"),
        column("CONNECTIONS"),
    ];

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(self.id.to_string()),
            Cell::text(&self.address),
            Cell::text(&self.version),
            Cell::Time(self.started),
            Cell::DurationMs(self.recovery_ms),
            Cell::Bytes(self.disk_free_bytes),
            Cell::Bytes(self.stored_bytes),
            Cell::Bytes(self.memory_bytes),
            Cell::Count(self.connection_count.into()),
        ]
    }
}

pub(crate) async fn run(args: &StatusArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open(ui)?;
    let mut announced = session.target.chosen_by != ChosenBy::Default || ui.settings.verbosity > 0;
    watch::repeat(ui, args.watch.watch, async |ui| {
        let cluster = match args.wait_for {
            Some(condition) => {
                let within = ui.settings.given_timeout.unwrap_or(wait::WAIT);
                wait::until(&session, condition, within).await?
            }
            None => {
                let described = session.read(|admin| async move { admin.describe_cluster().await }).await;
                described.map_err(|error| session.error(&error))?
            }
        };
        if !std::mem::replace(&mut announced, true) {
            connect::announce_dev_broker(ui, &session.target);
        }
        // A broker that cannot describe groups just now can still report its own state.
        let groups = session.client.admin().list_groups().await.unwrap_or_default();
        show(&cluster, worst_lag(&groups), ui)?;
        // Who waited for something has got it; everybody else asked how the broker is.
        let is_fine = args.wait_for.is_some() || cluster.health == Health::Healthy;
        Ok(if is_fine { Exit::Ok } else { Exit::Error(ExitClass::Findings) })
    })
    .await
}

/// The group that is farthest behind, if one is.
fn worst_lag(groups: &[GroupSummary]) -> Option<LagRow> {
    let behind = groups.iter().filter(|group| group.lag_records > 0);
    behind.max_by_key(|group| (group.lag_ms, group.lag_records)).map(|group| LagRow {
        group: group.name.clone(),
        lag_records: group.lag_records,
        lag_ms: group.lag_ms,
    })
}

fn show(cluster: &ClusterDescription, worst_lag: Option<LagRow>, ui: &mut Ui<'_>) -> Result<(), Stop> {
    let status = status(cluster, worst_lag);
    if is_structured(ui.settings.output) {
        return write_value(ui, &status);
    }
    if ui.settings.output == OutputForm::Name {
        return ui.line(&status.health);
    }
    let brokers = cluster.brokers.len();
    let text = format!(
        "{}  {}, {}, disk {}% used",
        painted(&status.health, cluster.health, ui.settings.color_out),
        counted(brokers as u64, "broker"),
        counted(cluster.topic_count.into(), "topic"),
        disk_used_percent(&cluster.brokers),
    );
    ui.line(text)?;
    for finding in &status.findings {
        ui.line(format!("  {}: {}", finding.severity.to_lowercase(), finding.message))?;
        if !finding.hint.is_empty() {
            ui.line(format!("    {}", finding.hint))?;
        }
    }
    if let Some(LagRow { group, lag_records, lag_ms }) = &status.worst_lag {
        let (records, lag) = if ui.for_people() {
            (human_counted(*lag_records, "record"), human_duration(*lag_ms))
        } else {
            (counted(*lag_records, "record"), format!("{lag_ms} ms"))
        };
        ui.line(format!("  worst lag: group {group}, {records}, {lag}"))?;
        ui.line(format!("    logctl group lag {}", shell_word(group)))?;
    }
    if ui.settings.output == OutputForm::Wide {
        write_table(ui, &status.brokers, true)?;
    }
    Ok(())
}

fn status(cluster: &ClusterDescription, worst_lag: Option<LagRow>) -> Status {
    Status {
        health: cluster.health.to_string(),
        cluster_id: cluster.cluster_id.clone(),
        cluster_name: cluster.cluster_name.clone(),
        answered_by: cluster.answered_by.0,
        topic_count: cluster.topic_count,
        partition_count: cluster.partition_count,
        findings: cluster
            .findings
            .iter()
            .map(|finding| FindingRow {
                severity: finding.severity.to_string(),
                message: finding.message.clone(),
                hint: finding.hint.clone(),
                damage: finding.damage.as_ref().map(|damage| DamageRow {
                    topic: damage.topic.clone(),
                    partition: damage.partition.0,
                    file: damage.file.clone(),
                    position: damage.position,
                    start: damage.start.get(),
                    end: damage.end.get(),
                }),
            })
            .collect(),
        worst_lag,
        brokers: cluster.brokers.iter().map(broker_row).collect(),
    }
}

fn broker_row(broker: &BrokerDescription) -> BrokerRow {
    BrokerRow {
        id: broker.id.0,
        address: broker.address.clone(),
        version: broker.version.clone(),
        started_at: Cell::Time(broker.started_at).plain(),
        started: broker.started_at,
        recovery_ms: broker.recovery_ms,
        disk_total_bytes: broker.disk_total_bytes,
        disk_free_bytes: broker.disk_free_bytes,
        stored_bytes: broker.stored_bytes,
        memory_bytes: broker.memory_bytes,
        connection_count: broker.connection_count,
    }
}

/// The fullest disk.
fn disk_used_percent(brokers: &[BrokerDescription]) -> u64 {
    let used = |broker: &BrokerDescription| {
        let used = broker.disk_total_bytes.saturating_sub(broker.disk_free_bytes);
        let percent = u128::from(used) * 100 / u128::from(broker.disk_total_bytes.max(1));
        u64::try_from(percent).unwrap_or(100)
    };
    brokers.iter().map(used).max().unwrap_or(0)
}

fn painted(text: &str, health: Health, color: bool) -> String {
    let code = match health {
        Health::Healthy => "32",
        Health::Degraded => "33",
        Health::Unhealthy => "31",
    };
    if color { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}
