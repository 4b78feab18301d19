//! Positions in a partition: offsets, leader epochs, timestamps.

use std::fmt;

/// A number outside the range its type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} {got} is out of range 0..={max}")]
pub struct OutOfRange {
    /// What the number was meant to be.
    pub what: &'static str,
    /// The number.
    pub got: i128,
    /// The greatest number allowed.
    pub max: i128,
}

/// Position of a record in its partition: starts at 0, only grows, never reused.
///
/// At most `i64::MAX`, because the record batch stores it in a signed 64-bit field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);
    /// The greatest offset the batch format can hold.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// An offset, when `value` is at most `i64::MAX`.
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as the batch format stores it.
    #[expect(clippy::cast_possible_wrap, reason = "never above i64::MAX")]
    pub const fn as_i64(self) -> i64 {
        self.0 as i64
    }

    /// This offset plus `count`, or `None` past the end of the range.
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).and_then(Self::new)
    }

    /// This offset plus `count`, stopping at [`Offset::MAX`].
    pub fn saturating_add(self, count: u64) -> Self {
        Self(self.0.saturating_add(count).min(Self::MAX.0))
    }

    /// This offset minus `count`, stopping at 0.
    pub fn saturating_sub(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }

    /// How many offsets lie in `earlier..self`; 0 when `earlier` is not below `self`.
    pub fn distance_from(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for Offset {
    type Error = OutOfRange;
    fn try_from(value: u64) -> Result<Self, OutOfRange> {
        Self::new(value).ok_or(OutOfRange { what: "offset", got: value.into(), max: i64::MAX.into() })
    }
}

impl TryFrom<i64> for Offset {
    type Error = OutOfRange;
    fn try_from(value: i64) -> Result<Self, OutOfRange> {
        u64::try_from(value).map(Self).map_err(|_| OutOfRange {
            what: "offset",
            got: value.into(),
            max: i64::MAX.into(),
        })
    }
}

/// The number of a partition's leadership: grows with every new leader and every restart of one.
///
/// At most `i32::MAX`, because the record batch stores it in a signed 32-bit field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(u32);

impl LeaderEpoch {
    /// The greatest epoch: i32::MAX, because the record batch stores it in a signed 32-bit field.
    pub const MAX: Self = Self(i32::MAX as u32);
    /// The epoch of a partition that no one has led yet.
    pub const ZERO: Self = Self(0);

    /// An epoch, when `value` is at most `i32::MAX`.
    pub const fn new(value: u32) -> Option<Self> {
        if value <= i32::MAX.unsigned_abs() { Some(Self(value)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as the batch format stores it.
    #[expect(clippy::cast_possible_wrap, reason = "never above i32::MAX")]
    pub const fn as_i32(self) -> i32 {
        self.0 as i32
    }

    /// The epoch after this one, or `None` past the end of the range.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).and_then(Self::new)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds of a clock that never goes back; where it began means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonotonicMs(pub u64);

/// Milliseconds since 1970-01-01 UTC; negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// The time that `duration_ms` before this one.
    pub fn minus_ms(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_sub_unsigned(duration_ms))
    }

    /// The time that `duration_ms` after this one.
    pub fn plus_ms(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(duration_ms))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stop_at_the_signed_range() {
        assert_eq!(Offset::new(i64::MAX as u64), Some(Offset::MAX));
        assert_eq!(Offset::new(i64::MAX as u64 + 1), None);
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert!(Offset::try_from(-1_i64).is_err());
        assert_eq!(Offset::MAX.as_i64(), i64::MAX);
    }

    #[test]
    fn epochs_stop_at_the_signed_range() {
        let last = LeaderEpoch::new(i32::MAX as u32).unwrap();
        assert_eq!(last.next(), None);
        assert_eq!(last.as_i32(), i32::MAX);
        assert_eq!(LeaderEpoch::new(u32::MAX), None);
    }
}
