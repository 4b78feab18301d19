//! A replica that follows a leader: it brings its log to agree with the leader's, appends what the leader sends, and says what it
//! holds.

use corduroy_types::{BrokerId, EpochEntry, EpochHistory, Incarnation, LeaderEpoch, Offset};

use crate::{
    Ack, Action, BatchSpan, Hello, Invariant, LogEnds, LogState, LogView, PartitionCursors, Push, Welcome,
    agree,
};

/// The state of a replica that follows.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) leader: BrokerId,
    incarnation: Incarnation,
    suspect: bool,
    stream: Stream,
    /// What the shell does to the log and has not reported.
    busy: Option<Busy>,
    /// Its own, durable.
    history: EpochHistory,
    /// The leader's entries that are not taken over, oldest first.
    ahead: Vec<EpochEntry>,
    counted_end: Offset,
    durable_end: Offset,
    /// What the leader said last.
    leader_high_watermark: Offset,
    /// The log start that the shell was asked for last.
    asked_log_start: Offset,
    acked: Option<Ack>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Closed,
    /// Open, and nothing is said.
    Open,
    /// The hello is sent.
    Greeted,
    /// The logs agree up to the end of this one.
    Agreed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Reconciling,
    Adopting,
}

/// Why a replica stops: agreeing would cut what was committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutBelowHighWatermark(pub(crate) Offset);

/// Which replica follows which leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) leader: BrokerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) suspect: bool,
}

impl Follower {
    pub(crate) fn new(following: Following, log: LogState, out: &mut Vec<Action>) -> Self {
        let Following { epoch, leader, incarnation, suspect } = following;
        out.push(Action::Connect { leader });
        Self {
            epoch,
            leader,
            incarnation,
            suspect,
            stream: Stream::Closed,
            busy: None,
            history: log.history,
            ahead: Vec::new(),
            counted_end: log.ends.counted_end,
            durable_end: log.ends.durable_end,
            leader_high_watermark: Offset::ZERO,
            asked_log_start: Offset::ZERO,
            acked: None,
        }
    }

    pub(crate) fn connected(&mut self, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        self.stream = Stream::Open;
        self.greet(cursors, out);
    }

    pub(crate) fn disconnected(&mut self, out: &mut Vec<Action>) {
        self.stream = Stream::Closed;
        out.push(Action::Connect { leader: self.leader });
    }

    /// Says what is here, once nothing is being done to the log.
    fn greet(&mut self, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        if self.stream != Stream::Open || self.busy.is_some() {
            return;
        }
        self.stream = Stream::Greeted;
        let hello = Hello {
            epoch: self.epoch,
            incarnation: self.incarnation,
            log_start: cursors.log_start(),
            log_end: cursors.log_end(),
            history: self.history.clone(),
            suspect: self.suspect,
        };
        out.push(Action::SendHello { to: self.leader, hello });
    }

    /// The leader has answered, in the epoch that is followed.
    ///
    /// # Errors
    /// The leader lacks what was committed: nothing is cut.
    pub(crate) fn welcomed(
        &mut self,
        welcome: &Welcome,
        cursors: &PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), CutBelowHighWatermark> {
        if self.stream != Stream::Greeted {
            return Ok(());
        }
        let own =
            LogView { log_start: cursors.log_start(), log_end: cursors.log_end(), history: &self.history };
        let leader =
            LogView { log_start: welcome.log_start, log_end: welcome.log_end, history: &welcome.history };
        let agreement = agree(own, leader);
        let cut_to = match agreement.empties {
            // What the leader has removed is not missed.
            true if cursors.log_end() <= welcome.log_start => Offset::MAX,
            true => agreement.log_start,
            false => agreement.log_end,
        };
        if cut_to < cursors.high_watermark() {
            return Err(CutBelowHighWatermark(cut_to));
        }
        let taken = agreement.history.last().map(|entry| entry.epoch);
        let entries = welcome.history.entries().iter().copied();
        self.ahead = entries.filter(|entry| Some(entry.epoch) > taken).collect();
        self.stream = Stream::Agreed;
        // The leader has forgotten what another stream said.
        self.acked = None;
        let is_same = !agreement.empties
            && agreement.log_end == cursors.log_end()
            && agreement.log_start == cursors.log_start()
            && agreement.history == self.history;
        if is_same {
            self.ack(cursors, out);
        } else {
            self.busy = Some(Busy::Reconciling);
            out.push(Action::Reconcile { epoch: self.epoch, agreement });
        }
        Ok(())
    }

    /// The log is as agreeing with the leader needs it.
    pub(crate) fn reconciled(&mut self, log: LogState, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        self.busy = None;
        self.history = log.history;
        let LogEnds { counted_end, durable_end, .. } = log.ends;
        (self.counted_end, self.durable_end) = (counted_end, durable_end);
        self.go_on(cursors, out);
    }

    /// An entry of the leader's history is durable here.
    ///
    /// # Errors
    /// The entry does not follow the last one.
    pub(crate) fn adopted(
        &mut self,
        entry: EpochEntry,
        cursors: &PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        self.busy = None;
        self.ahead.retain(|ahead| ahead.epoch > entry.epoch);
        self.history.push(entry).map_err(|_| Invariant::EpochsGrow)?;
        // The log below the entry is durable: that was made so first.
        self.counted_end = self.counted_end.max(entry.start);
        self.durable_end = self.durable_end.max(entry.start);
        self.go_on(cursors, out);
        Ok(())
    }

    fn go_on(&mut self, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        self.greet(cursors, out);
        self.ack(cursors, out);
        self.adopt_next(cursors, out);
    }

    /// Takes the next entry over where the log has reached its start (rule R4).
    fn adopt_next(&mut self, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        let due = self.ahead.first().filter(|entry| entry.start == cursors.log_end());
        if let Some(entry) = due.filter(|_| self.stream == Stream::Agreed && self.busy.is_none()) {
            out.push(Action::Adopt { epoch: self.epoch, entry: *entry });
            self.busy = Some(Busy::Adopting);
        }
    }

    /// The leader has sent something. Returns where the log ends then; `None` where the stream has to begin again.
    pub(crate) fn received(
        &mut self,
        push: &Push,
        batches: &[BatchSpan],
        cursors: &PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Option<Offset> {
        if self.stream != Stream::Agreed {
            return Some(cursors.log_end());
        }
        let log_end = cursors.log_end();
        self.leader_high_watermark = self.leader_high_watermark.max(push.high_watermark);
        let new = batches.iter().skip_while(|batch| batch.end <= log_end);
        let mut end = log_end;
        for batch in new {
            let is_next = batch.base == end && batch.end > batch.base;
            let in_force = self.history.last().map(|entry| entry.epoch) == Some(batch.epoch);
            let below_next = self.ahead.first().is_none_or(|entry| batch.end <= entry.start);
            // While the log is being changed, nothing is appended: the leader sends nothing then.
            if !(is_next && in_force && below_next && self.busy.is_none()) {
                return None;
            }
            end = batch.end;
        }
        if end > log_end {
            out.push(Action::Replicate { from: log_end });
        }
        Some(end)
    }

    /// What follows from what was received: called once the cursors have moved.
    pub(crate) fn received_up_to(&mut self, push: &Push, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        self.adopt_next(cursors, out);
        // Nothing is removed here that is not known to be committed (rule R20).
        let log_start = push.log_start.min(cursors.high_watermark());
        if log_start > cursors.log_start().max(self.asked_log_start) && self.stream == Stream::Agreed {
            self.asked_log_start = log_start;
            out.push(Action::RaiseLogStart { log_start });
        }
    }

    /// The log's own ends moved.
    pub(crate) fn counted(
        &mut self,
        counted_end: Offset,
        durable_end: Offset,
        cursors: &PartitionCursors,
        out: &mut Vec<Action>,
    ) {
        self.counted_end = self.counted_end.max(counted_end);
        self.durable_end = self.durable_end.max(durable_end);
        self.ack(cursors, out);
    }

    /// How far the records here can be read: what the leader knows to be committed, as far as it is here.
    pub(crate) fn committed(&self) -> Offset {
        match self.stream {
            Stream::Agreed if self.busy != Some(Busy::Reconciling) => {
                self.leader_high_watermark.min(self.counted_end)
            }
            _ => Offset::ZERO,
        }
    }

    /// Acknowledges what is held, if that has changed. Before the logs agree, nothing here is known to be the leader's.
    fn ack(&mut self, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        if self.stream != Stream::Agreed || self.busy == Some(Busy::Reconciling) {
            return;
        }
        let ack = Ack {
            epoch: self.epoch,
            incarnation: self.incarnation,
            counted_end: self.counted_end,
            durable_end: self.durable_end,
            held_epoch: self.history.last().map(|entry| entry.epoch),
            log_start: cursors.log_start(),
        };
        if self.acked != Some(ack) {
            self.acked = Some(ack);
            out.push(Action::SendAck { to: self.leader, ack });
        }
    }
}
