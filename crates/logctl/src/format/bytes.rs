//! Bytes as they are, as hexadecimal digits, and as base64.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::program::BytesForm;

/// Appends bytes in a form.
pub(crate) fn write_bytes(bytes: &[u8], form: BytesForm, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match form {
        BytesForm::Plain => out.extend_from_slice(bytes),
        BytesForm::Hex => out.extend(bytes.iter().flat_map(|byte| {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
            [digit(byte >> 4), digit(byte & 15)]
        })),
        BytesForm::Base64 => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
    }
}

/// How many bytes `bytes` of data take in a form; `None` when that is more than can be addressed.
pub(crate) fn written_bytes(bytes: usize, form: BytesForm) -> Option<usize> {
    match form {
        BytesForm::Plain => Some(bytes),
        BytesForm::Hex => bytes.checked_mul(2),
        BytesForm::Base64 => bytes.div_ceil(3).checked_mul(4),
    }
}

/// The data that was written in a form.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn decode_bytes(text: &[u8], form: BytesForm) -> Result<Cow<'_, [u8]>, &'static str> {
    match form {
        BytesForm::Plain => Ok(Cow::Borrowed(text)),
        BytesForm::Hex => decode_hex(text).map(Cow::Owned),
        BytesForm::Base64 => STANDARD.decode(text).map(Cow::Owned).map_err(|_| "not valid base64"),
    }
}

fn decode_hex(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits");
    }
    text.chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => nibble(*high).zip(nibble(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or("not hexadecimal")
}
