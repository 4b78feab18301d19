//! Random commands against the invariants and against replay, and each refusal once by hand.

use std::{collections::BTreeSet, sync::Arc};

use corduroy_types::{
    BrokerId, ErrorCode, LeaderEpoch, PartitionIndex, TimestampMs, TopicConfigError, TopicId, TopicName,
};
use proptest::prelude::*;

use super::*;

fn register(broker: u32, registration: u8) -> RegisterBroker {
    RegisterBroker {
        broker: BrokerId(broker),
        registration: RegistrationId([registration; 16]),
        address: None,
        version: "0.1.0".into(),
        now: TimestampMs(1),
    }
}

fn create(name: &str, id: u8, partition_count: u32) -> CreateTopic {
    CreateTopic {
        name: name.parse().unwrap(),
        topic_id: TopicId::from_bytes([id; 16]),
        partition_count,
        replication: None,
        defaults: vec![],
        configs: vec![],
        if_not_exists: false,
        now: TimestampMs(2),
    }
}

fn alter(name: &str, set: &[(&str, &str)], unset: &[&str]) -> AlterTopicConfigs {
    AlterTopicConfigs {
        name: name.parse().unwrap(),
        set: entries(set),
        unset: unset.iter().map(|key| (*key).to_owned()).collect(),
    }
}

fn entries(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Decides and applies; returns the answer and what changed.
fn run<C: Command>(image: &mut Image, command: &C) -> Result<(C::Answer, Vec<Delta>), MetadataError> {
    let decision = image.decide(command)?;
    let deltas = image.apply_all(&decision.records).unwrap();
    Ok((decision.answer, deltas))
}

fn started() -> Image {
    let mut image = Image::default();
    run(&mut image, &register(1, 1)).unwrap();
    image
}

#[derive(Clone, Debug)]
enum Op {
    Name(u8, u8),
    Register(u32, u8),
    Create(u8, u8, u32, Option<u32>, bool, Vec<(String, String)>),
    Delete(u8),
    Add(u8, u32),
    Alter(u8, Vec<(String, String)>, Vec<String>),
    Elect(u8, u32, u32),
    ReserveIds(u32, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let keys = ["retention.ms", "segment.bytes", "max.message.bytes", "durability", "description", "no.such"];
    let values = ["1d", "64KiB", "2MiB", "sync", "background", "-1", "", "512MiB"];
    let key = move || prop::sample::select(keys.to_vec()).prop_map(str::to_owned);
    let value = move || prop::sample::select(values.to_vec()).prop_map(str::to_owned);
    let configs = move || prop::collection::vec((key(), value()), 0..3);
    let replication = prop_oneof![3 => Just(None), 1 => (0_u32..5).prop_map(Some)];
    let count = || prop_oneof![20 => 0_u32..6, 1 => Just(10_001)];
    prop_oneof![
        1 => (0_u8..2, 0_u8..3).prop_map(|(id, name)| Op::Name(id, name)),
        2 => (1_u32..4, 0_u8..20).prop_map(|(broker, id)| Op::Register(broker, id)),
        6 => (0_u8..6, 0_u8..40, count(), replication, any::<bool>(), configs())
            .prop_map(|(name, id, count, replicas, lenient, set)| Op::Create(name, id, count, replicas, lenient, set)),
        2 => (0_u8..6).prop_map(Op::Delete),
        3 => (0_u8..6, count()).prop_map(|(name, count)| Op::Add(name, count)),
        3 => (0_u8..6, configs(), prop::collection::vec(key(), 0..2))
            .prop_map(|(name, set, unset)| Op::Alter(name, set, unset)),
        2 => (1_u32..4, 0_u32..5).prop_map(|(broker, count)| Op::ReserveIds(broker, count)),
        3 => (0_u8..40, 0_u32..6, 0_u32..4).prop_map(|(id, partition, epoch)| Op::Elect(id, partition, epoch)),
    ]
}

fn topic_name(n: u8) -> TopicName {
    let names = ["__inner", "a", "b.c", "d-e", "f_g", "h"];
    names[usize::from(n)].parse().unwrap()
}

/// The records of a command that is allowed; none of one that is refused.
fn records_of(image: &Image, op: Op) -> Vec<Record> {
    fn of<C: Command>(image: &Image, command: &C) -> Vec<Record> {
        image.decide(command).map(|decision| decision.records).unwrap_or_default()
    }
    match op {
        Op::Name(id, name) => {
            let text = |n: u8| Arc::from(format!("c{n}"));
            of(image, &NameCluster { cluster_id: text(id), name: text(name) })
        }
        Op::Register(broker, id) => of(image, &register(broker, id)),
        Op::Create(name, id, partition_count, replication, if_not_exists, configs) => {
            let name = topic_name(name).to_string();
            let base = CreateTopic { name: "x".parse().unwrap(), ..create("x", id, partition_count) };
            let name = name.parse().unwrap();
            of(image, &CreateTopic { name, replication, if_not_exists, configs, ..base })
        }
        Op::Delete(name) => of(image, &DeleteTopic { name: topic_name(name) }),
        Op::Add(name, partition_count) => {
            of(image, &AddPartitions { name: topic_name(name), partition_count })
        }
        Op::Alter(name, set, unset) => of(image, &AlterTopicConfigs { name: topic_name(name), set, unset }),
        Op::Elect(id, partition, epoch) => of(
            image,
            // The same one twice, and one of another topic, in one command.
            &ElectLeaders {
                elections: [(id, partition), (id, partition), (id.wrapping_add(1), 0)]
                    .map(|(id, partition)| Election {
                        topic_id: TopicId::from_bytes([id; 16]),
                        partition: PartitionIndex(partition),
                        resigned_epoch: LeaderEpoch::new(epoch).unwrap(),
                    })
                    .into(),
            },
        ),
        Op::ReserveIds(broker, count) => of(image, &ReserveProducerIds { broker: BrokerId(broker), count }),
    }
}

fn check_invariants(image: &Image) -> Result<(), TestCaseError> {
    let names: BTreeSet<_> = image.topics().map(|topic| topic.name().clone()).collect();
    let ids: BTreeSet<_> = image.topics().map(|topic| topic.id()).collect();
    prop_assert_eq!((names.len(), ids.len()), (image.topic_count(), image.topic_count()));
    let partitions: usize = image.topics().map(|topic| topic.partitions().len()).sum();
    prop_assert_eq!(partitions, image.partition_count());
    for topic in image.topics() {
        prop_assert_eq!(image.topic(topic.name().as_str()).map(|found| found.id()), Some(topic.id()));
        prop_assert!(!topic.name().is_internal());
        prop_assert!(topic.config().check().is_ok());
        for config in topic.described_configs() {
            let own = topic.overrides().find(|(key, _)| *key == config.key);
            prop_assert_eq!(config.source == ConfigSource::Topic, own.is_some());
            prop_assert_eq!(own.map_or(config.default_value.as_str(), |(_, value)| value), &config.value);
        }
        for partition in topic.partitions() {
            prop_assert!(partition.replicas.contains(&partition.leader));
            let unique: BTreeSet<_> = partition.replicas.iter().collect();
            prop_assert_eq!(unique.len(), partition.replicas.len());
            prop_assert!(partition.leader_epoch > LeaderEpoch::ZERO);
            let leader = image.broker(partition.leader).unwrap();
            prop_assert_eq!(
                partition.leader_incarnation,
                leader.incarnation,
                "a leadership of an earlier run"
            );
        }
    }
    Ok(())
}

/// What may only grow from `before` to `after`.
fn check_progress(before: &Image, after: &Image) -> Result<(), TestCaseError> {
    for topic in before.topics() {
        let Some(later) = after.topic_by_id(topic.id()) else { continue };
        prop_assert_eq!((topic.name(), topic.created_at()), (later.name(), later.created_at()));
        prop_assert!(topic.partition_count() <= later.partition_count());
        for (old, new) in topic.partitions().iter().zip(later.partitions()) {
            prop_assert!(old.leader_epoch <= new.leader_epoch);
            let same_leadership =
                (old.leader, old.leader_incarnation) == (new.leader, new.leader_incarnation);
            prop_assert!(same_leadership || old.leader_epoch < new.leader_epoch, "an epoch changed hands");
        }
    }
    prop_assert!(before.last_producer_id() <= after.last_producer_id());
    for broker in before.brokers() {
        prop_assert!(after.broker(broker.id).unwrap().incarnation >= broker.incarnation);
    }
    Ok(())
}

proptest! {
    #[test]
    fn replay_gives_the_same_image_at_every_prefix(ops in prop::collection::vec(op(), 0..60)) {
        let (mut live, mut replayed) = (Image::default(), Image::default());
        for op in ops {
            let before = live.clone();
            let records = records_of(&live, op);
            prop_assert_eq!(&live, &before, "deciding changed the image");
            for record in records {
                let deltas = live.apply(&record).unwrap();
                let bytes = record.encode();
                prop_assert_eq!(replayed.apply(&Record::decode(&bytes).unwrap()), Ok(deltas));
                prop_assert_eq!(&live, &replayed);
            }
            check_invariants(&live)?;
            check_progress(&before, &live)?;
        }
    }

    #[test]
    fn records_out_of_order_are_refused_or_taken_whole(
        ops in prop::collection::vec(op(), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let mut live = Image::default();
        let mut log = Vec::new();
        for op in ops {
            let records = records_of(&live, op);
            live.apply_all(&records).unwrap();
            log.extend(records);
        }
        let mut image = Image::default();
        for index in order.iter().filter(|_| !log.is_empty()) {
            let before = image.clone();
            match image.apply(index.get(&log)) {
                Err(_) => prop_assert_eq!(&image, &before, "a refused record changed the image"),
                Ok(_) => check_progress(&before, &image)?,
            }
        }
    }
}

#[test]
fn a_restarted_broker_leads_in_new_epochs() {
    let mut image = started();
    let (created, _) = run(&mut image, &create("orders", 1, 3)).unwrap();
    assert_eq!(image.topic("orders"), Some(&created.topic), "the answer is what will be");
    let epochs = |image: &Image| -> Vec<u32> {
        image.topic("orders").unwrap().partitions().iter().map(|one| one.leader_epoch.get()).collect()
    };
    assert_eq!(epochs(&image), [1, 1, 1]);

    let (incarnation, deltas) = run(&mut image, &register(1, 2)).unwrap();
    assert_eq!((incarnation, epochs(&image)), (Incarnation(2), vec![2, 2, 2]));
    assert_eq!(deltas.len(), 4, "the broker, and each partition");
    let (again, deltas) = run(&mut image, &register(1, 2)).unwrap();
    assert_eq!((again, deltas.len()), (Incarnation(2), 0), "sent twice, it counts once");
}

#[test]
fn leaders_are_elected_together_and_each_for_itself() {
    let mut image = started();
    let (created, _) = run(&mut image, &create("orders", 1, 4)).unwrap();
    let elect = |elections: &[(u32, u32)]| ElectLeaders {
        elections: elections
            .iter()
            .map(|(partition, epoch)| Election {
                topic_id: created.topic.id(),
                partition: PartitionIndex(*partition),
                resigned_epoch: LeaderEpoch::new(*epoch).unwrap(),
            })
            .collect(),
    };
    // Of an epoch gone by, of one not yet known, of no partition, and twice: none of them holds the others up.
    let command = elect(&[(0, 1), (1, 0), (2, 1), (3, 2), (9, 1), (2, 1)]);
    let (answers, deltas) = run(&mut image, &command).unwrap();
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.map(LeaderEpoch::get).map_err(|error| error.code()))
        .collect();
    assert_eq!(
        answers,
        [
            Ok(2),
            Err(ErrorCode::FencedLeaderEpoch),
            Ok(2),
            Err(ErrorCode::UnknownLeaderEpoch),
            Err(ErrorCode::PartitionNotFound),
            Err(ErrorCode::FencedLeaderEpoch),
        ]
    );
    assert_eq!(deltas.len(), 2);
    let epochs: Vec<_> =
        image.topic("orders").unwrap().partitions().iter().map(|p| p.leader_epoch.get()).collect();
    assert_eq!(epochs, [2, 1, 2, 1]);
}

#[test]
fn topics_are_created_once_and_deleted_by_name() {
    let mut image = started();
    run(&mut image, &create("orders", 1, 2)).unwrap();
    let code = |image: &Image, command: &CreateTopic| image.decide(command).unwrap_err().code();
    assert_eq!(code(&image, &create("orders", 2, 2)), ErrorCode::TopicExists);
    assert_eq!(code(&image, &create("other", 1, 2)), ErrorCode::Internal);
    assert_eq!(code(&image, &create("__groups", 2, 2)), ErrorCode::InvalidTopicName);
    assert_eq!(code(&image, &create("x", 2, 0)), ErrorCode::InvalidPartitionCount);
    assert_eq!(code(&image, &create("x", 2, 10_001)), ErrorCode::InvalidPartitionCount);
    let replicated = CreateTopic { replication: Some(2), ..create("x", 2, 1) };
    assert_eq!(code(&image, &replicated), ErrorCode::InvalidReplication);
    assert_eq!(code(&Image::default(), &create("x", 2, 1)), ErrorCode::Starting);

    let lenient = CreateTopic { if_not_exists: true, ..create("orders", 2, 7) };
    let (created, deltas) = run(&mut image, &lenient).unwrap();
    assert!(created.existed && deltas.is_empty() && created.topic.partition_count() == 2);

    let missing = image.decide(&DeleteTopic { name: "oders".parse().unwrap() }).unwrap_err();
    assert_eq!(missing.to_string(), "there is no topic oders; did you mean orders?");
    let name: TopicName = "orders".parse().unwrap();
    let (gone, _) = run(&mut image, &DeleteTopic { name }).unwrap();
    assert_eq!((gone.partition_count(), image.topic_count(), image.partition_count()), (2, 0, 0));
}

#[test]
fn the_cluster_has_room_for_so_many_partitions() {
    let mut image = started();
    for id in 0..10 {
        run(&mut image, &create(&format!("t{id}"), id, PARTITIONS_PER_TOPIC_MAX)).unwrap();
    }
    let error = image.decide(&create("one-more", 99, 1)).unwrap_err();
    assert_eq!(error, MetadataError::ClusterFull { present: 100_000, adding: 1 });
}

#[test]
fn topics_only_grow() {
    let mut image = started();
    run(&mut image, &create("t", 1, 2)).unwrap();
    let add = |partition_count| AddPartitions { name: "t".parse().unwrap(), partition_count };
    assert_eq!(image.decide(&add(1)).unwrap_err().code(), ErrorCode::InvalidPartitionCount);
    assert_eq!(run(&mut image, &add(2)).unwrap(), (PartitionCounts { previous: 2, now: 2 }, vec![]));
    let (_, deltas) = run(&mut image, &add(5)).unwrap();
    let topic = Arc::clone(image.topic("t").unwrap());
    assert_eq!(topic.partition_count(), 5);
    assert_eq!(deltas, [Delta::PartitionsAdded { topic, first: PartitionIndex(2) }]);
}

#[test]
fn configs_are_set_and_unset_all_or_none() {
    let mut image = started();
    let command = CreateTopic {
        defaults: entries(&[("retention.ms", "1d"), ("segment.bytes", "64MiB")]),
        configs: entries(&[("retention.ms", "48h")]),
        ..create("t", 1, 1)
    };
    run(&mut image, &command).unwrap();
    let own = |image: &Image| entries(&image.topic("t").unwrap().overrides().collect::<Vec<_>>());
    assert_eq!(own(&image), entries(&[("retention.ms", "2d"), ("segment.bytes", "64MiB")]));

    let (answer, deltas) =
        run(&mut image, &alter("t", &[("durability", "background")], &["retention.ms"])).unwrap();
    let change = |key, previous_value: &str, value: &str| ConfigChange {
        key,
        previous_value: previous_value.to_owned(),
        value: value.to_owned(),
    };
    let changes = [change("durability", "sync", "background"), change("retention.ms", "2d", "7d")];
    assert_eq!((answer.changes.as_slice(), deltas.len()), (changes.as_slice(), 1));
    let (answer, deltas) = run(&mut image, &alter("t", &[("durability", "background")], &[])).unwrap();
    assert_eq!(answer.changes, [change("durability", "background", "background")]);
    assert_eq!(deltas, [], "nothing changed, nothing is written");

    for (set, unset, code) in [
        (&[("retention", "1")][..], &[][..], ErrorCode::UnknownConfigKey),
        (&[], &["retention"], ErrorCode::UnknownConfigKey),
        (&[("retention.ms", "soon")], &[], ErrorCode::InvalidConfigValue),
        (&[("durability", "sync"), ("segment.bytes", "64KiB")], &[], ErrorCode::InvalidConfigValue),
        (&[("retention.ms", "1d"), ("retention.ms", "2d")], &[], ErrorCode::InvalidRequest),
        (&[("retention.ms", "1d")], &["retention.ms"], ErrorCode::InvalidRequest),
    ] {
        let error = image.decide(&alter("t", set, unset)).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let unknown = image.decide(&alter("t", &[("retention", "1")], &[])).unwrap_err();
    assert!(matches!(unknown, MetadataError::Config(TopicConfigError::UnknownKey { .. })));
}

#[test]
fn impossible_records_are_refused() {
    let mut image = started();
    let (created, _) = run(&mut image, &create("t", 1, 2)).unwrap();
    let (topic_id, partition) = (created.topic.id(), PartitionIndex(0));
    let assigned = |leader, replicas: &[u32]| Assignment {
        leader: BrokerId(leader),
        replicas: replicas.iter().copied().map(BrokerId).collect(),
    };
    let added = |first, assignment| Record::PartitionsAdded {
        topic_id,
        first: PartitionIndex(first),
        partitions: vec![assignment],
    };
    let elected = |leader, number| Record::LeaderElected {
        topic_id,
        partition,
        leader: BrokerId(leader),
        leader_epoch: LeaderEpoch::new(number).unwrap(),
    };
    for (record, reason) in [
        (added(1, assigned(1, &[1])), "cannot follow the 2"),
        (added(3, assigned(1, &[1])), "cannot follow the 2"),
        (added(2, assigned(1, &[])), "holds no replica"),
        (added(2, assigned(1, &[1, 1])), "twice"),
        (added(2, assigned(1, &[1, 9])), "has not registered"),
        (elected(1, 1), "does not follow epoch 1"),
        (elected(2, 2), "holds no replica"),
    ] {
        let before = image.clone();
        let error = image.apply(&record).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(image, before);
    }
    assert!(image.apply(&added(2, assigned(1, &[1]))).is_ok());
    assert!(image.apply(&elected(1, 2)).is_ok());
}

#[test]
fn producer_ids_are_reserved_once() {
    let mut image = started();
    let reserve = |broker, count| ReserveProducerIds { broker: BrokerId(broker), count };
    assert_eq!(run(&mut image, &reserve(1, 1_000)).unwrap(), (1..=1_000, vec![]));
    assert_eq!(run(&mut image, &reserve(1, 2)).unwrap().0, 1_001..=1_002);
    assert_eq!(image.last_producer_id(), 1_002);
    assert_eq!(image.decide(&reserve(1, 0)).unwrap_err().code(), ErrorCode::InvalidRequest);
    assert_eq!(image.decide(&reserve(1, 1_000_001)).unwrap_err().code(), ErrorCode::InvalidRequest);
    assert_eq!(image.decide(&reserve(9, 1)).unwrap_err().code(), ErrorCode::Starting);

    let again = Record::ProducerIdsReserved { broker: BrokerId(1), first: 1_002, count: 1 };
    assert!(image.apply(&again).unwrap_err().to_string().contains("cannot follow producer id 1002"));
    image.last_producer_id = PRODUCER_ID_MAX - 1;
    assert_eq!(*run(&mut image, &reserve(1, 1)).unwrap().0.end(), i64::MAX.unsigned_abs());
    assert_eq!(image.decide(&reserve(1, 1)).unwrap_err(), MetadataError::ProducerIdsUsedUp);
}

#[test]
fn a_cluster_keeps_its_identity() {
    let mut image = Image::default();
    let name = |id: &str, name: &str| NameCluster { cluster_id: id.into(), name: name.into() };
    run(&mut image, &name("c-1", "default")).unwrap();
    assert!(run(&mut image, &name("c-1", "default")).unwrap().1.is_empty());
    run(&mut image, &name("c-1", "orders")).unwrap();
    assert_eq!(image.cluster().map(|cluster| &*cluster.name), Some("orders"));
    assert!(matches!(image.decide(&name("c-2", "x")), Err(MetadataError::ForeignCluster { .. })));
    assert!(matches!(image.decide(&name("c-1", "")), Err(MetadataError::Text { .. })));
    assert!(matches!(image.decide(&name("c-1", &"x".repeat(300))), Err(MetadataError::Text { .. })));
}
