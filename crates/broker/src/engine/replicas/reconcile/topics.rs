//! One topic that has changed: its partitions opened, configured and led, or closed and erased.

use std::{io, sync::Arc};

use corduroy_api::Refusal;
use corduroy_log::journal::JournalRequest;
use corduroy_metadata::Topic;
use corduroy_partition::NotLeading;
use corduroy_types::{PartitionIndex, TopicId};

use super::super::{
    local_topics::{LocalTopic, LocalTopics},
    recovering::{LogsToOpen, OpenedReplica, open_parallel},
};
use crate::engine::{
    Context, Replicas,
    replica::{Opening, WhyClosed, partition_dirs},
};

/// Logs of one topic that are opened at a time.
const OPENED_AT_ONCE: usize = 4;

/// Why files of a deleted topic are still there. Removing them is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum EraseError {
    #[error(transparent)]
    Disk(io::Error),
    #[error(transparent)]
    Worker(Refusal),
}

/// Notes that a topic was acted on, however that ended.
struct Ending {
    local: Arc<LocalTopics>,
    id: TopicId,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.local.ended(self.id);
    }
}

impl Replicas {
    /// Begins to act on the topics that have changed, each in a task of its own.
    pub(super) fn begin_changed(self: &Arc<Self>) {
        for id in self.local.begin_changed() {
            let ending = Ending { local: Arc::clone(&self.local), id };
            let replicas = Arc::clone(self);
            tokio::spawn(async move {
                let _ending = ending;
                replicas.reconcile_topic(id).await;
            });
        }
    }

    /// Finds topics that are not as the image has them, because the disk or a worker failed, or the data directory was lost
    /// for a while.
    pub(super) fn find_missing(&self) {
        let (topics, own) = (self.topics(), self.context.config.node.id);
        let is_missing = |topic: &super::super::Topic| {
            topic.described().held_by(own).any(|index| topic.replica(index).is_none())
        };
        let missing: Vec<_> = topics.iter().filter(is_missing).map(|topic| topic.id()).collect();
        let now_ms = self.context.clock.monotonic_ms();
        let not_erased = self.not_erased.lock();
        let due = not_erased.iter().filter(|(_, retry)| retry.is_due(now_ms)).map(|(id, _)| *id);
        let again: Vec<_> = missing.into_iter().chain(due).chain(self.local.not_closed()).collect();
        drop(not_erased);
        if !again.is_empty() {
            self.local.again(again);
        }
    }

    async fn reconcile_topic(self: &Arc<Self>, id: TopicId) {
        if self.context.is_stopping() || self.context.health.data_dir_lost().is_some() {
            return;
        }
        match self.metadata.image().topic_by_id(id) {
            Some(topic) => self.serve_topic(topic).await,
            None => self.erase_topic(id).await,
        }
    }

    /// Opens, configures and leads what the image says of a topic.
    async fn serve_topic(self: &Arc<Self>, topic: &Arc<Topic>) {
        // There is none once the topic was deleted: the deletion is acted on next.
        let Some(local) = self.local.by_id(topic.id()) else { return };
        let config = partition_dirs::log_config(topic.config(), self.tail_bytes_now(), &self.context.config);
        local.replicas().iter().for_each(|replica| replica.set_log_config(config));
        let own = self.context.config.node.id;
        let missing: Vec<_> = topic.held_by(own).filter(|index| local.replica(*index).is_none()).collect();
        if !missing.is_empty() {
            let opened = self.open_replicas(topic, missing).await;
            local.add_replicas(opened.into_iter().map(|opened| opened.replica));
        }
        self.follow_leaders(topic, &local).await;
    }

    /// Opens the logs of some of a topic's partitions. Those that cannot be opened are offline.
    async fn open_replicas(&self, topic: &Arc<Topic>, indexes: Vec<PartitionIndex>) -> Vec<OpenedReplica> {
        let mut opening = Opening { clean: true, ..self.opening() };
        let (commits, topic) = (self.commits.clone(), Arc::clone(topic));
        let threads = self.context.config.storage.recovery_threads().min(OPENED_AT_ONCE);
        let opened = self.context.workers.opening.run(move || {
            let Context { disk, data_dir, .. } = &*opening.context;
            let made = partition_dirs::create(&**disk, data_dir, topic.id(), indexes.iter().copied());
            // Where that fails each log makes its own when it is first written to.
            opening.named = made.is_ok();
            let logs = indexes.into_iter().map(|index| (Arc::clone(&topic), index)).collect();
            open_parallel(LogsToOpen { opening: &opening, logs, threads, commits: &commits }, |_| ())
        });
        opened.await.unwrap_or_else(|refusal| {
            tracing::error!(%refusal, "partitions are not opened yet");
            Vec::new()
        })
    }

    /// Leads in the partitions that this broker leads, in the epochs that the image has for them, and in no others.
    async fn follow_leaders(&self, topic: &Topic, local: &LocalTopic) {
        let own = self.context.config.node.id;
        let mut leading = Vec::new();
        for replica in local.replicas().iter() {
            let Some(partition) = topic.partition(replica.index()) else { continue };
            if partition.leader != own {
                replica.resign(NotLeading::Superseded, self.context.clock);
            } else if partition.leader_epoch > replica.leader_epoch() && replica.failure().is_none() {
                leading.push((Arc::clone(replica), partition.leader_epoch));
            }
        }
        self.lead_in(leading).await;
    }

    /// Takes a deleted topic out of service, and removes its files.
    async fn erase_topic(&self, id: TopicId) {
        let deleted = self.local.take_deleted(id);
        let replicas = deleted.as_ref().map(|topic| topic.replicas()).unwrap_or_default();
        for replica in replicas.iter() {
            drop(replica.retire(WhyClosed::TopicDeleted, self.context.clock));
        }
        for replica in replicas.iter() {
            // What is changing its files ends first, and finds no log then.
            drop(replica.removals.lock().await);
        }
        // Not waited for: without it the journal only remembers what is asked for no more.
        drop(self.commits.ask(replicas.iter().map(|replica| JournalRequest::Drop(replica.key())).collect()));
        let (disk, data_dir, journal) =
            (Arc::clone(&self.context.disk), self.context.data_dir.clone(), Arc::clone(&self.journal));
        let removed = self.context.workers.maintenance.run(move || {
            let mut journal = journal.lock();
            replicas.iter().for_each(|replica| journal.reopened(replica.key()));
            drop(journal);
            partition_dirs::remove_topic_dir(disk.as_ref(), &data_dir, id).map_err(EraseError::Disk)
        });
        let removed = removed.await.map_err(EraseError::Worker).and_then(|removed| removed);
        self.note_erased(id, removed);
    }

    /// Notes how the removal of a deleted topic's files ended; where it has failed it is tried again.
    pub(super) fn note_erased(&self, id: TopicId, removed: Result<(), EraseError>) {
        let mut not_erased = self.not_erased.lock();
        match removed {
            Ok(()) => drop(not_erased.remove(&id)),
            Err(error) => {
                tracing::warn!(topic_id = %id, %error, "files of a deleted topic are not removed yet");
                not_erased.entry(id).or_default().failed(self.context.clock.monotonic_ms());
            }
        }
    }
}
