//! From the text of a format string to a [`Program`].

use super::program::{BytesField, BytesForm, Item, NumberField, NumberForm, Program, TimeForm};

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FormatError {
    /// Byte position, counted from 0.
    pub(crate) position: usize,
    /// What is wrong there, and what may stand there.
    pub(crate) message: String,
}

/// Parses a format string.
///
/// # Errors
/// At the first letter, modifier or escape that does not exist, and at a brace that is never closed.
pub(crate) fn parse(text: &str) -> Result<Program, FormatError> {
    let mut parser = Parser { text, position: 0 };
    let items = parser.items(Scope::Record)?;
    Ok(Program { items })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Record,
    Header,
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn fail<T>(&self, position: usize, message: impl Into<String>) -> Result<T, FormatError> {
        Err(FormatError { position, message: message.into() })
    }

    /// Items up to the end of the text, or in a header up to the brace that closes it.
    fn items(&mut self, scope: Scope) -> Result<Vec<Item>, FormatError> {
        let opened_at = self.position;
        let mut items = Vec::new();
        loop {
            let at = self.position;
            match self.next() {
                None if scope == Scope::Header => {
                    return self.fail(opened_at, "the brace of %h{..} is never closed");
                }
                None => return Ok(items),
                Some('}') if scope == Scope::Header => return Ok(items),
                Some('%') => match self.percent(at, scope)? {
                    Percent::Character(character) => push_char(&mut items, character),
                    Percent::Item(item) => items.push(item),
                },
                Some('\\') => {
                    let byte = self.escape(at)?;
                    push_bytes(&mut items, &[byte]);
                }
                Some(character) => push_char(&mut items, character),
            }
        }
    }

    fn escape(&mut self, at: usize) -> Result<u8, FormatError> {
        match self.next() {
            Some('n') => Ok(b'\n'),
            Some('t') => Ok(b'\t'),
            Some('r') => Ok(b'\r'),
            Some('0') => Ok(0),
            Some('\\') => Ok(b'\\'),
            Some('x') => {
                let digits =
                    self.rest().get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        self.position += 2;
                        Ok(byte)
                    }
                    None => self.fail(at, "\\x needs two hexadecimal digits, like \\x1f"),
                }
            }
            _ => self.fail(at, "no such escape; there are \\n \\t \\r \\0 \\xNN and \\\\"),
        }
    }

    fn percent(&mut self, at: usize, scope: Scope) -> Result<Percent, FormatError> {
        let Some(letter) = self.next() else {
            return self.fail(at, "a letter is missing after %; write %% for the character itself");
        };
        if matches!(letter, '%' | '{' | '}') {
            return Ok(Percent::Character(letter));
        }
        if scope == Scope::Header && !matches!(letter, 'k' | 'v' | 'K' | 'V') {
            return self.fail(at, format!("%{letter} does not exist in %h{{..}}; there are %k %v %K %V"));
        }
        if letter == 'h' {
            return self.headers(at).map(Percent::Item);
        }
        let modifier = self.modifier()?;
        let item = match letter {
            't' => Item::Bytes(BytesField::Topic, self.bytes_form(letter, modifier)?),
            'k' => Item::Bytes(BytesField::Key, self.bytes_form(letter, modifier)?),
            'v' => Item::Bytes(BytesField::Value, self.bytes_form(letter, modifier)?),
            'a' => Item::Bytes(BytesField::Compression, self.bytes_form(letter, modifier)?),
            'T' => Item::Number(NumberField::TopicBytes, self.number_form(letter, modifier)?),
            'K' => Item::Number(NumberField::KeyBytes, self.number_form(letter, modifier)?),
            'V' => Item::Number(NumberField::ValueBytes, self.number_form(letter, modifier)?),
            'H' => Item::Number(NumberField::HeaderCount, self.number_form(letter, modifier)?),
            'p' => Item::Number(NumberField::Partition, self.number_form(letter, modifier)?),
            'o' => Item::Number(NumberField::Offset, self.number_form(letter, modifier)?),
            'e' => Item::Number(NumberField::LeaderEpoch, self.number_form(letter, modifier)?),
            'd' => Item::Time(self.time_form(modifier)?),
            _ => {
                let message =
                    format!("%{letter} does not exist; there are %t %k %v %h %p %o %d %e %a %T %K %V %H %%");
                return self.fail(at, message);
            }
        };
        Ok(Percent::Item(item))
    }

    fn headers(&mut self, at: usize) -> Result<Item, FormatError> {
        if !self.rest().starts_with('{') {
            return self.fail(at, "%h needs a format for each header, like %h{ %k=%v;}");
        }
        self.position += 1;
        let items = self.items(Scope::Header)?;
        if items.is_empty() {
            return self.fail(at, "%h{} is empty; write a format for each header, like %h{ %k=%v;}");
        }
        Ok(Item::Headers(items))
    }

    /// The text between braces behind a letter, with its position; `strftime[..]` may hold a brace.
    fn modifier(&mut self) -> Result<Option<(usize, &'a str)>, FormatError> {
        let Some(inner) = self.rest().strip_prefix('{') else { return Ok(None) };
        let at = self.position + 1;
        let end = if inner.starts_with("strftime[") {
            inner.find("]}").map(|end| end + 1)
        } else {
            inner.find('}')
        };
        let Some(end) = end else {
            return self.fail(self.position, "the brace is never closed; write %{ for the character itself");
        };
        self.position = at + end + 1;
        Ok(Some((at, inner.get(..end).unwrap_or_default())))
    }

    fn bytes_form(&self, letter: char, modifier: Option<(usize, &str)>) -> Result<BytesForm, FormatError> {
        match modifier {
            None => Ok(BytesForm::Plain),
            Some((_, "hex")) => Ok(BytesForm::Hex),
            Some((_, "base64")) => Ok(BytesForm::Base64),
            Some((at, other)) => {
                self.fail(at, format!("%{letter} takes {{hex}} or {{base64}}, not {{{other}}}"))
            }
        }
    }

    fn number_form(&self, letter: char, modifier: Option<(usize, &str)>) -> Result<NumberForm, FormatError> {
        let Some((at, name)) = modifier else { return Ok(NumberForm::Decimal) };
        number_form(name).map_or_else(
            || self.fail(at, format!("%{letter} takes {{big8}} {{big16}} {{big32}} {{big64}} or {{little8}} to {{little64}}, not {{{name}}}")),
            Ok,
        )
    }

    fn time_form(&self, modifier: Option<(usize, &str)>) -> Result<TimeForm, FormatError> {
        let Some((at, name)) = modifier else { return Ok(TimeForm::Millis(NumberForm::Decimal)) };
        if name == "rfc3339" {
            return Ok(TimeForm::Rfc3339);
        }
        let strftime = name.strip_prefix("strftime[").and_then(|rest| rest.strip_suffix(']'));
        if let Some(strftime) = strftime {
            return match super::time::check_strftime(strftime) {
                Ok(()) => Ok(TimeForm::Strftime(strftime.to_owned())),
                Err(error) => self.fail(at, format!("strftime[{strftime}]: {error}")),
            };
        }
        match number_form(name) {
            Some(form) => Ok(TimeForm::Millis(form)),
            None => self.fail(
                at,
                format!(
                    "%d takes {{rfc3339}}, {{strftime[%F %T]}}, {{big64}} or {{little64}}, not {{{name}}}"
                ),
            ),
        }
    }
}

enum Percent {
    Character(char),
    Item(Item),
}

fn number_form(name: &str) -> Option<NumberForm> {
    let bits = |prefix| {
        name.strip_prefix(prefix).and_then(|bits| match bits {
            "8" => Some(1),
            "16" => Some(2),
            "32" => Some(4),
            "64" => Some(8),
            _ => None,
        })
    };
    bits("big").map(NumberForm::Big).or_else(|| bits("little").map(NumberForm::Little))
}

fn push_char(items: &mut Vec<Item>, character: char) {
    let mut buffer = [0; 4];
    push_bytes(items, character.encode_utf8(&mut buffer).as_bytes());
}

fn push_bytes(items: &mut Vec<Item>, bytes: &[u8]) {
    match items.last_mut() {
        Some(Item::Text(text)) => text.extend_from_slice(bytes),
        _ => items.push(Item::Text(bytes.to_vec())),
    }
}
