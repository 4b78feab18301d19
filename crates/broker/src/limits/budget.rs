//! An amount of memory that many connections share, and each connection's share of it.

use std::{
    collections::BTreeMap,
    future::Future,
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
/// A connection may take this part of a budget, so that one connection cannot use it up.
const SHARES: u64 = 16;
/// But never less than one large answer or request.
const SHARE_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// What a connection gets of a budget's reserve when the rest is used up: enough for a small answer.
const RESERVED_UNITS: u32 = 64;
/// The reserve is this part of the budget.
const RESERVE: u32 = 4;
/// A request for up to some memory gets at most this part of what is free, so that some always stays free: with
/// `n` holders that give nothing back, one part in `1 + n / FREE_PART`.
const FREE_PART: usize = 4;
/// How long any amount of memory may be held before its holder counts as stalled.
const HOLD_MIN: Duration = Duration::from_secs(30);
/// A holder of more bytes gets more time, but must not be slower than this.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// How often a waiter looks for stalled holders.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A budget.
#[derive(Debug)]
pub(super) struct Budget {
    room: Arc<Semaphore>,
    /// For requests that find no room. Each connection has its own part.
    reserve: Arc<Semaphore>,
    room_units: u32,
    units: u32,
    registry: Arc<Registry>,
}

/// What one connection may take of a budget.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    room: Arc<Semaphore>,
    units: u32,
    /// Its part of the reserve.
    reserved: Arc<Semaphore>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// What is held, oldest first: units, and when the client should have given them back; `None` where that does
    /// not depend on the client.
    permits: BTreeMap<u64, (u32, Option<Instant>)>,
}

/// Memory that is taken from a budget, until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    share: Weak<BudgetShare>,
    number: u64,
    of_budget: OwnedSemaphorePermit,
    of_share: OwnedSemaphorePermit,
}

impl Budget {
    /// All of it is given to the next request that asks.
    pub(super) fn new(bytes: u64, registry: Arc<Registry>) -> Self {
        Self::with_reserve(bytes, 0, registry)
    }

    /// A part of it is kept for requests that find the rest used up: see [`Self::acquire_up_to`].
    pub(super) fn with_a_reserve(bytes: u64, registry: Arc<Registry>) -> Self {
        Self::with_reserve(bytes, units(bytes) / RESERVE, registry)
    }

    fn with_reserve(bytes: u64, reserve_units: u32, registry: Arc<Registry>) -> Self {
        let units = units(bytes).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let room_units = units.saturating_sub(reserve_units);
        let semaphore = |units: u32| Arc::new(Semaphore::new(units as usize));
        let (room, reserve) = (semaphore(room_units), semaphore(units - room_units));
        Self { room, reserve, room_units, units, registry }
    }

    /// A new connection's share.
    pub(super) fn share(&self) -> Arc<BudgetShare> {
        let part = units(u64::from(self.units) * UNIT_BYTES / SHARES);
        let units = part.max(units(SHARE_BYTES_MIN)).min(self.room_units);
        let semaphore = |units: u32| Arc::new(Semaphore::new(units as usize));
        Arc::new(BudgetShare {
            room: semaphore(units),
            units,
            reserved: semaphore(RESERVED_UNITS),
            held: Mutex::default(),
        })
    }

    /// Waits for room for `bytes`, first in the connection's own share, then in the budget. At most the whole
    /// share is charged, so that a larger message passes alone. Waiting cannot deadlock: a request that waits for
    /// the budget holds nothing of it for the same purpose.
    pub(super) async fn acquire(&self, share: &Arc<BudgetShare>, bytes: u64) -> Permit {
        let units = units(bytes).min(share.units);
        let of_share = take(&share.room, units).await;
        let of_budget = self.watching(take(&self.room, units)).await;
        share.permit(of_budget, of_share)
    }

    /// Room for up to `bytes`, but at most a part of what is free: [`Permit::bytes`] says how much it became. A
    /// request that finds no room gets a little of the reserve. So every answer gets something at once, whatever
    /// others hold. It waits only for what its own connection holds, or behind many hundreds of other
    /// connections.
    pub(super) async fn acquire_up_to(&self, share: &Arc<BudgetShare>, bytes: u64) -> Permit {
        let wanted = units(bytes).min(share.units);
        let least = wanted.min(RESERVED_UNITS);
        let mut of_share = take(&share.room, least).await;
        let more = (wanted - least).min(u32::try_from(share.room.available_permits()).unwrap_or(0));
        if let Ok(more) = Arc::clone(&share.room).try_acquire_many_owned(more) {
            of_share.merge(more);
        }
        let fair = (self.room.available_permits() / FREE_PART).max(least as usize);
        let got = of_share.num_permits().min(fair);
        if let Ok(of_budget) =
            Arc::clone(&self.room).try_acquire_many_owned(u32::try_from(got).unwrap_or(u32::MAX))
        {
            drop(of_share.split(of_share.num_permits().saturating_sub(got)));
            return share.permit(of_budget, of_share);
        }
        drop(of_share.split(of_share.num_permits().saturating_sub(least as usize)));
        let reserved = async {
            let of_share = take(&share.reserved, least).await;
            (take(&self.reserve, least).await, of_share)
        };
        let either = async {
            tokio::select! {
                biased;
                (of_budget, of_share) = reserved => (of_budget, Some(of_share)),
                of_budget = take(&self.room, least) => (of_budget, None),
            }
        };
        let (of_budget, reserved) = self.watching(either).await;
        share.permit(of_budget, reserved.unwrap_or(of_share))
    }

    /// Waits, and looks for the holders of what it waits for.
    async fn watching<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = std::pin::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                got = &mut waiting => return got,
                () = tokio::time::sleep(LOOK_EVERY) => self.registry.close_most_stalled(),
            }
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let free = self.room.available_permits() + self.reserve.available_permits();
        u64::from(self.units).saturating_sub(u64::try_from(free).unwrap_or(u64::MAX)) * UNIT_BYTES
    }
}

/// Takes permits of a semaphore that is never closed.
async fn take(room: &Arc<Semaphore>, units: u32) -> OwnedSemaphorePermit {
    match Arc::clone(room).acquire_many_owned(units).await {
        Ok(permit) => permit,
        // Nothing closes these semaphores. An error could only mean that the memory is not needed any more.
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

impl BudgetShare {
    fn permit(self: &Arc<Self>, of_budget: OwnedSemaphorePermit, of_share: OwnedSemaphorePermit) -> Permit {
        let number = self.held.lock().hold(u32::try_from(of_budget.num_permits()).unwrap_or(u32::MAX));
        Permit { share: Arc::downgrade(self), number, of_budget, of_share }
    }

    /// Bytes that are held, if the oldest of them should have been given back by `now`.
    pub(super) fn stalled_bytes(&self, now: Instant) -> Option<u64> {
        let held = self.held.lock();
        let overdue = held.permits.values().any(|(_, due)| due.is_some_and(|due| due <= now));
        let units: u64 = held.permits.values().map(|(units, _)| u64::from(*units)).sum();
        overdue.then_some(units * UNIT_BYTES)
    }
}

impl Permit {
    /// How much memory it is for.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.of_budget.num_permits()).unwrap_or(u64::MAX).saturating_mul(UNIT_BYTES)
    }

    /// From now on the broker itself holds it, so its connection does not count as stalled.
    pub(super) fn excuse(&self) {
        if let Some(share) = self.share.upgrade()
            && let Some((_, due)) = share.held.lock().permits.get_mut(&self.number)
        {
            *due = None;
        }
    }

    /// Gives back what exceeds `bytes`.
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
