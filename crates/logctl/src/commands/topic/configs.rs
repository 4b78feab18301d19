//! `logctl topic set` and `unset`

use corduroy_client::{Admin, AlterTopicConfigs, ConfigChange};
use corduroy_types::{CONFIG_KEYS, ErrorCode};
use serde::Serialize;

use super::note_dry_run;
use crate::{
    cli::{SetConfigArgs, UnsetConfigArgs},
    connect::{self, Session},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, write_rows},
    ui::Ui,
};

#[derive(Serialize)]
struct ChangeRow {
    key: String,
    previous_value: String,
    value: String,
    effect: String,
    /// Said only where nothing happened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

impl Row for ChangeRow {
    const COLUMNS: &'static [Column] =
        &[column("CONFIG"), column("PREVIOUS"), column("VALUE"), column("EFFECT")];

    fn name(&self) -> String {
        self.key.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.key),
            Cell::text(&self.previous_value),
            Cell::text(&self.value),
            if self.effect.is_empty() { Cell::Nothing } else { Cell::text(&self.effect) },
        ]
    }
}

pub(crate) async fn set(args: &SetConfigArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open_to_change(ui, args.mutation.dry_run)?;
    let request = |admin: Admin| {
        let request = admin.alter_topic_configs(&args.name);
        args.configs.iter().fold(request, |request, pair| request.set(&pair.key, &pair.value))
    };
    alter(ui, &session, &args.name, request, args.mutation.dry_run).await
}

pub(crate) async fn unset(args: &UnsetConfigArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let session = connect::open_to_change(ui, args.mutation.dry_run)?;
    let request = |admin: Admin| {
        args.keys.iter().fold(admin.alter_topic_configs(&args.name), |request, key| request.unset(key))
    };
    alter(ui, &session, &args.name, request, args.mutation.dry_run).await
}

async fn alter(
    ui: &mut Ui<'_>,
    session: &Session,
    topic: &str,
    request: impl Fn(Admin) -> AlterTopicConfigs,
    dry_run: bool,
) -> Result<Exit, Stop> {
    let altering = session.change(|admin| {
        let request = request(admin);
        async move { if dry_run { request.validate_only().await } else { request.await } }
    });
    let changes = altering.await.map_err(|error| explained(session.topic_error(topic, &error)))?;
    let rows: Vec<ChangeRow> = changes.into_iter().map(|change| row(change, dry_run)).collect();
    write_rows(ui, &rows)?;
    if dry_run {
        note_dry_run(ui);
    }
    Ok(Exit::Ok)
}

fn row(change: ConfigChange, dry_run: bool) -> ChangeRow {
    let ConfigChange { key, previous_value, value, effect } = change;
    ChangeRow { key, previous_value, value, effect, dry_run }
}

/// Names the command that explains a key, where a key is what is wrong.
fn explained(error: CliError) -> CliError {
    let key = CONFIG_KEYS.iter().find(|key| error.message.contains(*key));
    match (error.code, key) {
        (ErrorCode::InvalidConfigValue, Some(key)) => error.with_hint(format!("logctl explain {key}")),
        _ => error,
    }
}
