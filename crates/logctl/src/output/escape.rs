//! Text as a terminal may show it: what would move its cursor, set its colours or turn the direction of writing is
//! written out instead.

use std::{borrow::Cow, io::Write as _};

/// Whether a terminal does something else than show it. Line breaks and tabs are among them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Direction marks, embeddings, overrides and isolates; separators of lines and paragraphs.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Appends bytes that come from others. Line breaks and tabs stay: a value may have several lines.
pub(crate) fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unsafe(c) && c != '\n' && c != '\t' {
                write_char(c, out);
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            // Writing into a Vec cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// One line of text, with line breaks and tabs written out, too.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            write_char(c, &mut out);
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Lines of ours, in which colours may stay.
pub(crate) fn without_commands(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_unsafe(c) && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(start) = rest.find('\u{1b}') {
        let (before, sequence) = rest.split_at(start);
        let color = color_len(sequence);
        let (shown, after) = sequence.split_at(color.unwrap_or(1));
        write_escaped(before.as_bytes(), &mut out);
        if color.is_some() {
            out.extend_from_slice(shown.as_bytes());
        } else {
            write_escaped(shown.as_bytes(), &mut out);
        }
        rest = after;
    }
    write_escaped(rest.as_bytes(), &mut out);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The length of the colour sequence at the beginning, if there is one: escape, `[`, digits and semicolons, `m`.
fn color_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\u{1b}[")?;
    let end = inner.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inner.get(end..)?.starts_with('m').then_some(2 + end + 1)
}

/// Lines of JSON, which stay the same JSON: outside of ASCII there is nothing but the insides of strings.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| is_unsafe(c) && c != '\n' && c != '\t';
    if !json.contains(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_escaped(c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

fn write_char(c: char, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = match c {
        '\n' => out.write_all(b"\\n"),
        '\r' => out.write_all(b"\\r"),
        '\t' => out.write_all(b"\\t"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_escaped(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        let cases: [(&[u8], &str); 7] = [
            (b"\x1b[2Jgone", "\\x1b[2Jgone"),
            (b"two\nlines\tand a tab", "two\nlines\tand a tab"),
            (b"over\rwritten", "over\\rwritten"),
            ("\u{202e}txt.exe".as_bytes(), "\\u{202e}txt.exe"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            (b"\xffa\x9b", "\\xffa\\x9b"),
            ("日本 é".as_bytes(), "日本 é"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(shown(bytes), expected);
        }
        assert_eq!(escaped("a\nb\u{2066}c"), "a\\nb\\u{2066}c");
        assert_eq!(escaped("plain"), "plain");
        assert_eq!(
            without_commands("\u{1b}[1;32mHEALTHY\u{1b}[0m \u{1b}[2J\u{1b}"),
            "\u{1b}[1;32mHEALTHY\u{1b}[0m \\x1b[2J\\x1b"
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(!shown(&bytes).contains(|c: char| is_unsafe(c) && c != '\n' && c != '\t'));
        }

        #[test]
        fn json_means_the_same(text in "[\\PC\u{0}-\u{1f}\u{7f}-\u{9f}\u{202e}\"]{0,12}") {
            let json = serde_json::to_string(&text).unwrap();
            let read: String = serde_json::from_str(&escaped_json(&json)).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
