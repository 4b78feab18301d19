//! What this broker holds of each topic of the image, and which topics have changed since it was brought in line.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use corduroy_metadata::{Delta, Image};
use corduroy_types::{Offset, PartitionIndex, TopicId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Replica;
use crate::engine::metadata::ImageListener;
use crate::metrics::{Metrics, TopicMetrics};

/// What this broker holds of one topic.
pub(crate) struct LocalTopic {
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    next_unkeyed: AtomicU32,
    metrics: Arc<TopicMetrics>,
}

impl LocalTopic {
    fn new(metrics: Arc<TopicMetrics>) -> Arc<Self> {
        Arc::new(Self { replicas: ArcSwap::default(), next_unkeyed: AtomicU32::new(0), metrics })
    }

    pub(in crate::engine) fn metrics(&self) -> &Arc<TopicMetrics> {
        &self.metrics
    }

    /// In the order of their indexes.
    pub(in crate::engine) fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    pub(in crate::engine) fn replica(&self, index: PartitionIndex) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        // Where this broker holds all partitions, each is at the place of its index.
        let at_index =
            replicas.get(usize::try_from(index.0).ok()?).filter(|replica| replica.index() == index);
        let found = at_index.or_else(|| {
            let at = replicas.binary_search_by_key(&index, |replica| replica.index()).ok()?;
            replicas.get(at)
        });
        found.cloned()
    }

    pub(in crate::engine) fn next_unkeyed(&self) -> u32 {
        self.next_unkeyed.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds replicas of other partitions than those that are there.
    pub(in crate::engine) fn add_replicas(&self, added: impl IntoIterator<Item = Arc<Replica>>) {
        let mut replicas = Vec::clone(&self.replicas.load());
        replicas.extend(added);
        replicas.sort_by_key(|replica| replica.index());
        self.replicas.store(Arc::new(replicas));
    }
}

/// Topics with changes that this broker has not acted on, and where the metadata log was applied up to with the first one
/// of each.
type Unsettled = BTreeMap<TopicId, Offset>;

#[derive(Default)]
struct Changes {
    /// Not begun.
    waiting: Unsettled,
    /// Being acted on.
    under_way: Unsettled,
    /// Deleted topics whose replicas are not closed yet.
    deleted: BTreeMap<TopicId, Arc<LocalTopic>>,
}

/// The topics of the image with what this broker holds of them.
pub(in crate::engine) struct LocalTopics {
    topics: ArcSwap<HashMap<TopicId, Arc<LocalTopic>>>,
    changes: Mutex<Changes>,
    /// Some topic has changed.
    wanted: Notify,
    /// Counts the changes of topics and of their replicas.
    changed: watch::Sender<u64>,
    /// The largest `max.message.bytes` of any topic, for the limit on one message of a produce stream.
    max_message_bytes: Arc<AtomicU32>,
    default_max_message_bytes: u32,
    metrics: Arc<Metrics>,
}

impl LocalTopics {
    pub(in crate::engine) fn new(default_max_message_bytes: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            topics: ArcSwap::default(),
            changes: Mutex::default(),
            wanted: Notify::new(),
            changed: watch::Sender::new(0),
            max_message_bytes: Arc::new(AtomicU32::new(default_max_message_bytes)),
            default_max_message_bytes,
            metrics,
        })
    }

    pub(in crate::engine) fn all(&self) -> Arc<HashMap<TopicId, Arc<LocalTopic>>> {
        self.topics.load_full()
    }

    pub(in crate::engine) fn by_id(&self, id: TopicId) -> Option<Arc<LocalTopic>> {
        self.topics.load().get(&id).cloned()
    }

    pub(in crate::engine) fn max_message_bytes(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.max_message_bytes)
    }

    /// Changes whenever topics or their replicas come, go or change.
    pub(in crate::engine) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Lets those who follow the topics know that they have changed.
    pub(in crate::engine) fn note_changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Ends when some topic has changed.
    pub(in crate::engine) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The topics that have changed, to be acted on now; those that are acted on already come later.
    pub(in crate::engine) fn begin_changed(&self) -> Vec<TopicId> {
        let mut changes = self.changes.lock();
        let Changes { waiting, under_way, .. } = &mut *changes;
        let (later, now) =
            std::mem::take(waiting).into_iter().partition(|(id, _)| under_way.contains_key(id));
        *waiting = later;
        let begun: Unsettled = now;
        let ids = begun.keys().copied().collect();
        under_way.extend(begun);
        ids
    }

    /// Whether a task acts on this topic now.
    pub(in crate::engine) fn is_under_way(&self, id: TopicId) -> bool {
        self.changes.lock().under_way.contains_key(&id)
    }

    /// This topic was acted on.
    pub(in crate::engine) fn ended(&self, id: TopicId) {
        let mut changes = self.changes.lock();
        changes.under_way.remove(&id);
        let more = changes.waiting.contains_key(&id);
        drop(changes);
        if more {
            self.wanted.notify_one();
        }
        self.note_changed();
    }

    /// Has this topic acted on again, though the image says nothing new of it.
    pub(in crate::engine) fn again(&self, ids: impl IntoIterator<Item = TopicId>) {
        let mut changes = self.changes.lock();
        for id in ids {
            // No proposer waits for it.
            changes.waiting.entry(id).or_insert(Offset::MAX);
        }
        drop(changes);
        self.wanted.notify_one();
    }

    /// A deleted topic whose replicas are not closed yet.
    pub(in crate::engine) fn take_deleted(&self, id: TopicId) -> Option<Arc<LocalTopic>> {
        self.changes.lock().deleted.remove(&id)
    }

    /// The deleted topics whose replicas are not closed yet.
    pub(in crate::engine) fn not_closed(&self) -> Vec<TopicId> {
        self.changes.lock().deleted.keys().copied().collect()
    }

    /// Waits until what the metadata log says of a topic up to `end` was acted on.
    pub(in crate::engine) async fn settled(&self, id: TopicId, end: Offset) {
        let mut changed = self.subscribe();
        let is_settled = || {
            let changes = self.changes.lock();
            let of = |unsettled: &Unsettled| unsettled.get(&id).is_some_and(|first| *first <= end);
            !of(&changes.waiting) && !of(&changes.under_way)
        };
        while !is_settled() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn add(&self, added: Vec<(TopicId, Arc<LocalTopic>)>) {
        let mut topics = HashMap::clone(&self.topics.load());
        topics.extend(added);
        self.topics.store(Arc::new(topics));
    }

    fn remove(&self, deleted: &[TopicId]) {
        let mut topics = HashMap::clone(&self.topics.load());
        let removed: Vec<_> = deleted.iter().filter_map(|id| topics.remove_entry(id)).collect();
        self.topics.store(Arc::new(topics));
        self.changes.lock().deleted.extend(removed);
    }
}

impl ImageListener for LocalTopics {
    /// A topic of the published image always has a local one.
    fn publishing(&self, image: &Image, deltas: &[Delta]) {
        let mut added = Vec::new();
        for delta in deltas {
            match delta {
                Delta::TopicDeleted(topic) => {
                    self.metrics.data.remove_topic(topic.name());
                    self.metrics.groups.forget_topic(topic.name().as_str());
                }
                Delta::TopicCreated(topic) if image.topic_by_id(topic.id()).is_some() => {
                    added.push((topic.id(), LocalTopic::new(self.metrics.data.topic(topic.name()))));
                }
                _ => {}
            }
        }
        if !added.is_empty() {
            self.add(added);
        }
    }

    fn published(&self, image: &Image, deltas: Vec<Delta>, end: Offset) {
        let deleted = deltas.iter().filter_map(|delta| match delta {
            Delta::TopicDeleted(topic) => Some(topic.id()),
            _ => None,
        });
        let deleted: Vec<_> = deleted.collect();
        // Before anything acts on the deletion: it closes the replicas first, and takes them from there.
        if !deleted.is_empty() {
            self.remove(&deleted);
        }
        let mut changes = self.changes.lock();
        for id in deltas.iter().filter_map(changed_topic) {
            changes.waiting.entry(id).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
        drop(changes);
        let greatest = image.topics().map(|topic| topic.config().max_message_bytes).max().unwrap_or(0);
        self.max_message_bytes.store(greatest.max(self.default_max_message_bytes), Ordering::Relaxed);
        self.wanted.notify_one();
        self.note_changed();
    }
}

/// The topic that this broker has something to do for.
fn changed_topic(delta: &Delta) -> Option<TopicId> {
    match delta {
        Delta::TopicCreated(topic)
        | Delta::TopicDeleted(topic)
        | Delta::PartitionsAdded { topic, .. }
        | Delta::ConfigsChanged(topic) => Some(topic.id()),
        Delta::LeaderEpochRaised { topic_id, .. } => Some(*topic_id),
        Delta::ClusterNamed(_) | Delta::BrokerRegistered(_) => None,
    }
}
