//! How much was fetched and is still held, by the consumer or by messages that its user keeps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// The bytes a consumer may hold before it stops fetching.
///
/// Messages that the user keeps count, too. To keep that from becoming a deadlock, a user who waits for the next
/// message gets it, whatever is held.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: u64,
    held_bytes: AtomicU64,
    /// The user waits with nothing at hand.
    starving: AtomicBool,
    changed: Notify,
}

impl Budget {
    pub(crate) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            held_bytes: AtomicU64::new(0),
            starving: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Resolves when more may be fetched.
    pub(crate) async fn until_room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.held_bytes.load(Ordering::Acquire) < self.limit_bytes
                || self.starving.load(Ordering::Acquire)
            {
                return;
            }
            changed.await;
        }
    }

    /// Counts bytes until the result is dropped. What one answer holds may pass the limit once.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        Held { budget: Arc::clone(self), bytes }
    }

    /// The user waits, or has got something.
    pub(crate) fn set_starving(&self, starving: bool) {
        let before = self.starving.swap(starving, Ordering::AcqRel);
        if starving && !before {
            self.changed.notify_one();
        }
    }
}

/// Bytes that count to a consumer's budget for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.budget.held_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if before >= self.budget.limit_bytes {
            self.budget.changed.notify_one();
        }
    }
}
