//! Closing: everything durable, the active segment's indexes and the producers written.

use corduroy_types::Durability;

use crate::disk::OpenMode;
use crate::error::LogError;
use crate::index::checksum;
use crate::log::Log;
use crate::producers::Snapshot;
use crate::segment::{INDEX_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, UNINDEXED_BYTES, file_path};

impl Log {
    /// Writes and syncs what is left, whatever the durability, and the active segment's indexes and the
    /// producers unless it is small; then the log can be opened as clean. Performs I/O.
    ///
    /// # Errors
    /// [`LogError::StorageFailed`] when the log has stopped or stops now, [`LogError::WrongRound`] while a round
    /// is in flight, [`LogError::Cutting`]. The log must then be opened as unclean.
    pub fn close(mut self) -> Result<(), LogError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        if self.cutting.is_some() {
            return Err(LogError::Cutting);
        }
        if let Some(got) = self.in_flight {
            return Err(LogError::WrongRound { got, in_flight: self.in_flight });
        }
        self.config.durability = Durability::Sync;
        let disk = std::sync::Arc::clone(&self.shared.disk);
        while let Some(round) = self.take_round() {
            let result = round.perform(&*disk);
            self.round_done(result)?;
        }
        let synced = self.active.file.sync_journaled(&*disk);
        synced.map_err(LogError::io("sync", self.active.file.path()))?;
        // So little is read again, for the index as for the producers.
        if self.active.bytes <= UNINDEXED_BYTES {
            return Ok(());
        }
        // An index that lacks the front of its segment is not worth keeping.
        let indexes = self.active.unscanned.is_none().then(|| self.active.index.finish());
        let index_checksum = indexes.as_ref().map(|(offsets, times)| checksum(offsets, times));
        let (offsets, times) = indexes.unzip();
        let (base, log_end) = (self.active.base(), self.cursors.log_end());
        let producers = {
            let place = (log_end, base, self.active.bytes);
            Snapshot::encode(&self.shared.dir, &self.producers, place, index_checksum)
        };
        for (offset, suffix, contents) in [
            (base, INDEX_SUFFIX, offsets),
            (base, TIME_INDEX_SUFFIX, times),
            (log_end, SNAPSHOT_SUFFIX, Some(producers)),
        ] {
            let Some(contents) = contents else { continue };
            let path = file_path(&self.shared.dir, offset, suffix);
            let written = disk.open(&path, OpenMode::Truncate).and_then(|file| {
                file.write_at(&[contents], 0)?;
                file.sync()
            });
            written.map_err(LogError::io("write", path))?;
        }
        disk.sync_dir(&self.shared.dir).map_err(LogError::io("sync", &*self.shared.dir))
    }
}
