//! Blocking work on several threads at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many files are synced at once: the disk merges flushes that come together, and the file system merges the
/// records it writes for them.
pub const SYNCS_AT_ONCE: usize = 8;

/// Calls `perform` with each index below `count`, on at most `threads` threads at once; this thread is one of them.
///
/// Returns when all calls have ended. The other threads are a gain and not a need: if the system gives none, this
/// thread makes all calls.
pub fn run_parallel(count: usize, threads: usize, perform: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && index < count
        {
            perform(index);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..count.min(threads) {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn every_index_is_performed_once() {
        for (count, threads) in [(0, 0), (0, 4), (1, 0), (1, 4), (7, 1), (7, 3), (3, 100)] {
            let done = Mutex::new(Vec::new());
            run_parallel(count, threads, |index| done.lock().push(index));
            let mut done = done.into_inner();
            done.sort_unstable();
            assert_eq!(done, (0..count).collect::<Vec<_>>(), "{count} calls on {threads} threads");
        }
    }

    #[test]
    fn as_many_calls_as_threads_are_under_way_at_once() {
        let together = Barrier::new(3);
        run_parallel(3, 3, |_| {
            together.wait();
        });
    }
}
