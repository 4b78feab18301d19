//! What a member wants to read.

use std::{collections::BTreeSet, fmt, sync::Arc};

use corduroy_types::TopicName;
use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const PATTERN_COMPILED_BYTES_MAX: usize = 256 << 10;
/// The greatest length of a pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Topics by name, by pattern, or both. Matched on the broker, so that new topics join by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Topics by name. One that does not exist yet counts from when it does.
    pub topics: BTreeSet<TopicName>,
    /// All topics whose whole name matches.
    pub pattern: Option<Pattern>,
}

/// A regular expression that has to match a whole topic name.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    /// Shared, since many members subscribe with the same pattern.
    regex: Arc<Regex>,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no topic pattern: {reason}")]
pub struct InvalidPattern {
    /// The text, cut to a printable length.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] when it is no regular expression, or would be too large compiled.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |reason: String| InvalidPattern { pattern: text.chars().take(80).collect(), reason };
        if text.len() > PATTERN_BYTES_MAX {
            return Err(invalid(format!(
                "it has {} bytes, at most {PATTERN_BYTES_MAX} are allowed",
                text.len()
            )));
        }
        let compile = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.size_limit(PATTERN_COMPILED_BYTES_MAX).dfa_size_limit(PATTERN_COMPILED_BYTES_MAX);
            builder.build().map_err(|error| invalid(error.to_string()))
        };
        // Alone first, so that no stray bracket can end the group that anchors it.
        compile(text)?;
        let regex = compile(&format!("^(?:{text})$"))?;
        Ok(Self { text: text.into(), regex: Arc::new(regex) })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let pattern = Pattern::new("orders|audit.*").unwrap();
        assert!(pattern.matches("orders") && pattern.matches("audit.eu"));
        assert!(!pattern.matches("orders.eu") && !pattern.matches("my-audit"));
    }

    #[test]
    fn a_bad_pattern_is_refused_with_its_reason() {
        assert!(Pattern::new("a)|(b").is_err());
        assert!(Pattern::new("a(").unwrap_err().to_string().contains("a("));
        assert!(Pattern::new(&"(a{1000}){1000}".repeat(3)).is_err(), "compiles to too much");
        assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }
}
