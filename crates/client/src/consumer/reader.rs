//! What reads partitions and hands out what comes: the inside of every consumer.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use corduroy_types::Offset;
use tokio::sync::mpsc;

use super::{
    ConsumeError, Message, PartitionStatus,
    batch::Fetched,
    budget::Budget,
    fetcher::{Chunk, ChunkKind, FetchFrom, Fetcher, Plan},
    state::Partition,
};
use crate::client::Shared;

/// Reads partitions, which may come and go, and hands out their records in the order in which they came.
///
/// Each partition has a place, which is never given to another.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) partitions: BTreeMap<usize, Partition>,
    next_place: usize,
    plans: mpsc::UnboundedSender<Plan>,
    pub(super) chunks: mpsc::UnboundedReceiver<Chunk>,
    pub(super) budget: Arc<Budget>,
    /// Whether to wait for room in the budget rather than to pass it.
    pub(super) is_patient: bool,
    generation: u64,
    /// Chunks of this generation that have not been looked at.
    pub(super) backlog: VecDeque<Chunk>,
    /// Batches of the chunk being handed out.
    pub(super) batches: VecDeque<Arc<Fetched>>,
    /// Where its partition goes on behind them.
    pub(super) batches_of: Option<(usize, Offset)>,
    /// Messages of the batch being handed out, and what ends it early.
    pub(super) messages: VecDeque<Message>,
    pub(super) message_error: Option<ConsumeError>,
    pub(super) current: Option<(usize, Arc<Fetched>)>,
}

impl Reader {
    /// Begins the background task, with nothing to read yet.
    pub(crate) fn start(client: Arc<Shared>, buffer_bytes: u64) -> Self {
        let (plans, plan_receiver) = mpsc::unbounded_channel();
        let (chunk_sender, chunks) = mpsc::unbounded_channel();
        let budget = Budget::new(buffer_bytes);
        let fetcher = Fetcher::new(client, plan_receiver, chunk_sender, Arc::clone(&budget));
        tokio::spawn(fetcher.run());
        Self {
            partitions: BTreeMap::new(),
            next_place: 0,
            plans,
            chunks,
            budget,
            is_patient: false,
            generation: 0,
            backlog: VecDeque::new(),
            batches: VecDeque::new(),
            batches_of: None,
            messages: VecDeque::new(),
            message_error: None,
            current: None,
        }
    }

    /// Whether to wait for room in the budget when nothing is at hand. Who is patient must have messages to release.
    pub(crate) fn set_patient(&mut self, is_patient: bool) {
        self.is_patient = is_patient;
        if is_patient {
            self.budget.set_starving(false);
        }
    }

    /// Reads these partitions too; returns their places.
    pub(crate) fn add(&mut self, partitions: impl IntoIterator<Item = Partition>) -> Vec<usize> {
        let places = partitions.into_iter().map(|partition| {
            let place = self.next_place;
            self.next_place += 1;
            self.partitions.insert(place, partition);
            place
        });
        let places = places.collect();
        self.plan();
        places
    }

    /// Reads these partitions no more, and drops what is here of them.
    pub(crate) fn remove(&mut self, places: &[usize]) {
        for place in places {
            self.discard(*place);
            self.partitions.remove(place);
        }
        self.plan();
    }

    /// Goes on in a partition from another place in it.
    pub(crate) fn seek(&mut self, place: usize, to: Offset) {
        self.discard(place);
        if let Some(partition) = self.partitions.get_mut(&place) {
            partition.place(to);
        }
        self.plan();
    }

    /// Sets partitions that are in one status to another; the others stay as they are.
    pub(crate) fn switch(&mut self, places: &[usize], from: PartitionStatus, to: PartitionStatus) {
        for place in places {
            let Some(partition) = self.partitions.get_mut(place).filter(|p| p.status == from) else {
                continue;
            };
            partition.status = to;
            let position = partition.position;
            partition.place(position);
            self.discard(*place);
        }
        self.plan();
    }

    pub(crate) fn partition(&self, place: usize) -> Option<&Partition> {
        self.partitions.get(&place)
    }

    pub(crate) fn partitions(&self) -> impl ExactSizeIterator<Item = &Partition> {
        self.partitions.values()
    }

    pub(crate) fn find(&self, topic: &str, partition: u32) -> Option<usize> {
        let is_it = |p: &Partition| p.source.topic.as_str() == topic && p.source.partition.0 == partition;
        self.partitions.iter().find(|(_, p)| is_it(p)).map(|(place, _)| *place)
    }

    /// Whether every partition is done or stopped, so that nothing comes any more unless one is sought.
    pub(crate) fn is_ended(&self) -> bool {
        let over = |partition: &Partition| {
            matches!(partition.status, PartitionStatus::Done | PartitionStatus::Stopped)
        };
        self.messages.is_empty() && self.message_error.is_none() && self.partitions.values().all(over)
    }

    /// Drops what is here of a partition.
    fn discard(&mut self, index: usize) {
        self.drain();
        self.backlog.retain(|chunk| chunk.index != index);
        if self.batches_of.is_some_and(|(of, _)| of == index) {
            self.batches.clear();
            self.batches_of = None;
        }
        if self.current.as_ref().is_some_and(|(of, _)| *of == index) {
            self.current = None;
            self.messages.clear();
            self.message_error = None;
        }
        if let Some(partition) = self.partitions.get_mut(&index) {
            partition.fetched_to = partition.position;
        }
    }

    /// Looks at everything that has come.
    pub(super) fn drain(&mut self) {
        while let Ok(chunk) = self.chunks.try_recv() {
            self.accept(chunk);
        }
    }

    /// Notes what a chunk contains, and keeps it.
    pub(super) fn accept(&mut self, chunk: Chunk) {
        if chunk.generation != self.generation {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&chunk.index) else { return };
        partition.high_watermark = chunk.high_watermark.or(partition.high_watermark);
        match &chunk.kind {
            ChunkKind::Records { next, .. } => partition.fetched_to = partition.fetched_to.max(*next),
            ChunkKind::Failed { .. } | ChunkKind::Done => partition.fetching = false,
        }
        self.backlog.push_back(chunk);
    }

    /// Makes the background task go on from behind what is here.
    pub(super) fn plan(&mut self) {
        self.drain();
        self.generation += 1;
        for chunk in &mut self.backlog {
            chunk.generation = self.generation;
        }
        let from = |(index, partition): (&usize, &Partition)| FetchFrom {
            index: *index,
            source: Arc::clone(&partition.source),
            topic_id: partition.topic_id.clone(),
            position: partition.fetched_to,
            until: partition.until,
        };
        let partitions =
            self.partitions.iter().filter(|(_, partition)| partition.fetching).map(from).collect();
        // The task ends only when the consumer does, or with the runtime.
        let _ = self.plans.send(Plan { generation: self.generation, partitions });
    }
}
