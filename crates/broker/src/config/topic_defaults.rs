//! `[topic_defaults]`: what a topic gets that is created without saying otherwise.

use corduroy_types::{ConfigKey, TOPIC_CONFIGS, TopicConfig, TopicConfigError};

use super::{
    key::{BadValue, Form, Key},
    values::Auto,
};

/// The configs of topics created from now on; topics that exist keep theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// How many partitions; at least 1.
    pub partitions: u32,
    /// How many replicas; auto: three, or as many as there are brokers.
    pub replication: Auto<u16>,
    /// Every topic config: the built-in default, or what the operator set.
    pub config: TopicConfig,
}

impl TopicDefaults {
    /// The replicas to ask for; `None` is automatic.
    pub(crate) fn replication(&self) -> Option<u32> {
        match self.replication {
            Auto::Auto => None,
            Auto::Set(replication) => Some(replication.into()),
        }
    }

    /// The configs that differ from the built-in defaults, as (key, value): what a new topic stores.
    pub(crate) fn entries(&self) -> Vec<(String, String)> {
        let set = self.config.entries().filter(|entry| entry.value != entry.default_value);
        set.map(|entry| (entry.key.to_owned(), entry.value)).collect()
    }
}

/// The keys of `[topic_defaults]` that are topic configs: those of [`TOPIC_CONFIGS`], under the same names.
pub(super) fn config_keys() -> impl Iterator<Item = Key> {
    TOPIC_CONFIGS.iter().map(config_key)
}

fn config_key(topic: &'static ConfigKey) -> Key {
    Key {
        section: "topic_defaults",
        name: topic.key(),
        form: Form::Scalar,
        accepts: topic.form_text(),
        doc: topic.summary().to_owned(),
        set: Box::new(|config, text| config.topic_defaults.config.set(topic.key(), text).map_err(bad_value)),
        show: Box::new(|config| config.topic_defaults.config.get(topic.key()).unwrap_or_default()),
    }
}

fn bad_value(error: TopicConfigError) -> BadValue {
    match error {
        TopicConfigError::InvalidValue { value, form, .. } => BadValue::form(&value, &form),
        other => BadValue { code: super::key::code("C0012"), text: other.to_string() },
    }
}
