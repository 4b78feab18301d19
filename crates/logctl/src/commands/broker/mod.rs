//! `logctl broker ..`

mod accept_journal_damage;
mod log_level;

use crate::{cli::BrokerCommand, error::Stop, exit::Exit, ui::Ui};

pub(crate) async fn run(command: &BrokerCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        BrokerCommand::AcceptJournalDamage(args) => accept_journal_damage::run(args, ui).await,
        BrokerCommand::LogLevel(args) => log_level::run(args, ui).await,
    }
}
