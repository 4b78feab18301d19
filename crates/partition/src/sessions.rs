//! The leader's streams to its followers: what was sent to each, and what each has said.

use std::collections::{BTreeMap, VecDeque};

use corduroy_types::{BrokerId, EpochHistory, Incarnation, LeaderEpoch, Offset};

use crate::{Ack, Action, Agreement, Hello, Push};

/// Bytes that may be on their way to one follower.
const IN_FLIGHT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The stream to one follower.
#[derive(Debug)]
struct Session {
    /// Another run of the follower begins another session.
    incarnation: Incarnation,
    /// What is sent next.
    next: Offset,
    /// The last entry of the follower's history: what lies behind the start of the next one is not sent before it is held.
    held_epoch: Option<LeaderEpoch>,
    /// Sent and not acknowledged: the end of each push, and its bytes.
    in_flight: VecDeque<(Offset, u64)>,
    in_flight_bytes: u64,
    /// The head of the push that the shell was asked for and has not reported.
    pushing: Option<Push>,
    /// What the follower was sent last.
    high_watermark: Offset,
    log_start: Offset,
    /// A suspect follower is clean once it holds everything below (rule R14).
    clean_at: Option<Offset>,
}

/// What the leader has at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sendable<'a> {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) history: &'a EpochHistory,
}

/// The streams to all followers, those that only learn included.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<BrokerId, Session>,
}

impl Sessions {
    /// A follower has said what it has; `agreement` is how its log goes on.
    pub(crate) fn open(&mut self, from: BrokerId, hello: &Hello, agreement: &Agreement, log_end: Offset) {
        let session = Session {
            incarnation: hello.incarnation,
            next: agreement.log_end,
            held_epoch: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            pushing: None,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            clean_at: hello.suspect.then_some(log_end),
        };
        self.sessions.insert(from, session);
    }

    pub(crate) fn close(&mut self, peer: BrokerId) {
        self.sessions.remove(&peer);
    }

    /// Whether an acknowledgement is of the run that the session is with.
    pub(crate) fn is_of(&self, from: BrokerId, incarnation: Incarnation) -> bool {
        self.sessions.get(&from).is_some_and(|session| session.incarnation == incarnation)
    }

    /// Notes what a follower holds. Returns the run that is proved to be whole with it, if it was suspect.
    pub(crate) fn acknowledged(&mut self, from: BrokerId, ack: &Ack) -> Option<Incarnation> {
        let session = self.sessions.get_mut(&from)?;
        session.held_epoch = session.held_epoch.max(ack.held_epoch);
        while let Some((end, bytes)) =
            session.in_flight.front().copied().filter(|(end, _)| *end <= ack.counted_end)
        {
            session.in_flight.pop_front();
            session.in_flight_bytes = session.in_flight_bytes.saturating_sub(bytes);
            session.next = session.next.max(end);
        }
        let is_proved = session.clean_at.is_some_and(|clean_at| ack.durable_end >= clean_at);
        is_proved.then(|| {
            session.clean_at = None;
            session.incarnation
        })
    }

    /// A push is on its way.
    pub(crate) fn pushed(&mut self, to: BrokerId, end: Offset, bytes: u64) {
        let Some(session) = self.sessions.get_mut(&to) else { return };
        let Some(push) = session.pushing.take() else { return };
        (session.high_watermark, session.log_start) = (push.high_watermark, push.log_start);
        if end > push.from {
            session.next = end;
            session.in_flight.push_back((end, bytes));
            session.in_flight_bytes = session.in_flight_bytes.saturating_add(bytes);
        }
    }

    /// Asks for a push to each follower for which there is something, one at a time for each.
    pub(crate) fn pump(&mut self, has: Sendable<'_>, out: &mut Vec<Action>) {
        for (to, session) in &mut self.sessions {
            if session.pushing.is_some() {
                continue;
            }
            let up_to = session.boundary(has).max(session.next);
            let may_send = session.in_flight_bytes < IN_FLIGHT_BYTES_MAX && session.next < up_to;
            let is_news = has.high_watermark > session.high_watermark || has.log_start > session.log_start;
            // A follower that is empty below the leader's log start begins again there.
            if !(may_send || is_news) || session.next < has.log_start && may_send {
                continue;
            }
            let push = Push {
                epoch: has.epoch,
                from: session.next,
                high_watermark: has.high_watermark,
                log_start: has.log_start,
            };
            session.pushing = Some(push);
            let up_to = if may_send { up_to } else { session.next };
            out.push(Action::Push { to: *to, push, up_to });
        }
    }

    /// Followers whose next records were removed here: they have to begin again at the log start.
    pub(crate) fn below(&self, log_start: Offset) -> Vec<BrokerId> {
        let below = self.sessions.iter().filter(|(_, session)| session.next < log_start);
        below.map(|(peer, _)| *peer).collect()
    }
}

impl Session {
    /// Behind which offset nothing is sent yet: where the next entry begins that the follower does not hold (rule R4).
    fn boundary(&self, has: Sendable<'_>) -> Offset {
        // Until the follower has said what it holds, nothing is.
        let Some(held) = self.held_epoch else { return self.next };
        let next = has.history.entries().iter().find(|entry| entry.epoch > held);
        next.map_or(has.log_end, |entry| entry.start.min(has.log_end))
    }
}
