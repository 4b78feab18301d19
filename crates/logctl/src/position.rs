//! Where a group is to go on, as people write it: `start`, `end`, `42`, `+10`, `-10`, `@2026-11-20`, `group:other`,
//! `file:offsets.jsonl`.

use std::{path::PathBuf, str::FromStr};

use corduroy_types::{Offset, TimestampMs};

use crate::range::{InvalidOffsetArg, OffsetArg};

/// A place for a group. Unlike in a [`OffsetArg`], numbers with a sign count from the committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The first record there is.
    Start,
    /// Behind the last one.
    End,
    /// That very offset.
    Offset(Offset),
    /// That many records behind the committed offset.
    Forward(u64),
    /// That many before it.
    Back(u64),
    /// The first record with that time or a later one.
    Time(TimestampMs),
    /// The same, that many milliseconds before the command began.
    Ago(u64),
    /// Where another group is.
    Group(String),
    /// What was exported.
    File(PathBuf),
}

impl Position {
    /// Whether it says itself which partitions it is for.
    pub(crate) fn names_partitions(&self) -> bool {
        matches!(self, Self::Group(_) | Self::File(_))
    }

    /// The same place with a relative time made absolute.
    pub(crate) fn at(self, now: TimestampMs) -> Self {
        match self {
            Self::Ago(duration_ms) => Self::Time(now.minus_ms(duration_ms)),
            other => other,
        }
    }
}

/// A text that names no place for a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPosition {
    /// None of the forms.
    #[error(
        "{0:?} is no place for a group; write start, end, an offset, +N or -N (from the committed offset), \
         @2026-11-20, @RFC3339, @-15m, group:OTHER or file:FILE{hint}",
        hint = crate::range::meant(.0)
    )]
    Form(String),
    /// A time or a number that is none.
    #[error(transparent)]
    Offset(InvalidOffsetArg),
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let form = || InvalidPosition::Form(text.to_owned());
        if let Some(other) = text.strip_prefix("group:") {
            return if other.is_empty() { Err(form()) } else { Ok(Self::Group(other.to_owned())) };
        }
        if let Some(file) = text.strip_prefix("file:") {
            return if file.is_empty() { Err(form()) } else { Ok(Self::File(PathBuf::from(file))) };
        }
        let (place, forward) = match text.strip_prefix('+') {
            Some(digits) => (digits.parse::<OffsetArg>(), true),
            None => (text.parse::<OffsetArg>(), false),
        };
        match (place, forward) {
            (Ok(OffsetArg::Offset(count)), true) => Ok(Self::Forward(count.get())),
            (Ok(OffsetArg::Start), false) => Ok(Self::Start),
            (Ok(OffsetArg::End), false) => Ok(Self::End),
            (Ok(OffsetArg::Offset(offset)), false) => Ok(Self::Offset(offset)),
            (Ok(OffsetArg::BeforeEnd(count)), false) => Ok(Self::Back(count)),
            (Ok(OffsetArg::Time(time)), false) => Ok(Self::Time(time)),
            (Ok(OffsetArg::Ago(duration_ms)), false) => Ok(Self::Ago(duration_ms)),
            (Err(InvalidOffsetArg::Form(_)), _) | (Ok(_), true) => Err(form()),
            (Err(other), _) => Err(InvalidPosition::Offset(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        let cases = [
            ("start", Position::Start),
            ("end", Position::End),
            ("42", Position::Offset(Offset::new(42).unwrap())),
            ("+10", Position::Forward(10)),
            ("-10", Position::Back(10)),
            ("@-15m", Position::Ago(900_000)),
            ("@2026-11-20T09:00:00Z", Position::Time(TimestampMs(1_795_165_200_000))),
            ("group:billing", Position::Group("billing".to_owned())),
            ("group:a:b", Position::Group("a:b".to_owned())),
            ("file:./x.jsonl", Position::File(PathBuf::from("./x.jsonl"))),
        ];
        for (text, position) in cases {
            assert_eq!(text.parse(), Ok(position), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "+", "-", "++1", "+-1", "+start", "+@-15m", "group:", "file:", "first", "1.5", "@x"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        let error = "first".parse::<Position>().unwrap_err().to_string();
        assert!(error.contains("group:OTHER"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+@a-z:0-9]{0,12}") {
            let _ = text.parse::<Position>();
        }
    }
}
