//! How many partitions there may be, and where new ones go.

use corduroy_types::{BrokerId, PartitionIndex};

use super::changeable;
use crate::{
    AUTO_REPLICATION_MAX, AddPartitions, Assignment, Command, Decision, Image, MetadataError, PARTITIONS_MAX,
    PARTITIONS_PER_TOPIC_MAX, PartitionCounts, Record, assign::assign,
};

impl Command for AddPartitions {
    type Answer = PartitionCounts;

    fn decide(&self, image: &Image) -> Result<Decision<PartitionCounts>, MetadataError> {
        let topic = changeable(image, &self.name)?;
        let (previous, now) = (topic.partition_count(), self.partition_count);
        check_partition_count(now)?;
        let answer = PartitionCounts { previous, now };
        let adding = now.checked_sub(previous).ok_or_else(|| MetadataError::PartitionCountShrinks {
            name: self.name.clone(),
            present: previous,
            got: now,
        })?;
        if adding == 0 {
            return Ok(Decision { records: Vec::new(), answer });
        }
        let added = Record::PartitionsAdded {
            topic_id: topic.id,
            first: PartitionIndex(previous),
            partitions: place(image, Some(topic.replication()), adding)?,
        };
        Ok(Decision { records: vec![added], answer })
    }
}

/// Refuses a number of partitions that no topic can have.
pub(super) fn check_partition_count(got: u32) -> Result<(), MetadataError> {
    match got {
        1..=PARTITIONS_PER_TOPIC_MAX => Ok(()),
        _ => Err(MetadataError::PartitionCount { got }),
    }
}

/// Places `adding` new partitions on the registered brokers.
pub(super) fn place(
    image: &Image,
    replication: Option<u32>,
    adding: u32,
) -> Result<Vec<Assignment>, MetadataError> {
    let room = (PARTITIONS_MAX as usize).saturating_sub(image.partition_count());
    if adding as usize > room {
        return Err(MetadataError::ClusterFull { present: image.partition_count(), adding });
    }
    let brokers: Vec<BrokerId> = image.brokers.keys().copied().collect();
    if brokers.is_empty() {
        return Err(MetadataError::NoBroker);
    }
    let replicas = match replication {
        None => brokers.len().min(AUTO_REPLICATION_MAX as usize),
        Some(asked) if (1..=brokers.len()).contains(&(asked as usize)) => asked as usize,
        Some(asked) => return Err(MetadataError::Replication { asked, brokers: brokers.len() }),
    };
    Ok(assign(&brokers, replicas, adding, image.partition_count()))
}
