//! Records applied to the image: deterministic, and all or nothing.

use std::sync::Arc;

use corduroy_types::{BrokerId, ConfigKey, LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName};

use crate::{
    ApplyError, Assignment, Broker, Cluster, Conflict, Delta, Image, Incarnation, PRODUCER_ID_MAX, Partition,
    Record, Topic,
    topic::{Overrides, config_of},
};

impl Image {
    /// Takes one record into the image and returns what it changed.
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
            Record::TopicCreated { name, topic_id, created_at, partitions, configs } => {
                self.create_topic(name, *topic_id, *created_at, partitions, configs)
            }
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
        deltas.map_err(|conflict| ApplyError { kind: record.kind(), conflict })
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

    fn name_cluster(&mut self, id: &Arc<str>, name: &Arc<str>) -> Result<Vec<Delta>, Conflict> {
        if let Some(cluster) = &self.cluster
            && cluster.id != *id
        {
            return Err(Conflict::OtherCluster { named: id.clone(), known: cluster.id.clone() });
        }
        let cluster = Cluster { id: id.clone(), name: name.clone() };
        self.cluster = Some(cluster.clone());
        Ok(vec![Delta::ClusterNamed(cluster)])
    }

    fn register(&mut self, broker: Broker) -> Result<Vec<Delta>, Conflict> {
        if broker.incarnation <= self.last_incarnation {
            let (named, last) = (broker.incarnation, self.last_incarnation);
            return Err(Conflict::IncarnationNotNewer { named, last });
        }
        let leads = |partition: &&Partition| partition.leader == broker.id;
        for topic in self.topics.values() {
            if topic.partitions.iter().filter(leads).any(|one| one.leader_epoch.next().is_none()) {
                return Err(Conflict::EpochsUsedUp(topic.id));
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

    fn create_topic(
        &mut self,
        name: &TopicName,
        topic_id: TopicId,
        created_at: TimestampMs,
        partitions: &[Assignment],
        configs: &[(Arc<str>, Arc<str>)],
    ) -> Result<Vec<Delta>, Conflict> {
        if self.names.contains_key(name) {
            return Err(Conflict::NameInUse(name.clone()));
        }
        if self.topics.contains_key(&topic_id) {
            return Err(Conflict::IdInUse(topic_id));
        }
        if partitions.is_empty() {
            return Err(Conflict::NoPartition(name.clone()));
        }
        let mut overrides = Overrides::new();
        lay_over(&mut overrides, configs)?;
        let topic = Arc::new(Topic {
            id: topic_id,
            name: name.clone(),
            created_at,
            partitions: self.begin(partitions)?,
            config: Arc::new(config_of(&overrides)?),
            overrides,
        });
        self.partition_count += topic.partitions.len();
        Arc::make_mut(&mut self.names).insert(name.clone(), topic_id);
        Arc::make_mut(&mut self.topics).insert(topic_id, Arc::clone(&topic));
        Ok(vec![Delta::TopicCreated(topic)])
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<Vec<Delta>, Conflict> {
        self.known(id)?;
        let Some(topic) = Arc::make_mut(&mut self.topics).remove(&id) else {
            return Err(Conflict::UnknownTopic(id));
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
    ) -> Result<Vec<Delta>, Conflict> {
        let present = self.known(id)?.partition_count();
        if first.0 != present {
            return Err(Conflict::PartitionsNotNext { topic_id: id, first, present });
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
    ) -> Result<Vec<Delta>, Conflict> {
        let mut overrides = self.known(id)?.overrides.clone();
        lay_over(&mut overrides, set)?;
        for key in unset {
            overrides.remove(known_key(key)?.key());
        }
        let config = Arc::new(config_of(&overrides)?);
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
    ) -> Result<Vec<Delta>, Conflict> {
        let topic = self.known(topic_id)?;
        let Some(state) = topic.partition(partition) else {
            return Err(Conflict::UnknownPartition { topic_id, partition });
        };
        if leader_epoch <= state.leader_epoch {
            return Err(Conflict::EpochNotNewer { named: leader_epoch, current: state.leader_epoch });
        }
        if !state.replicas.contains(&leader) {
            return Err(Conflict::NotAReplica { topic_id, partition, leader });
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
    ) -> Result<Vec<Delta>, Conflict> {
        self.incarnation(broker)?;
        let last = self.last_producer_id;
        if first.checked_sub(1) != Some(last) {
            return Err(Conflict::ProducerIdsNotNext { first, last });
        }
        let end = last.checked_add(count.into()).filter(|end| *end <= PRODUCER_ID_MAX);
        self.last_producer_id = end.ok_or(Conflict::ProducerIdsUsedUp { count, last })?;
        Ok(Vec::new())
    }

    fn known(&self, id: TopicId) -> Result<&Arc<Topic>, Conflict> {
        self.topics.get(&id).ok_or(Conflict::UnknownTopic(id))
    }

    fn incarnation(&self, id: BrokerId) -> Result<Incarnation, Conflict> {
        let known = self.brokers.get(&id).map(|broker| broker.incarnation);
        known.ok_or(Conflict::UnknownBroker(id))
    }

    /// Changes a topic in place, or in a copy where an older image still holds it.
    fn change(&mut self, id: TopicId, change: impl FnOnce(&mut Topic)) -> Result<Arc<Topic>, Conflict> {
        let topic = Arc::make_mut(&mut self.topics).get_mut(&id).ok_or(Conflict::UnknownTopic(id))?;
        change(Arc::make_mut(topic));
        Ok(Arc::clone(topic))
    }

    /// New partitions as assigned: replicas registered and without repetition, the leader one of them.
    fn begin(&self, assignments: &[Assignment]) -> Result<Vec<Partition>, Conflict> {
        let begin = |assignment: &Assignment| {
            let replicas = &assignment.replicas;
            if !replicas.contains(&assignment.leader) {
                return Err(Conflict::LeaderNotAssigned(assignment.leader));
            }
            for (at, replica) in replicas.iter().enumerate() {
                self.incarnation(*replica)?;
                if replicas.iter().skip(at + 1).any(|other| other == replica) {
                    return Err(Conflict::ReplicaTwice(*replica));
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

fn lay_over(overrides: &mut Overrides, entries: &[(Arc<str>, Arc<str>)]) -> Result<(), Conflict> {
    for (key, value) in entries {
        overrides.insert(known_key(key)?.key(), Arc::clone(value));
    }
    Ok(())
}

fn known_key(key: &Arc<str>) -> Result<&'static ConfigKey, Conflict> {
    ConfigKey::find(key).ok_or_else(|| Conflict::UnknownConfig(key.clone()))
}
