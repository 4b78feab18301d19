//! `logctl topic add-partitions`

use serde::Serialize;

use super::note_dry_run;
use crate::{
    cli::AddPartitionsArgs,
    connect,
    error::Stop,
    exit::Exit,
    output::{is_structured, write_value},
    ui::Ui,
};

#[derive(Serialize)]
struct Grown<'a> {
    name: &'a str,
    previous_partition_count: u32,
    partition_count: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

pub(crate) async fn run(args: &AddPartitionsArgs, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let dry_run = args.mutation.dry_run;
    let session = connect::open_to_change(ui, dry_run)?;
    let growing = session.change(|admin| async move {
        let request = admin.add_partitions(&args.name, args.to);
        if dry_run { request.validate_only().await } else { request.await }
    });
    let grown = growing.await.map_err(|error| session.topic_error(&args.name, &error))?;
    let grown = Grown {
        name: &args.name,
        previous_partition_count: grown.previous_partition_count,
        partition_count: grown.partition_count,
        dry_run,
    };
    if is_structured(ui.settings.output) {
        write_value(ui, &grown)?;
    } else {
        ui.line(format!(
            "{}  partitions {} -> {}",
            args.name, grown.previous_partition_count, grown.partition_count
        ))?;
    }
    if dry_run {
        note_dry_run(ui);
    } else if grown.partition_count == grown.previous_partition_count {
        ui.note(format!("nothing to do: {} has as many already", args.name));
    } else {
        ui.note("note: from now on keys go to other partitions than before");
    }
    Ok(Exit::Ok)
}
