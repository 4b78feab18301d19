//! Topic configs set and unset.

use std::{collections::BTreeSet, sync::Arc};

use corduroy_types::ConfigKey;

use super::changeable;
use crate::{
    AlterTopicConfigs, AlteredConfigs, Command, ConfigChange, Decision, Image, MetadataError, Record,
    topic::{Overrides, config_of},
};

impl Command for AlterTopicConfigs {
    type Answer = AlteredConfigs;

    fn decide(&self, image: &Image) -> Result<Decision<AlteredConfigs>, MetadataError> {
        let topic = changeable(image, &self.name)?;
        let mut overrides = topic.overrides.clone();
        let mut keys = lay_over(&mut overrides, &self.set)?;
        for key in &self.unset {
            let key = ConfigKey::lookup(key)?.key();
            overrides.remove(key);
            keys.push(key);
        }
        refuse_repetition(&keys)?;
        let config = config_of(&overrides)?;
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let (previous_value, value) = (topic.config.get(key)?, config.get(key)?);
            changes.push(ConfigChange { key, previous_value, value });
        }
        let records = altered(topic, &overrides).into_iter().collect();
        Ok(Decision { records, answer: AlteredConfigs { previous: Arc::clone(topic), changes } })
    }
}

/// The record that turns a topic's own configs into `overrides`; `None` when they are the same.
fn altered(topic: &crate::Topic, overrides: &Overrides) -> Option<Record> {
    let set: Vec<_> = overrides
        .iter()
        .filter(|(key, value)| topic.overrides.get(*key) != Some(*value))
        .map(|(key, value)| (Arc::from(*key), Arc::clone(value)))
        .collect();
    let unset: Vec<Arc<str>> = topic
        .overrides
        .keys()
        .filter(|key| !overrides.contains_key(*key))
        .map(|key| Arc::from(*key))
        .collect();
    let changes = !set.is_empty() || !unset.is_empty();
    changes.then_some(Record::ConfigsAltered { topic_id: topic.id, set, unset })
}

/// Puts `entries` into `overrides` in canonical form; returns their keys in the order given.
pub(super) fn lay_over(
    overrides: &mut Overrides,
    entries: &[(String, String)],
) -> Result<Vec<&'static str>, MetadataError> {
    entries
        .iter()
        .map(|(key, value)| {
            let key = ConfigKey::lookup(key)?;
            let value = key.canonical(value)?;
            overrides.insert(key.key(), value.into());
            Ok(key.key())
        })
        .collect()
}

/// Refuses a list in which a key occurs twice: which value is meant?
pub(super) fn refuse_repetition(keys: &[&'static str]) -> Result<(), MetadataError> {
    let mut seen = BTreeSet::new();
    match keys.iter().find(|key| !seen.insert(**key)) {
        Some(key) => Err(MetadataError::ConfigNamedTwice { key }),
        None => Ok(()),
    }
}
