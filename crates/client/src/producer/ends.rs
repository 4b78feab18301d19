//! How batches end: acknowledged, refused, lost with their stream, overdue, given up.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::{Refusal, v1};
use corduroy_types::{ErrorCode, LeaderEpoch, Offset, Outcome, TimestampMs};
use tokio::time::Instant;
use v1::produce_response::Result as Answer;

use super::{
    delivery::{Acked, BatchEnd, Failed},
    error::SendErrorKind,
    pump::Pump,
    seal::{Sealed, seal_for_return},
    stream::StreamEvent,
    verdict::{Verdict, verdict},
};
use crate::{ClientError, Event, TopicPartition};

/// Why a batch did not get an acknowledgement this time.
#[derive(Debug)]
pub(super) struct RefusedBatch {
    pub(super) kind: SendErrorKind,
    pub(super) outcome: Outcome,
    pub(super) refusal: Refusal,
}

impl Pump {
    pub(super) fn handle(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened => self.trouble = None,
            StreamEvent::Answer(answer) => self.answered(answer),
            StreamEvent::NotOpened { refusal } => self.trouble = Some(refusal),
            StreamEvent::Broken { refusal, last_sent } => {
                self.broken(&refusal, last_sent);
                self.trouble = Some(refusal);
            }
        }
    }

    fn answered(&mut self, answer: v1::ProduceResponse) {
        let v1::ProduceResponse { correlation_id, result } = answer;
        // Nothing waits for the answer of a batch that was overdue.
        let Some(id) = self.flights.remove(&correlation_id) else { return };
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let Some(sealed) = lane.land(correlation_id) else { return };
        match read_answer(result, &sealed, lane.queue.partition.0) {
            Ok(acked) => {
                lane.written(sealed.place);
                self.delayed = None;
                let queue = Arc::clone(&lane.queue);
                self.core.finish(&queue, &sealed.ended(), BatchEnd::Acked(acked));
            }
            Err(refusal) => {
                let claimed = refusal.outcome.unwrap_or(Outcome::Unknown);
                // The broker cannot always exclude that an earlier attempt wrote the batch. What is known of those is
                // kept with the batch; this is about the last attempt alone.
                let wrote_nothing = refusal.code.produce_end().wrote_nothing();
                let outcome = if wrote_nothing { Outcome::NotWritten } else { claimed };
                self.refused(id, sealed, RefusedBatch { kind: SendErrorKind::Refused, outcome, refusal });
            }
        }
        self.recover(id, true);
        self.run_lane(id);
    }

    /// A batch was refused, or lost with its stream: it is sent again later, or fails.
    fn refused(&mut self, id: usize, sealed: Sealed, reason: RefusedBatch) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if matches!(
            reason.refusal.code,
            ErrorCode::TopicNotFound
                | ErrorCode::PartitionNotFound
                | ErrorCode::TopicIdMismatch
                | ErrorCode::BatchTooLarge
        ) {
            self.core.refresh_topic(&lane.queue);
        }
        let in_time = Instant::now() < sealed.created + self.core.options.delivery_timeout;
        if sealed.is_numbered() {
            return self.numbered_refused(id, sealed, reason, in_time);
        }
        let curable = reason.outcome == Outcome::NotWritten && reason.refusal.code.is_retriable();
        if curable && in_time {
            lane.retry_later(sealed);
            self.delayed_by(id, reason);
            return;
        }
        if reason.outcome == Outcome::Unknown {
            lane.written(sealed.place);
        }
        self.fail_with_followers(id, sealed, reason);
    }

    /// Remembers why a batch is sent again, and emits an event where the broker itself refuses it. Of lost connections
    /// and of batches that were refused because of those before them there are other events, or none is needed.
    fn delayed_by(&mut self, id: usize, reason: RefusedBatch) {
        let code = reason.refusal.code;
        let is_told =
            reason.kind == SendErrorKind::Refused && code.is_retriable() && self.delayed != Some(code);
        if let Some(lane) = self.lanes.get(id).filter(|_| is_told) {
            self.delayed = Some(code);
            let partition = TopicPartition::new(lane.queue.topic.name.clone(), lane.queue.partition);
            let error = ClientError::from(reason.refusal.clone());
            self.core.client.events.emit(Event::ProduceDelayed { partition, error });
        }
        self.trouble = Some(reason.refusal);
    }

    fn numbered_refused(&mut self, id: usize, mut sealed: Sealed, reason: RefusedBatch, in_time: bool) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let (code, place) = (reason.refusal.code, sealed.place);
        let joined = sealed.outcome.join(reason.outcome);
        let verdict = match verdict(code, reason.outcome, sealed.outcome, lane.is_behind_pending(place)) {
            Verdict::Again if !in_time && joined == Outcome::Unknown => Verdict::GiveUp,
            Verdict::Again | Verdict::Restart if !in_time => Verdict::Failed,
            verdict => verdict,
        };
        match verdict {
            Verdict::Again => {
                sealed.outcome = joined;
                lane.retry_later(sealed);
                self.delayed_by(id, reason);
            }
            Verdict::Restart => {
                lane.note_gap(&sealed, true);
                lane.retry_later(sealed);
            }
            Verdict::Failed => {
                lane.note_gap(&sealed, code == ErrorCode::SequenceUnknown);
                let reason = RefusedBatch { outcome: Outcome::NotWritten, ..reason };
                self.fail_with_followers(id, sealed, reason);
            }
            Verdict::GiveUp => {
                sealed.outcome = joined;
                lane.retry_later(sealed);
                self.give_up(id, place, reason);
            }
        }
    }

    /// Ends everything in a partition, because it is not known, and will not be, what became of the batch at `place` (or
    /// what was acknowledged before it is gone). What was never sent is handed back as *not written*: the order in which
    /// it should follow is the program's to decide. The next record begins a new epoch.
    fn give_up(&mut self, id: usize, place: u64, reason: RefusedBatch) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let surrendered = lane.surrender();
        let unsent = lane.queue.take_older(Instant::now());
        if reason.refusal.code == ErrorCode::ProducerFenced {
            lane.leave_id();
        }
        let cause = reason.refusal.clone();
        self.flights.retain(|_, flight_of| *flight_of != id);
        let mut first = Some(reason);
        for (sealed, outcome) in surrendered {
            let reason = match first.take_if(|_| sealed.place == place) {
                Some(reason) => RefusedBatch { outcome, ..reason },
                None => after_unknown(&cause, sealed.outcome.join(outcome)),
            };
            self.fail(id, sealed, reason);
        }
        for unsent in unsent {
            self.fail(id, seal_for_return(unsent), after_unknown(&cause, Outcome::NotWritten));
        }
    }

    /// Sends refused batches again once nothing of the lane is in flight.
    fn recover(&mut self, id: usize, wait: bool) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let overtaken = lane.recover(Instant::now(), wait);
        for sealed in overtaken {
            let why = self
                .trouble
                .as_ref()
                .map(|refusal| format!("; it was refused: {refusal}"))
                .unwrap_or_default();
            let refusal = Refusal::new(
                self.trouble.as_ref().map_or(ErrorCode::Unavailable, |refusal| refusal.code),
                format!("a later record of the same partition was written first{why}"),
            )
            .with_hint("Send it again if its place behind the later records does not matter.");
            let reason =
                RefusedBatch { kind: SendErrorKind::Overtaken, outcome: Outcome::NotWritten, refusal };
            self.fail(id, sealed, reason);
        }
        self.run_lane(id);
    }

    fn broken(&mut self, refusal: &Refusal, last_sent: u64) {
        self.flights.clear();
        for id in 0..self.lanes.len() {
            let Some(mut lane) = self.lanes.get_mut(id) else { continue };
            for mut flight in std::mem::take(&mut lane.in_flight) {
                let never_left = flight.correlation_id > last_sent;
                let outcome = if never_left { Outcome::NotWritten } else { Outcome::Unknown };
                let refusal = refusal.clone().with_outcome(outcome);
                if flight.sealed.is_numbered() {
                    // Whatever broke the stream, the partition will know it again. Time ends it otherwise.
                    flight.sealed.outcome = flight.sealed.outcome.join(outcome);
                    lane.retry_later(flight.sealed);
                    continue;
                }
                let refusal = if never_left && !refusal.code.is_retriable() {
                    // What ended the stream was about another request.
                    Refusal { code: ErrorCode::Unavailable, ..refusal }
                } else {
                    refusal
                };
                let reason = RefusedBatch { kind: SendErrorKind::Disconnected, outcome, refusal };
                self.refused(id, flight.sealed, reason);
                let Some(again) = self.lanes.get_mut(id) else { break };
                lane = again;
            }
            // The stream's own wait is enough.
            self.recover(id, false);
        }
    }

    /// Ends what is older than the delivery time-out.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(before) = now.checked_sub(self.core.options.delivery_timeout) else { return };
        for id in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            if self.core.options.is_idempotent()
                && let Some(place) = lane.first_overdue_in_doubt(before)
            {
                let reason = self.too_late(Outcome::Unknown);
                self.give_up(id, place, reason);
                continue;
            }
            let flights = lane.take_older_flights(before);
            let retries = lane.take_older_retries(before);
            if let Some(last) = flights.last() {
                lane.written(last.sealed.place);
            }
            retries.iter().for_each(|sealed| lane.note_gap(sealed, false));
            for flight in flights {
                self.flights.remove(&flight.correlation_id);
                self.fail_with_followers(id, flight.sealed, self.too_late(Outcome::Unknown));
            }
            for sealed in retries {
                self.fail_with_followers(id, sealed, self.too_late(Outcome::NotWritten));
            }
            self.expire_unsent(id, before);
            self.recover(id, false);
        }
    }

    /// Ends what was never sent and is older than the delivery time-out.
    fn expire_unsent(&mut self, id: usize, before: Instant) {
        let Some(lane) = self.lanes.get(id) else { return };
        let unsent = lane.queue.take_older(before);
        let breaks_condition = unsent.iter().any(|unsent| unsent.ticket.expected_offset.is_some());
        for unsent in unsent {
            self.fail(id, seal_for_return(unsent), self.too_late(Outcome::NotWritten));
        }
        if breaks_condition {
            self.hand_back_unsent(id, &self.too_late(Outcome::NotWritten));
        }
    }

    fn too_late(&self, outcome: Outcome) -> RefusedBatch {
        let within = self.core.options.delivery_timeout.as_millis();
        let what = match outcome {
            Outcome::Unknown => "sent and not acknowledged",
            Outcome::NotWritten => "not sent",
        };
        let why = match &self.trouble {
            Some(trouble) => format!("; last: {trouble}"),
            None => String::new(),
        };
        let refusal = Refusal::new(ErrorCode::TimedOut, format!("{what} within {within} ms{why}"));
        RefusedBatch { kind: SendErrorKind::TimedOut, outcome, refusal }
    }

    pub(super) fn fail(&mut self, id: usize, sealed: Sealed, reason: RefusedBatch) {
        let Some(lane) = self.lanes.get(id) else { return };
        let outcome = sealed.outcome.join(reason.outcome);
        let refusal = reason.refusal.with_outcome(outcome);
        tracing::debug!(
            topic = %lane.queue.topic.name, partition = lane.queue.partition.0, records = sealed.record_count,
            %outcome, error = %refusal, "a batch was not delivered"
        );
        let failed = Failed::new(reason.kind, outcome, refusal, sealed.bytes.clone());
        self.core.count_failure(&failed, sealed.record_count);
        self.core.finish(&lane.queue, &sealed.ended(), BatchEnd::Failed(failed));
    }

    /// Ends everything: what was sent is unknown, the rest was not written.
    pub(super) fn abort(&mut self) {
        let queues = self.core.queues.all();
        self.lane_of(queues.len().saturating_sub(1));
        let closed =
            Refusal::new(ErrorCode::Closed, "the producer was closed before the record was acknowledged");
        self.flights.clear();
        for id in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let mut ends = lane.surrender();
            let unsent = lane.queue.abort();
            ends.extend(unsent.into_iter().map(|unsent| (seal_for_return(unsent), Outcome::NotWritten)));
            for (sealed, outcome) in ends {
                let refusal = closed.clone();
                self.fail(id, sealed, RefusedBatch { kind: SendErrorKind::Closed, outcome, refusal });
            }
            self.abandon(id, &closed);
        }
    }

    /// Ends a batch that was being built when this task was dropped: its bytes are gone, and it was never sent.
    fn abandon(&self, id: usize, closed: &Refusal) {
        let Some(lane) = self.lanes.get(id) else { return };
        for ticket in lane.queue.unfinished() {
            let refusal = closed.clone().with_outcome(Outcome::NotWritten);
            let failed = Failed::new(SendErrorKind::Closed, Outcome::NotWritten, refusal, Bytes::new());
            lane.queue.finished(&ticket);
            ticket.finish(BatchEnd::Failed(failed));
        }
    }
}

/// Ends what follows a batch whose outcome is unknown.
pub(super) fn after_unknown(cause: &Refusal, outcome: Outcome) -> RefusedBatch {
    let what = match outcome {
        Outcome::Unknown => "sent",
        Outcome::NotWritten => "not written",
    };
    let message =
        format!("{what} behind a record of the same partition that was given up: {}", cause.message);
    let refusal = Refusal::new(cause.code, message)
        .with_hint("Find out what became of the record before it; then send this one again.");
    RefusedBatch { kind: SendErrorKind::AfterUnknown, outcome, refusal }
}

/// Reads an answer, and checks that it is about the batch that was sent.
fn read_answer(result: Option<Answer>, sealed: &Sealed, partition: u32) -> Result<Acked, Refusal> {
    let unexpected =
        |what: String| Refusal::new(ErrorCode::UnexpectedAnswer, what).with_outcome(Outcome::Unknown);
    let ack = match result {
        Some(Answer::Ok(ack)) => ack,
        Some(Answer::Error(error)) => return Err(error.into()),
        None => return Err(unexpected("the broker answered neither success nor error".to_owned())),
    };
    let [appended] = ack.appended.as_slice() else {
        return Err(unexpected(format!("the broker acknowledged {} partitions, not 1", ack.appended.len())));
    };
    if appended.partition != partition || appended.record_count != sealed.record_count {
        return Err(unexpected(format!(
            "the broker acknowledged {} records in partition {}, {} were sent to partition {partition}",
            appended.record_count, appended.partition, sealed.record_count,
        )));
    }
    let base_offset = Offset::new(appended.base_offset)
        .ok_or_else(|| unexpected(format!("the broker acknowledged offset {}", appended.base_offset)))?;
    let leader_epoch = LeaderEpoch::new(appended.leader_epoch).ok_or_else(|| {
        unexpected(format!("the broker acknowledged in leader epoch {}", appended.leader_epoch))
    })?;
    Ok(Acked {
        base_offset,
        log_append_time: appended.log_append_time_ms.map(TimestampMs),
        leader_epoch,
        durable_replicas: appended.durable_replicas,
        duplicate: appended.duplicate,
    })
}
