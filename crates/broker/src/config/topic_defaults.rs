//! `[topic_defaults]`: what a topic gets that is created without saying otherwise.

use std::collections::BTreeMap;

use super::{key::Key, values::Auto};

/// The configs of topics created from now on; topics that exist keep theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// How many partitions; at least 1.
    pub partitions: u32,
    /// How many replicas; auto: three, or as many as there are brokers.
    pub replication: Auto<u16>,
    /// Topic configs by their dotted keys, as text that was checked: only those that differ from the built-in
    /// default because somebody set them.
    pub configs: BTreeMap<String, String>,
}

/// The keys of `[topic_defaults]` that are topic configs.
pub(super) fn config_keys() -> Vec<Key> {
    Vec::new()
}
