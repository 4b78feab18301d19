//! What a producer may ask for, and how a produce can end.

use std::{fmt, str::FromStr};

/// A word that is not one of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not a value of {what}; use one of: {allowed}")]
pub struct UnknownWord {
    /// The name of the set.
    pub what: &'static str,
    /// The word that was given.
    pub got: String,
    /// The words of the set, comma-separated.
    pub allowed: &'static str,
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// After the leader's own append counts. Promises nothing past that leader.
    One,
    /// After the high watermark passed it: a majority of the replicas holds it.
    #[default]
    Quorum,
    /// As `Quorum`, and every in-sync replica holds it.
    All,
}

/// When bytes count as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When they are on stable storage.
    #[default]
    Sync,
    /// When they are in the page cache; a power cut may lose the newest.
    Background,
}

/// What is known of a produce that did not succeed. There is no third case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The records were certainly never appended; sending them again cannot duplicate them.
    NotWritten,
    /// The records may or may not be in the log.
    Unknown,
}

impl Outcome {
    /// The outcome of several attempts together: unknown once any of them was.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        if self == Self::NotWritten { other } else { self }
    }
}

macro_rules! words {
    ($type:ident, $what:literal, $allowed:literal, $($variant:ident => $word:literal),+) => {
        impl $type {
            /// The word for this value, the same in configuration, command line and API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }
        impl FromStr for $type {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { what: $what, got: word.to_owned(), allowed: $allowed }),
                }
            }
        }
    };
}
words!(Acks, "acks", "one, quorum, all", One => "one", Quorum => "quorum", All => "all");
words!(Durability, "durability", "sync, background", Sync => "sync", Background => "background");
words!(Outcome, "outcome", "not-written, unknown", NotWritten => "not-written", Unknown => "unknown");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unknown_attempt_makes_the_whole_unknown() {
        use Outcome::{NotWritten, Unknown};
        assert_eq!(NotWritten.join(NotWritten), NotWritten);
        for (a, b) in [(NotWritten, Unknown), (Unknown, NotWritten), (Unknown, Unknown)] {
            assert_eq!(a.join(b), Unknown);
        }
    }

    #[test]
    fn words_read_back() {
        for acks in [Acks::One, Acks::Quorum, Acks::All] {
            assert_eq!(acks.as_str().parse(), Ok(acks));
        }
        assert_eq!("sync".parse(), Ok(Durability::Sync));
        assert!("Sync".parse::<Durability>().unwrap_err().to_string().contains("sync, background"));
    }
}
