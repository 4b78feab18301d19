//! An answer body whose memory stays charged until its last byte has left.
//!
//! HTTP/2 takes whole messages out of a body and queues them, so the end of the body does not mean that the
//! memory is free. The charge therefore travels with the bytes and ends when the last slice of them is dropped.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::{Status, body::Body};

use super::budget::Permit;
use crate::metrics::Counter;

/// The permits of messages on their way from a service into its answer's body. A service puts one queue into its
/// answer's extensions, and puts each message's permit into it just before the message.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerPermits(Arc<Mutex<Vec<Permit>>>);

impl AnswerPermits {
    /// Adds the permit of the next message, if it has one.
    pub(crate) fn extend(&self, permit: Option<Permit>) {
        self.0.lock().extend(permit);
    }

    fn take(&self) -> Vec<Permit> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The receiving end of a stream of messages with their permits, as a stream of the messages alone.
#[derive(Debug)]
pub(crate) struct Permitted<T> {
    messages: mpsc::Receiver<(T, Option<Permit>)>,
    permits: AnswerPermits,
}

impl<T> Permitted<T> {
    /// The permits go into `permits`, which belongs into the extensions of the same answer.
    pub(crate) fn new(messages: mpsc::Receiver<(T, Option<Permit>)>, permits: AnswerPermits) -> Self {
        Self { messages, permits }
    }
}

impl<T> Stream for Permitted<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some((message, permit)) = ready!(self.messages.poll_recv(cx)) else { return Poll::Ready(None) };
        self.permits.extend(permit);
        Poll::Ready(Some(message))
    }
}

/// Bytes with the memory that they are charged for.
struct Charged {
    bytes: Bytes,
    _permits: Vec<Permit>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of one answer.
pub(super) struct AnswerBody {
    inner: Body,
    permits: Option<AnswerPermits>,
    sent: Option<Counter>,
}

impl AnswerBody {
    pub(super) fn new(inner: Body, permits: Option<AnswerPermits>, sent: Option<Counter>) -> Self {
        Self { inner, permits, sent }
    }

    fn charge(&self, bytes: Bytes) -> Bytes {
        if let Some(sent) = &self.sent {
            sent.inc_by(u64::try_from(bytes.len()).unwrap_or(0));
        }
        let permits = self.permits.as_ref().map(AnswerPermits::take).unwrap_or_default();
        if permits.is_empty() { bytes } else { Bytes::from_owner(Charged { bytes, _permits: permits }) }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.charge(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
