//! What commands do: one module per noun.

mod broker;
mod completions;
mod consume;
mod context;
mod explain;
mod group;
mod help;
mod items;
mod log;
mod partition;
mod produce;
mod status;
mod topic;
mod version;

pub(crate) use explain::words as explained_words;

use crate::{
    cli::Command,
    connect::{wait, wait_detached},
    data_dir,
    error::Stop,
    exit::Exit,
    ui::Ui,
};

/// Runs a command to its end.
///
/// # Errors
/// Whatever stopped it.
pub(crate) fn run(command: Command, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        Command::Status(args) => wait(status::run(&args, ui))?,
        Command::Consume(args) => wait_detached(consume::run(&args, ui))?,
        Command::Produce(args) => wait_detached(produce::run(&args, ui))?,
        Command::Topic(command) => wait(topic::run(&command, ui))?,
        Command::Group(command) => wait(group::run(&command, ui))?,
        Command::Broker(command) => wait(broker::run(&command, ui))?,
        Command::Partition(command) => wait(partition::run(&command, ui))?,
        Command::Context(command) => context::run(&command, ui),
        Command::Explain(args) => explain::run(&args, ui),
        Command::Completions(args) => completions::run(&args, ui),
        Command::Help(args) => help::run(&args, ui),
        Command::Version => version::run(ui),
        Command::Log(command) => {
            data_dir::check(command.place())?;
            log::run(&command, ui)
        }
    }
}
