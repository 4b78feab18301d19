//! Zig-zag variable-length integers, as protobuf and the record format write them.
//!
//! Little groups of seven bits, least significant first; a set top bit says that another byte follows. Up to
//! three bytes are by far the most frequent and take a path without a loop.

/// Bytes of the longest 64-bit varint.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// Takes a 32-bit varint off the front, or `None` when it is cut short or does not fit.
#[inline]
pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<i32> {
    let raw = match take_short(rest) {
        Some(raw) => raw,
        None => u32::try_from(take_long(rest, 5)?).ok()?,
    };
    Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes a 64-bit varint off the front, or `None` when it is cut short or does not fit.
#[inline]
pub(crate) fn take_varlong(rest: &mut &[u8]) -> Option<i64> {
    let raw = match take_short(rest) {
        Some(raw) => u64::from(raw),
        None => take_long(rest, VARLONG_BYTES_MAX)?,
    };
    Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes one, two or three bytes, or nothing when the varint is longer or cut short.
#[inline]
fn take_short(rest: &mut &[u8]) -> Option<u32> {
    let group = |byte: u8| u32::from(byte & 0x7f);
    let (raw, tail) = match *rest {
        [a, tail @ ..] if *a < 0x80 => (u32::from(*a), tail),
        [a, b, tail @ ..] if *b < 0x80 => (group(*a) | group(*b) << 7, tail),
        [a, b, c, tail @ ..] if *c < 0x80 => (group(*a) | group(*b) << 7 | group(*c) << 14, tail),
        _ => return None,
    };
    *rest = tail;
    Some(raw)
}

#[cold]
fn take_long(rest: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut raw = 0_u64;
    for (index, byte) in rest.iter().take(bytes_max).enumerate() {
        let group = u64::from(byte & 0x7f);
        let shift = index * 7;
        raw |= group << shift;
        if (group << shift) >> shift != group {
            return None;
        }
        if *byte < 0x80 {
            *rest = rest.get(index + 1..)?;
            return Some(raw);
        }
    }
    None
}

/// The zig-zag form: small magnitudes of either sign become small numbers.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// How many bytes the varint of `value` takes, 1 to 10. The 32-bit form of a value takes as many.
#[inline]
pub(crate) const fn varint_bytes(value: i64) -> usize {
    // Significant bits, at least one, divided by seven and rounded up.
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// The bytes of a varint on the stack, so that several can be written with one copy.
#[derive(Clone, Copy)]
pub(crate) struct Scratch<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Scratch<N> {
    /// Nothing written yet. `N` must hold all that will be put.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Adds one byte.
    #[inline]
    pub(crate) fn put_u8(&mut self, byte: u8) {
        debug_assert!(self.len < N, "the scratch space is too small for what is put into it");
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    /// Adds a varint.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low byte is what is meant")]
    pub(crate) fn put_varint(&mut self, value: i64) {
        let mut raw = zigzag(value);
        while raw >= 0x80 {
            self.put_u8(raw as u8 | 0x80);
            raw >>= 7;
        }
        self.put_u8(raw as u8);
    }

    /// What was put.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut scratch = Scratch::<VARLONG_BYTES_MAX>::new();
        scratch.put_varint(value);
        scratch.as_slice().to_vec()
    }

    #[test]
    fn known_values() {
        // The examples of the protobuf encoding guide.
        for (value, bytes) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (63, vec![126]),
            (64, vec![0x80, 1]),
            (-65, vec![0x81, 1]),
        ] {
            assert_eq!(encoded(value), bytes, "{value}");
        }
        assert_eq!(encoded(i64::MIN).len(), 10);
    }

    #[test]
    fn too_long_or_cut_is_none() {
        for bytes in
            [&[][..], &[0x80], &[0x80, 0x80], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0xff; 6], &[0x80; 5]]
        {
            assert_eq!(take_varint(&mut &*bytes), None, "{bytes:?}");
        }
        assert_eq!(take_varlong(&mut &[0xff; 10][..]), None);
        assert_eq!(take_varlong(&mut &[0x80; 9][..]), None);
        let greatest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(take_varlong(&mut &greatest[..]), Some(i64::MIN));
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(value: i64, small: i32, tail: u8) {
            for value in [value, value >> 20, value >> 40, i64::from(small)] {
                let mut bytes = encoded(value);
                prop_assert_eq!(bytes.len(), varint_bytes(value));
                bytes.push(tail);
                let mut rest = &bytes[..];
                prop_assert_eq!(take_varlong(&mut rest), Some(value));
                prop_assert_eq!(rest, &[tail][..]);
                let mut rest = &bytes[..];
                prop_assert_eq!(take_varint(&mut rest), i32::try_from(value).ok());
            }
        }
    }
}
