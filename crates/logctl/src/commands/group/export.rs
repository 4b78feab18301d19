//! `logctl group export`

use super::stored::StoredOffset;
use crate::{
    cli::{ExportGroupArgs, OutputForm},
    commands::items,
    connect::{self, shell_word},
    error::{CliError, Stop},
    exit::Exit,
    output::counted,
    ui::Ui,
};

pub(crate) async fn run(args: &ExportGroupArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let word = match ui.settings.output {
        OutputForm::Yaml => Some("yaml"),
        OutputForm::Name => Some("name"),
        OutputForm::Table | OutputForm::Wide | OutputForm::Json | OutputForm::Jsonl => None,
    };
    if let Some(word) = word {
        return Err(CliError::usage(format!("export prints JSON lines, not {word}"))
            .with_hint(format!("logctl group describe {} --offsets -o {word}", shell_word(&args.name)))
            .into());
    }
    let session = connect::open(ui)?;
    let offsets = session.read(|admin| async move { admin.fetch_offsets(&args.name).await }).await;
    let offsets = offsets.map_err(|error| session.group_error(&args.name, &error))?;
    if offsets.is_empty() {
        // A group that no one has committed for answers like one that does not exist.
        let described = session.read(|admin| async move { admin.describe_group(&args.name).await }).await;
        described.map_err(|error| session.group_error(&args.name, &error))?;
    }
    let (total, mut failures, mut count) = (offsets.len(), Vec::new(), 0_u64);
    for offset in &offsets {
        if let Some(error) = &offset.error {
            let name = format!("{}:{}", offset.topic, offset.partition);
            let mut ours = session.group_error(&args.name, error);
            ours.message = format!("{name}: {}", ours.message);
            failures.push((name, ours));
            continue;
        }
        let Some(stored) = StoredOffset::of(offset) else { continue };
        ui.line(stored.to_line()?)?;
        count += 1;
    }
    let name = shell_word(&args.name);
    ui.note(format!(
        "{} of {name}; commit them again with logctl group import {name} FILE",
        counted(count, "offset")
    ));
    items::finish(ui, total, failures)
}
