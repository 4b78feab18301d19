//! The log itself: its parts, and what can be seen of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use corduroy_types::{EpochHistory, Offset, TimestampMs};

use crate::config::LogConfig;
use crate::cursors::Cursors;
use crate::damage::DamagedRange;
use crate::error::StorageFailure;
use crate::mark::Point;
use crate::producers::{Producers, Upkeep};
use crate::round::Pending;
use crate::segment::{Active, Sealed, SegmentFile};
use crate::shared::Shared;
use crate::state_file::StateFault;
use crate::tail::Tail;

/// One partition's log. The owner serialises access; no method but open and close does I/O.
#[derive(Debug)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: LogConfig,
    pub(crate) cursors: Cursors,
    /// Oldest first; shared with plans, so that taking a snapshot costs nothing.
    pub(crate) sealed: Arc<Vec<Arc<Sealed>>>,
    /// Segments that end at or below this are whole on disk with their indexes; only those may be removed.
    pub(crate) settled_end: Offset,
    pub(crate) active: Active,
    pub(crate) tail: Tail,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) in_flight: Option<u64>,
    pub(crate) next_round: u64,
    /// Up to where rounds have written, and synced.
    pub(crate) written: Point,
    pub(crate) durable: Point,
    /// The file that `written` is in, once there is one, and what it is when the round in flight succeeds.
    pub(crate) written_file: Option<Arc<SegmentFile>>,
    pub(crate) round_file: Option<Arc<SegmentFile>>,
    /// Whether the partition's directory and state file are known to be durable.
    pub(crate) dir_durable: bool,
    /// Whether the directory's name is durable, though nothing may be in it yet.
    pub(crate) named: bool,
    pub(crate) failure: Option<StorageFailure>,
    /// While the log is being cut: where what can still be read ends.
    pub(crate) cutting: Option<Offset>,
    /// Compaction has been through everything below.
    pub(crate) compacted_end: Offset,
    /// As of the log end.
    pub(crate) producers: Producers,
    pub(crate) upkeep: Upkeep,
    pub(crate) history: EpochHistory,
}

/// Figures of one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segments, the active one included.
    pub segments: u64,
    /// Bytes of batches in them, those not yet written included.
    pub bytes: u64,
    /// Bytes of batches held in memory.
    pub tail_bytes: u64,
    /// The greatest timestamp of a record, if any has one.
    pub max_timestamp: Option<TimestampMs>,
}

impl Log {
    /// A log from its parts, everything in it durable.
    pub(crate) fn from_parts(
        shared: Arc<Shared>,
        config: LogConfig,
        cursors: Cursors,
        sealed: Vec<Arc<Sealed>>,
        active: Active,
        dir_durable: bool,
        (producers, upkeep): (Producers, Upkeep),
    ) -> Self {
        let end = active.end_point(cursors.log_end());
        Self {
            shared,
            config,
            cursors,
            sealed: Arc::new(sealed),
            settled_end: active.base(),
            written_file: active.created.then(|| Arc::clone(&active.file)),
            active,
            tail: Tail::default(),
            pending: VecDeque::new(),
            in_flight: None,
            next_round: 0,
            written: end,
            durable: end,
            round_file: None,
            dir_durable,
            named: false,
            failure: None,
            cutting: None,
            compacted_end: Offset::ZERO,
            producers,
            upkeep,
            history: EpochHistory::default(),
        }
    }

    /// Where the log begins and ends.
    pub fn cursors(&self) -> Cursors {
        self.cursors
    }

    /// Why the log has stopped, if it has. It then has to be reopened: see [`Log::plan_reopen`].
    pub fn failure(&self) -> Option<&StorageFailure> {
        self.failure.as_ref()
    }

    /// Whether there is something for a round to do, now or when the one in flight is done.
    pub fn wants_round(&self) -> bool {
        let unsynced = self.config.durability == corduroy_types::Durability::Sync
            && self.durable.offset < self.written.offset;
        self.failure.is_none() && (!self.pending.is_empty() || unsynced)
    }

    /// Whether a round is in flight.
    pub fn round_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The directory of the partition.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The present config.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// The idempotent producers that the log remembers, as of the log end.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Changes how the log behaves from now on; what is stored stays as it is. A change of
    /// `index_interval_bytes` applies to segments begun later. A topic that changes to durability `sync` does
    /// not take back what it counted before; the next round makes it durable.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
        self.producers.set_expiration(config.producer_expiration_ms);
        self.cursors = self.cursors.counting(config.durability);
        self.tail.shrink(config.tail_bytes, self.cursors.written_end());
    }

    /// The ranges known to be damaged, in order: found by recovery, by reads and by the scrub, and not deleted since.
    /// Reads there answer [`crate::ReadError::Corrupt`]; all others go on.
    pub fn damages(&self) -> Vec<DamagedRange> {
        self.shared.damages()
    }

    /// Small files of the partition that were not as they should be when it was opened. What they held was taken from
    /// elsewhere and written again, so nothing is lost; but the disk is to be suspected. Forgotten when it is opened
    /// again, and by [`crate::Salvage::accept_state`].
    pub fn faults(&self) -> Vec<StateFault> {
        self.shared.faults()
    }

    /// Figures, without I/O.
    pub fn stats(&self) -> LogStats {
        let sealed_bytes: u64 = self.sealed.iter().map(|sealed| sealed.bytes).sum();
        let active_max = self.active.index.max_timestamp().map(|(timestamp, _)| timestamp);
        let sealed_max = self.sealed.iter().filter_map(|sealed| sealed.max_timestamp).max();
        LogStats {
            segments: self.sealed.len() as u64 + 1,
            bytes: sealed_bytes + self.active.bytes,
            tail_bytes: self.tail.bytes(),
            max_timestamp: sealed_max.max(active_max),
        }
    }

    /// Gives back open files and the memory of batches that are on disk. Both come back when needed.
    pub fn release_idle(&mut self) {
        self.tail.shrink(0, self.cursors.written_end());
        // A handle with unsynced writes is kept: it is the one that learns of their failure.
        if self.in_flight.is_none() && self.durable.offset == self.cursors.log_end() {
            self.active.file.release();
        }
        if let Some(unscanned) = &self.active.unscanned {
            unscanned.release();
        }
        for sealed in self.sealed.iter() {
            sealed.file.release();
            if sealed.end <= self.settled_end && !sealed.file.is_swapping() {
                // The holder of the lock is opening or building them now, which is I/O and no idleness.
                if let Some(mut indexes) = sealed.indexes.try_lock() {
                    *indexes = None;
                }
            }
        }
    }

    /// The sealed segment that holds `offset`, unless it is in the active one.
    pub(crate) fn sealed_at(&self, offset: Offset) -> Option<&Arc<Sealed>> {
        self.sealed.get(self.sealed.partition_point(|sealed| sealed.end <= offset))
    }

    /// Where what is served ends: a log that has stopped believes nothing above its durable end, and one that is being cut
    /// serves what stays.
    pub(crate) fn readable_end(&self) -> Offset {
        let end = if self.failure.is_some() { self.cursors.durable_end() } else { self.cursors.log_end() };
        self.cutting.map_or(end, |to| to.min(end))
    }

    /// Whether files may be removed or replaced: not after a failure, and not by two at once.
    pub(crate) fn is_changeable(&self) -> bool {
        self.failure.is_none() && self.cutting.is_none()
    }

    /// How many bytes of a segment have been written and can be read from its file.
    pub(crate) fn readable_bytes(&self, base: Offset, bytes: u64) -> u64 {
        match base.cmp(&self.written.segment_base) {
            std::cmp::Ordering::Less => bytes,
            std::cmp::Ordering::Equal => self.written.position,
            std::cmp::Ordering::Greater => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use corduroy_batch::{Batch, BatchBuilder, Compression};
    use corduroy_types::LeaderEpoch;

    use super::*;
    use crate::{Disk, Known, SimDisk};

    fn batch() -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        let _added = builder.push(TimestampMs(1), None, Some(&[7; 100]), std::iter::empty()).unwrap();
        Batch::parse(builder.build().unwrap()).unwrap()
    }

    #[test]
    fn an_idle_log_gives_back_what_no_one_uses_and_waits_for_no_one() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir_all(Path::new("/data")).unwrap();
        let config = LogConfig { segment_bytes: 1, ..LogConfig::default() };
        let (mut log, _) =
            Log::open(Arc::clone(&disk), "/data/t/0".into(), config, Known::default(), TimestampMs(1))
                .unwrap();
        for _ in 0..3 {
            let _appended = log.append(batch(), LeaderEpoch::ZERO, TimestampMs(1)).unwrap();
        }
        while let Some(round) = log.take_round() {
            let result = round.perform(&*disk);
            log.round_done(result).unwrap();
        }
        let sealed = Arc::clone(&log.sealed);
        let [busy, idle, ..] = sealed.as_slice() else { panic!("{} segments are sealed", sealed.len()) };
        // Someone opens the indexes of one: to wait for it here would end in a deadlock.
        let opening = busy.indexes.lock();
        log.release_idle();
        assert!(idle.indexes.lock().is_none());
        drop(opening);
    }

    #[test]
    fn a_record_of_the_future_is_named_where_it_keeps_retention_waiting() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir_all(Path::new("/data")).unwrap();
        let config = LogConfig { retention_ms: Some(1_000), ..LogConfig::default() };
        let (mut log, _) =
            Log::open(Arc::clone(&disk), "/data/t/0".into(), config, Known::default(), TimestampMs(1))
                .unwrap();
        let (hour, year) = (3_600_000, 365 * 86_400_000);
        for timestamp in [5, year] {
            assert_eq!(log.retention_block(TimestampMs(1)), None);
            let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
            let pushed = builder.push(TimestampMs(timestamp), None, Some(&[7; 100]), std::iter::empty());
            assert!(pushed.is_ok());
            let batch = Batch::parse(builder.build().unwrap()).unwrap();
            let _appended = log.append(batch, LeaderEpoch::ZERO, TimestampMs(1)).unwrap();
        }
        // The second record is so much younger that it begins a segment.
        let segment = Offset::new(1).unwrap();
        let (newest, until) = (TimestampMs(year), TimestampMs(year + 1_000));
        let expected = crate::RetentionBlock { segment, newest, until };
        assert_eq!(log.retention_block(TimestampMs(1)), Some(expected));
        assert_eq!(log.retention_block(TimestampMs(year - hour)), None, "a clock may be an hour slow");
        log.set_config(LogConfig { retention_ms: None, ..config });
        assert_eq!(log.retention_block(TimestampMs(1)), None);
    }

    #[test]
    fn what_other_limits_would_delete_is_known_before_they_are_set() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir_all(Path::new("/data")).unwrap();
        let config = LogConfig { segment_bytes: 1, ..LogConfig::default() };
        let (mut log, _) =
            Log::open(Arc::clone(&disk), "/data/t/0".into(), config, Known::default(), TimestampMs(1))
                .unwrap();
        for _ in 0..3 {
            let _appended = log.append(batch(), LeaderEpoch::ZERO, TimestampMs(1)).unwrap();
        }
        let one = u64::from(batch().total_bytes());
        let now = TimestampMs(100);
        assert_eq!(log.deletable_bytes(None, None, now), 0);
        assert_eq!(log.deletable_bytes(Some(1_000), Some(3 * one), now), 0);
        assert_eq!(log.deletable_bytes(Some(10), None, now), 3 * one, "the active segment expires too");
        assert_eq!(log.deletable_bytes(None, Some(2 * one), now), one);
        assert_eq!(
            log.deletable_bytes(None, Some(2 * one - 1), now),
            one,
            "whole segments, never below the limit"
        );
        assert_eq!(log.deletable_bytes(None, Some(1), now), 2 * one, "by size never the last one");
    }
}
