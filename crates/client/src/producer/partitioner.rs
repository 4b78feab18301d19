//! Which partition a record goes to.

use std::{fmt, sync::Arc};

use corduroy_batch::partition_for_key;
use corduroy_types::PartitionIndex;

type Choose = dyn Fn(&str, &[u8], u32) -> PartitionIndex + Send + Sync;

/// How records without a partition of their own find one.
#[derive(Clone)]
pub struct Partitioner {
    by_key: Option<Arc<Choose>>,
}

impl Partitioner {
    /// By murmur2 of the key, as Kafka does it, so that clients of all kinds agree; records without a key stay with
    /// one partition for a batch, then move to the next.
    #[must_use]
    pub fn murmur2_sticky() -> Self {
        Self { by_key: None }
    }

    /// By a function of topic, key and number of partitions; records without a key as in
    /// [`murmur2_sticky`](Self::murmur2_sticky). A result that is no partition of the topic is an error of the
    /// record. The function runs for each record: it must be quick, and must not block.
    pub fn by_key(choose: impl Fn(&str, &[u8], u32) -> PartitionIndex + Send + Sync + 'static) -> Self {
        Self { by_key: Some(Arc::new(choose)) }
    }

    #[inline]
    pub(crate) fn of_key(&self, topic: &str, key: &[u8], partition_count: u32) -> PartitionIndex {
        match &self.by_key {
            None => partition_for_key(key, partition_count),
            Some(choose) => choose(topic, key, partition_count),
        }
    }
}

impl fmt::Debug for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.by_key.is_some() { "Partitioner(by_key)" } else { "Partitioner(murmur2_sticky)" })
    }
}
