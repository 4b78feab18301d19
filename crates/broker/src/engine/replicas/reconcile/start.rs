//! The first pass, at the start: everything that the image has is opened and led, and what deleted topics left is erased.

use std::{collections::HashSet, sync::Arc};

use corduroy_log::journal::JOURNAL_DIR;
use corduroy_metadata::Image;
use corduroy_types::TopicId;

use super::super::{
    journal::forget_deleted,
    recovering::{LogsToOpen, OpenedReplica, Recovered, note, open_parallel, recovery_progress},
};
use super::topics::EraseError;
use crate::engine::{
    Replicas,
    replica::{
        Opening, blocking,
        partition_dirs::{self, METADATA_TOPIC_ID},
    },
};

impl Replicas {
    /// Opens and leads all partitions that this broker holds, as many at a time as `storage.recovery_threads` says, and adds
    /// what was found to `recovered`.
    pub(in crate::engine) async fn reconcile_all(&self, opening: Opening, recovered: &mut Recovered) {
        let image = self.metadata.image();
        let changed = self.local.begin_changed();
        let deleted: Vec<_> = changed.iter().copied().filter(|id| image.topic_by_id(*id).is_none()).collect();
        deleted.iter().for_each(|id| drop(self.local.take_deleted(*id)));
        let own = self.context.config.node.id;
        let logs =
            image.topics().flat_map(|topic| topic.held_by(own).map(|index| (Arc::clone(topic), index)));
        let logs: Vec<_> = logs.collect();
        recovered.partitions = logs.len();
        let (commits, health) = (self.commits.clone(), Arc::clone(&self.context.health));
        let threads = self.context.config.storage.recovery_threads();
        let (erased, opened) = blocking(move || {
            let erased = erase_deleted(&opening, &deleted);
            forget_deleted(&opening.journal, &commits, &deleted, &image);
            report_orphan_dirs(&opening, &image);
            let progress = recovery_progress(&health, logs.len());
            let logs = LogsToOpen { opening: &opening, logs, threads, commits: &commits };
            (erased, open_parallel(logs, progress))
        })
        .await;
        erased.into_iter().for_each(|(id, removed)| self.note_erased(id, removed));
        self.take_in(opened, recovered).await;
        changed.into_iter().for_each(|id| self.local.ended(id));
    }

    async fn take_in(&self, opened: Vec<OpenedReplica>, recovered: &mut Recovered) {
        let mut leading = Vec::with_capacity(opened.len());
        let mut by_topic: Vec<(TopicId, Vec<_>)> = Vec::new();
        for OpenedReplica { replica, epoch, report } in opened {
            if let Some(report) = report {
                note(recovered, &self.context.metrics, &replica, &report);
                leading.extend(epoch.map(|epoch| (Arc::clone(&replica), epoch)));
            }
            match by_topic.last_mut().filter(|(id, _)| *id == replica.topic_id()) {
                Some((_, replicas)) => replicas.push(replica),
                None => by_topic.push((replica.topic_id(), vec![replica])),
            }
        }
        for (id, replicas) in by_topic {
            if let Some(topic) = self.local.by_id(id) {
                topic.add_replicas(replicas);
            }
        }
        self.lead_in(leading).await;
    }
}

/// Removes what a crash left of topics that were deleted.
fn erase_deleted(opening: &Opening, deleted: &[TopicId]) -> Vec<(TopicId, Result<(), EraseError>)> {
    let erase = |id: &TopicId| {
        let removed =
            partition_dirs::remove_topic_dir(opening.context.disk.as_ref(), &opening.context.data_dir, *id);
        (*id, removed.map_err(EraseError::Disk))
    };
    deleted.iter().map(erase).collect()
}

/// Names directories that no topic has. They are left alone: a topic is never deleted because the metadata seems
/// not to know it.
fn report_orphan_dirs(opening: &Opening, image: &Image) {
    let known: HashSet<TopicId> = image.topics().map(|topic| topic.id()).collect();
    let Ok(entries) = opening.context.disk.list(&opening.context.data_dir) else { return };
    for entry in entries.iter().filter(|entry| entry.is_dir && entry.name != JOURNAL_DIR) {
        let id = entry.name.parse::<TopicId>().ok();
        if !id.is_some_and(|id| id == METADATA_TOPIC_ID || known.contains(&id)) {
            tracing::warn!(event = "B0102", name = %entry.name, "a directory that belongs to no topic is left alone");
        }
    }
}
