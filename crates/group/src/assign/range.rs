//! Contiguous ranges of each topic.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_types::TopicId;

use super::Candidate;
use crate::{TopicPartition, Topics};

/// Each topic's partitions in order, in as many pieces as there are candidates for it; the first pieces are
/// one larger where it does not come out even (Kafka's `RangeAssignor`).
pub(super) fn assign(candidates: &[Candidate<'_>], topics: &Topics) -> Vec<BTreeSet<TopicPartition>> {
    let mut shares = vec![BTreeSet::new(); candidates.len()];
    let mut asked: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        for topic in &candidate.topics {
            asked.entry(*topic).or_default().push(index);
        }
    }
    for (topic, askers) in asked {
        let mut partitions = topics.partitions(topic);
        let count = topics.partitions(topic).count();
        let (each, larger) = (count / askers.len(), count % askers.len());
        for (place, asker) in askers.into_iter().enumerate() {
            let size = each + usize::from(place < larger);
            if let Some(share) = shares.get_mut(asker) {
                share.extend(partitions.by_ref().take(size));
            }
        }
    }
    shares
}
