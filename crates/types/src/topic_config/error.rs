//! What can be wrong with topic configs.

use crate::ErrorCode;

/// Why topic configs were refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// No config has this key.
    #[error("no topic config is called {key:?}{}", hint(*.suggestion))]
    UnknownKey {
        /// The key as given, cut to a printable length.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// The value has the wrong form or is out of range.
    #[error("{key} cannot be {value:?}; it takes {form}")]
    InvalidValue {
        /// The key.
        key: &'static str,
        /// The value as given, cut to a printable length.
        value: String,
        /// Form and range of the values it takes.
        form: String,
    },
    /// The value has a character that is not seen or turns the direction of writing.
    #[error("{key} holds the character U+{:04X}, which is not shown; leave it out", u32::from(*character))]
    HiddenCharacter {
        /// The key.
        key: &'static str,
        /// The first such character.
        character: char,
    },
    /// Two values that cannot hold together.
    #[error("{key} {value} contradicts {other_key} {other_value}; {rule}")]
    Contradiction {
        /// The first key.
        key: &'static str,
        /// Its value.
        value: String,
        /// The second key.
        other_key: &'static str,
        /// Its value.
        other_value: String,
        /// The rule, and what to do.
        rule: &'static str,
    },
}

impl TopicConfigError {
    /// The code under which it reaches a client.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownKey { .. } => ErrorCode::UnknownConfigKey,
            Self::InvalidValue { .. } | Self::HiddenCharacter { .. } | Self::Contradiction { .. } => {
                ErrorCode::InvalidConfigValue
            }
        }
    }
}

fn hint(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(key) => format!("; did you mean {key:?}?"),
        None => format!("; the keys are: {}", super::CONFIG_KEYS.join(", ")),
    }
}

/// `text`, or its beginning when it is too long for an error message.
pub(super) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
