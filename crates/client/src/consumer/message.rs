//! Records on their way out.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use corduroy_batch::{Batch, RecordRef};
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicName};

use super::batch::{Fetched, Source};
use crate::group::DeliveryTracker;

/// A place in the batch's records. Their size is below 4 GiB, because the decompression cap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` is in `whole`, which it was borrowed from.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        Self { start, end: start.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX)) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct HeaderSpan {
    key: Span,
    value: Option<Span>,
}

/// A record that was read. It owns its share of the batch it came in: there is no lifetime, cloning is cheap, and
/// it keeps that batch's bytes, which count to the consumer's `buffer_bytes`.
#[derive(Debug, Clone)]
pub struct Message {
    fetched: Arc<Fetched>,
    offset: Offset,
    timestamp: TimestampMs,
    key: Option<Span>,
    value: Option<Span>,
    headers: Box<[HeaderSpan]>,
    /// Of a group's consumer.
    track: Option<Arc<DeliveryTracker>>,
}

impl Message {
    pub(crate) fn new(fetched: &Arc<Fetched>, record: &RecordRef<'_>) -> Self {
        let whole = fetched.records.buffer();
        let span = |part: &[u8]| Span::of(part, whole);
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(span),
            value: record.value.map(span),
            headers: (record.headers)
                .map(|(key, value)| HeaderSpan { key: span(key.as_bytes()), value: value.map(span) })
                .collect(),
            fetched: Arc::clone(fetched),
            track: None,
        }
    }

    /// As a message of a group's consumer.
    pub(crate) fn tracked(mut self, track: Arc<DeliveryTracker>) -> Self {
        self.track = Some(track);
        self
    }

    /// The program is done with it: the group's position may move over it, once those before it are done too.
    ///
    /// Saying it again, of a clone too, changes nothing; nor does saying it of a message whose partition was released
    /// of or sought in meanwhile, or of one that was not read in a group. A message that is dropped without having
    /// said so is read again when its partition changes hands.
    pub fn done(&self) {
        if let Some(track) = &self.track {
            track.done(self.offset);
        }
    }

    /// Whether the member that read it still holds its partition, as far as it has heard. Where it does not, the
    /// record is read again elsewhere, or was already. False also after a seek in the partition, and for a message
    /// that was not read in a group.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.track.as_ref().is_some_and(|track| track.is_held())
    }

    /// Whether it is worth while to begin with it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.track.as_ref().is_some_and(|track| track.is_wanted())
    }

    /// It will not be done: see [`DeliveryTracker::give_back`].
    pub(crate) fn give_back(&self) {
        if let Some(track) = &self.track {
            track.give_back();
        }
    }

    /// Its topic and its partition.
    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.fetched.source
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.fetched.source.topic
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.fetched.source.partition
    }

    /// Its offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Its time: the producer's, or the broker's where the topic has LogAppendTime.
    #[must_use]
    pub fn timestamp(&self) -> TimestampMs {
        self.timestamp
    }

    /// The epoch of the leader that appended it.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.fetched.batch.header().leader_epoch
    }

    /// Its key, if it has one. An empty key is not the same as none.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.map(|span| self.slice(span))
    }

    /// Its value; `None` is null, a tombstone in a compacted topic.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.map(|span| self.slice(span))
    }

    /// Its key as bytes of their own, without a copy.
    #[must_use]
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.key.map(|span| self.share(span))
    }

    /// Its value as bytes of their own, without a copy.
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value.map(|span| self.share(span))
    }

    /// Its headers, in order; keys may repeat, and a value `None` is null.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|header| {
            // The batch has checked that header keys are text.
            let key = std::str::from_utf8(self.slice(header.key)).unwrap_or_default();
            (key, header.value.map(|span| self.slice(span)))
        })
    }

    /// The value of the last header of this key, if there is one that is not null.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        self.headers().filter(|(name, _)| *name == key).last().and_then(|(_, value)| value)
    }

    /// The whole batch that it came in, as stored.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.fetched.batch
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.fetched.records.buffer().get(span.range()).unwrap_or_default()
    }

    fn share(&self, span: Span) -> Bytes {
        let buffer = self.fetched.records.buffer();
        if buffer.get(span.range()).is_some() { buffer.slice(span.range()) } else { Bytes::new() }
    }
}
