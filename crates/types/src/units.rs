//! Sizes and durations as people write them: `256MiB`, `7d`.

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// A text that is no byte size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write a whole number of bytes or a unit, like 64KiB, 256MiB or 1GiB")]
pub struct InvalidByteSize(pub String);

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write milliseconds or a unit, like 500ms, 30s, 15m, 24h or 7d")]
pub struct InvalidDuration(pub String);

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits_end)?;
    let number: u64 = number.replace('_', "").parse().ok()?;
    let unit = unit.trim();
    let factor = match unit {
        "" => 1,
        _ => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.checked_mul(factor)
}

/// Reads a size in bytes: a whole number, with an optional unit (`KiB` 1024, `KB` 1000; case is ignored).
///
/// # Errors
/// [`InvalidByteSize`] when it is no number, has an unknown unit, or exceeds 64 bits.
pub fn parse_byte_size(text: &str) -> Result<u64, InvalidByteSize> {
    scaled(text, &SIZE_UNITS).ok_or_else(|| InvalidByteSize(text.to_owned()))
}

/// Reads a duration in milliseconds: a whole number, with an optional unit (`ms s m h d w`).
///
/// # Errors
/// [`InvalidDuration`] when it is no number, has an unknown unit, or exceeds 64 bits.
pub fn parse_duration_ms(text: &str) -> Result<u64, InvalidDuration> {
    scaled(text, &DURATION_UNITS).ok_or_else(|| InvalidDuration(text.to_owned()))
}

/// Writes a size so that [`parse_byte_size`] reads the same number: `256MiB`, `1000`.
pub fn format_byte_size(bytes: u64) -> String {
    let unit = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1_u64 << 10)];
    match unit.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Writes a size for people, rounded to two digits or more: `700KiB`, `41GiB`.
pub fn about_byte_size(bytes: u64) -> String {
    let factors = [1 << 40, 1 << 30, 1 << 20, 1_u64 << 10];
    let factor = factors.into_iter().find(|factor| bytes / factor >= 10).unwrap_or(1);
    let rounded = bytes.saturating_add(factor / 2) / factor;
    format_byte_size(rounded.saturating_mul(factor))
}

/// Writes a duration so that [`parse_duration_ms`] reads the same number: `7d`, `1500ms`.
pub fn format_duration_ms(duration_ms: u64) -> String {
    let unit = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000_u64)];
    match unit.iter().find(|(_, factor)| duration_ms != 0 && duration_ms.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", duration_ms / factor),
        None => format!("{duration_ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_rounded_for_people() {
        for (bytes, text) in [(0, "0"), (716_872, "700KiB"), (9_999, "9999"), (44_023_414_784, "41GiB")] {
            assert_eq!(about_byte_size(bytes), text);
        }
    }

    #[test]
    fn people_write_units() {
        assert_eq!(parse_byte_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_byte_size("64 kib"), Ok(65_536));
        assert_eq!(parse_byte_size("1_000"), Ok(1_000));
        assert_eq!(parse_duration_ms("7d"), Ok(604_800_000));
        assert_eq!(parse_duration_ms("250"), Ok(250));
        for bad in ["", "x", "-1", "1.5GiB", "99999999999999999999", "9999999999TiB", "5 parsecs"] {
            assert!(parse_byte_size(bad).is_err(), "{bad}");
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(n: u64) {
            prop_assert_eq!(parse_byte_size(&format_byte_size(n)), Ok(n));
            prop_assert_eq!(parse_duration_ms(&format_duration_ms(n)), Ok(n));
        }
    }
}
