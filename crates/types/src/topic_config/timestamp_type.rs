//! Whose clock timestamps come from.

use std::{fmt, str::FromStr};

use crate::UnknownWord;

/// Whose clock the timestamps of a batch come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's: every record has its own.
    #[default]
    CreateTime,
    /// The leader's at the append: every record of the batch has the batch's greatest timestamp.
    LogAppendTime,
}

impl TimestampType {
    /// The word in topic configs: Kafka's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TimestampType {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::CreateTime, Self::LogAppendTime].into_iter().find(|kind| kind.as_str() == word).ok_or_else(
            || UnknownWord {
                what: "timestamp type",
                got: word.to_owned(),
                allowed: "CreateTime, LogAppendTime",
            },
        )
    }
}
