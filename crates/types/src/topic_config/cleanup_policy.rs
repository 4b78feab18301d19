//! What makes room in a topic.

use std::{fmt, str::FromStr};

use crate::UnknownWord;

/// What becomes of old records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CleanupPolicy {
    /// Retention deletes the oldest segments.
    #[default]
    Delete,
    /// Of each key the last record stays.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl CleanupPolicy {
    /// The word in topic configs: Kafka's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactAndDelete => "compact,delete",
        }
    }

    /// Whether retention deletes segments.
    pub const fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }

    /// Whether superseded records are removed.
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }
}

impl fmt::Display for CleanupPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for CleanupPolicy {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "delete" => Ok(Self::Delete),
            "compact" => Ok(Self::Compact),
            "compact,delete" | "delete,compact" => Ok(Self::CompactAndDelete),
            _ => Err(UnknownWord {
                what: "cleanup policy",
                got: word.to_owned(),
                allowed: "delete; compact; compact,delete",
            }),
        }
    }
}
