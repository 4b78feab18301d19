//! `logctl partition ..`

mod recover;

use crate::{cli::PartitionCommand, error::Stop, exit::Exit, ui::Ui};

pub(crate) async fn run(command: &PartitionCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        PartitionCommand::Recover(args) => recover::run(args, ui).await,
    }
}
