//! What rounds have to do before their batches are written: making directories and files, and sealing segments. That
//! takes several syncs one after another, so it is done on a thread of its own: only the partition that needs it waits.

use std::{collections::VecDeque, sync::Arc, thread::JoinHandle};

use corduroy_log::Disk;
use parking_lot::{Condvar, Mutex};

use super::commit::{CommitQueue, TakenRound};

/// Rounds that are prepared at a time.
const THREADS_MAX: usize = 8;

/// Prepares rounds and gives them back to the commit queue.
#[derive(Clone)]
pub(super) struct Preparer {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    queue: CommitQueue,
    state: Mutex<PreparerState>,
    wake: Condvar,
}

#[derive(Default)]
struct PreparerState {
    waiting: VecDeque<TakenRound>,
    threads: Vec<JoinHandle<()>>,
    idle: usize,
    closed: bool,
}

impl Preparer {
    pub(super) fn new(disk: Arc<dyn Disk>, queue: CommitQueue) -> Self {
        let (state, wake) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { disk, queue, state, wake }) }
    }

    /// Prepares a round; the queue knows of it ([`CommitQueue::preparing`]).
    pub(super) fn begin(&self, taken: TakenRound) {
        let mut state = self.shared.state.lock();
        state.waiting.push_back(taken);
        if state.idle >= state.waiting.len() || state.threads.len() >= THREADS_MAX {
            self.shared.wake.notify_one();
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread =
            std::thread::Builder::new().name("commit-prepare".to_owned()).spawn(move || shared.run());
        match thread {
            Ok(thread) => state.threads.push(thread),
            // Helpers are a gain, not a need.
            Err(_) if state.threads.is_empty() => {
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                waiting.into_iter().for_each(|taken| self.shared.prepare(taken));
            }
            Err(_) => {
                self.shared.wake.notify_one();
            }
        }
    }

    /// Ends its threads, each after the round that it is at. Rounds that wait are dropped.
    pub(super) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.waiting.clear();
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        self.shared.wake.notify_all();
        for thread in threads {
            // A panic was reported where it happened.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            match state.waiting.pop_front() {
                Some(taken) => {
                    drop(state);
                    self.prepare(taken);
                    state = self.state.lock();
                }
                None => {
                    state.idle += 1;
                    self.wake.wait(&mut state);
                    state.idle -= 1;
                }
            }
        }
    }

    fn prepare(&self, taken: TakenRound) {
        // A failure stays in the round, and is reported with its commit.
        taken.round.prepare(&*self.disk);
        self.queue.prepared(taken);
    }
}
