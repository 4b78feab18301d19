//! A log's epochs: which is appended in, and how a new one begins.

use corduroy_types::{EpochEntry, EpochHistory, LeaderEpoch};

use crate::Log;
use crate::error::LogError;

impl Log {
    /// Which epoch wrote which offsets, as far as that is known.
    pub fn history(&self) -> &EpochHistory {
        &self.history
    }

    /// The entry with which `epoch` begins in this log, at its end. Make it durable in the commit journal, without
    /// appending meanwhile, and give it to [`Log::begin_epoch`] then.
    ///
    /// # Errors
    /// [`LogError::NotDurable`] while records are not durable yet: an epoch that begins behind lost records would
    /// claim offsets for them. [`LogError::Epoch`] when it does not follow the last one.
    /// [`LogError::StorageFailed`] when the log has stopped.
    pub fn plan_epoch(&self, epoch: LeaderEpoch) -> Result<EpochEntry, LogError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        let (durable_end, log_end) = (self.cursors.durable_end(), self.cursors.log_end());
        if durable_end < log_end {
            return Err(LogError::NotDurable { durable_end, log_end });
        }
        let entry = EpochEntry { epoch, start: log_end };
        self.history.clone().push(entry)?;
        Ok(entry)
    }

    /// Begins an epoch whose entry is durable: from now on only its batches are appended.
    ///
    /// # Errors
    /// [`LogError::Epoch`] when it does not follow the last one.
    pub fn begin_epoch(&mut self, entry: EpochEntry) -> Result<(), LogError> {
        self.history.push(entry)?;
        Ok(())
    }
}
