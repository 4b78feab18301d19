//! Blocking work off the network threads: a pool for each kind, so that no kind can keep another one waiting.
//!
//! A call that hangs, as on a device that does not answer, gives its place in the pool back after a while: it holds up
//! nothing but what waits for that very call. How many may hang so has a limit, since each keeps a thread.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use corduroy_api::Refusal;
use corduroy_types::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Clock, refusals};

/// A call that takes longer counts as hanging.
const HUNG_AFTER: Duration = Duration::from_secs(1);
/// Calls of one pool that may hang without holding a place in it.
const HUNG_MAX: usize = 64;

/// The pools of one engine.
pub(crate) struct Workers {
    /// Reads of what is not in memory any more.
    pub(crate) reads: Pool,
    /// Checks of compressed batches and conversions: no I/O.
    pub(crate) compute: Pool,
    /// Retention, delete-records, compaction, the scrub, what a deleted topic leaves.
    pub(crate) maintenance: Pool,
    /// Opening and reopening logs.
    pub(crate) opening: Pool,
    /// The reserve and the commit journal.
    pub(crate) control: Pool,
}

impl Workers {
    pub(super) fn new(clock: Clock) -> Self {
        let pool = |places| Pool::new(places, clock);
        Self { reads: pool(16), compute: pool(4), maintenance: pool(4), opening: pool(8), control: pool(2) }
    }

    /// Finds calls that hang.
    pub(super) fn sweep(&self) {
        for pool in [&self.reads, &self.compute, &self.maintenance, &self.opening, &self.control] {
            pool.shared.sweep();
        }
    }
}

/// Runs blocking calls, some at a time.
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    next_id: AtomicU64,
    running: Mutex<HashMap<u64, Running>>,
}

/// A call under way.
struct Running {
    since_ms: u64,
    /// `None` once it counts as hanging.
    place: Option<OwnedSemaphorePermit>,
}

/// Gives a call's place back when the call ends, however it does.
struct Ending {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.running.lock().remove(&self.id);
    }
}

impl Pool {
    fn new(places: usize, clock: Clock) -> Self {
        let shared = Shared { clock, next_id: AtomicU64::new(0), running: Mutex::default() };
        Self { places: Arc::new(Semaphore::new(places)), shared: Arc::new(shared) }
    }

    /// Waits for a place and runs `work` on a thread that may block. It runs to its end even if its caller no longer waits.
    ///
    /// # Errors
    /// `INTERNAL` when the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| refusals::stopping())?;
        let ending = self.shared.begin(place);
        let done = tokio::task::spawn_blocking(move || {
            let _ending = ending;
            work()
        });
        done.await.map_err(|error| Refusal::new(ErrorCode::Internal, format!("a worker failed: {error}")))
    }
}

impl Shared {
    fn begin(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Ending {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let running = Running { since_ms: self.clock.monotonic_ms(), place: Some(place) };
        self.running.lock().insert(id, running);
        Ending { shared: Arc::clone(self), id }
    }

    fn sweep(&self) {
        let now_ms = self.clock.monotonic_ms();
        let hung_after_ms = u64::try_from(HUNG_AFTER.as_millis()).unwrap_or(u64::MAX);
        let mut running = self.running.lock();
        let hanging = running.values().filter(|call| call.place.is_none()).count();
        let hung = running
            .values_mut()
            .filter(|call| call.place.is_some() && now_ms.saturating_sub(call.since_ms) >= hung_after_ms);
        for call in hung.take(HUNG_MAX.saturating_sub(hanging)) {
            call.place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_gives_its_place_back_and_only_then() {
        let pool = Arc::new(Pool::new(1, Clock::new()));
        let (let_go, held) = mpsc::channel::<()>();
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let on = Arc::clone(&pool);
        let hanging = tokio::spawn(async move {
            on.run(move || {
                began.send(()).unwrap();
                held.recv().unwrap();
            })
            .await
        });
        has_begun.await.unwrap();
        pool.shared.sweep();
        assert_eq!(pool.places.available_permits(), 0, "it has only begun");
        pool.shared.running.lock().values_mut().for_each(|call| call.since_ms = 0);
        while pool.places.available_permits() == 0 {
            pool.shared.sweep();
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
        let_go.send(()).unwrap();
        hanging.await.unwrap().unwrap();
        assert_eq!(pool.places.available_permits(), 1, "its place is not given back twice");
        assert!(pool.shared.running.lock().is_empty());
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_leaves_its_place() {
        let pool = Pool::new(1, Clock::new());
        let refusal = pool.run(|| -> u32 { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::Internal);
        assert_eq!(pool.run(|| 1).await.unwrap(), 1);
    }
}
