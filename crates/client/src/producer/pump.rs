//! The background task of a producer: sends batches, reads answers, and ends what takes too long.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use corduroy_api::{Refusal, v1};
use corduroy_batch::Compression;
use corduroy_types::{ErrorCode, LeaderEpoch, Offset, Outcome, TimestampMs};
use tokio::time::Instant;
use v1::produce_response::Result as Answer;

use super::{
    core::Core,
    delivery::{Acked, BatchEnd, Failed},
    error::SendErrorKind,
    lane::{Flight, Lane, Reason, Sealed},
    queue::{Taken, Unsent},
    stream::{ProduceStream, StreamEvent},
};
use crate::topics::TOPIC_AGE_MAX;

/// Batches from this size on are compressed off the network's threads.
const COMPRESS_INLINE_BYTES_MAX: usize = 16 * 1024;

/// The longest that a batch can be overdue.
const TICK_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Pump {
    core: Arc<Core>,
    stream: ProduceStream,
    /// By queue id.
    lanes: Vec<Lane>,
    /// Lanes that may have something to send; they take turns.
    runnable: VecDeque<usize>,
    /// When to look at a lane again.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Which lane a request in flight belongs to.
    flights: HashMap<u64, usize>,
    last_correlation_id: u64,
    next_tick: Instant,
    /// Why the stream does not work, for the messages of batches that it kept waiting.
    trouble: Option<Refusal>,
}

enum Step {
    Look,
    Stream(StreamEvent),
}

impl Pump {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let stream = ProduceStream::new(Arc::clone(&core.client));
        Self {
            core,
            stream,
            lanes: Vec::new(),
            runnable: VecDeque::new(),
            timers: BinaryHeap::new(),
            flights: HashMap::new(),
            last_correlation_id: 0,
            next_tick: Instant::now(),
            trouble: None,
        }
    }

    /// Runs until the producer is closed and everything has ended.
    pub(crate) async fn run(mut self) {
        loop {
            if self.core.is_aborted() {
                self.abort();
            }
            self.collect();
            self.send().await;
            if self.core.is_closed() && self.lanes.iter().all(Lane::is_empty) && self.nothing_listed() {
                return;
            }
            match self.step().await {
                Step::Look => {}
                Step::Stream(event) => self.handle(event),
            }
        }
    }

    /// Whether no queue has got anything since the last look.
    fn nothing_listed(&mut self) -> bool {
        self.collect();
        self.runnable.is_empty()
    }

    /// Waits until there is something to do.
    async fn step(&mut self) -> Step {
        let wants_room = !self.runnable.is_empty();
        let room = self.stream.until_room();
        let timer = self.next_timer();
        tokio::select! {
            event = self.stream.event() => Step::Stream(event),
            () = self.core.queues.wake.notified() => Step::Look,
            () = room, if wants_room => Step::Look,
            () = async { tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)).await },
                if timer.is_some() => Step::Look,
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        let lane = self.timers.peek().map(|Reverse((at, _))| *at);
        let busy = !self.flights.is_empty() || self.lanes.iter().any(|lane| !lane.is_empty());
        let tick = busy.then_some(self.next_tick);
        lane.into_iter().chain(tick).min()
    }

    /// Finds the lanes in which something happened or whose time has come.
    fn collect(&mut self) {
        for queue in self.core.queues.take_listed() {
            self.lane_of(queue.id);
            self.run_lane(queue.id);
        }
        let now = Instant::now();
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.run_lane(id);
        }
        if now >= self.next_tick {
            let tick = (self.core.options.delivery_timeout / 20).clamp(Duration::from_millis(5), TICK_MAX);
            self.next_tick = now + tick;
            self.expire(now);
        }
    }

    /// Makes lanes for all queues up to this one.
    fn lane_of(&mut self, id: usize) {
        if id >= self.lanes.len() {
            let known = self.lanes.len();
            self.lanes.extend(self.core.queues.all().into_iter().skip(known).map(Lane::new));
        }
    }

    fn run_lane(&mut self, id: usize) {
        if let Some(lane) = self.lanes.get_mut(id)
            && !lane.runnable
        {
            lane.runnable = true;
            self.runnable.push_back(id);
        }
    }

    /// Sends what may leave, one batch of each lane in turn, as long as the stream takes it.
    async fn send(&mut self) {
        while let Some(id) = self.runnable.front().copied() {
            self.stream.want();
            if self.stream.room().is_none() {
                return;
            }
            match self.next_batch(id).await {
                Some(sealed) => {
                    self.launch(id, sealed);
                    self.runnable.rotate_left(1);
                }
                None => {
                    self.runnable.pop_front();
                    if let Some(lane) = self.lanes.get_mut(id) {
                        lane.runnable = false;
                    }
                }
            }
        }
    }

    /// The lane's next batch that may leave now, sealed.
    async fn next_batch(&mut self, id: usize) -> Option<Sealed> {
        let core = Arc::clone(&self.core);
        let options = &core.options;
        loop {
            let lane = self.lanes.get_mut(id)?;
            let now = Instant::now();
            if !lane.may_send(now, options.max_in_flight) {
                if let Some(at) = lane.not_before.filter(|at| *at > now) {
                    self.timers.push(Reverse((at, id)));
                }
                return None;
            }
            if let Some(sealed) = lane.take_retry() {
                return Some(sealed);
            }
            let unsent = match lane.queue.take(now, lane.in_flight.is_empty(), options.linger) {
                Taken::Batch(unsent) => unsent,
                Taken::NotBefore(at) => {
                    self.timers.push(Reverse((at, id)));
                    return None;
                }
                Taken::Nothing => return None,
            };
            lane.queue.topic.move_on(lane.queue.partition);
            let sequence = lane.next_sequence();
            match seal(unsent, sequence, options.compression).await {
                Ok(sealed) => return Some(sealed),
                Err((sealed, refusal)) => {
                    let reason =
                        Reason { kind: SendErrorKind::Refused, outcome: Outcome::NotWritten, refusal };
                    self.fail(id, sealed, reason);
                }
            }
        }
    }

    /// Gives a batch to the stream.
    fn launch(&mut self, id: usize, sealed: Sealed) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        self.last_correlation_id += 1;
        let correlation_id = self.last_correlation_id;
        let deadline = sealed.created + self.core.options.delivery_timeout;
        let left = deadline.saturating_duration_since(Instant::now());
        let request = v1::ProduceRequest {
            correlation_id,
            topic: lane.queue.topic.name.to_string(),
            topic_id: lane.queue.topic.wire_id(),
            partition: Some(lane.queue.partition.0),
            acks: corduroy_api::acks_to_wire(self.core.options.acks),
            timeout_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX).clamp(1, 3_600_000),
            payload: Some(v1::produce_request::Payload::Batch(sealed.bytes.clone())),
        };
        lane.in_flight.push_back(Flight { correlation_id, sealed });
        self.flights.insert(correlation_id, id);
        if lane.queue.topic.info().learned_at.elapsed() > TOPIC_AGE_MAX {
            self.core.refresh_topic(&lane.queue);
        }
        match self.stream.room() {
            Some(room) => room.send(request),
            // `send` has just seen room, and nobody else takes it. A request that is not sent is as good as one
            // that did not leave: the stream's end will tell.
            None => tracing::error!(correlation_id, "the stream had no room for a request"),
        }
    }

    fn handle(&mut self, event: StreamEvent) {
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
                self.core.finish(&queue, &sealed.ticket, sealed.held_bytes, BatchEnd::Acked(acked));
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
            Outcome::NotWritten => reason.refusal.code.is_retryable(),
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
                let refusal = if never_left && !refusal.code.is_retryable() {
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
    fn expire(&mut self, now: Instant) {
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

    fn fail(&mut self, id: usize, sealed: Sealed, reason: Reason) {
        let Some(lane) = self.lanes.get(id) else { return };
        let outcome = sealed.outcome.join(reason.outcome);
        let refusal = reason.refusal.with_outcome(outcome);
        tracing::debug!(
            topic = %lane.queue.topic.name, partition = lane.queue.partition.0, records = sealed.record_count,
            %outcome, error = %refusal, "a batch was not delivered"
        );
        let failed = Failed::new(reason.kind, outcome, refusal, sealed.bytes);
        self.core.count_failure(&failed, sealed.record_count);
        self.core.finish(&lane.queue, &sealed.ticket, sealed.held_bytes, BatchEnd::Failed(failed));
    }

    /// Ends everything: what was sent is unknown, the rest was not written.
    fn abort(&mut self) {
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

impl Drop for Pump {
    /// When the runtime ends before the producer, whoever waits is told.
    fn drop(&mut self) {
        self.core.close();
        self.abort();
    }
}

/// Builds a batch. A large one that needs compressing is built where it holds up no connection.
async fn seal(unsent: Unsent, sequence: u64, compression: Compression) -> Result<Sealed, (Sealed, Refusal)> {
    let heavy =
        compression != Compression::None && unsent.builder.encoded_bytes() > COMPRESS_INLINE_BYTES_MAX;
    if !heavy {
        return seal_now(unsent, sequence);
    }
    let ticket = Arc::clone(&unsent.ticket);
    let (held_bytes, created) = (unsent.held_bytes, unsent.created);
    let record_count = unsent.builder.record_count();
    match tokio::task::spawn_blocking(move || seal_now(unsent, sequence)).await {
        Ok(sealed) => sealed,
        Err(_ended) => {
            let outcome = Outcome::NotWritten;
            let bytes = Bytes::new();
            let lost = Sealed { bytes, ticket, record_count, held_bytes, created, sequence, outcome };
            Err((lost, Refusal::new(ErrorCode::Closed, "the runtime ended while the batch was compressed")))
        }
    }
}

fn seal_now(mut unsent: Unsent, sequence: u64) -> Result<Sealed, (Sealed, Refusal)> {
    let record_count = unsent.builder.record_count();
    let built = unsent.builder.build();
    let sealed = |bytes| Sealed {
        bytes,
        ticket: unsent.ticket,
        record_count,
        held_bytes: unsent.held_bytes,
        created: unsent.created,
        sequence,
        outcome: Outcome::NotWritten,
    };
    match built {
        Ok(bytes) => Ok(sealed(bytes)),
        Err(error) => {
            let refusal = Refusal::new(error.code(), error.to_string());
            Err((sealed(Bytes::new()), refusal))
        }
    }
}

/// Builds a batch that will not be sent, so that its records can be handed back from its bytes.
fn seal_for_return(unsent: Unsent) -> Sealed {
    match seal_now(unsent, 0) {
        Ok(sealed) | Err((sealed, _)) => sealed,
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
