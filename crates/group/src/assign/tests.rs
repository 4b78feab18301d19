//! The assignors against what any assignment has to be.

use corduroy_types::{PartitionIndex, TopicName};
use proptest::prelude::*;

use super::*;

type Shares = BTreeMap<MemberId, BTreeSet<TopicPartition>>;

fn id(n: u8) -> TopicId {
    TopicId::from_bytes([n; 16])
}

fn topics(counts: &[u32]) -> Topics {
    Topics::new(
        (0_u8..).zip(counts).map(|(n, count)| (TopicName::new(&format!("t{n}")).unwrap(), id(n), *count)),
    )
}

fn run(assignor: Assignor, wants: &[(u8, Vec<u8>)], before: &Shares, topics: &Topics) -> Shares {
    let none = BTreeSet::new();
    let names: Vec<_> = wants.iter().map(|(n, _)| MemberId::new(&format!("m{n:03}")).unwrap()).collect();
    let mut candidates: Vec<_> = names
        .iter()
        .zip(wants)
        .map(|(member, (_, wanted))| Candidate {
            member,
            place: member.as_str(),
            topics: wanted.iter().map(|n| id(*n)).filter(|id| topics.has_topic(*id)).collect(),
            previous: before.get(member).unwrap_or(&none),
        })
        .collect();
    assign(assignor, &mut candidates, topics)
}

/// Every partition that is asked for has exactly one owner, and that one asks for it.
fn check(shares: &Shares, wants: &[(u8, Vec<u8>)], topics: &Topics) {
    let mut seen = BTreeSet::new();
    for (n, wanted) in wants {
        let share = &shares[&MemberId::new(&format!("m{n:03}")).unwrap()];
        for held in share {
            assert!(wanted.iter().any(|topic| id(*topic) == held.topic_id), "{held} was not asked for");
            assert!(topics.has(*held));
            assert!(seen.insert(*held), "{held} has two owners");
        }
    }
    let asked: BTreeSet<u8> = wants.iter().flat_map(|(_, wanted)| wanted.clone()).collect();
    let all: usize = asked.iter().map(|n| topics.partitions(id(*n)).count()).sum();
    assert_eq!(seen.len(), all, "every partition that is asked for has an owner");
}

fn wants(members: std::ops::Range<usize>, topics: u8) -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let one = proptest::collection::btree_set(0..topics, 1..=usize::from(topics));
    proptest::collection::btree_map(any::<u8>(), one, members)
        .prop_map(|all| all.into_iter().map(|(n, topics)| (n, topics.into_iter().collect())).collect())
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_who_asks_for_it(
        first in wants(0..12, 4), second in wants(0..12, 4), counts in proptest::collection::vec(0_u32..20, 4),
    ) {
        let topics = topics(&counts);
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let before = run(assignor, &first, &Shares::new(), &topics);
            check(&before, &first, &topics);
            let after = run(assignor, &second, &before, &topics);
            check(&after, &second, &topics);
            prop_assert_eq!(&run(assignor, &second, &after, &topics), &after, "asked again, it moves nothing");
        }
    }

    /// With everyone alike: shares within one of each other, and no more moved than that needs.
    #[test]
    fn uniform_is_even_and_moves_only_what_must(
        old in proptest::collection::btree_set(any::<u8>(), 0..12),
        new in proptest::collection::btree_set(any::<u8>(), 1..12),
        counts in proptest::collection::vec(0_u32..30, 1..4),
    ) {
        let topics = topics(&counts);
        let all: Vec<u8> = (0_u8..).take(counts.len()).collect();
        let alike = |members: &BTreeSet<u8>| members.iter().map(|n| (*n, all.clone())).collect::<Vec<_>>();
        let before = run(Assignor::Uniform, &alike(&old), &Shares::new(), &topics);
        let after = run(Assignor::Uniform, &alike(&new), &before, &topics);
        let total: usize = after.values().map(BTreeSet::len).sum();
        let (each, larger) = (total / new.len(), total % new.len());
        let mut kept_at_best: Vec<usize> =
            after.keys().map(|member| before.get(member).map_or(0, BTreeSet::len)).collect();
        kept_at_best.sort_unstable_by(|a, b| b.cmp(a));
        let best: usize = kept_at_best
            .iter()
            .enumerate()
            .map(|(place, had)| (*had).min(each + usize::from(place < larger)))
            .sum();
        let kept: usize = after
            .iter()
            .map(|(member, share)| before.get(member).map_or(0, |had| had.intersection(share).count()))
            .sum();
        for share in after.values() {
            prop_assert!(share.len() == each || (larger > 0 && share.len() == each + 1));
        }
        prop_assert_eq!(kept, best);
    }
}

#[test]
fn range_gives_the_same_indexes_of_every_topic() {
    let topics = topics(&[5, 5]);
    let shares = run(Assignor::Range, &[(1, vec![0, 1]), (2, vec![0, 1])], &Shares::new(), &topics);
    let indexes = |n: u8, topic: u8| -> Vec<u32> {
        let share = &shares[&MemberId::new(&format!("m{n:03}")).unwrap()];
        share.iter().filter(|held| held.topic_id == id(topic)).map(|held| held.partition.0).collect()
    };
    for topic in [0, 1] {
        assert_eq!(indexes(1, topic), [0, 1, 2]);
        assert_eq!(indexes(2, topic), [3, 4]);
    }
    assert_eq!(PartitionIndex(0), PartitionIndex::default());
}
