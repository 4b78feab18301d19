//! All queues of a producer, and which of them the background task should look at.

use std::{mem, sync::Arc};

use corduroy_types::PartitionIndex;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{delivery::Ticket, queue::PartitionQueue, topic::TopicState};

/// Every queue that a producer has, and a list of those in which something happened.
#[derive(Debug, Default)]
pub(crate) struct QueueList {
    all: Mutex<All>,
    listed: Mutex<Vec<Arc<PartitionQueue>>>,
    /// Wakes the background task.
    pub(crate) wake: Notify,
}

#[derive(Debug, Default)]
struct All {
    queues: Vec<Arc<PartitionQueue>>,
    closed: bool,
}

impl QueueList {
    /// A new queue.
    pub(crate) fn add(&self, topic: &Arc<TopicState>, partition: PartitionIndex) -> Arc<PartitionQueue> {
        let mut all = self.all.lock();
        let queue = Arc::new(PartitionQueue::new(all.queues.len(), Arc::clone(topic), partition));
        if all.closed {
            queue.close();
        }
        all.queues.push(Arc::clone(&queue));
        queue
    }

    /// Every queue.
    pub(crate) fn all(&self) -> Vec<Arc<PartitionQueue>> {
        self.all.lock().queues.clone()
    }

    /// Wakes the background task for a queue.
    pub(crate) fn look_at(&self, queue: &Arc<PartitionQueue>) {
        if queue.list() {
            self.listed.lock().push(Arc::clone(queue));
            self.wake.notify_one();
        }
    }

    /// The queues to look at, once.
    pub(crate) fn take_listed(&self) -> Vec<Arc<PartitionQueue>> {
        let listed = mem::take(&mut *self.listed.lock());
        for queue in &listed {
            // Before the look: what comes in during it lists the queue again.
            queue.unlist();
        }
        listed
    }

    /// Lets every open batch leave without gathering; returns the tickets of all that is not finished.
    pub(crate) fn hurry(&self) -> Vec<Arc<Ticket>> {
        self.each(|queue| queue.hurry())
    }

    /// Lets nothing more in; returns the tickets of all that is not finished.
    pub(crate) fn close(&self) -> Vec<Arc<Ticket>> {
        self.all.lock().closed = true;
        self.each(|queue| queue.close())
    }

    fn each(&self, act: impl Fn(&PartitionQueue) -> Vec<Arc<Ticket>>) -> Vec<Arc<Ticket>> {
        let mut tickets = Vec::new();
        for queue in self.all() {
            let waiting = act(&queue);
            if !waiting.is_empty() {
                self.look_at(&queue);
                tickets.extend(waiting);
            }
        }
        self.wake.notify_one();
        tickets
    }
}
