//! Sequence numbers: 31 bits that wrap.

use std::fmt;

const MASK: u32 = u32::MAX >> 1;
/// Two sequences closer than this can be compared: the window is smaller by far.
const HALF: u32 = 1 << 30;

/// The number of a producer's record in one partition: from 0, and after 2^31 − 1 comes 0 again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(u32);

impl Sequence {
    /// The first one of every epoch.
    pub const ZERO: Self = Self(0);

    /// The sequence with this number; `None` below 0, which stands for no sequence in a batch.
    pub const fn new(number: i32) -> Option<Self> {
        if number < 0 { None } else { Some(Self(number.unsigned_abs())) }
    }

    /// Its number, below 2^31.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The sequence `count` records later.
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count) & MASK)
    }

    /// Whether it lies ahead of `other`, on the shorter way round.
    pub const fn is_after(self, other: Self) -> bool {
        let distance = self.0.wrapping_sub(other.0) & MASK;
        distance != 0 && distance < HALF
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_at_two_to_the_31() {
        let last = Sequence::new(i32::MAX).unwrap();
        assert_eq!(last.plus(1), Sequence::ZERO);
        assert_eq!(last.plus(u32::MAX).plus(1), last, "2^32 is two turns");
        assert!(Sequence::ZERO.is_after(last) && !last.is_after(Sequence::ZERO) && !last.is_after(last));
        assert_eq!(Sequence::new(-1), None);
    }
}
