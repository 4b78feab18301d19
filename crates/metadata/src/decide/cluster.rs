//! The cluster's identity, brokers that start, and leaderships that end.

use std::{collections::HashSet, sync::Arc};

use corduroy_types::{BrokerId, LeaderEpoch};

use super::check_text;
use crate::{
    Command, Decision, ElectLeaders, Election, Image, Incarnation, MetadataError, NameCluster, Record,
    RegisterBroker,
};

impl Command for NameCluster {
    type Answer = ();

    fn decide(&self, image: &Image) -> Result<Decision<()>, MetadataError> {
        check_text("the cluster id", &self.cluster_id)?;
        check_text("the cluster name", &self.name)?;
        let named = Record::ClusterNamed { cluster_id: self.cluster_id.clone(), name: self.name.clone() };
        let records = match image.cluster() {
            Some(cluster) if cluster.id != self.cluster_id => {
                return Err(MetadataError::ForeignCluster {
                    present: cluster.id.to_string(),
                    got: self.cluster_id.to_string(),
                });
            }
            Some(cluster) if cluster.name == self.name => Vec::new(),
            _ => vec![named],
        };
        Ok(Decision { records, answer: () })
    }
}

impl Command for RegisterBroker {
    type Answer = Incarnation;

    fn decide(&self, image: &Image) -> Result<Decision<Incarnation>, MetadataError> {
        check_text("the broker's version", &self.version)?;
        if let Some(address) = &self.address {
            check_text("the broker's address", address)?;
        }
        if let Some(known) = image.broker(self.broker)
            && known.registration == self.registration
        {
            return Ok(Decision { records: Vec::new(), answer: known.incarnation });
        }
        for topic in image.topics.values() {
            for (partition, index) in topic.partitions.iter().zip(0..) {
                if partition.leader == self.broker && partition.leader_epoch.next().is_none() {
                    let partition = corduroy_types::PartitionIndex(index);
                    return Err(MetadataError::EpochsUsedUp { topic_id: topic.id, partition });
                }
            }
        }
        let incarnation = match image.last_incarnation.0.checked_add(1) {
            Some(next) => Incarnation(next),
            None => return Err(MetadataError::IncarnationsUsedUp { broker: self.broker }),
        };
        let registered = Record::BrokerRegistered {
            broker: self.broker,
            incarnation,
            registration: self.registration,
            address: self.address.clone(),
            version: Arc::clone(&self.version),
            registered_at: self.now,
        };
        Ok(Decision { records: vec![registered], answer: incarnation })
    }
}

impl Command for ElectLeaders {
    type Answer = Vec<Result<LeaderEpoch, MetadataError>>;

    fn decide(&self, image: &Image) -> Result<Decision<Self::Answer>, MetadataError> {
        let mut elected = HashSet::with_capacity(self.elections.len());
        let mut records = Vec::with_capacity(self.elections.len());
        let answer = self.elections.iter().map(|election| {
            let (leader, leader_epoch) = elect(image, election)?;
            let Election { topic_id, partition, resigned_epoch } = *election;
            if !elected.insert((topic_id, partition)) {
                let (present, got) = (leader_epoch, resigned_epoch);
                return Err(MetadataError::OtherLeaderEpoch { topic_id, partition, present, got });
            }
            records.push(Record::LeaderElected { topic_id, partition, leader, leader_epoch });
            Ok(leader_epoch)
        });
        let answer = answer.collect();
        Ok(Decision { records, answer })
    }
}

/// Who leads next, and in which epoch.
fn elect(image: &Image, election: &Election) -> Result<(BrokerId, LeaderEpoch), MetadataError> {
    let Election { topic_id, partition, resigned_epoch } = *election;
    let topic = image.topic_by_id(topic_id).ok_or(MetadataError::TopicIdNotFound { topic_id })?;
    let state = topic.partition(partition).ok_or_else(|| MetadataError::PartitionNotFound {
        name: topic.name.clone(),
        partition,
        partition_count: topic.partition_count(),
    })?;
    if state.leader_epoch != resigned_epoch {
        let (present, got) = (state.leader_epoch, resigned_epoch);
        return Err(MetadataError::OtherLeaderEpoch { topic_id, partition, present, got });
    }
    let leader_epoch = resigned_epoch.next().ok_or(MetadataError::EpochsUsedUp { topic_id, partition })?;
    Ok((state.leader, leader_epoch))
}
