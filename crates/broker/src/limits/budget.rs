//! An amount of memory that many connections share, and each connection's share of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::registry::Registry;

/// Semaphores count this many bytes as one, because their counters are smaller than memory.
const UNIT_BYTES: u64 = 1024;
/// A connection gets this part of a budget, so that it takes several to use it up.
const SHARES: u64 = 16;
/// But never less than one large answer or request.
const SHARE_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// How long memory may be held before its holder counts as stalled, however little it is.
const HOLD_MIN: Duration = Duration::from_secs(30);
/// A holder may take longer for more bytes, but not be slower than this.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// How often somebody who waits looks for stalled holders.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A budget.
#[derive(Debug)]
pub(super) struct Budget {
    room: Arc<Semaphore>,
    units: u32,
    registry: Arc<Registry>,
}

/// What one connection may take of a budget.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Semaphore>,
    units: u32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// What is held, in the order in which it was taken: units, and when the client should have given it back; `None`
    /// where that is not in its hands.
    permits: BTreeMap<u64, (u32, Option<Instant>)>,
}

/// Memory that is taken from a budget, until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    share: Weak<Share>,
    number: u64,
    of_budget: OwnedSemaphorePermit,
    of_share: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new(bytes: u64, registry: Arc<Registry>) -> Self {
        let units = units(bytes).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { room: Arc::new(Semaphore::new(units as usize)), units, registry }
    }

    /// A new connection's share.
    pub(super) fn share(&self) -> Arc<Share> {
        let units =
            units(u64::from(self.units) * UNIT_BYTES / SHARES).max(units(SHARE_BYTES_MIN)).min(self.units);
        Arc::new(Share { room: Arc::new(Semaphore::new(units as usize)), units, held: Mutex::default() })
    }

    /// Waits for room for `bytes`, first in the connection's own share, then in the budget; at most the whole
    /// share is charged, so that what is larger passes alone. Waiting cannot deadlock: whoever waits for the
    /// budget holds nothing of it for the same purpose.
    pub(super) async fn acquire(&self, share: &Arc<Share>, bytes: u64) -> Permit {
        let units = units(bytes).min(share.units);
        let of_share = take(&share.room, units).await;
        let of_budget = {
            let mut waiting = std::pin::pin!(take(&self.room, units));
            loop {
                tokio::select! {
                    biased;
                    permit = &mut waiting => break permit,
                    () = tokio::time::sleep(LOOK_EVERY) => self.registry.close_most_stalled(),
                }
            }
        };
        let number = share.held.lock().hold(units);
        Permit { share: Arc::downgrade(share), number, of_budget, of_share }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let free = u64::try_from(self.room.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.units).saturating_sub(free) * UNIT_BYTES
    }
}

/// Takes permits of a semaphore that is never closed.
async fn take(room: &Arc<Semaphore>, units: u32) -> OwnedSemaphorePermit {
    match Arc::clone(room).acquire_many_owned(units).await {
        Ok(permit) => permit,
        // Nothing closes these semaphores; an error could only mean that nobody needs the memory any more.
        Err(_closed) => std::future::pending().await,
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

impl Held {
    fn hold(&mut self, units: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        let slow = u64::from(units) * UNIT_BYTES / SLOWEST_BYTES_PER_SECOND;
        self.permits.insert(number, (units, Some(Instant::now() + HOLD_MIN + Duration::from_secs(slow))));
        number
    }
}

impl Share {
    /// Bytes that are held, if the oldest of them should have been given back by `now`.
    pub(super) fn stalled_bytes(&self, now: Instant) -> Option<u64> {
        let held = self.held.lock();
        let overdue = held.permits.values().any(|(_, due)| due.is_some_and(|due| due <= now));
        let units: u64 = held.permits.values().map(|(units, _)| u64::from(*units)).sum();
        overdue.then_some(units * UNIT_BYTES)
    }
}

impl Permit {
    /// From now on it is held by the broker's own doing: its connection is not to blame for it.
    pub(super) fn excuse(&self) {
        if let Some(share) = self.share.upgrade()
            && let Some((_, due)) = share.held.lock().permits.get_mut(&self.number)
        {
            *due = None;
        }
    }

    /// Gives back what is above `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let keep = units(bytes) as usize;
        for permit in [&mut self.of_budget, &mut self.of_share] {
            // Split-off permits return to their semaphore when they are dropped.
            drop(permit.split(permit.num_permits().saturating_sub(keep)));
        }
        if let Some(share) = self.share.upgrade()
            && let Some((units, _)) = share.held.lock().permits.get_mut(&self.number)
        {
            *units = u32::try_from(keep).unwrap_or(u32::MAX).min(*units);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(share) = self.share.upgrade() {
            share.held.lock().permits.remove(&self.number);
        }
    }
}
