//! What is left of a damaged metadata log, put together so that it can be applied again.
//!
//! Records that cannot follow what is left are left out. What the lost ones must have said, as far as it is on record
//! elsewhere, is said again: that the broker is registered, that partitions exist whose files are there, that a leader
//! epoch and a producer id were used. Nothing is guessed that could make two things share an identity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName, UNLIMITED};

use crate::{ApplyError, Assignment, Image, Incarnation, Record, RegistrationId};

/// Producer ids that are passed over at least, where it is not known how many were handed out.
const PRODUCER_IDS_SKIPPED_MIN: u64 = 1_000_000;
/// Producer ids that one lost record may have reserved.
const PRODUCER_IDS_OF_A_RECORD: u64 = 1_000;

/// What is known apart from the records.
#[derive(Clone, Debug)]
pub struct RepairFacts {
    /// The broker whose data directory it is.
    pub broker: BrokerId,
    /// How many records are lost at least; 0 when the log is whole.
    pub lost_records: u64,
    /// The number of partitions of each topic that has files or state in the commit journal.
    pub partitions: BTreeMap<TopicId, u32>,
    /// The newest leader epoch that each partition's log has begun.
    pub epochs: BTreeMap<(TopicId, PartitionIndex), LeaderEpoch>,
    /// Now.
    pub now: TimestampMs,
}

/// A record that cannot follow what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place among the records given.
    pub index: usize,
    /// Its kind in words.
    pub kind: &'static str,
    /// Why it cannot follow.
    pub reason: ApplyError,
}

/// A log that can be applied.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// All of its records, in order.
    pub records: Vec<Record>,
    /// What they say together.
    pub image: Image,
    /// Records that were given and are not in it.
    pub left_out: Vec<LeftOut>,
    /// Topics whose files are there while their records are lost, under a name made from their id. Nothing in them
    /// is deleted by age or size.
    pub recovered: Vec<TopicName>,
    /// Topics that got partitions back whose files are there.
    pub extended: Vec<TopicName>,
}

/// Puts together what is left of a metadata log. Given a log of which nothing is lost, that is the log itself.
pub fn repair(stored: &[Record], facts: &RepairFacts) -> Repaired {
    let mut repaired = Repaired::default();
    let mut deleted = BTreeSet::new();
    for (index, record) in stored.iter().enumerate() {
        if let Record::TopicDeleted { topic_id } = record {
            deleted.insert(*topic_id);
        }
        if repaired.push(record.clone()).is_ok() {
            continue;
        }
        repaired.prepare(record, facts);
        if let Err(reason) = repaired.push(record.clone()) {
            repaired.left_out.push(LeftOut { index, kind: record.kind(), reason });
        }
    }
    if facts.lost_records > 0 || !repaired.left_out.is_empty() {
        repaired.register(facts);
        repaired.recover_partitions(facts, &deleted);
        repaired.raise_epochs(facts);
        let lost = facts.lost_records.saturating_mul(PRODUCER_IDS_OF_A_RECORD);
        repaired.skip_producer_ids(facts, lost.max(PRODUCER_IDS_SKIPPED_MIN));
    }
    repaired
}

impl Repaired {
    fn push(&mut self, record: Record) -> Result<(), ApplyError> {
        self.image.apply(&record)?;
        self.records.push(record);
        Ok(())
    }

    /// Says again what this record needs before it.
    fn prepare(&mut self, record: &Record, facts: &RepairFacts) {
        self.register(facts);
        if let Record::ProducerIdsReserved { first, .. } = record {
            let next = self.image.last_producer_id().saturating_add(1);
            self.skip_producer_ids(facts, first.saturating_sub(next));
        }
    }

    fn register(&mut self, facts: &RepairFacts) {
        if self.image.broker(facts.broker).is_some() {
            return;
        }
        // No greater than that of the lost registration, so that those behind it can follow.
        let incarnation = Incarnation(self.image.last_incarnation.0.saturating_add(1));
        let registered = Record::BrokerRegistered {
            broker: facts.broker,
            incarnation,
            registration: RegistrationId([0; 16]),
            address: None,
            version: env!("CARGO_PKG_VERSION").into(),
            registered_at: facts.now,
        };
        let _exists_now = self.push(registered);
    }

    fn skip_producer_ids(&mut self, facts: &RepairFacts, mut count: u64) {
        while count > 0 {
            let some = u32::try_from(count).unwrap_or(u32::MAX);
            let first = self.image.last_producer_id().saturating_add(1);
            let reserved = Record::ProducerIdsReserved { broker: facts.broker, first, count: some };
            if self.push(reserved).is_err() {
                return;
            }
            count -= u64::from(some);
        }
    }

    fn recover_partitions(&mut self, facts: &RepairFacts, deleted: &BTreeSet<TopicId>) {
        let assignment = Assignment { replicas: [facts.broker].into(), leader: facts.broker };
        for (topic_id, count) in facts.partitions.iter().filter(|(id, _)| !deleted.contains(id)) {
            let known = self
                .image
                .topic_by_id(*topic_id)
                .map(|topic| (topic.name().clone(), topic.partition_count()));
            let present = known.as_ref().map_or(0, |(_, present)| *present);
            let missing = count.saturating_sub(present) as usize;
            if missing == 0 {
                continue;
            }
            let partitions = vec![assignment.clone(); missing];
            match known {
                Some((name, present)) => {
                    let (topic_id, first) = (*topic_id, PartitionIndex(present));
                    if self.push(Record::PartitionsAdded { topic_id, first, partitions }).is_ok() {
                        self.extended.push(name);
                    }
                }
                None => self.recover_topic(*topic_id, partitions, facts.now),
            }
        }
    }

    fn recover_topic(&mut self, topic_id: TopicId, partitions: Vec<Assignment>, now: TimestampMs) {
        let Ok(name) = TopicName::new(&format!("recovered-{topic_id}")) else { return };
        let unlimited = |key: &str| (Arc::from(key), Arc::from(UNLIMITED));
        let created = Record::TopicCreated {
            name: name.clone(),
            topic_id,
            created_at: now,
            partitions,
            configs: vec![unlimited("retention.bytes"), unlimited("retention.ms")],
        };
        if self.push(created).is_ok() {
            self.recovered.push(name);
        }
    }

    /// An epoch that a log has begun was handed out, and never is again.
    fn raise_epochs(&mut self, facts: &RepairFacts) {
        for ((topic_id, partition), leader_epoch) in &facts.epochs {
            let known = self.image.topic_by_id(*topic_id).and_then(|topic| topic.partition(*partition));
            if let Some(leader) =
                known.filter(|known| known.leader_epoch < *leader_epoch).map(|known| known.leader)
            {
                let (topic_id, partition, leader_epoch) = (*topic_id, *partition, *leader_epoch);
                let _raised = self.push(Record::LeaderElected { topic_id, partition, leader, leader_epoch });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateTopic, RegisterBroker, ReserveProducerIds};

    const BROKER: BrokerId = BrokerId(1);

    fn id(n: u8) -> TopicId {
        TopicId::from_bytes([n; 16])
    }

    /// Two starts, two topics, a block of producer ids between.
    fn log() -> (Vec<Record>, Image) {
        let (mut records, mut image) = (Vec::new(), Image::default());
        let register = |image: &mut Image, records: &mut Vec<Record>, n| {
            let registration = RegistrationId([n; 16]);
            let (address, version) = (None, "0.1.0".into());
            let command =
                RegisterBroker { broker: BROKER, registration, address, version, now: TimestampMs(1) };
            let decided = image.decide(&command).unwrap().records;
            image.apply_all(&decided).unwrap();
            records.extend(decided);
        };
        register(&mut image, &mut records, 1);
        for (n, name) in [(1, "orders"), (2, "audit")] {
            let command = CreateTopic {
                name: name.parse().unwrap(),
                topic_id: id(n),
                partition_count: 3,
                replication: None,
                defaults: vec![],
                configs: vec![],
                if_not_exists: false,
                now: TimestampMs(2),
            };
            let mut decided = image.decide(&command).unwrap().records;
            image.apply_all(&decided).unwrap();
            let ids = image.decide(&ReserveProducerIds { broker: BROKER, count: 1_000 }).unwrap().records;
            image.apply_all(&ids).unwrap();
            decided.extend(ids);
            records.extend(decided);
        }
        register(&mut image, &mut records, 2);
        (records, image)
    }

    fn facts(image: &Image, lost_records: u64) -> RepairFacts {
        let mut facts = RepairFacts {
            broker: BROKER,
            lost_records,
            partitions: BTreeMap::new(),
            epochs: BTreeMap::new(),
            now: TimestampMs(9),
        };
        for topic in image.topics() {
            facts.partitions.insert(topic.id(), topic.partition_count());
            for (partition, index) in topic.partitions().iter().zip(0..) {
                facts.epochs.insert((topic.id(), PartitionIndex(index)), partition.leader_epoch);
            }
        }
        facts
    }

    #[test]
    fn a_whole_log_stays_as_it_is() {
        let (records, image) = log();
        let repaired = repair(&records, &facts(&image, 0));
        assert_eq!((repaired.records, repaired.image), (records, image));
    }

    #[test]
    fn whatever_record_is_lost_no_partition_epoch_or_producer_id_is() {
        let (records, image) = log();
        for lost in 0..records.len() {
            for and_all_behind in [false, true] {
                let mut left = records.clone();
                let gone =
                    if and_all_behind { left.drain(lost..).count() } else { left.drain(lost..=lost).count() };
                let facts = facts(&image, gone as u64);
                let repaired = repair(&left, &facts);
                let mut applied = Image::default();
                applied.apply_all(&repaired.records).unwrap();
                assert_eq!(applied, repaired.image);
                assert!(
                    applied.last_producer_id() >= image.last_producer_id(),
                    "lost {lost}: ids are used again"
                );
                for ((topic_id, partition), epoch) in &facts.epochs {
                    let topic =
                        applied.topic_by_id(*topic_id).unwrap_or_else(|| panic!("lost {lost}: {topic_id}"));
                    let found = topic.partition(*partition).unwrap().leader_epoch;
                    assert!(found >= *epoch, "lost {lost}: epoch {found} of {topic_id} for {epoch}");
                }
                // The next start can follow.
                let registration = RegistrationId([7; 16]);
                let (address, version) = (None, "0.1.0".into());
                let start =
                    RegisterBroker { broker: BROKER, registration, address, version, now: TimestampMs(9) };
                let decided = applied.decide(&start).unwrap();
                applied.apply_all(&decided.records).unwrap();
            }
        }
    }

    #[test]
    fn a_topic_without_its_record_keeps_its_data_under_another_name() {
        let (mut records, image) = log();
        let created = records.iter().position(|record| record.kind() == "topic created").unwrap();
        records.remove(created);
        let repaired = repair(&records, &facts(&image, 1));
        let [name] = repaired.recovered.as_slice() else { panic!("{:?}", repaired.recovered) };
        let topic = repaired.image.topic(name.as_str()).unwrap();
        assert_eq!((topic.id(), topic.partition_count()), (id(1), 3));
        assert_eq!((topic.config().retention_ms, topic.config().retention_bytes), (None, None));
    }
}
