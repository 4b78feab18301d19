//! A parsed format string, and the record as it sees it.

use corduroy_batch::Headers;
use corduroy_types::TimestampMs;

/// A parsed format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// In the order of the text; two `Text` items never stand side by side.
    pub(crate) items: Vec<Item>,
}

impl Program {
    /// Whether it is `%v\n`.
    pub(crate) fn is_value_line(&self) -> bool {
        matches!(self.items.as_slice(),
            [Item::Bytes(BytesField::Value, BytesForm::Plain), Item::Text(text)] if text.as_slice() == b"\n")
    }

    /// Whether each record ends with a newline.
    pub(crate) fn ends_with_newline(&self) -> bool {
        matches!(self.items.last(), Some(Item::Text(text)) if text.ends_with(b"\n"))
    }
}

/// One step of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Bytes that stand for themselves; never empty.
    Text(Vec<u8>),
    /// A field that is bytes.
    Bytes(BytesField, BytesForm),
    /// A field that is a number.
    Number(NumberField, NumberForm),
    /// The timestamp.
    Time(TimeForm),
    /// The items once for each header; `Key` and `Value` are the header's there.
    Headers(Vec<Item>),
}

/// Fields that are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BytesField {
    Topic,
    Key,
    Value,
    Compression,
}

/// Fields that are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberField {
    TopicBytes,
    KeyBytes,
    ValueBytes,
    HeaderCount,
    Partition,
    Offset,
    LeaderEpoch,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BytesForm {
    Plain,
    Hex,
    Base64,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberForm {
    Decimal,
    /// So many bytes (1, 2, 4 or 8), the most significant first.
    Big(usize),
    /// So many bytes (1, 2, 4 or 8), the least significant first.
    Little(usize),
}

/// How a timestamp is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// Milliseconds since 1970.
    Millis(NumberForm),
    /// In UTC.
    Strftime(String),
    Rfc3339,
}

/// A record to print, borrowed from wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordView<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) timestamp: TimestampMs,
    /// -1 where no leader has stamped the batch.
    pub(crate) leader_epoch: i32,
    pub(crate) compression: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: HeaderView<'a>,
}

/// A record's headers, from a batch or from input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeaderView<'a> {
    /// As they lie in a batch.
    Batch(Headers<'a>),
    /// From anywhere else.
    Slice(&'a [(&'a str, Option<&'a [u8]>)]),
}

impl<'a> HeaderView<'a> {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Batch(headers) => headers.len(),
            Self::Slice(headers) => headers.len(),
        }
    }

    /// Name and value of each, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let (batch, slice) = match self {
            Self::Batch(headers) => (Some(headers), None),
            Self::Slice(headers) => (None, Some(headers.iter().copied())),
        };
        batch.into_iter().flatten().chain(slice.into_iter().flatten())
    }
}
