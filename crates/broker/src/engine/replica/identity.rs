//! Which partition a replica is, and where it begins and ends.

use std::{fmt, sync::Arc};

use corduroy_types::{BrokerId, Offset, PartitionIndex, TopicId, TopicName};

use crate::metrics::TopicMetrics;

/// Where a partition begins and ends, read together under its lock.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ReplicaCursors {
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) log_end: Offset,
}

/// What a replica is made with.
pub(crate) struct ReplicaIdentity {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) index: PartitionIndex,
    /// This broker.
    pub(crate) own: BrokerId,
    /// The replica set; this broker is in it.
    pub(crate) replicas: Arc<[BrokerId]>,
    /// Its topic's; none for the metadata's own log.
    pub(crate) metrics: Option<Arc<TopicMetrics>>,
}

impl fmt::Display for ReplicaIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}
