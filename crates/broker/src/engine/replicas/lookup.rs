//! From a partition to this broker's replica of it: who leads it is asked of the image first.

use std::sync::Arc;

use corduroy_api::{Leader, Refusal};
use corduroy_types::PartitionIndex;

use super::{Replica, Replicas, Topic};
use crate::engine::refusals;

impl Replicas {
    /// This broker's replica of a partition that it leads.
    ///
    /// # Errors
    /// `PARTITION_NOT_FOUND`; `NOT_LEADER` where another broker leads, with its id and address; `PARTITION_OFFLINE` while the
    /// replica is not there yet.
    pub(crate) fn leading_replica(
        &self,
        topic: &Topic,
        index: PartitionIndex,
    ) -> Result<Arc<Replica>, Refusal> {
        let name = topic.name();
        let partition = topic.partition(index).ok_or_else(|| refusals::partition_not_found(topic, index))?;
        if partition.leader != self.context.config.node.id {
            let image = self.metadata.image();
            let address = image.broker(partition.leader).and_then(|broker| broker.address.as_deref());
            let leader = Leader { id: partition.leader, address: address.unwrap_or_default().to_owned() };
            return Err(refusals::not_leader(name, index, leader));
        }
        topic.replica(index).ok_or_else(|| refusals::not_open_yet(name, index))
    }
}
