//! What a request's body tells the service that reads it: which messages it left out, and what the present one holds.

use std::{collections::VecDeque, sync::Arc};

use corduroy_api::Refusal;
use parking_lot::Mutex;

use super::{budget::Permit, skip::RequestHead};

/// A message that was above the limit and never came into memory: what the service answers in its place.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// What could be read of its beginning.
    pub(crate) head: RequestHead,
    /// Why it was left out.
    pub(crate) refusal: Refusal,
}

/// Shared by a request's body and its service; a produce request carries it among its extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Messages that the service took.
    taken: u64,
    /// By their number in the body, counted from 1. An empty message stands in the body for each.
    skipped: VecDeque<(u64, Skipped)>,
    charge: Option<Permit>,
}

impl Received {
    /// The service took the next message out of its stream: what to answer if that one only stands for another.
    pub(crate) fn take(&self) -> Option<Skipped> {
        let mut state = self.0.lock();
        state.taken += 1;
        match state.skipped.front() {
            Some((number, _)) if *number == state.taken => {
                state.skipped.pop_front().map(|(_, skipped)| skipped)
            }
            _ => None,
        }
    }

    /// The message is charged elsewhere now, or gone: its memory is free for the next one.
    pub(crate) fn release(&self) {
        self.0.lock().charge = None;
    }

    pub(super) fn skipped(&self, number: u64, skipped: Skipped) {
        self.0.lock().skipped.push_back((number, skipped));
    }

    pub(super) fn charge(&self, permit: Permit) {
        self.0.lock().charge = Some(permit);
    }

    /// The whole message that is charged is here. From now on it is the broker that takes its time, so the sender cannot stall.
    pub(super) fn arrived(&self) {
        if let Some(charge) = &self.0.lock().charge {
            charge.excuse();
        }
    }
}
