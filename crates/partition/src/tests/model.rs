//! Random events, possible ones and impossible ones, against a model that keeps every request for ever and
//! checks all of them in every step.

use std::collections::BTreeMap;

use corduroy_types::{Acks, BrokerId};
use proptest::prelude::*;

use super::{at, epoch, log_state};
use crate::{Action, Event, LogEnds, MonotonicMs, NotLeading, Partition, RequestId, UnknownReason};

#[derive(Clone, Debug)]
enum Op {
    Lead { raise: i64, log_end: u64, log_start: u64, uncounted: u64, known: bool },
    Append { records: u64, acks: Acks, wait_ms: u64, epochs_ago: u32, misplaced: bool },
    Duplicate { back: usize, acks: Acks, wait_ms: u64, epochs_ago: u32, misplaced: bool },
    Count { part: u64, durable_part: u64, epochs_ago: u32, too_far: bool },
    RaiseStart { part: u64, too_far: bool },
    Fail { part: u64, epochs_ago: u32 },
    Stop(NotLeading),
    See { moved: bool, epochs_ago: u32 },
    Tick(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let rarely = || prop::bool::weighted(0.02);
    let ago = || prop_oneof![20 => Just(0_u32), 1 => Just(1)];
    let acks = prop::sample::select(vec![Acks::One, Acks::Quorum, Acks::All]);
    let reason = prop::sample::select(vec![NotLeading::ShuttingDown, NotLeading::TopicDeleted]);
    prop_oneof![
        2 => (-1_i64..3, 0_u64..40, 0_u64..10, 0_u64..4, any::<bool>())
            .prop_map(|(raise, log_end, log_start, uncounted, known)| {
                Op::Lead { raise, log_end, log_start, uncounted, known }
            }),
        20 => (0_u64..6, acks, 0_u64..30, ago(), rarely()).prop_map(
            |(records, acks, wait_ms, epochs_ago, misplaced)| {
                Op::Append { records, acks, wait_ms, epochs_ago, misplaced }
            }
        ),
        6 => (0_usize..8, prop::sample::select(vec![Acks::One, Acks::Quorum, Acks::All]), 0_u64..30, ago(), rarely())
            .prop_map(|(back, acks, wait_ms, epochs_ago, misplaced)| {
                Op::Duplicate { back, acks, wait_ms, epochs_ago, misplaced }
            }),
        12 => (0_u64..=100, 0_u64..=100, ago(), rarely()).prop_map(
            |(part, durable_part, epochs_ago, too_far)| Op::Count { part, durable_part, epochs_ago, too_far }
        ),
        2 => (0_u64..=100, rarely()).prop_map(|(part, too_far)| Op::RaiseStart { part, too_far }),
        1 => (0_u64..=100, ago()).prop_map(|(part, epochs_ago)| Op::Fail { part, epochs_ago }),
        1 => reason.prop_map(Op::Stop),
        4 => (rarely(), ago()).prop_map(|(moved, epochs_ago)| Op::See { moved, epochs_ago }),
        6 => (0_u64..12).prop_map(Op::Tick),
    ]
}

/// What the model knows of one waiting request.
#[derive(Clone, Debug)]
struct Request {
    epoch: u32,
    base: u64,
    end: u64,
    deadline: u64,
}

/// How a request ended: acknowledged as (epoch, base, end, durable replicas), or unknown.
type End = Result<(u32, u64, u64, u32), UnknownReason>;

/// A replica set of one, without any cleverness.
#[derive(Debug)]
struct Model {
    now: u64,
    leading: Option<u32>,
    idle: NotLeading,
    last_epoch: Option<u32>,
    log_start: u64,
    log_end: u64,
    counted: u64,
    durable: u64,
    high_watermark: u64,
    waiting: BTreeMap<u64, Request>,
    ended: BTreeMap<u64, End>,
    next_request: u64,
    /// The batches in the log, in order.
    batches: Vec<(u64, u64)>,
}

impl Model {
    fn new() -> Self {
        Self {
            now: 0,
            leading: None,
            idle: NotLeading::NotYet,
            last_epoch: None,
            log_start: 0,
            log_end: 0,
            counted: 0,
            durable: 0,
            high_watermark: 0,
            waiting: BTreeMap::new(),
            ended: BTreeMap::new(),
            next_request: 0,
            batches: Vec::new(),
        }
    }

    /// Turns an operation into an event that fits the state, or deliberately does not.
    fn event(&mut self, op: &Op) -> Event {
        let past = |ago: u32| epoch(self.last_epoch.unwrap_or(1).saturating_sub(ago));
        let part = |from: u64, to: u64, part: u64| from + (to.saturating_sub(from)) * part / 100;
        match *op {
            Op::Lead { raise, log_end, log_start, uncounted, known } => {
                let number = i64::from(self.last_epoch.unwrap_or(0)) + raise;
                let (log_start, log_end) =
                    if known { (self.log_start, self.log_end) } else { (log_start, log_end) };
                Event::Lead {
                    epoch: epoch(u32::try_from(number.max(0)).unwrap()),
                    replicas: [BrokerId(1)].into(),
                    log: log_state(
                        u32::try_from(number.max(0)).unwrap(),
                        LogEnds {
                            log_start: at(log_start),
                            log_end: at(log_end),
                            counted_end: at(log_end.saturating_sub(uncounted)),
                            durable_end: at(log_end.saturating_sub(uncounted)),
                        },
                    ),
                }
            }
            Op::Append { records, acks, wait_ms, epochs_ago, misplaced } => {
                let request = RequestId(self.next_request);
                let base = self.log_end + u64::from(misplaced);
                let (epoch, deadline) = (past(epochs_ago), MonotonicMs(self.now + wait_ms));
                self.next_request += 1;
                Event::Appended { request, epoch, base: at(base), end: at(base + records), acks, deadline }
            }
            Op::Duplicate { back, acks, wait_ms, epochs_ago, misplaced } => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                let (epoch, deadline) = (past(epochs_ago), MonotonicMs(self.now + wait_ms));
                let nth = self.batches.len().checked_sub(back + 1);
                let (base, end) = match nth.and_then(|nth| self.batches.get(nth)) {
                    Some(batch) if !misplaced => *batch,
                    _ => (self.log_end, self.log_end + 1),
                };
                Event::Duplicate { request, epoch, base: at(base), end: at(end), acks, deadline }
            }
            Op::Count { part: counted, durable_part, epochs_ago, too_far } => Event::Counted {
                epoch: past(epochs_ago),
                counted_end: at(part(self.counted.saturating_sub(2), self.log_end, counted)
                    + if too_far { 99 } else { 0 }),
                durable_end: at(part(self.durable, self.log_end, durable_part)),
            },
            Op::RaiseStart { part: start, too_far } => Event::LogStartRaised {
                log_start: at(part(0, self.high_watermark, start) + u64::from(too_far) * 50),
            },
            Op::Fail { part: durable, epochs_ago } => Event::LogFailed {
                epoch: past(epochs_ago),
                durable_end: at(part(self.durable, self.log_end, durable)),
            },
            Op::Stop(reason) => Event::Stop { reason },
            Op::See { moved, epochs_ago } => Event::LogSeen {
                epoch: past(epochs_ago),
                log_start: at(self.log_start),
                log_end: at(self.log_end + u64::from(moved)),
            },
            Op::Tick(ms) => {
                self.now += ms;
                Event::Tick
            }
        }
    }

    /// Returns whether the event contradicts the state.
    fn step(&mut self, event: &Event) -> bool {
        let mut contradiction = false;
        match event {
            Event::Lead { epoch, log, .. } => {
                let log = log.ends;
                if self.last_epoch.is_some_and(|last| epoch.get() <= last) {
                    self.expire();
                    return false;
                }
                self.stop(NotLeading::Superseded, self.leading.is_some());
                self.last_epoch = Some(epoch.get());
                self.idle = NotLeading::Contradiction;
                contradiction = log.log_start > log.log_end;
                if !contradiction {
                    self.leading = Some(epoch.get());
                    (self.log_start, self.log_end) = (log.log_start.get(), log.log_end.get());
                    self.batches.retain(|(_, end)| *end <= log.log_end.get());
                    (self.counted, self.durable) = (log.counted_end.get(), log.durable_end.get());
                    self.high_watermark =
                        self.high_watermark.min(self.log_end).max(self.log_start).max(self.counted);
                }
            }
            Event::Appended { request, epoch, base, end, deadline, .. } => {
                let reason = match self.leading {
                    None => Some(self.idle),
                    Some(leading) if leading != epoch.get() => Some(NotLeading::Superseded),
                    Some(_) => {
                        contradiction = base.get() != self.log_end || end <= base;
                        contradiction.then_some(NotLeading::Contradiction)
                    }
                };
                match reason {
                    Some(reason) => {
                        self.ended.insert(request.0, Err(UnknownReason::LeadershipEnded(reason)));
                    }
                    None => {
                        let (epoch, base, end, deadline) = (epoch.get(), base.get(), end.get(), deadline.0);
                        self.log_end = end;
                        self.batches.push((base, end));
                        self.waiting.insert(request.0, Request { epoch, base, end, deadline });
                    }
                }
            }
            Event::Duplicate { request, epoch, base, end, acks, deadline } => {
                contradiction =
                    self.duplicate(request.0, epoch.get(), (base.get(), end.get()), *acks, deadline.0);
            }
            Event::Counted { epoch, counted_end, durable_end } => {
                contradiction = self.count(epoch.get(), counted_end.get(), durable_end.get());
            }
            Event::LogStartRaised { log_start } => {
                contradiction = log_start.get() > self.high_watermark && log_start.get() > self.log_start;
                if !contradiction {
                    self.log_start = self.log_start.max(log_start.get());
                }
            }
            Event::LogFailed { epoch, durable_end } => {
                contradiction = self.count(epoch.get(), durable_end.get(), durable_end.get());
                if !contradiction && self.leading == Some(epoch.get()) {
                    self.stop(NotLeading::StorageFailed, true);
                }
            }
            Event::Stop { reason } => self.stop(*reason, true),
            Event::LogSeen { epoch, log_start, log_end } => {
                let agrees = (log_start.get(), log_end.get()) == (self.log_start, self.log_end);
                contradiction = self.leading == Some(epoch.get()) && !agrees;
            }
            Event::Tick => {}
            other => unreachable!("not made here: {other:?}"),
        }
        if contradiction {
            self.stop(NotLeading::Contradiction, self.leading.is_some());
        }
        self.expire();
        contradiction
    }

    /// A duplicate ends at once where its batch counts already, and else as an append of that batch would.
    fn duplicate(
        &mut self,
        request: u64,
        epoch: u32,
        (base, end): (u64, u64),
        acks: Acks,
        deadline: u64,
    ) -> bool {
        let contradiction = self.leading == Some(epoch) && (end > self.log_end || end <= base);
        let reason = match self.leading {
            None => Some(self.idle),
            Some(leading) if leading != epoch => Some(NotLeading::Superseded),
            Some(_) => contradiction.then_some(NotLeading::Contradiction),
        };
        let counts = match acks {
            Acks::One => self.counted,
            Acks::Quorum => self.high_watermark,
            Acks::All => self.counted.min(self.high_watermark),
        };
        let end_of = match reason {
            Some(reason) => Err(UnknownReason::LeadershipEnded(reason)),
            None if end <= counts => Ok((epoch, base, end, u32::from(end <= self.durable))),
            None => {
                self.waiting.insert(request, Request { epoch, base, end, deadline });
                return contradiction;
            }
        };
        self.ended.insert(request, end_of);
        contradiction
    }

    fn count(&mut self, epoch: u32, counted: u64, durable: u64) -> bool {
        if self.leading != Some(epoch) {
            return false;
        }
        if counted > self.log_end || durable > self.log_end {
            return true;
        }
        self.counted = self.counted.max(counted);
        self.durable = self.durable.max(durable);
        self.high_watermark = self.high_watermark.max(self.counted);
        let durable = self.durable;
        for (request, one) in self.waiting.extract_if(.., |_, one| one.end <= counted) {
            let end = (one.epoch, one.base, one.end, u32::from(one.end <= durable));
            self.ended.insert(request, Ok(end));
        }
        false
    }

    fn stop(&mut self, reason: NotLeading, becomes_idle: bool) {
        if becomes_idle {
            self.leading = None;
            self.idle = reason;
        }
        for (request, _) in std::mem::take(&mut self.waiting) {
            self.ended.insert(request, Err(UnknownReason::LeadershipEnded(reason)));
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        for (request, _) in self.waiting.extract_if(.., |_, one| one.deadline <= now) {
            self.ended.insert(request, Err(UnknownReason::TimedOut));
        }
    }
}

/// What was seen from outside.
#[derive(Default)]
struct Seen {
    answers: BTreeMap<u64, End>,
    /// (epoch, high watermark): both only grow, unless a loss was reported.
    watermark: u64,
}

impl Seen {
    fn take(&mut self, actions: Vec<Action>) -> Result<(), TestCaseError> {
        for action in actions {
            match action {
                Action::HighWatermark(to) => {
                    prop_assert!(to.get() > self.watermark, "the high watermark went back to {to}");
                    self.watermark = to.get();
                }
                Action::VisibleRecordsLost { from, to } => {
                    prop_assert_eq!(to.get(), self.watermark);
                    self.watermark = from.get();
                }
                Action::Answer { request, result } => {
                    let end =
                        result.map(|ok| (ok.epoch.get(), ok.base.get(), ok.end.get(), ok.durable_replicas));
                    if let Ok((_, _, end, _)) = &end {
                        prop_assert!(*end <= self.watermark, "acknowledged above the high watermark");
                    }
                    prop_assert!(self.answers.insert(request.0, end).is_none(), "{request:?} answered twice");
                }
                Action::Contradiction(_) | Action::LeadershipEnded { .. } | Action::Activated { .. } => {}
                other => prop_assert!(false, "a replica set of one has nothing to do for others: {other:?}"),
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_partition_does_what_the_model_does(ops in prop::collection::vec(op(), 0..120)) {
        let (mut model, mut seen) = (Model::new(), Seen::default());
        let mut partition = Partition::new(BrokerId(1));
        for op in ops.iter().chain([&Op::Stop(NotLeading::ShuttingDown)]) {
            let event = model.event(op);
            let mut actions = Vec::new();
            partition.step(MonotonicMs(model.now), event.clone(), &mut actions);
            let contradiction = model.step(&event);
            let reported = actions.iter().any(|action| matches!(action, Action::Contradiction(_)));
            prop_assert_eq!(reported, contradiction, "after {:?}", event);
            seen.take(actions)?;
            prop_assert_eq!(&seen.answers, &model.ended, "after {:?}", event);
            prop_assert_eq!(partition.epoch().map(|epoch| epoch.get()), model.leading);
            prop_assert_eq!(partition.waiting(), model.waiting.len());
            prop_assert!(partition.waiting() == 0 || partition.epoch().is_some());
            let soonest = model.waiting.values().map(|one| one.deadline).min();
            prop_assert_eq!(partition.next_deadline().is_some(), soonest.is_some());
            prop_assert!(partition.next_deadline().map(|next| next.0) <= soonest, "too late");
            let cursors = partition.cursors();
            prop_assert_eq!(cursors.high_watermark().get(), seen.watermark);
            prop_assert_eq!(
                (cursors.log_start().get(), cursors.high_watermark().get(), cursors.log_end().get()),
                (model.log_start, model.high_watermark, model.log_end)
            );
        }
        prop_assert_eq!(seen.answers.len() as u64, model.next_request, "every request is answered");
    }
}
