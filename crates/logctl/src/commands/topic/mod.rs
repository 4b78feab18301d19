//! `logctl topic ..`

mod configs;
mod create;
mod delete;
mod delete_records;
mod describe;
mod grow;
mod ls;
mod readers;
mod writers;

use crate::{cli::TopicCommand, error::Stop, exit::Exit, ui::Ui};

pub(crate) async fn run(command: &TopicCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        TopicCommand::Ls(args) => ls::run(args, ui).await,
        TopicCommand::Create(args) => create::run(args, ui).await,
        TopicCommand::Describe(args) => describe::run(args, ui).await,
        TopicCommand::Set(args) => configs::set(args, ui).await,
        TopicCommand::Unset(args) => configs::unset(args, ui).await,
        TopicCommand::AddPartitions(args) => grow::run(args, ui).await,
        TopicCommand::DeleteRecords(args) => delete_records::run(args, ui).await,
        TopicCommand::Delete(args) => delete::run(args, ui).await,
    }
}

/// Says on stderr that nothing happened.
fn note_dry_run(ui: &mut Ui<'_>) {
    ui.note("dry run: nothing was changed");
}
