//! One topic config key and what is known of it.

use super::{TOPIC_CONFIGS, TopicConfig, TopicConfigError, error::printable, form::Form};
use crate::{hidden_character, nearest};

/// A topic config: its key, form, range, default and meaning.
pub struct ConfigKey {
    pub(super) key: &'static str,
    pub(super) form: Form,
    pub(super) summary: &'static str,
    pub(super) effect: &'static str,
}

impl ConfigKey {
    /// The key with exactly this name.
    pub fn find(key: &str) -> Option<&'static Self> {
        TOPIC_CONFIGS.iter().find(|known| known.key == key)
    }

    /// As [`ConfigKey::find`], with an error that suggests the nearest key.
    ///
    /// # Errors
    /// [`TopicConfigError::UnknownKey`].
    pub fn lookup(key: &str) -> Result<&'static Self, TopicConfigError> {
        Self::find(key).ok_or_else(|| TopicConfigError::UnknownKey {
            suggestion: nearest(key, super::CONFIG_KEYS),
            key: printable(key),
        })
    }

    /// Kafka's dotted name, or ours where Kafka has none.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// What it is, in one sentence.
    pub const fn summary(&self) -> &'static str {
        self.summary
    }

    /// What happens when it is changed on a topic that has records.
    pub const fn effect(&self) -> &'static str {
        self.effect
    }

    /// Form and range of its values in words: the end of the sentence "it takes ...".
    pub fn form_text(&self) -> String {
        self.form.described()
    }

    /// The values of a closed set (`sync`, `background`), for completions; empty for open ones.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        self.form.words()
    }

    /// The value of a topic that does not set it, in canonical form.
    pub fn default_value(&self) -> String {
        self.form.read(&TopicConfig::default())
    }

    /// The canonical form of a new value: `10080m` becomes `7d`.
    ///
    /// # Errors
    /// [`TopicConfigError::HiddenCharacter`], also where a stored value stays readable, and
    /// [`TopicConfigError::InvalidValue`].
    pub fn canonical(&self, value: &str) -> Result<String, TopicConfigError> {
        if let Some(character) = hidden_character(value) {
            return Err(TopicConfigError::HiddenCharacter { key: self.key, character });
        }
        let mut config = TopicConfig::default();
        self.write(&mut config, value)?;
        Ok(self.read(&config))
    }

    pub(super) fn read(&self, config: &TopicConfig) -> String {
        self.form.read(config)
    }

    pub(super) fn write(&self, config: &mut TopicConfig, value: &str) -> Result<(), TopicConfigError> {
        self.form.write(config, value).ok_or_else(|| TopicConfigError::InvalidValue {
            key: self.key,
            value: printable(value),
            form: self.form.described(),
        })
    }
}

impl std::fmt::Debug for ConfigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigKey").field("key", &self.key).finish_non_exhaustive()
    }
}
