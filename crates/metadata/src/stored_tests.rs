//! The stored form: it reads back, it never drifts, and what is newer or damaged is refused.

use proptest::prelude::*;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assignment(replicas: &[u32]) -> Assignment {
    Assignment { replicas: replicas.iter().copied().map(BrokerId).collect(), leader: BrokerId(replicas[0]) }
}

/// One record of each kind.
fn every_kind() -> Vec<Record> {
    let topic_id = TopicId::from_bytes([0xab; 16]);
    vec![
        Record::ClusterNamed { cluster_id: "c-1".into(), name: "default".into() },
        Record::BrokerRegistered {
            broker: BrokerId(1),
            incarnation: Incarnation(300),
            registration: RegistrationId([7; 16]),
            address: Some("b:9480".into()),
            version: "0.1.0".into(),
            registered_at: TimestampMs(-2),
        },
        Record::TopicCreated {
            name: "orders".parse().unwrap(),
            topic_id,
            created_at: TimestampMs(1_700_000_000_000),
            partitions: vec![assignment(&[1, 2, 3]), assignment(&[2])],
            configs: vec![("retention.ms".into(), "7d".into())],
        },
        Record::TopicDeleted { topic_id },
        Record::PartitionsAdded { topic_id, first: PartitionIndex(2), partitions: vec![assignment(&[3])] },
        Record::ConfigsAltered {
            topic_id,
            set: vec![("durability".into(), "sync".into())],
            unset: vec!["retention.ms".into()],
        },
        Record::LeaderElected {
            topic_id,
            partition: PartitionIndex(0),
            leader: BrokerId(2),
            leader_epoch: LeaderEpoch::new(5).unwrap(),
        },
        Record::ProducerIdsReserved { broker: BrokerId(1), first: 1_001, count: 1_000 },
    ]
}

#[test]
fn the_stored_form_never_drifts() {
    assert_eq!(every_kind().len(), GOLDEN.len());
    for (record, golden) in every_kind().iter().zip(GOLDEN) {
        let bytes = record.encode();
        assert_eq!(hex(&bytes), golden, "{}", record.kind());
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(record));
    }
}

/// The bytes of [`every_kind`] in hexadecimal. They are on disks: never change them, only add.
const GOLDEN: [&str; 8] = [
    "0a0e0a03632d31120764656661756c74",
    "1228080110ac021a10070707070707070707070707070707072206623a393438302a05302e312e303003",
    "1a450a066f72646572731210abababababababababababababababab1880a0abfef96222070a03010203100122\
     050a010210022a120a0c726574656e74696f6e2e6d7312023764",
    "22120a10abababababababababababababababab",
    "2a1b0a10abababababababababababababababab10021a050a01031003",
    "32340a10abababababababababababababababab12120a0a6475726162696c697479120473796e631a0c726574\
     656e74696f6e2e6d73",
    "3a160a10abababababababababababababababab18022005",
    "4208080110e90718e807",
];

#[test]
fn what_a_newer_version_wrote_is_refused() {
    let newer_kind = [&[0x4a, 2, 8, 1][..], &[]].concat();
    let newer_field = {
        let mut bytes = every_kind()[3].encode().to_vec();
        bytes[1] += 2;
        bytes.extend([0x78, 1]);
        bytes
    };
    for bytes in [newer_kind, newer_field, vec![]] {
        let error = Record::decode(&bytes.into()).unwrap_err();
        assert_eq!(error, DecodeError::NewerVersion);
        assert!(error.to_string().contains("written by a newer version"));
    }
    let cut = every_kind()[2].encode().slice(..20);
    assert!(matches!(Record::decode(&cut), Err(DecodeError::Damaged(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(record) = Record::decode(&bytes.clone().into()) {
            prop_assert_eq!(record.encode().to_vec(), bytes);
        }
    }

    #[test]
    fn a_damaged_record_is_refused_or_another_record(kind in 0..8_usize, at: prop::sample::Index, bit in 0..8_u32) {
        let mut bytes = every_kind()[kind].encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(record) = Record::decode(&bytes.into()) {
            prop_assert_ne!(&record, &every_kind()[kind]);
        }
    }
}
