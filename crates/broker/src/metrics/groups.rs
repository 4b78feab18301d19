//! Consumer groups: what is counted of them. What is a state is sampled: see [`super::GroupSample`].

use std::collections::HashSet;

use parking_lot::Mutex;
use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{
    Counter,
    labels::{CommitResult, RebalanceReason},
};

/// The group of all that have no series of their own.
pub(super) const OTHER: &str = "__other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCommit {
    group: String,
    result: CommitResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRebalance {
    group: String,
    reason: RebalanceReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTopic {
    group: String,
    topic: String,
}

/// The counters of groups.
#[derive(Debug)]
pub struct GroupMetrics {
    commits: Family<OfCommit, Counter>,
    rebalances: Family<OfRebalance, Counter>,
    lost: Family<OfTopic, Counter>,
    named: Mutex<Named>,
}

/// Who has series of their own.
#[derive(Debug, Default)]
struct Named {
    groups: HashSet<String>,
    lost_in: HashSet<(String, String)>,
}

impl GroupMetrics {
    /// Groups that have series of their own. Those beyond it share the label `group="__other"`, so that the number
    /// of series has an upper limit whatever is created.
    pub const GROUPS_MAX: usize = 1_000;

    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            commits: Family::default(),
            rebalances: Family::default(),
            lost: Family::default(),
            named: Mutex::default(),
        };
        registry.register(
            "group_commits",
            "Offsets that were committed (ok) or refused, by group",
            metrics.commits.clone(),
        );
        registry.register(
            "group_rebalances",
            "How often an assignment was computed, by group and reason",
            metrics.rebalances.clone(),
        );
        registry.register(
            "group_lost_offsets",
            "Offsets that were deleted before the group had read them",
            metrics.lost.clone(),
        );
        metrics
    }

    /// Counts offsets that a group wanted to commit.
    pub fn commits(&self, group: &str, result: CommitResult, offsets: u64) {
        if offsets > 0 {
            let group = self.label(group);
            self.commits.get_or_create(&OfCommit { group, result }).inc_by(offsets);
        }
    }

    /// Counts a rebalance.
    pub fn rebalanced(&self, group: &str, reason: RebalanceReason) {
        let group = self.label(group);
        self.rebalances.get_or_create(&OfRebalance { group, reason }).inc();
    }

    /// Counts offsets that a group has missed.
    pub fn lost(&self, group: &str, topic: &str, offsets: u64) {
        if offsets == 0 {
            return;
        }
        let label = self.label(group);
        let topic = if label == OTHER { OTHER.to_owned() } else { topic.to_owned() };
        self.named.lock().lost_in.insert((label.clone(), topic.clone()));
        self.lost.get_or_create(&OfTopic { group: label, topic }).inc_by(offsets);
    }

    /// Forgets the series of groups that are gone.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let mut named = self.named.lock();
        let gone: Vec<String> = named.groups.iter().filter(|group| !is_there(group)).cloned().collect();
        for group in gone {
            for &result in CommitResult::ALL {
                self.commits.remove(&OfCommit { group: group.clone(), result });
            }
            for &reason in RebalanceReason::ALL {
                self.rebalances.remove(&OfRebalance { group: group.clone(), reason });
            }
            let topics: Vec<_> = named.lost_in.iter().filter(|(of, _)| *of == group).cloned().collect();
            for (group, topic) in topics {
                named.lost_in.remove(&(group.clone(), topic.clone()));
                self.lost.remove(&OfTopic { group, topic });
            }
            named.groups.remove(&group);
        }
    }

    /// Forgets a topic that was deleted, with its series.
    pub fn forget_topic(&self, topic: &str) {
        let mut named = self.named.lock();
        let lost = &self.lost;
        named.lost_in.retain(|(group, of)| {
            let stays = of != topic;
            if !stays {
                lost.remove(&OfTopic { group: group.clone(), topic: of.clone() });
            }
            stays
        });
    }

    fn label(&self, group: &str) -> String {
        let mut named = self.named.lock();
        if !named.groups.contains(group) {
            if named.groups.len() >= Self::GROUPS_MAX {
                return OTHER.to_owned();
            }
            named.groups.insert(group.to_owned());
        }
        group.to_owned()
    }
}
