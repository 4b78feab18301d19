//! A request body that is charged for what it announces and has to keep arriving.
//!
//! tonic reserves a whole message as soon as it sees the five bytes in front of it (one of flags, four of length).
//! So this body reads those headers first, and hands one on only when its message is within the rpc's limit and
//! charged to the receive budget.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_types::{ErrorCode, format_byte_size};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{
    Limits, Rpc,
    budget::Permit,
    patience::Patience,
    registry::Connection,
    scanner::{Found, Scanner},
};
use crate::metrics::Counter;

type Charging = Pin<Box<dyn Future<Output = Permit> + Send>>;

/// The body of one request.
pub(super) struct RequestBody {
    inner: Body,
    rpc: Rpc,
    connection: Arc<Connection>,
    limits: Arc<Limits>,
    received: Option<Counter>,
    scanner: Scanner,
    /// The beginning of a message that waits for its charge.
    held_back: Bytes,
    charging: Option<Charging>,
    charge: Option<Permit>,
    patience: Patience,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(
        inner: Body,
        rpc: Rpc,
        connection: Arc<Connection>,
        limits: Arc<Limits>,
        received: Option<Counter>,
    ) -> Self {
        Self {
            inner,
            rpc,
            connection,
            limits,
            received,
            scanner: Scanner::default(),
            held_back: Bytes::new(),
            charging: None,
            charge: None,
            patience: Patience::default(),
            ended: false,
        }
    }

    /// Takes what arrived; returns what can be handed on at once.
    fn take(&mut self, mut data: Bytes) -> Result<Bytes, Status> {
        if let Some(received) = &self.received {
            received.inc_by(u64::try_from(data.len()).unwrap_or(0));
        }
        self.patience.arrived();
        let limit = self.limits.request_limit(self.rpc);
        match self.scanner.scan(&data, limit) {
            Ok(Found::Nothing) => {
                if self.scanner.missing() == 0 {
                    self.charge = None;
                }
                Ok(data)
            }
            Ok(Found::Message { before, message_bytes }) => {
                self.charge = None;
                let front = data.split_to(before.min(data.len()));
                self.held_back = data;
                self.patience.begin(message_bytes);
                let (limits, connection) = (Arc::clone(&self.limits), Arc::clone(&self.connection));
                self.charging = Some(Box::pin(async move {
                    limits.receive.acquire(connection.receive_share(), message_bytes).await
                }));
                Ok(front)
            }
            Err(announced) => Err(too_large(self.rpc, announced, limit)),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.charge = None;
        self.charging = None;
        self.held_back = Bytes::new();
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
            if let Some(charging) = &mut this.charging {
                this.charge = Some(ready!(charging.as_mut().poll(cx)));
                this.charging = None;
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.held_back)))));
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => match this.take(data) {
                        Ok(front) if front.is_empty() && this.charging.is_some() => {}
                        Ok(front) => return Poll::Ready(Some(Ok(Frame::data(front)))),
                        Err(status) => {
                            this.end();
                            return Poll::Ready(Some(Err(status)));
                        }
                    },
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(other) => {
                    this.end();
                    return Poll::Ready(other);
                }
                Poll::Pending => {
                    let missing = this.scanner.missing();
                    if missing == 0 || this.patience.poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    this.end();
                    return Poll::Ready(Some(Err(stalled(missing))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.charging.is_none() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn too_large(rpc: Rpc, announced: u64, limit: u64) -> Status {
    let (announced, limit) = (format_byte_size(announced), format_byte_size(limit));
    let text = format!("a request of {announced} is announced, the limit is {limit}");
    match rpc {
        Rpc::Produce => Refusal::new(ErrorCode::BatchTooLarge, text)
            .with_hint("send smaller batches: the largest max.message.bytes of any topic sets this limit"),
        Rpc::Control => Refusal::new(ErrorCode::InvalidRequest, text).with_hint("ask for less at once"),
    }
    .into_status()
}

fn stalled(missing: u64) -> Status {
    let text = format!("the request stopped arriving with {missing} bytes of a message missing");
    Refusal::new(ErrorCode::TimedOut, text).with_hint("check the network; then send it again").into_status()
}
