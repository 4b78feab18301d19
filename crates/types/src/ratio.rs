//! A part of a whole.

use std::{fmt, str::FromStr};

/// A part of a whole, from 0 to 1 in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u16);

/// A text that is no [`Ratio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 0 to 1 with at most three decimals, like 0.5")]
pub struct NotARatio;

impl Ratio {
    /// Nothing of it.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const ONE: Self = Self(1000);
    /// Half of it.
    pub const HALF: Self = Self(500);

    /// How much `part` is of `whole`, rounded down; 0 of nothing, and never more than 1.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        let thousandths = (u128::from(part) * 1000).checked_div(u128::from(whole)).unwrap_or(0);
        Self(u16::try_from(thousandths).map_or(1000, |thousandths| thousandths.min(1000)))
    }

    /// In thousandths, 0 to 1000.
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.0
    }

    /// As a number from 0 to 1.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        f.write_str(format!("{whole}.{rest:03}").trim_end_matches('0'))
    }
}

impl FromStr for Ratio {
    type Err = NotARatio;
    fn from_str(text: &str) -> Result<Self, NotARatio> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
            return Err(NotARatio);
        }
        let whole: u16 = whole.parse().map_err(|_| NotARatio)?;
        let rest: u16 = format!("{decimals:0<3}").parse().map_err(|_| NotARatio)?;
        let thousandths =
            whole.checked_mul(1000).and_then(|whole| whole.checked_add(rest)).ok_or(NotARatio)?;
        if thousandths > 1000 { Err(NotARatio) } else { Ok(Self(thousandths)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_written_as_people_write_them() {
        for (text, thousandths) in
            [("0", 0), ("0.5", 500), ("0.25", 250), ("0.125", 125), ("0.01", 10), ("1", 1000)]
        {
            let ratio: Ratio = text.parse().unwrap();
            assert_eq!((ratio.thousandths(), ratio.to_string().as_str()), (thousandths, text));
        }
        assert_eq!("1.0".parse(), Ok(Ratio::ONE));
        for wrong in ["", ".5", "5.", "1.001", "-0.5", "0.1234", "0,5", "half", "99999", "1e0"] {
            assert_eq!(wrong.parse::<Ratio>(), Err(NotARatio), "{wrong}");
        }
    }

    #[test]
    fn parts_are_rounded_down() {
        let of = |part, whole| Ratio::of(part, whole).thousandths();
        assert_eq!(
            [of(0, 0), of(1, 3), of(2, 2), of(9, 2), of(u64::MAX, u64::MAX)],
            [0, 333, 1000, 1000, 1000]
        );
    }
}
