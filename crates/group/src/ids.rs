//! Names in a group: the group's own, its members', their instances', and the partitions they share.

use std::{fmt, sync::Arc};

use corduroy_types::{PartitionIndex, TopicId, hidden_character};

/// The greatest length of a name, in bytes.
pub const NAME_BYTES_MAX: usize = 249;

/// Why a text is no name of a group, member or instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("a {what} must not be empty")]
    Empty {
        /// What the name was meant for.
        what: &'static str,
    },
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a {what} has at most {NAME_BYTES_MAX} bytes, this one has {got}")]
    TooLong {
        /// What the name was meant for.
        what: &'static str,
        /// Its length in bytes.
        got: usize,
    },
    /// It holds a character that is not seen, or changes how the rest is seen.
    #[error("a {what} must not hold the character U+{:04X}, which is not shown", u32::from(*character))]
    Hidden {
        /// What the name was meant for.
        what: &'static str,
        /// The first such character.
        character: char,
    },
}

fn checked(what: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    match name.len() {
        0 => Err(InvalidName::Empty { what }),
        got if got > NAME_BYTES_MAX => Err(InvalidName::TooLong { what, got }),
        _ => Ok(name.into()),
    }
}

/// A name that is stored already: taken before the rule was as strict, it must stay readable.
fn stored(what: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    match name.chars().find(|c| c.is_control()) {
        Some(character) => Err(InvalidName::Hidden { what, character }),
        None => checked(what, name),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)+) => {$(
        $(#[$doc])*
        ///
        /// 1 to 249 bytes, none of them of a [hidden](corduroy_types::is_hidden) character. Cheap to clone.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps a name.
            ///
            /// # Errors
            /// [`InvalidName`] says which rule was broken.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                match hidden_character(name) {
                    Some(character) => Err(InvalidName::Hidden { what: $what, character }),
                    None => checked($what, name).map(Self),
                }
            }

            pub(crate) fn stored(name: &str) -> Result<Self, InvalidName> {
                stored($what, name).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

names! {
    /// A group's name, chosen by the application.
    GroupName, "group name";
    /// What a member calls itself: each consumer that is built draws a new one.
    MemberId, "member id";
    /// What a static member calls itself: the same after each restart (KIP-345).
    InstanceId, "instance id";
}

/// A partition of a topic, by the topic's identity: a recreated topic has other ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic_id, self.partition)
    }
}

macro_rules! epochs {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The epoch after this one.
            pub(crate) const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

epochs! {
    /// Rises whenever the assignment is computed, and is at least the epoch of every member that has
    /// gone. 0 is before the first time.
    GroupEpoch;
    /// Rises with each change of a member's own share, and begins above what any member that has gone had. 0 is before
    /// it joined.
    MemberEpoch;
}
