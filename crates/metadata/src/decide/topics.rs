//! Topics that come and go.

use std::sync::Arc;

use super::{
    changeable,
    configs::{lay_over, refuse_repetition},
    partitions::{check_partition_count, place},
};
use crate::{
    Command, CreateInternalTopic, CreateTopic, CreatedTopic, Decision, DeleteTopic, Image, Incarnation,
    MetadataError, Partition, Record, Topic,
    topic::{Overrides, config_of},
};

impl Command for CreateTopic {
    type Answer = CreatedTopic;

    fn decide(&self, image: &Image) -> Result<Decision<CreatedTopic>, MetadataError> {
        if self.name.is_internal() {
            return Err(MetadataError::ReservedName { name: self.name.clone() });
        }
        self.create(image)
    }
}

impl Command for CreateInternalTopic {
    type Answer = CreatedTopic;

    fn decide(&self, image: &Image) -> Result<Decision<CreatedTopic>, MetadataError> {
        let Self(topic) = self;
        topic.create(image)
    }
}

impl CreateTopic {
    fn create(&self, image: &Image) -> Result<Decision<CreatedTopic>, MetadataError> {
        if let Some(topic) = image.topic(self.name.as_str()) {
            if self.if_not_exists {
                let answer = CreatedTopic { topic: Arc::clone(topic), existed: true };
                return Ok(Decision { records: Vec::new(), answer });
            }
            return Err(MetadataError::TopicExists { name: self.name.clone(), topic_id: topic.id });
        }
        if image.topic_by_id(self.topic_id).is_some() {
            return Err(MetadataError::TopicIdInUse { topic_id: self.topic_id });
        }
        check_partition_count(self.partition_count)?;
        let mut overrides = Overrides::new();
        lay_over(&mut overrides, &self.defaults)?;
        let keys = lay_over(&mut overrides, &self.configs)?;
        refuse_repetition(&keys)?;
        let config = Arc::new(config_of(&overrides)?);
        let partitions = place(image, self.replication, self.partition_count)?;

        let incarnation = |broker| image.broker(broker).map_or(Incarnation(0), |known| known.incarnation);
        let topic = Topic {
            id: self.topic_id,
            name: self.name.clone(),
            created_at: self.now,
            partitions: partitions.iter().map(|one| Partition::begin(one, incarnation(one.leader))).collect(),
            config,
            overrides,
        };
        let created = Record::TopicCreated {
            name: self.name.clone(),
            topic_id: self.topic_id,
            created_at: self.now,
            partitions,
            configs: topic
                .overrides
                .iter()
                .map(|(key, value)| (Arc::from(*key), Arc::clone(value)))
                .collect(),
        };
        let answer = CreatedTopic { topic: Arc::new(topic), existed: false };
        Ok(Decision { records: vec![created], answer })
    }
}

impl Command for DeleteTopic {
    type Answer = Arc<Topic>;

    fn decide(&self, image: &Image) -> Result<Decision<Arc<Topic>>, MetadataError> {
        let topic = changeable(image, &self.name)?;
        let records = vec![Record::TopicDeleted { topic_id: topic.id }];
        Ok(Decision { records, answer: Arc::clone(topic) })
    }
}
