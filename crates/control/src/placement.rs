//! Which brokers hold and lead new partitions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use corduroy_metadata::Assignment;
use corduroy_types::BrokerId;

/// A broker, as far as placement looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerLoad {
    /// The broker.
    pub id: BrokerId,
    /// Where it stands, as the operator says. Brokers without a rack are taken to stand in one rack together.
    pub rack: Option<Arc<str>>,
    /// Whether it takes new partitions.
    pub takes: Takes,
    /// How many replicas it holds.
    pub replica_count: u64,
    /// How many partitions it is the first replica of.
    pub leader_count: u64,
}

/// Whether a broker takes new partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It does.
    New,
    /// It has been silent for its session time-out.
    NoneFenced,
    /// Its partitions are being moved away.
    NoneDraining,
}

/// Why partitions are not placed. None was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A partition without a replica.
    #[error("a partition needs at least 1 replica; ask for 1 or more")]
    NoReplica,
    /// Fewer brokers take partitions than a partition has replicas.
    #[error("{asked} replicas need {asked} brokers, and {taking} take new partitions{}; start more, or ask for fewer replicas", Others(.others))]
    TooFewBrokers {
        /// How many replicas were asked for.
        asked: usize,
        /// How many brokers take partitions.
        taking: usize,
        /// The brokers that take none, and why.
        others: Vec<(BrokerId, Takes)>,
    },
    /// One broker was named twice.
    #[error("broker {broker} is named twice")]
    BrokerTwice {
        /// The broker.
        broker: BrokerId,
    },
}

/// The brokers that take nothing, in words.
struct Others<'a>(&'a [(BrokerId, Takes)]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (broker, takes)) in self.0.iter().enumerate() {
            let separator = if at == 0 { " (" } else { ", " };
            let why = match takes {
                Takes::New => "takes them",
                Takes::NoneFenced => "is fenced",
                Takes::NoneDraining => "is drained",
            };
            write!(f, "{separator}broker {broker} {why}")?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

/// A broker while partitions are placed.
#[derive(Debug)]
struct Candidate<'a> {
    load: &'a BrokerLoad,
    /// Replicas placed on it by this call, and how many of these lead.
    placed: u64,
    led: u64,
}

/// Places `partition_count` new partitions of one topic.
///
/// The replicas of a partition are on different brokers, and in as many racks as there are; where there are fewer racks than replicas, no
/// rack holds two more than another one that has a broker left. Within that, the topic is spread evenly, its leaders too, and among equals the
/// broker with the least load is taken, then the least id: the same input gives the same answer, in whatever order the brokers are named. The
/// first replica leads.
///
/// # Errors
/// [`PlacementError`] says what is missing.
pub fn place(
    brokers: &[BrokerLoad],
    replication: u32,
    partition_count: u32,
) -> Result<Vec<Assignment>, PlacementError> {
    let by_id: BTreeMap<BrokerId, &BrokerLoad> = brokers.iter().map(|broker| (broker.id, broker)).collect();
    if by_id.len() < brokers.len() {
        let mut seen = BTreeSet::new();
        let twice = brokers.iter().find(|broker| !seen.insert(broker.id));
        return twice.map_or(Ok(Vec::new()), |one| Err(PlacementError::BrokerTwice { broker: one.id }));
    }
    let asked = usize::try_from(replication).unwrap_or(usize::MAX);
    if asked == 0 {
        return Err(PlacementError::NoReplica);
    }
    let taking = by_id.values().filter(|broker| broker.takes == Takes::New);
    let mut candidates: Vec<_> = taking.map(|load| Candidate { load, placed: 0, led: 0 }).collect();
    if candidates.len() < asked {
        let others = by_id.values().filter(|broker| broker.takes != Takes::New);
        let others = others.map(|broker| (broker.id, broker.takes)).collect();
        return Err(PlacementError::TooFewBrokers { asked, taking: candidates.len(), others });
    }
    let mut racks: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
    for one in &candidates {
        racks.entry(one.load.rack.as_deref()).or_default().size += 1;
    }
    Ok((0..partition_count).filter_map(|_| place_one(&mut candidates, &mut racks, asked)).collect())
}

/// A rack while partitions are placed.
#[derive(Clone, Copy, Debug, Default)]
struct Rack {
    /// How many of its brokers take partitions.
    size: u64,
    /// Replicas placed in it by this call.
    placed: u64,
}

impl Rack {
    /// How full it is, in replicas for each broker and a fraction of 1 / 65 536.
    fn fill(self) -> u64 {
        (self.placed << 16).checked_div(self.size).unwrap_or(u64::MAX)
    }
}

/// Places one partition. There are at least as many candidates as replicas, and at least one of each.
fn place_one<'a>(
    candidates: &mut [Candidate<'a>],
    racks: &mut BTreeMap<Option<&'a str>, Rack>,
    replication: usize,
) -> Option<Assignment> {
    let mut used: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    let mut chosen: Vec<BrokerId> = Vec::with_capacity(replication);
    for _ in 0..replication {
        let free = candidates.iter_mut().filter(|one| !chosen.contains(&one.load.id));
        // First the rack: the emptiest brokers may all stand in one.
        let next = free.min_by_key(|one| {
            let rack = one.load.rack.as_deref();
            let used = used.get(&rack).copied().unwrap_or(0);
            let fill = racks.get(&rack).map_or(0, |rack| rack.fill());
            (used, fill, one.placed, one.load.replica_count, one.load.id)
        })?;
        next.placed += 1;
        let rack = next.load.rack.as_deref();
        *used.entry(rack).or_default() += 1;
        racks.entry(rack).or_default().placed += 1;
        chosen.push(next.load.id);
    }
    let holds = candidates.iter_mut().filter(|one| chosen.contains(&one.load.id));
    let leader = holds.min_by_key(|one| (one.led, one.load.leader_count, one.load.id))?;
    leader.led += 1;
    let leader = leader.load.id;
    chosen.retain(|id| *id != leader);
    chosen.insert(0, leader);
    Some(Assignment { replicas: chosen.into(), leader })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broker(id: u32, rack: Option<&str>) -> BrokerLoad {
        let rack = rack.map(Into::into);
        BrokerLoad { id: BrokerId(id), rack, takes: Takes::New, replica_count: 0, leader_count: 0 }
    }

    fn count(assigned: &[Assignment], has: impl Fn(&Assignment) -> bool) -> usize {
        assigned.iter().filter(|one| has(one)).count()
    }

    /// How many racks, or brokers, differ at most.
    fn spread(counts: impl Iterator<Item = usize> + Clone) -> usize {
        counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
    }

    prop_compose! {
        fn any_broker()(
            rack in prop::option::of(0_u8..4), takes in 0_u8..6, replica_count in 0_u64..40, leader_count in 0_u64..20,
        ) -> (Option<u8>, Takes, u64, u64) {
            let takes = match takes { 0 => Takes::NoneFenced, 1 => Takes::NoneDraining, _ => Takes::New };
            (rack, takes, replica_count, leader_count)
        }
    }

    /// What must be true of one partition, asked of each rack and each broker in turn.
    fn check(one: &Assignment, brokers: &[BrokerLoad], replication: usize) {
        assert_eq!(one.replicas.len(), replication);
        assert_eq!(one.replicas.first(), Some(&one.leader));
        for id in one.replicas.iter() {
            assert_eq!(one.replicas.iter().filter(|other| *other == id).count(), 1, "{id} is there twice");
            assert!(brokers.iter().any(|broker| broker.id == *id && broker.takes == Takes::New));
        }
        let taking = || brokers.iter().filter(|broker| broker.takes == Takes::New);
        let held = |rack: &Option<Arc<str>>| {
            taking().filter(|broker| broker.rack == *rack && one.replicas.contains(&broker.id)).count()
        };
        let has_room = |rack: &Option<Arc<str>>| {
            taking().any(|broker| broker.rack == *rack && !one.replicas.contains(&broker.id))
        };
        for full in taking() {
            for other in taking() {
                let uneven = held(&full.rack) > held(&other.rack) + 1 && has_room(&other.rack);
                assert!(!uneven, "{:?} holds too many of {one:?}", full.rack);
            }
        }
    }

    proptest! {
        #[test]
        fn replicas_are_on_different_brokers_and_spread_over_racks(
            drawn in prop::collection::vec(any_broker(), 0..12), replication in 0_u32..6, partition_count in 0_u32..20,
            turn in 0_usize..12,
        ) {
            let load = |((rack, takes, replica_count, leader_count), id): ((Option<u8>, Takes, u64, u64), u32)| {
                let rack = rack.map(|rack| rack.to_string().into());
                BrokerLoad { id: BrokerId(id), rack, takes, replica_count, leader_count }
            };
            let mut brokers: Vec<_> = drawn.into_iter().zip(1..).map(load).collect();
            let taking = brokers.iter().filter(|broker| broker.takes == Takes::New).count();
            let placed = place(&brokers, replication, partition_count);
            let by = turn % brokers.len().max(1);
            brokers.rotate_left(by);
            prop_assert_eq!(&placed, &place(&brokers, replication, partition_count), "the order of brokers means nothing");
            match placed {
                Err(PlacementError::NoReplica) => prop_assert_eq!(replication, 0),
                Err(PlacementError::TooFewBrokers { asked, taking: said, others }) => {
                    prop_assert!(asked > taking && said == taking);
                    prop_assert_eq!(others.len(), brokers.len() - taking);
                }
                Err(error) => prop_assert!(false, "{}", error),
                Ok(assigned) => {
                    prop_assert_eq!(assigned.len(), partition_count as usize);
                    assigned.iter().for_each(|one| check(one, &brokers, replication as usize));
                }
            }
        }

        #[test]
        fn a_topic_is_spread_evenly_over_racks_of_equal_size(
            racks in 1_u32..5, size in 1_u32..4, replication in 1_u32..5, partition_count in 0_u32..40,
            loads in prop::collection::vec((0_u64..50, 0_u64..50), 12),
        ) {
            let name = |id: u32| format!("rack {}", id % racks);
            let mut brokers: Vec<_> = (0..racks * size).map(|id| broker(id, Some(&name(id)))).collect();
            for (broker, load) in brokers.iter_mut().zip(loads) {
                (broker.replica_count, broker.leader_count) = load;
            }
            prop_assume!(replication <= racks * size);
            let assigned = place(&brokers, replication, partition_count).unwrap();
            let replicas = brokers.iter().map(|one| count(&assigned, |it| it.replicas.contains(&one.id)));
            prop_assert!(spread(replicas.clone()) <= 1, "{:?}", replicas.collect::<Vec<_>>());
            let leaders = brokers.iter().map(|one| count(&assigned, |it| it.leader == one.id));
            prop_assert!(spread(leaders.clone()) <= 2, "{:?}", leaders.collect::<Vec<_>>());
        }
    }

    #[test]
    fn among_equals_the_least_load_is_taken() {
        let mut brokers = [broker(1, None), broker(2, None), broker(3, None)];
        brokers[0].replica_count = 9;
        brokers[1].leader_count = 9;
        let assigned = place(&brokers, 2, 1).unwrap();
        assert_eq!(assigned[0].replicas[..], [BrokerId(3), BrokerId(2)]);
    }

    #[test]
    fn an_empty_broker_does_not_get_a_whole_topic() {
        let mut brokers = [broker(1, None), broker(2, None), broker(3, None)];
        (brokers[0].replica_count, brokers[1].replica_count) = (1_000, 1_000);
        let assigned = place(&brokers, 1, 6).unwrap();
        assert_eq!(count(&assigned, |one| one.leader == BrokerId(3)), 2);
    }

    #[test]
    fn errors_name_what_is_missing() {
        let mut brokers = vec![broker(1, None), broker(2, None), broker(3, None)];
        (brokers[1].takes, brokers[2].takes) = (Takes::NoneFenced, Takes::NoneDraining);
        let error = place(&brokers, 3, 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "3 replicas need 3 brokers, and 1 take new partitions (broker 2 is fenced, broker 3 is drained); start more, or ask for \
             fewer replicas"
        );
        brokers.push(broker(1, None));
        assert_eq!(place(&brokers, 1, 1), Err(PlacementError::BrokerTwice { broker: BrokerId(1) }));
        let none = place(&[], 1, 1).unwrap_err().to_string();
        assert_eq!(
            none,
            "1 replicas need 1 brokers, and 0 take new partitions; start more, or ask for fewer replicas"
        );
    }
}
