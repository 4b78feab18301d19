//! A program run backwards: from bytes to a record, without copying where nothing is encoded.

use std::borrow::Cow;

use corduroy_types::TimestampMs;
use memchr::memmem;

use super::{
    bytes::{decode_bytes, written_bytes},
    number::take_number,
    program::{BytesField, BytesForm, NumberField, TimeForm},
    reader::{Delimiter, RecordReader, Step, Until},
    time,
};

/// A header's name and value.
pub(crate) type ParsedHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// What one record of the input says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParsedRecord<'a> {
    pub(crate) key: Option<Cow<'a, [u8]>>,
    pub(crate) value: Option<Cow<'a, [u8]>>,
    pub(crate) headers: Vec<ParsedHeader<'a>>,
    /// Where the input says nothing, the time of sending.
    pub(crate) timestamp: Option<TimestampMs>,
    /// Where the input says nothing, chosen by the key.
    pub(crate) partition: Option<u32>,
}

/// What became of one attempt to read a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// A record, and how many bytes it took.
    Record(ParsedRecord<'a>, usize),
    /// The record is not whole yet.
    More,
    /// The input is at its end.
    End,
}

/// Input that does not match the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// Bytes into the input.
    pub(crate) position: usize,
    /// What was expected there.
    pub(crate) message: String,
    /// It is the size: the record is whole, but larger than allowed.
    pub(crate) too_large: bool,
}

impl RecordReader {
    /// Reads the first record of `input`.
    ///
    /// `at_end`: nothing comes behind `input`. `limit_bytes`: a length above it is refused at once, so that
    /// no one waits for bytes that a damaged length announces.
    pub(crate) fn read<'a>(
        &self,
        input: &'a [u8],
        at_end: bool,
        limit_bytes: usize,
    ) -> Result<Read<'a>, ReadError> {
        if input.is_empty() {
            return Ok(if at_end { Read::End } else { Read::More });
        }
        let mut cursor = Cursor { input, position: 0, at_end, limit_bytes };
        let mut record = ParsedRecord::default();
        match cursor.steps(&self.steps, &mut Fields::Record(&mut record)) {
            Ok(()) if cursor.position == 0 => {
                Err(cursor.error("the format matches nothing, so it would match forever"))
            }
            Ok(()) => Ok(Read::Record(record, cursor.position)),
            Err(Halt::More) if !at_end => Ok(Read::More),
            Err(Halt::More) => Err(cursor.error("the input ends within a record")),
            Err(Halt::Error(error)) => Err(error),
        }
    }
}

enum Halt {
    More,
    Error(ReadError),
}

/// Where values go: the record itself, or one of its headers.
enum Fields<'r, 'a> {
    Record(&'r mut ParsedRecord<'a>),
    Header(&'r mut ParsedHeader<'a>),
}

#[derive(Default)]
struct Lengths {
    topic: usize,
    key: usize,
    value: usize,
    header_count: usize,
}

struct Cursor<'a> {
    input: &'a [u8],
    position: usize,
    at_end: bool,
    limit_bytes: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.input.get(self.position..).unwrap_or_default()
    }

    fn error(&self, message: impl Into<String>) -> ReadError {
        ReadError { position: self.position, message: message.into(), too_large: false }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Halt> {
        Err(Halt::Error(self.error(message)))
    }

    fn steps(&mut self, steps: &[Step], fields: &mut Fields<'_, 'a>) -> Result<(), Halt> {
        let mut lengths = Lengths::default();
        for step in steps {
            match step {
                Step::Text(text) => self.text(text)?,
                Step::Number { field, form } => {
                    let value = match take_number(self.rest(), *form, self.at_end) {
                        Ok(Some((value, taken))) => {
                            self.position += taken;
                            value
                        }
                        Ok(None) => return Err(Halt::More),
                        Err(message) => return self.fail(message),
                    };
                    self.put_number(*field, value, &mut lengths, fields)?;
                }
                Step::Bytes { field, form, until } => {
                    let length = match field {
                        BytesField::Topic => lengths.topic,
                        BytesField::Key => lengths.key,
                        _ => lengths.value,
                    };
                    let text = self.field(until, length, *form)?;
                    let bytes =
                        decode_bytes(text, *form).map_err(|message| Halt::Error(self.error(message)))?;
                    self.position += text.len();
                    self.put_bytes(*field, bytes, fields)?;
                }
                Step::Time { form, until } => {
                    let time = self.time(form, until)?;
                    if let Fields::Record(record) = fields {
                        record.timestamp = Some(time);
                    }
                }
                Step::Headers { counted, inner } => {
                    self.headers(*counted, inner, lengths.header_count, fields)?
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, delimiter: &Delimiter) -> Result<(), Halt> {
        let text = delimiter.text.as_slice();
        let rest = self.rest();
        if rest.starts_with(text) {
            self.position += text.len();
            return Ok(());
        }
        if text.starts_with(rest) {
            let only_newline_missing = delimiter.last && text.strip_suffix(b"\n") == Some(rest);
            if self.at_end && only_newline_missing {
                self.position += rest.len();
                return Ok(());
            }
            return Err(Halt::More);
        }
        self.fail(format!("expected {:?}", String::from_utf8_lossy(text)))
    }

    /// The encoded bytes of a field; the cursor stays before them.
    fn field(&self, until: &Until, length: usize, form: BytesForm) -> Result<&'a [u8], Halt> {
        let rest = self.rest();
        let found = match until {
            Until::Length => {
                let written = written_bytes(length, form).filter(|_| length <= self.limit_bytes);
                let Some(written) = written else {
                    let message = format!("a length of {length} bytes; the limit is {}", self.limit_bytes);
                    return Err(Halt::Error(ReadError { too_large: true, ..self.error(message) }));
                };
                rest.get(..written)
            }
            Until::Text { delimiter, one_line } => {
                let found = self.before(delimiter);
                if *one_line && found.unwrap_or(rest).contains(&b'\n') {
                    let text = delimiter.text.strip_suffix(b"\n").filter(|_| delimiter.last);
                    let text = String::from_utf8_lossy(text.unwrap_or(&delimiter.text));
                    return self.fail(format!("the line ends before {text:?}"));
                }
                found
            }
            Until::End => Some(rest).filter(|_| self.at_end),
        };
        found.ok_or(Halt::More)
    }

    /// The bytes before a delimiter. At the end of the input the last one's newline may be missing.
    fn before(&self, delimiter: &Delimiter) -> Option<&'a [u8]> {
        let rest = self.rest();
        let found = match delimiter.text.as_slice() {
            [byte] => memchr::memchr(*byte, rest),
            text => memmem::find(rest, text),
        };
        if let Some(end) = found {
            return rest.get(..end);
        }
        if !self.at_end || !delimiter.last {
            return None;
        }
        delimiter.text.strip_suffix(b"\n").and_then(|text| rest.strip_suffix(text))
    }

    fn time(&mut self, form: &TimeForm, until: &Until) -> Result<TimestampMs, Halt> {
        let read = match form {
            TimeForm::Millis(number) => match take_number(self.rest(), *number, self.at_end) {
                Ok(Some((value, taken))) => {
                    self.position += taken;
                    return Ok(TimestampMs(value));
                }
                Ok(None) => return Err(Halt::More),
                Err(message) => return self.fail(message),
            },
            TimeForm::Rfc3339 => {
                let text = self.field(until, 0, BytesForm::Plain)?;
                time::read_rfc3339(text).map(|time| (time, text.len()))
            }
            TimeForm::Strftime(format) => {
                let text = self.field(until, 0, BytesForm::Plain)?;
                time::read_strftime(text, format).map(|time| (time, text.len()))
            }
        };
        match read {
            Some((time, taken)) => {
                self.position += taken;
                Ok(time)
            }
            None => self.fail("not a time in the form that %d asks for"),
        }
    }

    fn headers(
        &mut self,
        counted: bool,
        inner: &[Step],
        count: usize,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<(), Halt> {
        let mut read = 0;
        while if counted { read < count } else { self.header_follows(inner)? } {
            let before = self.position;
            let mut header: ParsedHeader<'a> = (Cow::Borrowed(""), Some(Cow::Borrowed(&[])));
            self.steps(inner, &mut Fields::Header(&mut header))?;
            if self.position == before {
                return self.fail("a header that takes no bytes");
            }
            if let Fields::Record(record) = fields {
                record.headers.push(header);
            }
            read += 1;
        }
        Ok(())
    }

    fn header_follows(&self, inner: &[Step]) -> Result<bool, Halt> {
        let Some(Step::Text(delimiter)) = inner.first() else { return Ok(false) };
        let rest = self.rest();
        if rest.starts_with(&delimiter.text) {
            return Ok(true);
        }
        if delimiter.text.starts_with(rest) && !self.at_end { Err(Halt::More) } else { Ok(false) }
    }

    fn put_number(
        &self,
        field: NumberField,
        value: i64,
        lengths: &mut Lengths,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<(), Halt> {
        let length = || {
            usize::try_from(value).map_err(|_| Halt::Error(self.error(format!("a length of {value} bytes"))))
        };
        match field {
            NumberField::TopicBytes => lengths.topic = length()?,
            NumberField::KeyBytes => lengths.key = length()?,
            NumberField::ValueBytes => lengths.value = length()?,
            NumberField::HeaderCount => lengths.header_count = length()?,
            NumberField::Partition => {
                let Ok(partition) = u32::try_from(value) else {
                    return self.fail(format!("{value} is no partition"));
                };
                if let Fields::Record(record) = fields {
                    record.partition = Some(partition);
                }
            }
            NumberField::Offset | NumberField::LeaderEpoch => {}
        }
        Ok(())
    }

    fn put_bytes(
        &self,
        field: BytesField,
        bytes: Cow<'a, [u8]>,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<(), Halt> {
        match (field, fields) {
            (BytesField::Key, Fields::Record(record)) => record.key = Some(bytes),
            (BytesField::Value, Fields::Record(record)) => record.value = Some(bytes),
            (BytesField::Value, Fields::Header(header)) => header.1 = Some(bytes),
            (BytesField::Key, Fields::Header(header)) => {
                let name = match bytes {
                    Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
                    Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
                };
                match name {
                    Some(name) => header.0 = name,
                    None => return self.fail("a header's name that is not UTF-8"),
                }
            }
            (BytesField::Topic | BytesField::Compression, _) => {}
        }
        Ok(())
    }
}
