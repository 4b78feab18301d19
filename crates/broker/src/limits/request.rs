//! A request body that is charged for what it announces, and that has to keep arriving.
//!
//! tonic reserves memory for a whole message as soon as it sees the five bytes in front of it (one of flags, four
//! of length). So this body reads those headers first. It hands a message on only when it is within the rpc's
//! limit and charged to the receive budget.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use corduroy_api::Refusal;
use corduroy_types::{ErrorCode, format_byte_size};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{
    Limits, Rpc,
    body_timeout::BodyTimeout,
    budget::Permit,
    received::{Received, Skipped},
    registry::Connection,
    scanner::{Found, HEADER_BYTES, Scanner},
    skip::Skip,
};
use crate::metrics::Counter;

type Charging = Pin<Box<dyn Future<Output = Permit> + Send>>;

/// An empty message, which stands in the body for a skipped one.
const PLACEHOLDER: Bytes = Bytes::from_static(&[0; HEADER_BYTES]);

/// The limits of a body, and the connection it is charged to.
pub(super) struct Guards {
    pub(super) rpc: Rpc,
    pub(super) connection: Arc<Connection>,
    pub(super) limits: Arc<Limits>,
    /// Counts the bytes received.
    pub(super) bytes: Option<Counter>,
}

/// The body of one request.
pub(super) struct RequestBody {
    inner: Body,
    guards: Guards,
    received: Received,
    scanner: Scanner,
    /// What arrived and was not scanned yet. While it waits for more, that is at most the beginning of a header.
    unscanned: Bytes,
    /// The message that is being skipped.
    skip: Option<Skip>,
    /// The beginning of a message that waits for its charge.
    held_back: Bytes,
    charging: Option<Charging>,
    timeout: BodyTimeout,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(inner: Body, guards: Guards, received: Received) -> Self {
        Self {
            inner,
            guards,
            received,
            scanner: Scanner::default(),
            unscanned: Bytes::new(),
            skip: None,
            held_back: Bytes::new(),
            charging: None,
            timeout: BodyTimeout::default(),
            ended: false,
        }
    }

    #[cfg(test)]
    pub(super) fn received(&self) -> Received {
        self.received.clone()
    }

    /// Takes what arrived.
    fn take(&mut self, data: Bytes) {
        if let Some(bytes) = &self.guards.bytes {
            bytes.inc_by(u64::try_from(data.len()).unwrap_or(0));
        }
        self.timeout.arrived();
        self.unscanned = if self.unscanned.is_empty() {
            data
        } else {
            // The few bytes of an incomplete header.
            [self.unscanned.as_ref(), data.as_ref()].concat().into()
        };
    }

    /// The next bytes that can be handed on without more arriving or being charged.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if let Some(skip) = &mut self.skip {
            let passed = skip.pass(&self.unscanned);
            self.unscanned.advance(passed);
            if skip.left > 0 {
                return Ok(None);
            }
            let (head, message_bytes) = (skip.head(), skip.message_bytes);
            self.skip = None;
            let refusal = self.left_out(message_bytes);
            self.received.skipped(self.scanner.messages(), Skipped { head, refusal });
            return Ok(Some(PLACEHOLDER));
        }
        let limit = self.guards.limits.request_limit(self.guards.rpc);
        let front = match self.scanner.scan(&self.unscanned, limit) {
            Found::Nothing { unfinished } => {
                let known = self.unscanned.len().saturating_sub(unfinished);
                if known > 0 && self.scanner.missing() == 0 {
                    self.received.arrived();
                }
                self.unscanned.split_to(known)
            }
            Found::Message { before, message_bytes } => {
                self.received.arrived();
                let front = self.unscanned.split_to(before.min(self.unscanned.len()));
                self.held_back = std::mem::take(&mut self.unscanned);
                self.timeout.begin(message_bytes);
                let (limits, connection) =
                    (Arc::clone(&self.guards.limits), Arc::clone(&self.guards.connection));
                self.charging = Some(Box::pin(async move {
                    limits.receive.acquire(connection.receive_share(), message_bytes).await
                }));
                front
            }
            Found::TooLarge { before, message_bytes } => {
                self.received.arrived();
                let front = self.unscanned.split_to(before.min(self.unscanned.len()));
                let most = self.guards.limits.skip_limit(self.guards.rpc);
                if message_bytes > most {
                    // First the bytes before it. The header stays, and is found again.
                    return match front.is_empty() {
                        true => Err(self.too_large(message_bytes, most.max(limit))),
                        false => Ok(Some(front)),
                    };
                }
                self.unscanned.advance(HEADER_BYTES.min(self.unscanned.len()));
                self.timeout.begin(message_bytes);
                self.skip = Some(Skip::new(message_bytes));
                front
            }
        };
        Ok((!front.is_empty()).then_some(front))
    }

    /// Whether [`Self::next`] can make progress before more arrives.
    fn has_work(&self) -> bool {
        // Between two messages: bytes too few for a header were scanned when they arrived.
        let least = if self.missing() > 0 { 1 } else { HEADER_BYTES };
        self.unscanned.len() >= least
    }

    /// Bytes of the current message that are missing.
    fn missing(&self) -> u64 {
        self.skip.as_ref().map_or_else(|| self.scanner.missing(), |skip| skip.left)
    }

    /// The answer to a skipped message.
    fn left_out(&self, message_bytes: u64) -> Refusal {
        let limit = format_byte_size(self.guards.limits.request_limit(self.guards.rpc));
        let text = format!("a request of {}, the limit is {limit}", format_byte_size(message_bytes));
        Refusal::new(ErrorCode::BatchTooLarge, text)
            .with_hint(
                "send fewer records in a request, or raise max.message.bytes: the largest of any topic sets this limit",
            )
    }

    fn too_large(&self, announced: u64, limit: u64) -> Status {
        let (announced, limit) = (format_byte_size(announced), format_byte_size(limit));
        let text = format!("a request of {announced} is announced, the limit is {limit}");
        match self.guards.rpc {
            Rpc::Produce => Refusal::new(ErrorCode::BatchTooLarge, text).with_hint(
                "send fewer records in a request: limits.request_max_bytes ends whatever exceeds it",
            ),
            Rpc::Control => Refusal::new(ErrorCode::InvalidRequest, text).with_hint("ask for less at once"),
        }
        .into_status()
    }

    fn end(&mut self) {
        self.ended = true;
        self.charging = None;
        self.held_back = Bytes::new();
        self.unscanned = Bytes::new();
        if self.missing() > 0 {
            // The service will not take this message. A whole one is still being worked on, and gives its charge
            // back.
            self.received.release();
        }
    }

    fn fail(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.end();
        Poll::Ready(Some(Err(status)))
    }

    /// The client sends nothing more.
    fn finish(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.skip.is_some() {
            let missing = self.missing();
            return self.fail(stalled(missing));
        }
        // The beginning of a header: tonic reports what it means that no more comes.
        let rest = std::mem::take(&mut self.unscanned);
        self.end();
        Poll::Ready((!rest.is_empty()).then_some(Ok(Frame::data(rest))))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if this.charging.is_some() || this.skip.is_some() || this.missing() == 0 {
                // A service that asks for more has taken everything before it.
                this.received.release();
            }
            if let Some(charging) = &mut this.charging {
                let charge = ready!(charging.as_mut().poll(cx));
                this.received.charge(charge);
                this.charging = None;
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.held_back)))));
            }
            if this.has_work() {
                match this.next() {
                    Ok(Some(front)) => return Poll::Ready(Some(Ok(Frame::data(front)))),
                    Ok(None) => continue,
                    Err(status) => return this.fail(status),
                }
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.take(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(status))) => return this.fail(status),
                Poll::Ready(None) => return this.finish(),
                Poll::Pending => {
                    let missing = this.missing();
                    if missing == 0 || this.timeout.poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    return this.fail(stalled(missing));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let nothing_left = self.charging.is_none() && self.unscanned.is_empty() && self.skip.is_none();
        self.ended || (nothing_left && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn stalled(missing: u64) -> Status {
    let text = format!("the request stopped arriving with {missing} bytes of a message missing");
    Refusal::new(ErrorCode::TimedOut, text).with_hint("check the network; then send it again").into_status()
}
