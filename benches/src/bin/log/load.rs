//! Writers that append as fast as acknowledgements come.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use corduroy_batch::Batch;
use corduroy_benches::{Failure, median};
use corduroy_types::LeaderEpoch;
use tokio::{runtime::Runtime, sync::Semaphore};

use crate::{
    commit::{Checkpoints, CommitThread, Committed, Queue, Traced, checkpoint},
    data_dir::{DataDir, NOW, Partition, Waiting},
};

/// What is appended, and how.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) batch: Batch,
    pub(crate) writers: usize,
    /// Appends that each writer has in flight: 1 is to wait for each acknowledgement.
    pub(crate) in_flight: usize,
    /// It ends after this time, or when so many bytes were appended.
    pub(crate) time: Duration,
    pub(crate) max_bytes: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) appends: u64,
    pub(crate) seconds: f64,
    pub(crate) wait_us: f64,
    pub(crate) trace: Vec<Traced>,
    pub(crate) journaled: usize,
    pub(crate) checkpoints: usize,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.appends as f64 / self.seconds
    }
}

/// What the writers share.
struct Writers {
    batch: Batch,
    permits: Arc<[Semaphore]>,
    queue: Arc<Queue>,
    partitions: Vec<Arc<Partition>>,
    stop: AtomicBool,
    appends: AtomicU64,
    max_appends: u64,
}

impl Writers {
    /// One writer, going round-robin over its share of the partitions. Returns when all is acknowledged.
    async fn write(self: Arc<Self>, writer: usize, in_flight: u32) -> Result<(), Failure> {
        let writers = self.permits.len();
        let permits = self.permits.get(writer).ok_or("no such writer")?;
        let first = writer % self.partitions.len();
        let mut share = self.partitions.iter().skip(first).step_by(writers).cycle();
        while !self.stop.load(Ordering::Relaxed) {
            permits.acquire().await?.forget();
            if self.appends.fetch_add(1, Ordering::Relaxed) >= self.max_appends {
                self.stop.store(true, Ordering::Relaxed);
            }
            let partition = share.next().ok_or("no partition")?;
            let mut state = partition.state.lock();
            let appended = state.log.append(self.batch.clone(), LeaderEpoch::ZERO, NOW)?;
            state.waiting.push_back(Waiting { end: appended.next_offset, writer, since: Instant::now() });
            drop(state);
            self.queue.push(partition);
        }
        permits.acquire_many(in_flight).await?.forget();
        Ok(())
    }
}

/// Puts a load on a place. When this returns, all of it is acknowledged and checkpointed.
pub(crate) fn run(data_dir: &DataDir, load: &Load, runtime: &Runtime) -> Result<Outcome, Failure> {
    let queue = Arc::new(Queue::default());
    let permits: Arc<[Semaphore]> = (0..load.writers).map(|_| Semaphore::new(load.in_flight)).collect();
    let checkpoints = Checkpoints::default();
    let writers = Arc::new(Writers {
        batch: load.batch.clone(),
        permits: Arc::clone(&permits),
        queue: Arc::clone(&queue),
        partitions: data_dir.partitions.clone(),
        stop: AtomicBool::new(false),
        appends: AtomicU64::new(0),
        max_appends: load.max_bytes / u64::from(load.batch.total_bytes()),
    });
    let thread = CommitThread { data_dir, queue: &queue, permits: &permits, checkpoints: &checkpoints };
    let in_flight = u32::try_from(load.in_flight)?;
    let (seconds, committed, checkpointed) = std::thread::scope(|scope| {
        let commits = scope.spawn(|| {
            let committed = thread.run();
            // After a failure a waiter would wait for ever.
            permits.iter().filter(|_| committed.is_err()).for_each(Semaphore::close);
            committed
        });
        let checkpointing = scope.spawn(|| checkpoints.run(data_dir));
        let seconds = runtime.block_on(all(&writers, load.time, in_flight));
        queue.close();
        let committed = commits.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        checkpoints.stop();
        let checkpointed = checkpointing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (seconds, committed, checkpointed)
    });
    let (committed, seconds, checkpoints) = (committed?, seconds?, checkpointed?);
    checkpoint(data_dir, |_| true)?;
    let Committed { trace, journaled, waits_us } = committed;
    let appends = writers.appends.load(Ordering::Relaxed);
    Ok(Outcome { appends, seconds, wait_us: median(&waits_us), trace, journaled, checkpoints })
}

/// The seconds until the last acknowledgement.
async fn all(writers: &Arc<Writers>, time: Duration, in_flight: u32) -> Result<f64, Failure> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers.permits.len())
        .map(|writer| tokio::spawn(Arc::clone(writers).write(writer, in_flight)))
        .collect();
    let stopping = Arc::clone(writers);
    let timer = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        stopping.stop.store(true, Ordering::Relaxed);
    });
    for task in tasks {
        task.await??;
    }
    timer.abort();
    Ok(began.elapsed().as_secs_f64())
}
