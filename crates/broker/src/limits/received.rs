//! What a request's body reports to the service that reads it: which messages it skipped, and what the present
//! one holds.

use std::{collections::VecDeque, sync::Arc};

use corduroy_api::Refusal;
use parking_lot::Mutex;

use super::{budget::Permit, skip::RequestHead};

/// A message above the limit, which was never held in memory, and how the service answers it.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// The beginning of it, as far as it could be read.
    pub(crate) head: RequestHead,
    /// Why it was skipped.
    pub(crate) refusal: Refusal,
}

/// Shared by a request's body and its service; a produce request carries it among its extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Arc<Mutex<Messages>>);

#[derive(Debug, Default)]
struct Messages {
    /// Messages that the service took.
    taken: u64,
    /// By their number in the body, counted from 1. An empty message stands in for each.
    skipped: VecDeque<(u64, Skipped)>,
    charge: Option<Permit>,
}

impl Received {
    /// Called when the service takes the next message out of its stream. Returns what to answer if that message
    /// only stands in for a skipped one.
    pub(crate) fn take(&self) -> Option<Skipped> {
        let mut messages = self.0.lock();
        messages.taken += 1;
        match messages.skipped.front() {
            Some((number, _)) if *number == messages.taken => {
                messages.skipped.pop_front().map(|(_, skipped)| skipped)
            }
            _ => None,
        }
    }

    /// The message is charged elsewhere now, or dropped: its memory is free for the next one.
    pub(crate) fn release(&self) {
        self.0.lock().charge = None;
    }

    pub(super) fn skipped(&self, number: u64, skipped: Skipped) {
        self.0.lock().skipped.push_back((number, skipped));
    }

    pub(super) fn charge(&self, permit: Permit) {
        self.0.lock().charge = Some(permit);
    }

    /// The whole charged message has arrived. From now on the broker works on it, so the sender does not count as
    /// stalled.
    pub(super) fn arrived(&self) {
        if let Some(charge) = &self.0.lock().charge {
            charge.excuse();
        }
    }
}
