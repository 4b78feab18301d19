//! `logctl log ..`: offline, on files that no broker has open.

mod dump;
mod index;
mod journal;
mod lock;
mod ls;
mod metadata;
mod partition_dirs;
mod producers;
mod stats;
mod verify;

use corduroy_log::{LogError, ReadError};
use corduroy_types::ErrorCode;

use crate::{
    cli::LogCommand,
    error::{CliError, Stop},
    exit::Exit,
    ui::Ui,
};

pub(crate) fn run(command: &LogCommand, ui: &mut Ui<'_>) -> Result<Exit, Stop> {
    match command {
        LogCommand::Ls(args) => ls::run(args, ui),
        LogCommand::Dump(args) => dump::run(args, ui),
        LogCommand::Verify(args) => verify::run(args, ui),
        LogCommand::Stats(args) => stats::run(args, ui),
        LogCommand::Index(command) => index::run(command, ui),
        LogCommand::Metadata(command) => metadata::run(command, ui),
    }
}

/// One of our errors for one of the log's.
fn from_log(error: &LogError) -> CliError {
    let code = match error {
        LogError::Io { .. } | LogError::NotASegment { .. } => ErrorCode::FileFailed,
        LogError::StorageFailed(_) => ErrorCode::StorageFailed,
        LogError::NewerFormat { .. } => ErrorCode::Unsupported,
        LogError::OtherPartition { .. } | LogError::StaleHistory { .. } => ErrorCode::Corrupt,
        LogError::WrongRound { .. }
        | LogError::NotDurable { .. }
        | LogError::Epoch(_)
        | LogError::NotReplayed { .. }
        | LogError::Cutting
        | LogError::Cursors(_) => ErrorCode::Internal,
    };
    CliError::new(code, error.to_string()).caused_by(error)
}

/// One of our errors for a segment that cannot be read on.
fn from_read(error: &ReadError) -> CliError {
    let code = match error {
        ReadError::Io { .. } => ErrorCode::FileFailed,
        ReadError::Corrupt { .. } => ErrorCode::Corrupt,
        ReadError::BelowStart { .. } | ReadError::AboveEnd { .. } => ErrorCode::OffsetOutOfRange,
    };
    CliError::new(code, error.to_string()).caused_by(error)
}
