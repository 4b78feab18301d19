//! Numbers as digits and as a fixed number of bytes.

use std::io::Write as _;

use super::program::NumberForm;

/// Appends `value`; `false` and nothing appended when it does not fit the form's width.
#[must_use]
pub(crate) fn write_number(value: i64, form: NumberForm, out: &mut Vec<u8>) -> bool {
    match form {
        NumberForm::Decimal => write!(out, "{value}").is_ok(),
        NumberForm::Big(width) => {
            fits(value, width)
                && value.to_be_bytes().get(8 - width..).map(|b| out.extend_from_slice(b)).is_some()
        }
        NumberForm::Little(width) => {
            fits(value, width) && value.to_le_bytes().get(..width).map(|b| out.extend_from_slice(b)).is_some()
        }
    }
}

/// Whether a value fits `width` bytes: as an unsigned number, or as -1, which stands for "none".
fn fits(value: i64, width: usize) -> bool {
    width >= 8 || value == -1 || (value >= 0 && value >> (8 * width) == 0)
}

/// Takes a number off the front of `input`: its value and the bytes it took.
///
/// `Ok(None)` means that more input is needed to tell.
///
/// # Errors
/// No digit, or more than 64 bits.
pub(crate) fn take_number(
    input: &[u8],
    form: NumberForm,
    at_end: bool,
) -> Result<Option<(i64, usize)>, &'static str> {
    match form {
        NumberForm::Decimal => take_decimal(input, at_end),
        NumberForm::Big(width) => Ok(input
            .get(..width)
            .map(|bytes| (bytes.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte)), width))),
        NumberForm::Little(width) => Ok(input.get(..width).map(|bytes| {
            (bytes.iter().rev().fold(0_i64, |value, byte| value << 8 | i64::from(*byte)), width)
        })),
    }
}

/// The digits of `i64::MIN`, and its sign.
const DECIMAL_BYTES_MAX: usize = 20;

fn take_decimal(input: &[u8], at_end: bool) -> Result<Option<(i64, usize)>, &'static str> {
    let sign = usize::from(input.first() == Some(&b'-'));
    let digits = input.iter().skip(sign).take_while(|byte| byte.is_ascii_digit()).count();
    let length = sign + digits;
    if length > DECIMAL_BYTES_MAX {
        return Err("a number of more than 64 bits");
    }
    if length == input.len() && !at_end {
        return Ok(None);
    }
    if digits == 0 {
        return Err("no digit where a number should be");
    }
    let text = input.get(..length).and_then(|text| std::str::from_utf8(text).ok());
    match text.and_then(|text| text.parse().ok()) {
        Some(value) => Ok(Some((value, length))),
        None => Err("a number of more than 64 bits"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDE: [NumberForm; 3] = [NumberForm::Decimal, NumberForm::Big(8), NumberForm::Little(8)];

    proptest! {
        #[test]
        fn numbers_read_back(value: i64) {
            for form in WIDE {
                let mut out = Vec::new();
                prop_assert!(write_number(value, form, &mut out));
                prop_assert_eq!(take_number(&out, form, true), Ok(Some((value, out.len()))));
            }
        }

        #[test]
        fn narrow_numbers_read_back_or_are_refused(value in -2_i64..100_000) {
            for form in [NumberForm::Big(1), NumberForm::Big(2), NumberForm::Little(2), NumberForm::Big(4)] {
                let mut out = Vec::new();
                if write_number(value, form, &mut out) && value >= 0 {
                    prop_assert_eq!(take_number(&out, form, false), Ok(Some((value, out.len()))));
                } else {
                    prop_assert!(!(0..=255).contains(&value));
                }
            }
        }
    }

    #[test]
    fn digits_at_the_edge_wait_for_more() {
        assert_eq!(take_number(b"12", NumberForm::Decimal, false), Ok(None));
        assert_eq!(take_number(b"12", NumberForm::Decimal, true), Ok(Some((12, 2))));
        assert_eq!(take_number(b"12:", NumberForm::Decimal, false), Ok(Some((12, 2))));
        assert!(take_number(b":", NumberForm::Decimal, false).is_err());
        assert!(take_number(b"99999999999999999999999", NumberForm::Decimal, false).is_err());
    }
}
