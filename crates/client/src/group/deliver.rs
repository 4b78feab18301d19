//! Handing messages out to the user of a group's consumer.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use corduroy_types::{ErrorCode, Offset};

use super::{
    Commit, GroupConsumeError, OnPositionLost, PositionLost,
    core::{Clearing, ConsumerState, Core},
    offsets::Part,
    window::{CommitPosition, Tick},
};
use crate::{ConsumeError, Event, Message, TopicPartition};

type Next = Poll<Option<Result<Message, GroupConsumeError>>>;

/// What came of a partition that cannot be read.
enum Verdict {
    Error(GroupConsumeError),
    /// Reading goes on elsewhere.
    GoOn(Event),
    /// No one needs to know: the coordinator takes it back.
    Ignore,
}

impl Core {
    pub(crate) fn poll_message(&self, cx: &mut Context<'_>) -> Next {
        self.signals.user.register(cx.waker());
        loop {
            let mut state = self.state.lock();
            if let Some(error) = state.errors.pop_front() {
                return Poll::Ready(Some(Err(error)));
            }
            if state.closing {
                return Poll::Ready(None);
            }
            if let Some(ready) = self.poll_cleared(&mut state) {
                return ready;
            }
            if self.signals.is_full() {
                return Poll::Pending;
            }
            match state.reader.poll_message(cx) {
                Poll::Pending | Poll::Ready(None) => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => {
                    let Some((place, batch_end)) = state.reader.last() else { continue };
                    if let Some(message) = self.hand_out(&mut state, message, place, batch_end) {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let verdict = self.judge(&mut state, error);
                    drop(state);
                    match verdict {
                        Verdict::Error(error) => return Poll::Ready(Some(Err(error))),
                        Verdict::GoOn(event) => self.client.events.emit(event),
                        Verdict::Ignore => {}
                    }
                }
            }
        }
    }

    /// Looks after a message that waits for its commit; `None` when there is none.
    fn poll_cleared(&self, state: &mut ConsumerState) -> Option<Next> {
        let clearing = state.clearing.take()?;
        let slot = state.slots.get(&clearing.part)?;
        let place = slot.place?;
        if clearing.message.offset() >= slot.cleared_to {
            state.clearing = Some(clearing);
            return Some(Poll::Pending);
        }
        let message = self.hand_out(state, clearing.message, place, clearing.to.offset)?;
        Some(Poll::Ready(Some(Ok(message))))
    }

    /// Notes that a message goes out; `None` when it may not, or not yet.
    fn hand_out(
        &self,
        state: &mut ConsumerState,
        message: Message,
        place: usize,
        batch_end: Offset,
    ) -> Option<Message> {
        let (offset, epoch) = (message.offset(), message.leader_epoch());
        if self.options.commit == Commit::BeforeHandling {
            let part = state.at(place)?.0.clone();
            if state.slots.get(&part).is_some_and(|slot| slot.cleared_to <= offset) {
                let to = CommitPosition { offset: batch_end, epoch };
                state.clearing = Some(Clearing { part, message, to });
                self.signals.clear.notify_one();
                return None;
            }
        }
        let (_, track) = state.at(place)?;
        match self.options.commit {
            Commit::Processed { .. } | Commit::Manual => {
                track.hand_out(offset, epoch, Tick(self.tick.load(Ordering::Relaxed)));
            }
            Commit::Never | Commit::BeforeHandling => track.hand_out_done(offset, epoch),
        }
        Some(message.tracked(Arc::clone(track)))
    }

    /// What to make of a partition that cannot be read.
    fn judge(&self, state: &mut ConsumerState, error: ConsumeError) -> Verdict {
        if is_gone(error.code()) {
            tracing::debug!(%error, "the partition is gone; the group will take it back");
            return Verdict::Ignore;
        }
        let overtaken = error
            .log_start()
            .filter(|log_start| error.code() == ErrorCode::OffsetOutOfRange && error.position < *log_start);
        let Some(log_start) = overtaken else {
            self.tell_beyond_end(&error);
            return Verdict::Error(error.into());
        };
        let found = state.find(error.topic.as_str(), error.partition.0);
        let Some((part, place)) = found.map(|(part, _, place)| (part.clone(), place)) else {
            return Verdict::Ignore;
        };
        let lost = self.position_lost(&part, error.position, log_start);
        let Some(resumed_at) = self.resume_at(log_start, error.high_watermark()) else {
            return Verdict::Error(GroupConsumeError::PositionLost(lost));
        };
        state.reader.seek(place, resumed_at);
        if let Some(slot) = state.slots.get(&part) {
            slot.track.pass(resumed_at);
        }
        Verdict::GoOn(Event::PositionLost { lost, resumed_at })
    }

    /// Reports a position behind everything that can be read.
    fn tell_beyond_end(&self, error: &ConsumeError) {
        let is_beyond = |end: &Offset| error.code() == ErrorCode::OffsetOutOfRange && error.position > *end;
        if let Some(end) = error.high_watermark().filter(is_beyond) {
            let (group, position) = (Arc::clone(&self.options.group), error.position);
            let partition = TopicPartition::new(error.topic.clone(), error.partition);
            self.client.events.emit(Event::PositionBeyondEnd { group, partition, position, end });
        }
    }

    pub(crate) fn position_lost(&self, part: &Part, position: Offset, log_start: Offset) -> PositionLost {
        PositionLost {
            group: Arc::clone(&self.options.group),
            partition: part.name.clone(),
            position,
            log_start,
            lost_offset_count: log_start.distance_from(position),
        }
    }

    /// Where to go on behind lost records, if the program wants to.
    pub(crate) fn resume_at(&self, log_start: Offset, end: Option<Offset>) -> Option<Offset> {
        match self.options.on_position_lost {
            OnPositionLost::Fail => None,
            OnPositionLost::Start => Some(log_start),
            OnPositionLost::End => end,
        }
    }
}

/// Whether there is no such partition any more.
pub(crate) fn is_gone(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::TopicNotFound | ErrorCode::PartitionNotFound | ErrorCode::TopicIdMismatch)
}
