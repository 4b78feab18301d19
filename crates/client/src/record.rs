//! Records on their way in.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use corduroy_types::{Offset, PartitionIndex, TimestampMs};

/// A record to be produced, owning what it holds.
///
/// ```
/// use corduroy_client::Record;
///
/// let record = Record::to("orders").key("alice").value("1 book").header("trace", "7f3a");
/// let deleted = Record::to("orders").key("alice").tombstone();
/// assert_eq!(record.value_bytes().map(|value| value.as_ref()), Some(b"1 book".as_ref()));
/// assert_eq!(deleted.value_bytes(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a record does nothing until it is sent"]
pub struct Record {
    topic: Arc<str>,
    partition: Option<PartitionIndex>,
    timestamp: Option<TimestampMs>,
    expected_offset: Option<Offset>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(Cow<'static, str>, Option<Bytes>)>,
}

impl Record {
    /// A record for a topic, without key, value and headers.
    pub fn to(topic: impl AsRef<str>) -> Self {
        Self {
            topic: topic.as_ref().into(),
            partition: None,
            timestamp: None,
            expected_offset: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// The key. Records of the same key go to the same partition, and a compacted topic keeps the last of each.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The value.
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// A null value, which deletes the key in a compacted topic. An empty value is not the same.
    pub fn tombstone(mut self) -> Self {
        self.value = None;
        self
    }

    /// One more header. Keys may repeat; order is kept.
    pub fn header(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.headers.push((key.into(), Some(value.into())));
        self
    }

    /// One more header, with a null value.
    pub fn null_header(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((key.into(), None));
        self
    }

    /// The partition, counted from 0, instead of the partitioner's choice.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(PartitionIndex(partition));
        self
    }

    /// The record's time, instead of the moment at which the producer accepts it.
    pub fn timestamp(mut self, timestamp: TimestampMs) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Appends the record only if it gets this offset, the partition's next one; otherwise it is refused with
    /// `OFFSET_MISMATCH`, *not written*, and [`SendError::next_offset`](crate::SendError::next_offset) is the next
    /// offset there is. Needs [`partition`](Self::partition): every partition has offsets of its own.
    ///
    /// What is accepted behind it in its partition is written only if it is. When it fails, for whatever reason, everything
    /// accepted behind it until then is handed back *not written* (or *unknown*, if this one may be written), of the kind
    /// [`AfterRefused`](crate::SendErrorKind::AfterRefused) or [`AfterUnknown`](crate::SendErrorKind::AfterUnknown). With
    /// [`Acks::One`](crate::Acks::One) what is behind it does not leave before its answer.
    pub fn expect_offset(mut self, offset: Offset) -> Self {
        self.expected_offset = Some(offset);
        self
    }

    /// The topic it goes to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its key, if it has one.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// Its value; `None` is null.
    #[must_use]
    pub fn value_bytes(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// Its headers, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&Bytes>)> {
        self.headers.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// The partition it was given. A record that a producer hands back has the partition it was meant for.
    #[must_use]
    pub fn partition_index(&self) -> Option<PartitionIndex> {
        self.partition
    }

    /// The offset without which it is not to be appended.
    #[must_use]
    pub fn expected_offset(&self) -> Option<Offset> {
        self.expected_offset
    }

    /// The time it was given. A record that a producer hands back has the time of its acceptance.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<TimestampMs> {
        self.timestamp
    }
}

/// A record to be produced, borrowing what it holds: for programs that push millions a second.
///
/// The producer copies it into its buffer; nothing else is allocated.
///
/// ```
/// use corduroy_client::RecordRef;
///
/// let line = b"2026-11-20 09:00:00 started";
/// let record = RecordRef { value: Some(line), ..RecordRef::to("logs") };
/// assert_eq!(record.topic, "logs");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a record does nothing until it is sent"]
pub struct RecordRef<'a> {
    /// The topic it goes to.
    pub topic: &'a str,
    /// The partition, instead of the partitioner's choice.
    pub partition: Option<PartitionIndex>,
    /// Its time, instead of the moment at which the producer accepts it.
    pub timestamp: Option<TimestampMs>,
    /// The offset without which it is not to be appended: see [`Record::expect_offset`].
    pub expected_offset: Option<Offset>,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order; a value `None` is null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl<'a> RecordRef<'a> {
    /// A record for a topic, without key, value and headers.
    pub fn to(topic: &'a str) -> Self {
        Self {
            topic,
            partition: None,
            timestamp: None,
            expected_offset: None,
            key: None,
            value: None,
            headers: &[],
        }
    }

    /// The same record, owning what it holds.
    pub fn to_record(&self) -> Record {
        Record {
            topic: self.topic.into(),
            partition: self.partition,
            timestamp: self.timestamp,
            expected_offset: self.expected_offset,
            key: self.key.map(Bytes::copy_from_slice),
            value: self.value.map(Bytes::copy_from_slice),
            headers: (self.headers.iter())
                .map(|(key, value)| (Cow::Owned((*key).to_owned()), value.map(Bytes::copy_from_slice)))
                .collect(),
        }
    }
}

/// Any form of a record, as the accumulator sees it.
pub(crate) trait Source {
    fn topic(&self) -> &str;
    fn partition(&self) -> Option<PartitionIndex>;
    fn timestamp(&self) -> Option<TimestampMs>;
    fn expected_offset(&self) -> Option<Offset>;
    fn key(&self) -> Option<&[u8]>;
    fn value(&self) -> Option<&[u8]>;
    fn header_iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone;
    fn give_back(self) -> Record;
}

impl Source for Record {
    fn topic(&self) -> &str {
        &self.topic
    }
    fn partition(&self) -> Option<PartitionIndex> {
        self.partition
    }
    fn timestamp(&self) -> Option<TimestampMs> {
        self.timestamp
    }
    fn expected_offset(&self) -> Option<Offset> {
        self.expected_offset
    }
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
    fn header_iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
        self.headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref()))
    }
    fn give_back(self) -> Record {
        self
    }
}

impl Source for RecordRef<'_> {
    fn topic(&self) -> &str {
        self.topic
    }
    fn partition(&self) -> Option<PartitionIndex> {
        self.partition
    }
    fn timestamp(&self) -> Option<TimestampMs> {
        self.timestamp
    }
    fn expected_offset(&self) -> Option<Offset> {
        self.expected_offset
    }
    fn key(&self) -> Option<&[u8]> {
        self.key
    }
    fn value(&self) -> Option<&[u8]> {
        self.value
    }
    fn header_iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
        self.headers.iter().copied()
    }
    fn give_back(self) -> Record {
        self.to_record()
    }
}
