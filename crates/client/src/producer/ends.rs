//! How batches end: acknowledged, refused, lost with their stream, overdue, given up.

use std::sync::Arc;

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
};

/// Why a batch did not get an acknowledgement this time.
#[derive(Debug)]
pub(super) struct Reason {
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
                lane.written(sealed.sequence);
                let queue = Arc::clone(&lane.queue);
                self.core.finish(&queue, &sealed.ended(), BatchEnd::Acked(acked));
            }
            Err(refusal) => {
                let outcome = refusal.outcome.unwrap_or(Outcome::Unknown);
                self.refused(id, sealed, Reason { kind: SendErrorKind::Refused, outcome, refusal });
            }
        }
        self.recover(id, true);
        self.run_lane(id);
    }

    /// A batch was refused, or lost with its stream: it is sent again later, or fails.
    fn refused(&mut self, id: usize, mut sealed: Sealed, reason: Reason) {
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
        let curable = match reason.outcome {
            Outcome::NotWritten => reason.refusal.code.is_retriable(),
            Outcome::Unknown => self.core.options.retry_unknown,
        };
        let deadline = sealed.created + self.core.options.delivery_timeout;
        if curable && Instant::now() < deadline {
            sealed.outcome = sealed.outcome.join(reason.outcome);
            self.trouble = Some(reason.refusal);
            lane.retry_later(sealed);
            return;
        }
        if reason.outcome == Outcome::Unknown {
            lane.written(sealed.sequence);
        }
        self.fail(id, sealed, reason);
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
            let reason = Reason { kind: SendErrorKind::Overtaken, outcome: Outcome::NotWritten, refusal };
            self.fail(id, sealed, reason);
        }
        self.run_lane(id);
    }

    fn broken(&mut self, refusal: &Refusal, last_sent: u64) {
        self.flights.clear();
        for id in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            for flight in std::mem::take(&mut lane.in_flight) {
                let never_left = flight.correlation_id > last_sent;
                let outcome = if never_left { Outcome::NotWritten } else { Outcome::Unknown };
                let refusal = refusal.clone().with_outcome(outcome);
                let refusal = if never_left && !refusal.code.is_retriable() {
                    // What ended the stream was about another request.
                    Refusal { code: ErrorCode::Unavailable, ..refusal }
                } else {
                    refusal
                };
                self.refused(
                    id,
                    flight.sealed,
                    Reason { kind: SendErrorKind::Disconnected, outcome, refusal },
                );
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
            let flights = lane.take_older_flights(before);
            let retries = lane.take_older_retries(before);
            let unsent = lane.queue.take_older(before);
            if let Some(last) = flights.last() {
                lane.written(last.sealed.sequence);
            }
            for flight in flights {
                self.flights.remove(&flight.correlation_id);
                self.overdue(id, flight.sealed, Outcome::Unknown);
            }
            for sealed in retries {
                self.overdue(id, sealed, Outcome::NotWritten);
            }
            for unsent in unsent {
                self.overdue(id, seal_for_return(unsent), Outcome::NotWritten);
            }
            self.recover(id, false);
        }
    }

    fn overdue(&mut self, id: usize, sealed: Sealed, outcome: Outcome) {
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
        self.fail(id, sealed, Reason { kind: SendErrorKind::TimedOut, outcome, refusal });
    }

    pub(super) fn fail(&mut self, id: usize, sealed: Sealed, reason: Reason) {
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
            let mut ends: Vec<(Sealed, Outcome)> = Vec::new();
            let flights = std::mem::take(&mut lane.in_flight);
            ends.extend(flights.into_iter().map(|flight| (flight.sealed, Outcome::Unknown)));
            while let Some(sealed) = lane.take_retry() {
                ends.push((sealed, Outcome::NotWritten));
            }
            let unsent = lane.queue.abort();
            ends.extend(unsent.into_iter().map(|unsent| (seal_for_return(unsent), Outcome::NotWritten)));
            for (sealed, outcome) in ends {
                let refusal = closed.clone();
                self.fail(id, sealed, Reason { kind: SendErrorKind::Closed, outcome, refusal });
            }
        }
    }
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
    })
}
