//! Topic names.

use std::{fmt, str::FromStr, sync::Arc};

/// A topic's name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..` (Kafka's rule).
///
/// Names that begin with two underscores belong to the broker. A name never becomes a path: directories
/// carry the topic id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// Nothing was given.
    #[error("a topic name must not be empty")]
    Empty,
    /// Longer than [`TopicName::LENGTH_MAX`].
    #[error("a topic name has at most {max} characters, this one has {got}", max = TopicName::LENGTH_MAX)]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// A character outside the allowed set.
    #[error("topic name {name:?} has {character:?}; allowed are a-z A-Z 0-9 . _ -")]
    Character {
        /// The name, cut to a printable length.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// `.` or `..`.
    #[error("a topic cannot be called \".\" or \"..\"")]
    Dots,
}

impl TopicName {
    /// The greatest length in bytes.
    pub const LENGTH_MAX: usize = 249;

    /// Checks and keeps a name.
    ///
    /// # Errors
    /// [`InvalidTopicName`] says which rule was broken.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name.len() > Self::LENGTH_MAX {
            return Err(InvalidTopicName::TooLong { got: name.len() });
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Dots);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match name.chars().find(|c| !allowed(*c)) {
            Some(character) => Err(InvalidTopicName::Character { name: name.to_owned(), character }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is reserved for the broker's own topics.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;
    fn from_str(name: &str) -> Result<Self, InvalidTopicName> {
        Self::new(name)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for good in ["a", "orders.v1", "A_b-9", "__groups", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", "../x", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }
}
