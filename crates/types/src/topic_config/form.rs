//! The forms that values take: how each is read, checked, written and described.

use std::{ops::RangeInclusive, sync::Arc};

use super::{TopicConfig, UNLIMITED};
use crate::{Ratio, format_byte_size, format_duration_ms, parse_byte_size, parse_duration_ms};

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Ms,
}

impl Unit {
    fn parse(self, text: &str) -> Option<u64> {
        match self {
            Self::Bytes => parse_byte_size(text).ok(),
            Self::Ms => parse_duration_ms(text).ok(),
        }
    }

    fn format(self, number: u64) -> String {
        match self {
            Self::Bytes => format_byte_size(number),
            Self::Ms => format_duration_ms(number),
        }
    }

    fn described(self, range: &RangeInclusive<u64>) -> String {
        let what = match self {
            Self::Bytes => "a size",
            Self::Ms => "a duration",
        };
        let example = match self {
            Self::Bytes => "bytes, or with a unit like 64KiB or 256MiB",
            Self::Ms => "milliseconds, or with a unit like 500ms, 30s, 24h or 7d",
        };
        format!("{what} from {} to {} ({example})", self.format(*range.start()), self.format(*range.end()))
    }
}

/// The form of a config's values, and the field of [`TopicConfig`] that holds them.
pub(super) enum Form {
    /// A number of at most 32 bits, with a unit.
    Small { unit: Unit, range: RangeInclusive<u64>, field: Lens<u32> },
    /// A number with a unit.
    Number { unit: Unit, range: RangeInclusive<u64>, field: Lens<u64> },
    /// A number with a unit, or "unlimited".
    Limit { unit: Unit, range: RangeInclusive<u64>, field: Lens<Option<u64>> },
    /// A part of a whole.
    Ratio { field: Lens<Ratio> },
    /// `true` or `false`.
    Flag { field: Lens<bool> },
    /// One of a closed set of words; `write` says whether it is one.
    Word {
        words: &'static str,
        read: fn(&TopicConfig) -> &'static str,
        write: fn(&mut TopicConfig, &str) -> bool,
    },
    /// Free text without control characters.
    Text { chars_max: usize, field: Lens<Arc<str>> },
}

/// How to reach one field of [`TopicConfig`].
pub(super) struct Lens<T> {
    pub(super) get: fn(&TopicConfig) -> &T,
    pub(super) get_mut: fn(&mut TopicConfig) -> &mut T,
}

impl Form {
    /// The canonical text of the field's value.
    pub(super) fn read(&self, config: &TopicConfig) -> String {
        match self {
            Self::Small { unit, field, .. } => unit.format((*(field.get)(config)).into()),
            Self::Number { unit, field, .. } => unit.format(*(field.get)(config)),
            Self::Limit { unit, field, .. } => match (field.get)(config) {
                Some(limit) => unit.format(*limit),
                None => UNLIMITED.to_owned(),
            },
            Self::Ratio { field } => (field.get)(config).to_string(),
            Self::Flag { field } => (field.get)(config).to_string(),
            Self::Word { read, .. } => read(config).to_owned(),
            Self::Text { field, .. } => (field.get)(config).as_ref().to_owned(),
        }
    }

    /// Puts a text into the field; `None` when it has the wrong form or is out of range.
    pub(super) fn write(&self, config: &mut TopicConfig, text: &str) -> Option<()> {
        let ranged = |unit: Unit, range: &RangeInclusive<u64>| {
            unit.parse(text).filter(|number| range.contains(number))
        };
        match self {
            Self::Small { unit, range, field } => {
                *(field.get_mut)(config) = u32::try_from(ranged(*unit, range)?).ok()?;
            }
            Self::Number { unit, range, field } => *(field.get_mut)(config) = ranged(*unit, range)?,
            Self::Limit { unit, range, field } => {
                let unlimited = matches!(text.trim(), UNLIMITED | "-1");
                *(field.get_mut)(config) = if unlimited { None } else { Some(ranged(*unit, range)?) };
            }
            Self::Ratio { field } => *(field.get_mut)(config) = text.trim().parse().ok()?,
            Self::Flag { field } => *(field.get_mut)(config) = text.trim().parse().ok()?,
            Self::Word { write, .. } => write(config, text.trim()).then_some(())?,
            Self::Text { chars_max, field } => {
                let fits = text.chars().count() <= *chars_max && !text.chars().any(char::is_control);
                *(field.get_mut)(config) = fits.then(|| text.into())?;
            }
        }
        Some(())
    }

    /// Form and range in words: the end of the sentence "it takes ...".
    pub(super) fn described(&self) -> String {
        match self {
            Self::Small { unit, range, .. } | Self::Number { unit, range, .. } => unit.described(range),
            Self::Limit { unit, range, .. } => format!("{}, or {UNLIMITED} (-1)", unit.described(range)),
            Self::Ratio { .. } => "a number from 0 to 1 with at most three decimals".to_owned(),
            Self::Flag { .. } => "true or false".to_owned(),
            Self::Word { words, .. } => format!("one of: {words}"),
            Self::Text { chars_max, .. } => {
                format!("a text of at most {chars_max} characters without control characters")
            }
        }
    }

    /// The values of a closed set, for completions; empty for open ones.
    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> {
        match self {
            Self::Word { words, .. } => words,
            Self::Flag { .. } => "false, true",
            Self::Limit { .. } => UNLIMITED,
            Self::Small { .. } | Self::Number { .. } | Self::Ratio { .. } | Self::Text { .. } => "",
        }
        .split(", ")
        .filter(|word| !word.is_empty())
    }
}
