//! The background task of a producer: sends batches, reads answers, and ends what takes too long.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use corduroy_api::{Refusal, v1};
use corduroy_batch::ProducerFields;
use corduroy_types::{ErrorCode, Offset, Outcome};
use tokio::time::Instant;

use super::{
    core::Core,
    ends::RefusedBatch,
    error::SendErrorKind,
    ids::ProducerIds,
    lane::{Again, Flight, Lane},
    queue::Taken,
    seal::{Sealed, Unbuilt, seal},
    stream::{ProduceStream, StreamEvent},
};
use crate::topics::TOPIC_AGE_MAX;

/// The longest that a batch can be overdue.
const TICK_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Pump {
    pub(super) core: Arc<Core>,
    stream: ProduceStream,
    /// By queue id.
    pub(super) lanes: Vec<Lane>,
    /// Lanes that may have something to send; they take turns.
    runnable: VecDeque<usize>,
    /// When to look at a lane again.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Which lane a request in flight belongs to.
    pub(super) flights: HashMap<u64, usize>,
    last_correlation_id: u64,
    next_tick: Instant,
    /// Why the stream does not work, for the messages of batches that it kept waiting.
    pub(super) trouble: Option<Refusal>,
    /// Why records are refused now; the event about it was sent.
    pub(super) delayed: Option<ErrorCode>,
    ids: ProducerIds,
}

enum Step {
    Look,
    Id(Result<(), Refusal>),
    Stream(StreamEvent),
}

impl Pump {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let stream = ProduceStream::new(Arc::clone(&core.client));
        let ids = ProducerIds::new(Arc::clone(&core.client));
        Self {
            core,
            stream,
            ids,
            lanes: Vec::new(),
            runnable: VecDeque::new(),
            timers: BinaryHeap::new(),
            flights: HashMap::new(),
            last_correlation_id: 0,
            next_tick: Instant::now(),
            trouble: None,
            delayed: None,
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
                // Lanes that wait for it have let others pass.
                Step::Id(Ok(())) => (0..self.lanes.len()).for_each(|id| self.run_lane(id)),
                Step::Id(Err(refusal)) => self.trouble = Some(refusal),
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
            id = self.ids.event() => Step::Id(id),
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
    pub(super) fn lane_of(&mut self, id: usize) {
        if id >= self.lanes.len() {
            let known = self.lanes.len();
            self.lanes.extend(self.core.queues.all().into_iter().skip(known).map(Lane::new));
        }
    }

    pub(super) fn run_lane(&mut self, id: usize) {
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
            if options.is_idempotent() && lane.numbering.is_none() {
                let first = self.ids.want()?;
                if lane.used_up == Some(first.id()) {
                    self.ids.discard(first.id());
                    continue;
                }
                lane.numbering = Some(first);
            }
            match lane.take_again() {
                Again::Send(sealed) => return Some(sealed),
                // Another id is needed, and asked for.
                Again::NotYet if options.is_idempotent() && lane.numbering.is_none() => continue,
                Again::NotYet => return None,
                Again::Nothing => {}
            }
            if !options.is_idempotent() && lane.has_open_condition() {
                // Only the answer says whether what is behind the condition may be written.
                return None;
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
            let place = lane.next_place();
            let producer = lane.numbering.map_or(ProducerFields::NONE, |numbering| numbering.fields());
            match seal(unsent, place, producer, options.compression).await {
                Ok(sealed) => {
                    if let Some(numbering) = self.lanes.get_mut(id).and_then(|lane| lane.numbering.as_mut()) {
                        numbering.advance(sealed.record_count);
                    }
                    return Some(sealed);
                }
                Err(unbuilt) => {
                    let Unbuilt { sealed, refusal } = *unbuilt;
                    let kind = match refusal.code {
                        ErrorCode::Closed => SendErrorKind::Closed,
                        _ => SendErrorKind::Refused,
                    };
                    let reason = RefusedBatch { kind, outcome: Outcome::NotWritten, refusal };
                    self.fail_with_followers(id, sealed, reason);
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
            expected_offset: sealed.ticket.expected_offset.map(Offset::get),
        };
        lane.in_flight.push_back(Flight { correlation_id, sealed });
        self.flights.insert(correlation_id, id);
        if lane.queue.topic.info().learned_at.elapsed() > TOPIC_AGE_MAX {
            self.core.refresh_topic(&lane.queue);
        }
        match self.stream.room() {
            Some(room) => room.send(request),
            // `send` has just seen room, and no one else takes it. A request that is not sent is as good as one
            // that did not leave: the stream's end will show it.
            None => tracing::error!(correlation_id, "the stream had no room for a request"),
        }
    }
}

impl Drop for Pump {
    /// When the runtime ends before the producer, what waits gets an error.
    fn drop(&mut self) {
        self.core.close();
        self.abort();
    }
}
