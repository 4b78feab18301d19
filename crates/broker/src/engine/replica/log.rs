//! What can be seen and used of a replica's log, and how it comes and goes.

use corduroy_api::Refusal;
use corduroy_log::{
    DamagedRange, Log, LogConfig, LogStats, ReadCursor, ReadPlan, StateFault, StretchWithGaps,
};
use corduroy_types::{ErrorCode, LeaderEpoch, Offset, TimestampMs};

use super::{LogSlot, Replica, ReplicaCursors, ReplicaState, refusals};

impl Replica {
    /// The ranges that cannot be read, as far as they are known.
    pub(crate) fn damages(&self) -> Vec<DamagedRange> {
        self.with_log(|log, _| log.damages()).unwrap_or_default()
    }

    /// Small files of it that were not as they should be when it was opened.
    pub(crate) fn faults(&self) -> Vec<StateFault> {
        self.with_log(|log, _| log.faults()).unwrap_or_default()
    }

    /// Whether it has led since the broker started: before that its high watermark is not known.
    pub(in crate::engine) fn was_led(&self) -> bool {
        self.state.lock().partition.last_epoch().is_some()
    }

    /// The cursors, read together.
    ///
    /// # Errors
    /// The partition is offline, or the topic is gone: where it begins and ends is not known then.
    pub(crate) fn cursors(&self) -> Result<ReplicaCursors, Refusal> {
        let state = self.state.lock();
        self.readable(&state).map(|(_, cursors)| cursors)
    }

    /// Checks that a reader that knows the partition at this leader epoch, if it names one, may read it (KIP-320).
    ///
    /// # Errors
    /// `FENCED_LEADER_EPOCH` or `UNKNOWN_LEADER_EPOCH`, as [`corduroy_partition::Partition::check_read`] says; whatever else
    /// keeps the partition from being read.
    pub(crate) fn check_read(&self, named: Option<LeaderEpoch>) -> Result<(), Refusal> {
        let state = self.state.lock();
        self.readable(&state)?;
        let checked = state.partition.check_read(named);
        checked.map(drop).map_err(|refusal| refusals::not_leading(&self.identity, &refusal))
    }

    /// The log that can be read, and up to where: the partition decides both.
    fn readable<'a>(&self, state: &'a ReplicaState) -> Result<(&'a Log, ReplicaCursors), Refusal> {
        let readable = state.log.get().zip(state.partition.check_read(None).ok());
        let (log, cursors) = readable.ok_or_else(|| state.log.absent(&self.identity))?;
        let cursors = ReplicaCursors {
            log_start: log.cursors().log_start(),
            high_watermark: cursors.high_watermark(),
            log_end: log.cursors().log_end(),
        };
        Ok((log, cursors))
    }

    /// Plans a read below the high watermark, with the cursors of the same moment.
    ///
    /// # Errors
    /// The offset is out of range, or the topic is gone.
    pub(in crate::engine) fn plan_read(
        &self,
        at: ReadCursor,
        max_bytes: u32,
    ) -> Result<(ReadPlan, ReplicaCursors), Refusal> {
        let state = self.state.lock();
        let (log, cursors) = self.readable(&state)?;
        let plan = log
            .plan_read_at(at, max_bytes, cursors.high_watermark)
            .map_err(|error| refusals::read(&self.identity, &error, cursors))?;
        Ok((plan, cursors))
    }

    /// Plans something from the log, below the high watermark.
    ///
    /// # Errors
    /// The partition is offline, or the topic is gone.
    pub(in crate::engine) fn plan<T>(&self, plan: impl FnOnce(&mut Log, Offset) -> T) -> Result<T, Refusal> {
        let mut state = self.state.lock();
        let (_, ReplicaCursors { high_watermark, .. }) = self.readable(&state)?;
        match state.log.get_mut() {
            Some(log) => Ok(plan(log, high_watermark)),
            None => Err(state.log.absent(&self.identity)),
        }
    }

    /// Checks that the log can be changed.
    ///
    /// # Errors
    /// It has stopped, or the partition is offline.
    pub(crate) fn check_writable(&self) -> Result<(), Refusal> {
        match &self.state.lock().log {
            LogSlot::Offline(reason) | LogSlot::Opening(reason) => {
                Err(refusals::offline(&self.identity, reason))
            }
            slot => match slot.failure() {
                Some(failure) => Err(Refusal::new(ErrorCode::StorageFailed, failure)),
                None => Ok(()),
            },
        }
    }

    /// Uses the log without I/O, if it is still there.
    pub(in crate::engine) fn with_log<T>(&self, use_log: impl FnOnce(&mut Log, Offset) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let high_watermark = state.partition.cursors().high_watermark();
        state.log.get_mut().map(|log| use_log(log, high_watermark))
    }

    /// Puts a log that was opened, or reopened, in its place; `false` when the log was closed before. It takes
    /// appends when it leads in a new epoch.
    pub(in crate::engine) fn opened(&self, mut log: Log, config: Option<LogConfig>) -> bool {
        let mut state = self.state.lock();
        // The topic's config may have changed while the log was being reopened.
        let config = match &state.log {
            LogSlot::Open(stopped) | LogSlot::Reopening(stopped) => Some(*stopped.config()),
            LogSlot::Offline(_) | LogSlot::Opening(_) => config,
            LogSlot::Closed(_) => return false,
        };
        if let Some(config) = config {
            log.set_config(config);
        }
        state.log = LogSlot::Open(Box::new(log));
        drop(state);
        self.set_compaction_failure(None);
        true
    }

    /// Its log cannot be opened, or must not be used: until it is opened again nothing of it is served.
    /// Returns whether that is news.
    pub(in crate::engine) fn take_offline(&self, reason: &str) -> bool {
        let mut state = self.state.lock();
        let is_news = match &state.log {
            LogSlot::Closed(_) => return false,
            LogSlot::Open(_) | LogSlot::Reopening(_) => true,
            LogSlot::Offline(known) | LogSlot::Opening(known) => **known != *reason,
        };
        state.log.take_offline(reason);
        is_news
    }

    /// Whether its log is open, stopped or not.
    pub(in crate::engine) fn is_open(&self) -> bool {
        self.state.lock().log.get().is_some()
    }

    /// Whether a task opens or reopens its log now.
    pub(in crate::engine) fn is_being_opened(&self) -> bool {
        self.state.lock().log.is_being_opened()
    }

    /// Notes that a task opens or reopens its log from now on; `false` where that is not to be done.
    pub(in crate::engine) fn begin_opening(&self) -> bool {
        self.state.lock().log.begin_opening()
    }

    /// Notes that the task has ended and its log is as it was.
    pub(in crate::engine) fn end_opening(&self) {
        self.state.lock().log.end_opening();
    }

    /// Whether it leads now, and takes appends.
    pub(crate) fn is_led(&self) -> bool {
        self.state.lock().partition.epoch().is_some()
    }

    /// Whether it is offline: there is no open log, and the topic was not deleted.
    pub(crate) fn is_offline(&self) -> bool {
        self.state.lock().log.offline().is_some()
    }

    pub(crate) fn stats(&self) -> LogStats {
        self.state.lock().log.get().map(Log::stats).unwrap_or_default()
    }

    /// Bytes that retention by these limits would delete now, whatever the topic's own are.
    pub(crate) fn deletable_bytes(
        &self,
        retention_ms: Option<u64>,
        retention_bytes: Option<u64>,
        now: TimestampMs,
    ) -> u64 {
        self.with_log(|log, _| log.deletable_bytes(retention_ms, retention_bytes, now)).unwrap_or(0)
    }

    /// Where from `from` on offsets may be missing.
    pub(crate) fn stretches_with_gaps(&self, from: Offset) -> Vec<StretchWithGaps> {
        self.with_log(|log, _| log.stretches_with_gaps(from)).unwrap_or_default()
    }

    /// Why the partition takes no appends, if it does not: for an operator.
    pub(crate) fn trouble(&self) -> Option<String> {
        let offline = if self.is_offline() { "offline: " } else { "" };
        let failure = self.failure().or_else(|| self.not_led.lock().clone());
        failure.map(|failure| format!("{offline}{failure}"))
    }

    /// Why the log takes no appends, if it does not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().log.failure()
    }
}
