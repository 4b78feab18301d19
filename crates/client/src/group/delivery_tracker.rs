//! What messages of a group know of the consumer that handed them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use corduroy_types::{LeaderEpoch, Offset};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::window::{CommitPosition, Tick, Window};

/// What a consumer's tasks and its user know of each other.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Messages that were handed out and are not done, of all partitions.
    open_count: AtomicU64,
    /// Those of them that will not be done.
    given_back: AtomicU64,
    open_max: u64,
    /// The user, who waits for a message.
    pub(crate) user: AtomicWaker,
    /// Something changed that a task may wait for.
    pub(crate) changed: Notify,
    /// A message waits for a commit.
    pub(crate) clear: Notify,
    /// Messages that were handed out are not wanted any more.
    pub(crate) going: Notify,
}

impl Signals {
    pub(crate) fn new(open_max: u64) -> Self {
        Self {
            open_count: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            open_max,
            user: AtomicWaker::new(),
            changed: Notify::new(),
            clear: Notify::new(),
            going: Notify::new(),
        }
    }

    /// Whether so many messages are not done that no more may be handed out.
    pub(crate) fn is_full(&self) -> bool {
        self.open_count() >= self.open_max
    }

    pub(crate) fn open_count(&self) -> u64 {
        self.open_count.load(Ordering::Acquire)
    }

    /// Of how many messages it is to be waited for that they are done.
    pub(crate) fn awaited_count(&self) -> u64 {
        self.open_count().saturating_sub(self.given_back.load(Ordering::Acquire))
    }

    fn more(&self) {
        self.open_count.fetch_add(1, Ordering::AcqRel);
    }

    fn fewer(&self, count: u64) {
        if count > 0 && self.open_count.fetch_sub(count, Ordering::AcqRel) >= self.open_max {
            self.user.wake();
        }
    }

    /// Wakes everything that waits for a change.
    pub(crate) fn notify_all(&self) {
        self.user.wake();
        self.changed.notify_waiters();
    }
}

/// A partition from when it was assigned, or sought in, until it is released.
#[derive(Debug)]
pub(crate) struct DeliveryTracker {
    window: Mutex<Window>,
    /// Messages that were handed out and will not be done. Changes only under the window's lock.
    given_back: AtomicU64,
    is_held: AtomicBool,
    /// It is to be released.
    is_going: AtomicBool,
    signals: Arc<Signals>,
}

impl DeliveryTracker {
    pub(crate) fn new(position: Offset, epoch: Option<LeaderEpoch>, signals: Arc<Signals>) -> Arc<Self> {
        let window = Mutex::new(Window::new(position, epoch));
        Arc::new(Self {
            window,
            given_back: AtomicU64::new(0),
            is_held: AtomicBool::new(true),
            is_going: AtomicBool::new(false),
            signals,
        })
    }

    /// A message is handed out, which reports when it is done.
    pub(crate) fn hand_out(&self, offset: Offset, epoch: Option<LeaderEpoch>, tick: Tick) {
        let mut window = self.window.lock();
        let before = window.open_count();
        window.hand_out(offset, epoch, tick);
        if window.open_count() > before {
            self.signals.more();
        }
    }

    /// A message is handed out that counts as done.
    pub(crate) fn hand_out_done(&self, offset: Offset, epoch: Option<LeaderEpoch>) {
        self.window.lock().hand_out_done(offset, epoch);
    }

    pub(crate) fn pass(&self, to: Offset) {
        self.window.lock().pass(to);
    }

    pub(crate) fn done(&self, offset: Offset) {
        let mut window = self.window.lock();
        if window.done(offset) {
            let is_last = window.open_count() <= self.given_back.load(Ordering::Acquire);
            drop(window);
            self.signals.fewer(1);
            if is_last {
                self.signals.changed.notify_waiters();
            }
        }
    }

    /// What is below a committed offset counts as done.
    pub(crate) fn done_below(&self, offset: Offset) {
        let mut window = self.window.lock();
        let count = window.done_below(offset);
        window.pass(offset);
        drop(window);
        self.signals.fewer(count);
        self.signals.changed.notify_waiters();
    }

    pub(crate) fn place(&self) -> CommitPosition {
        self.window.lock().place()
    }

    /// A message that was handed out will not be done: no one is to wait for it, though the position stays below it. To
    /// be said once for each.
    pub(crate) fn give_back(&self) {
        let window = self.window.lock();
        if !self.is_held() {
            return;
        }
        let given_back = self.given_back.fetch_add(1, Ordering::AcqRel) + 1;
        self.signals.given_back.fetch_add(1, Ordering::AcqRel);
        let is_last = window.open_count() <= given_back;
        drop(window);
        if is_last {
            self.signals.changed.notify_waiters();
        }
    }

    /// Of how many of its messages it is to be waited for that they are done.
    pub(crate) fn awaited_count(&self) -> u64 {
        self.window.lock().open_count().saturating_sub(self.given_back.load(Ordering::Acquire))
    }

    pub(crate) fn oldest(&self) -> Option<(Offset, Tick)> {
        self.window.lock().oldest()
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// Whether it is worth while to begin with one of its messages.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_held() && !self.is_going.load(Ordering::Acquire)
    }

    /// No more of its messages are to be begun with; what was begun still counts.
    pub(crate) fn stop(&self) {
        self.is_going.store(true, Ordering::Release);
        self.signals.going.notify_one();
    }

    /// What its messages say counts no more.
    pub(crate) fn retire(&self) {
        let mut window = self.window.lock();
        self.is_held.store(false, Ordering::Release);
        let given_back = self.given_back.swap(0, Ordering::AcqRel);
        self.signals.given_back.fetch_sub(given_back, Ordering::AcqRel);
        let CommitPosition { offset, epoch } = window.place();
        let count = window.open_count();
        *window = Window::new(offset, epoch);
        drop(window);
        self.signals.fewer(count);
        self.signals.notify_all();
        self.signals.going.notify_one();
    }
}
