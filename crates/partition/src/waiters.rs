//! Appends that wait for their acknowledgement.

use std::collections::VecDeque;

use corduroy_types::{Acks, Offset};

use crate::{MonotonicMs, RequestId};

/// One waiting append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) deadline: MonotonicMs,
}

/// The waiting appends of one epoch. Within a level they wait in the order of their offsets, so those that
/// are acknowledged are always at the front.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    one: VecDeque<Waiter>,
    quorum: VecDeque<Waiter>,
    all: VecDeque<Waiter>,
    /// At or before every waiter's deadline; it may be that of a waiter that has been answered.
    next_deadline: Option<MonotonicMs>,
}

impl Waiters {
    pub(crate) const LEVELS: [Acks; 3] = [Acks::One, Acks::Quorum, Acks::All];

    /// Adds an append whose `end` is above that of every other one.
    pub(crate) fn push(&mut self, acks: Acks, waiter: Waiter) {
        let queue = self.level_mut(acks);
        debug_assert!(queue.back().is_none_or(|last| last.end <= waiter.base), "waiters are in offset order");
        queue.push_back(waiter);
        self.note(waiter.deadline);
    }

    /// Adds one for a batch that was appended before, behind those that end where it ends.
    pub(crate) fn insert(&mut self, acks: Acks, waiter: Waiter) {
        let queue = self.level_mut(acks);
        queue.insert(queue.partition_point(|other| other.end <= waiter.end), waiter);
        self.note(waiter.deadline);
    }

    fn note(&mut self, deadline: MonotonicMs) {
        self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
    }

    /// Takes out the next append of this level that ends at or below `end`.
    pub(crate) fn pop_up_to(&mut self, acks: Acks, end: Offset) -> Option<Waiter> {
        let queue = self.level_mut(acks);
        if queue.front()?.end <= end { queue.pop_front() } else { None }
    }

    /// Takes out every append whose deadline is not after `now`. Costs nothing before the first deadline.
    pub(crate) fn expire(&mut self, now: MonotonicMs, mut each: impl FnMut(Waiter)) {
        if self.next_deadline.is_none_or(|next| now < next) {
            return;
        }
        let mut next = None;
        for queue in [&mut self.one, &mut self.quorum, &mut self.all] {
            queue.retain(|waiter| {
                let waits = now < waiter.deadline;
                if waits {
                    next = Some(next.map_or(waiter.deadline, |next: MonotonicMs| next.min(waiter.deadline)));
                } else {
                    each(*waiter);
                }
                waits
            });
        }
        self.next_deadline = next;
    }

    /// Takes out every append.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waiter> + '_ {
        self.next_deadline = None;
        self.one.drain(..).chain(self.quorum.drain(..)).chain(self.all.drain(..))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.one.len() + self.quorum.len() + self.all.len()
    }

    /// When [`Waiters::expire`] next has something to do; `None` when nothing waits.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicMs> {
        if self.len() == 0 { None } else { self.next_deadline }
    }

    fn level_mut(&mut self, acks: Acks) -> &mut VecDeque<Waiter> {
        match acks {
            Acks::One => &mut self.one,
            Acks::Quorum => &mut self.quorum,
            Acks::All => &mut self.all,
        }
    }
}
