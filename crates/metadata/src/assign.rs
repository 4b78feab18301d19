//! Which brokers hold and lead new partitions.

use std::sync::Arc;

use corduroy_types::BrokerId;

use crate::Assignment;

/// Assigns `count` new partitions round robin over `brokers`, starting at position `start`.
///
/// Each partition's replicas are neighbours in the ring and its first replica leads, so that leaders and
/// replicas spread evenly. `replication` is at most the number of brokers.
pub(crate) fn assign(brokers: &[BrokerId], replication: usize, count: u32, start: usize) -> Vec<Assignment> {
    let ring = |at: usize| brokers.iter().copied().cycle().skip(at % brokers.len().max(1)).take(replication);
    (start..)
        .zip(0..count)
        .filter_map(|(at, _)| {
            let replicas: Arc<[BrokerId]> = ring(at).collect();
            Some(Assignment { leader: *replicas.first()?, replicas })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_and_leaders_spread_evenly() {
        let brokers = [BrokerId(1), BrokerId(5), BrokerId(9)];
        let assigned = assign(&brokers, 2, 6, 4);
        assert_eq!(assigned.len(), 6);
        for broker in brokers {
            assert_eq!(assigned.iter().filter(|one| one.leader == broker).count(), 2);
            assert_eq!(assigned.iter().filter(|one| one.replicas.contains(&broker)).count(), 4);
        }
        assert_eq!(assigned[0].replicas[..], [BrokerId(5), BrokerId(9)]);
        assert!(assign(&[], 0, 3, 0).is_empty());
    }
}
