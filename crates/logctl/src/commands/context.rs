//! `logctl context ..`: the file of contexts. Only `validate --connect` talks to brokers.

use corduroy_types::ErrorCode;
use serde::Serialize;

use crate::{
    cli::{
        AddContextArgs, ContextCommand, RemoveContextArgs, ShowContextArgs, UseContextArgs,
        ValidateContextArgs,
    },
    connect,
    context::{ChosenBy, Context, Store, Target},
    error::{CliError, Stop},
    exit::Exit,
    output::{Cell, Column, Row, column, write_rows},
    ui::Ui,
};

pub(crate) fn run(command: &ContextCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        ContextCommand::Add(args) => add(args, ui),
        ContextCommand::Ls => list(ui),
        ContextCommand::Use(args) => select(args, ui),
        ContextCommand::Show(args) => show(args, ui),
        ContextCommand::Rm(args) => remove(args, ui),
        ContextCommand::Validate(args) => validate(args, ui),
    }
}

#[derive(Serialize)]
struct ContextRow {
    name: String,
    selected: bool,
    servers: Vec<String>,
    read_only: bool,
}

impl Row for ContextRow {
    const COLUMNS: &'static [Column] =
        &[column("SELECTED"), column("NAME"), column("SERVERS"), column("ACCESS")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(if self.selected { "*" } else { "" }),
            Cell::text(&self.name),
            Cell::text(self.servers.join(",")),
            Cell::text(if self.read_only { "read-only" } else { "full" }),
        ]
    }
}

fn row(store: &Store, name: &str, context: &Context) -> ContextRow {
    ContextRow {
        name: name.to_owned(),
        selected: store.current() == Some(name),
        servers: context.servers.clone(),
        read_only: context.read_only,
    }
}

/// Says what was done, or with `--dry-run` what would be.
fn done(ui: &mut Ui<'_>, dry_run: bool, would: &str, did: &str) {
    let text = if dry_run { format!("would {would} (dry run)") } else { did.to_owned() };
    ui.note(text);
}

fn add(args: &AddContextArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let Some(servers) = ui.settings.given_servers() else {
        return Err(CliError::usage("the context's brokers are missing")
            .with_hint(format!("logctl context add {} --server http://HOST:9480", args.name))
            .into());
    };
    let servers = servers.to_vec();
    connect::check_urls(&servers)?;
    let mut store = Store::load()?;
    let shown = servers.join(",");
    let selected = store.add(&args.name, Context { servers, read_only: args.read_only })?;
    if !args.mutation.dry_run {
        store.save()?;
    }
    let name = &args.name;
    let suffix = if selected { " and selected it" } else { "" };
    done(
        ui,
        args.mutation.dry_run,
        &format!("add context {name:?}"),
        &format!("added context {name:?} ({shown}){suffix}"),
    );
    Ok(Exit::Ok)
}

fn list(ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let store = Store::load()?;
    let rows: Vec<ContextRow> = store.iter().map(|(name, context)| row(&store, name, context)).collect();
    write_rows(ui, &rows)?;
    if rows.is_empty() {
        ui.note("no contexts; add one with logctl context add NAME --server URL");
    }
    Ok(Exit::Ok)
}

fn select(args: &UseContextArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let mut store = Store::load()?;
    let name = store.select(&args.name)?;
    if !args.mutation.dry_run {
        store.save()?;
    }
    done(
        ui,
        args.mutation.dry_run,
        &format!("select context {name:?}"),
        &format!("selected context {name:?}"),
    );
    Ok(Exit::Ok)
}

fn show(args: &ShowContextArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let store = Store::load()?;
    let name = args.name.as_deref().or(ui.settings.given_context()).or(store.current());
    let Some(name) = name else {
        return Err(CliError::new(ErrorCode::UnknownContext, "no context is selected")
            .with_hint("logctl context ls")
            .into());
    };
    let found = row(&store, name, store.get(name)?);
    write_rows(ui, &[found])?;
    Ok(Exit::Ok)
}

fn remove(args: &RemoveContextArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let mut store = Store::load()?;
    let was_selected = store.remove(&args.name)?;
    if !args.mutation.dry_run {
        store.save()?;
    }
    let name = &args.name;
    let suffix = if was_selected { "; no context is selected now" } else { "" };
    done(
        ui,
        args.mutation.dry_run,
        &format!("remove context {name:?}"),
        &format!("removed context {name:?}{suffix}"),
    );
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Validated {
    name: String,
    valid: bool,
    problem: Option<String>,
}

impl Row for Validated {
    const COLUMNS: &'static [Column] = &[column("NAME"), column("RESULT")];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::text(&self.name), Cell::text(self.problem.as_deref().unwrap_or("ok"))]
    }
}

fn validate(args: &ValidateContextArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let store = Store::load()?;
    if let Some(name) = store.current() {
        store.get(name)?;
    }
    let mut rows = Vec::new();
    for (name, context) in store.iter() {
        let target = Target {
            servers: context.servers.clone(),
            read_only: context.read_only,
            context: Some(name.to_owned()),
            chosen_by: ChosenBy::Selection,
        };
        let checked = connect::check_urls(&context.servers)
            .and_then(|()| if args.connect { connect::try_brokers(ui.settings, &target) } else { Ok(()) });
        let problem = checked.err().map(|error| error.to_string());
        rows.push(Validated { name: name.to_owned(), valid: problem.is_none(), problem });
    }
    write_rows(ui, &rows)?;
    let invalid = rows.iter().filter(|row| !row.valid).count();
    if invalid == 0 {
        return Ok(Exit::Ok);
    }
    Err(CliError::new(
        ErrorCode::HasFindings,
        format!("{invalid} of {} contexts are not as they should be", rows.len()),
    )
    .into())
}
