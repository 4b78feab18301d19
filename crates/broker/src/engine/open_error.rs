//! Why the engine did not open.

use corduroy_log::LogError;

use super::{ApplierError, replica::EpochError};

/// Why the engine did not open. Nothing was served; nothing was lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The metadata log cannot be opened. Any other log that cannot be is offline, and the others are served.
    #[error("the metadata log cannot be opened: {0}")]
    OpenMetadata(LogError),
    /// The metadata log is damaged, cannot be read, or holds something else than records of this version.
    #[error("{0}{advice}", advice = .0.advice())]
    Metadata(ApplierError),
    /// This broker could not be registered.
    #[error("this broker cannot be registered: {0}")]
    Register(corduroy_api::Refusal),
    /// The commit journal cannot be read, replayed or begun.
    #[error("the commit journal cannot be opened: {0}")]
    Journal(LogError),
    /// The metadata log cannot be led.
    #[error("the metadata log cannot be led: {0}")]
    Epoch(EpochError),
    /// The system gives no thread.
    #[error("no thread for the disk: {0}")]
    Thread(std::io::Error),
}
