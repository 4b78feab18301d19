//! Records applied to the image: deterministic, and all or nothing.

use std::sync::Arc;

use corduroy_types::{BrokerId, ConfigKey, LeaderEpoch, PartitionIndex, TopicId};

use crate::{
    ApplyError, Assignment, Broker, Cluster, Delta, Image, Incarnation, PRODUCER_ID_MAX, Partition, Record,
    Topic,
    topic::{Overrides, config_of},
};

/// Why a record cannot follow what came before.
type Reason = String;

impl Image {
    /// Takes one record into the image and tells what it changed.
    ///
    /// # Errors
    /// [`ApplyError`] when the record cannot follow those before it; the image is then unchanged.
    pub fn apply(&mut self, record: &Record) -> Result<Vec<Delta>, ApplyError> {
        let deltas = match record {
            Record::ClusterNamed { cluster_id, name } => self.name_cluster(cluster_id, name),
            Record::BrokerRegistered {
                broker,
                incarnation,
                registration,
                address,
                version,
                registered_at,
            } => self.register(Broker {
                id: *broker,
                incarnation: *incarnation,
                registration: *registration,
                address: address.clone(),
                version: version.clone(),
                registered_at: *registered_at,
            }),
            Record::TopicCreated { .. } => self.create_topic(record),
            Record::TopicDeleted { topic_id } => self.delete_topic(*topic_id),
            Record::PartitionsAdded { topic_id, first, partitions } => {
                self.add_partitions(*topic_id, *first, partitions)
            }
            Record::ConfigsAltered { topic_id, set, unset } => self.alter_configs(*topic_id, set, unset),
            Record::LeaderElected { topic_id, partition, leader, leader_epoch } => {
                self.elect(*topic_id, *partition, *leader, *leader_epoch)
            }
            Record::ProducerIdsReserved { broker, first, count } => {
                self.reserve_producer_ids(*broker, *first, *count)
            }
        };
        deltas.map_err(|reason| ApplyError { kind: record.kind(), reason })
    }

    /// Applies records in order and gathers what they changed.
    ///
    /// # Errors
    /// [`ApplyError`] at the first record that cannot follow; those before it are applied.
    pub fn apply_all<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Vec<Delta>, ApplyError> {
        let mut deltas = Vec::new();
        for record in records {
            deltas.append(&mut self.apply(record)?);
        }
        Ok(deltas)
    }

    fn name_cluster(&mut self, id: &Arc<str>, name: &Arc<str>) -> Result<Vec<Delta>, Reason> {
        if let Some(cluster) = &self.cluster
            && cluster.id != *id
        {
            return Err(format!("it names cluster {id}, and the log began as cluster {}", cluster.id));
        }
        let cluster = Cluster { id: id.clone(), name: name.clone() };
        self.cluster = Some(cluster.clone());
        Ok(vec![Delta::ClusterNamed(cluster)])
    }

    fn register(&mut self, broker: Broker) -> Result<Vec<Delta>, Reason> {
        if broker.incarnation <= self.last_incarnation {
            let (got, last) = (broker.incarnation.0, self.last_incarnation.0);
            return Err(format!("incarnation {got} does not follow incarnation {last}"));
        }
        let leads = |partition: &&Partition| partition.leader == broker.id;
        for topic in self.topics.values() {
            if topic.partitions.iter().filter(leads).any(|one| one.leader_epoch.next().is_none()) {
                return Err(format!("a partition of topic {} has used its last leader epoch", topic.id));
            }
        }
        let mut deltas = vec![Delta::BrokerRegistered(broker.clone())];
        let led = |topic: &Topic| topic.partitions.iter().any(|one| one.leader == broker.id);
        if self.topics.values().any(|topic| led(topic)) {
            for topic in Arc::make_mut(&mut self.topics).values_mut().filter(|topic| led(topic)) {
                raise_epochs(Arc::make_mut(topic), &broker, &mut deltas);
            }
        }
        self.last_incarnation = broker.incarnation;
        Arc::make_mut(&mut self.brokers).insert(broker.id, broker);
        Ok(deltas)
    }

    fn create_topic(&mut self, record: &Record) -> Result<Vec<Delta>, Reason> {
        let Record::TopicCreated { name, topic_id, created_at, partitions, configs } = record else {
            return Err("it creates no topic".to_owned());
        };
        if self.names.contains_key(name) {
            return Err(format!("topic {name} exists already"));
        }
        if self.topics.contains_key(topic_id) {
            return Err(format!("topic id {topic_id} is in use already"));
        }
        if partitions.is_empty() {
            return Err(format!("topic {name} would have no partition"));
        }
        let mut overrides = Overrides::new();
        lay_over(&mut overrides, configs)?;
        let topic = Arc::new(Topic {
            id: *topic_id,
            name: name.clone(),
            created_at: *created_at,
            partitions: self.begin(partitions)?,
            config: Arc::new(config_of(&overrides).map_err(|error| error.to_string())?),
            overrides,
        });
        self.partition_count += topic.partitions.len();
        Arc::make_mut(&mut self.names).insert(name.clone(), *topic_id);
        Arc::make_mut(&mut self.topics).insert(*topic_id, Arc::clone(&topic));
        Ok(vec![Delta::TopicCreated(topic)])
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<Vec<Delta>, Reason> {
        self.known(id)?;
        let Some(topic) = Arc::make_mut(&mut self.topics).remove(&id) else {
            return Err(unknown(id));
        };
        Arc::make_mut(&mut self.names).remove(&topic.name);
        self.partition_count -= topic.partitions.len();
        Ok(vec![Delta::TopicDeleted(topic)])
    }

    fn add_partitions(
        &mut self,
        id: TopicId,
        first: PartitionIndex,
        partitions: &[Assignment],
    ) -> Result<Vec<Delta>, Reason> {
        let present = self.known(id)?.partition_count();
        if first.0 != present {
            return Err(format!("partition {first} cannot follow the {present} that topic {id} has"));
        }
        let mut added = self.begin(partitions)?;
        self.partition_count += added.len();
        let topic = self.change(id, |topic| topic.partitions.append(&mut added))?;
        Ok(vec![Delta::PartitionsAdded { topic, first }])
    }

    fn alter_configs(
        &mut self,
        id: TopicId,
        set: &[(Arc<str>, Arc<str>)],
        unset: &[Arc<str>],
    ) -> Result<Vec<Delta>, Reason> {
        let mut overrides = self.known(id)?.overrides.clone();
        lay_over(&mut overrides, set)?;
        for key in unset {
            overrides.remove(known_key(key)?.key());
        }
        let config = Arc::new(config_of(&overrides).map_err(|error| error.to_string())?);
        let topic = self.change(id, |topic| {
            topic.overrides = overrides;
            topic.config = config;
        })?;
        Ok(vec![Delta::ConfigsChanged(topic)])
    }

    fn elect(
        &mut self,
        topic_id: TopicId,
        partition: PartitionIndex,
        leader: BrokerId,
        leader_epoch: LeaderEpoch,
    ) -> Result<Vec<Delta>, Reason> {
        let topic = self.known(topic_id)?;
        let Some(state) = topic.partition(partition) else {
            return Err(format!("topic {topic_id} has no partition {partition}"));
        };
        if leader_epoch <= state.leader_epoch {
            return Err(format!("leader epoch {leader_epoch} does not follow epoch {}", state.leader_epoch));
        }
        if !state.replicas.contains(&leader) {
            return Err(format!("broker {leader} holds no replica of {topic_id}/{partition}"));
        }
        let leader_incarnation = self.incarnation(leader)?;
        self.change(topic_id, |topic| {
            let at = partition.0 as usize;
            if let Some(state) = topic.partitions.get_mut(at) {
                *state =
                    Partition { leader, leader_epoch, leader_incarnation, replicas: state.replicas.clone() };
            }
        })?;
        Ok(vec![Delta::LeaderEpochRaised { topic_id, partition, leader, leader_epoch }])
    }

    fn reserve_producer_ids(
        &mut self,
        broker: BrokerId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Delta>, Reason> {
        self.incarnation(broker)?;
        let last = self.last_producer_id;
        if first.checked_sub(1) != Some(last) {
            return Err(format!("producer id {first} cannot follow producer id {last}"));
        }
        let end = last.checked_add(count.into()).filter(|end| *end <= PRODUCER_ID_MAX);
        self.last_producer_id = end.ok_or_else(|| format!("{count} producer ids do not follow {last}"))?;
        Ok(Vec::new())
    }

    fn known(&self, id: TopicId) -> Result<&Arc<Topic>, Reason> {
        self.topics.get(&id).ok_or_else(|| unknown(id))
    }

    fn incarnation(&self, id: BrokerId) -> Result<Incarnation, Reason> {
        let known = self.brokers.get(&id).map(|broker| broker.incarnation);
        known.ok_or_else(|| format!("broker {id} has not registered"))
    }

    /// Changes a topic in place, or in a copy where an older image still holds it.
    fn change(&mut self, id: TopicId, change: impl FnOnce(&mut Topic)) -> Result<Arc<Topic>, Reason> {
        let topic = Arc::make_mut(&mut self.topics).get_mut(&id).ok_or_else(|| unknown(id))?;
        change(Arc::make_mut(topic));
        Ok(Arc::clone(topic))
    }

    /// New partitions as assigned: replicas registered and without repetition, the leader one of them.
    fn begin(&self, assignments: &[Assignment]) -> Result<Vec<Partition>, Reason> {
        let begin = |assignment: &Assignment| {
            let replicas = &assignment.replicas;
            if !replicas.contains(&assignment.leader) {
                return Err(format!("the leader, broker {}, holds no replica", assignment.leader));
            }
            for (at, replica) in replicas.iter().enumerate() {
                self.incarnation(*replica)?;
                if replicas.iter().skip(at + 1).any(|other| other == replica) {
                    return Err(format!("broker {replica} holds a replica twice"));
                }
            }
            Ok(Partition::begin(assignment, self.incarnation(assignment.leader)?))
        };
        assignments.iter().map(begin).collect()
    }
}

fn raise_epochs(topic: &mut Topic, leader: &Broker, deltas: &mut Vec<Delta>) {
    let topic_id = topic.id;
    for (partition, index) in topic.partitions.iter_mut().zip(0..).filter(|(one, _)| one.leader == leader.id)
    {
        partition.leader_epoch = partition.leader_epoch.next().unwrap_or(partition.leader_epoch);
        partition.leader_incarnation = leader.incarnation;
        deltas.push(Delta::LeaderEpochRaised {
            topic_id,
            partition: PartitionIndex(index),
            leader: leader.id,
            leader_epoch: partition.leader_epoch,
        });
    }
}

fn lay_over(overrides: &mut Overrides, entries: &[(Arc<str>, Arc<str>)]) -> Result<(), Reason> {
    for (key, value) in entries {
        overrides.insert(known_key(key)?.key(), Arc::clone(value));
    }
    Ok(())
}

fn known_key(key: &str) -> Result<&'static ConfigKey, Reason> {
    ConfigKey::find(key).ok_or_else(|| {
        format!("this version has no topic config {key:?}; start the version that wrote it, or a later one")
    })
}

fn unknown(id: TopicId) -> Reason {
    format!("there is no topic with id {id}")
}
