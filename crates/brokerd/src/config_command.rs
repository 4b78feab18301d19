//! `brokerd config`.

use std::process::ExitCode;

use corduroy_broker::config;

use crate::{
    cli::{ConfigCommand, Flags},
    complain, exit, print,
    sources::{check_file, load_configuration},
};

pub(crate) fn run(command: &ConfigCommand, flags: &Flags) -> ExitCode {
    let loaded = match command {
        ConfigCommand::Reference => return print(&config::reference()),
        ConfigCommand::Check { file } => check_file(file),
        ConfigCommand::Show { .. } => load_configuration(flags),
    };
    match (loaded, command) {
        (Ok(loaded), ConfigCommand::Show { origin }) => print(&config::show(&loaded, *origin)),
        (Ok(_), ConfigCommand::Check { file }) => print(&format!("{}: no errors\n", file.display())),
        (Ok(_), ConfigCommand::Reference) => ExitCode::SUCCESS,
        (Err(errors), _) => {
            complain(errors);
            exit::wrong_config()
        }
    }
}
