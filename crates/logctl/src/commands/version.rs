//! `logctl version`

use serde::Serialize;

use crate::{
    error::Stop,
    exit::Exit,
    output::{is_structured, write_value},
    ui::Ui,
};

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

pub(crate) fn run(ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    let version = Version { name: "logctl", version: env!("CARGO_PKG_VERSION") };
    if is_structured(ui.settings.output) {
        write_value(ui, &version)?;
    } else {
        ui.line(format!("{} {}", version.name, version.version))?;
    }
    Ok(Exit::Ok)
}
