//! The Produce stream: one at a time, opened again after a failure.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use corduroy_api::{Refusal, v1};
use corduroy_types::ErrorCode;
use futures_core::Stream;
use tokio::{sync::mpsc, time::Instant};
use tonic::{Response, Status, Streaming};
use v1::produce_client::ProduceClient;

use crate::{
    backoff::Backoff,
    client::Shared,
    connection::{Connection, DECODE_BYTES_MAX},
};

/// How many requests wait between the background task and the connection. They count to the producer's buffer.
const REQUESTS_WAITING_MAX: usize = 4;

/// Remembers the last request that left, so that those behind it are known not to have left.
///
/// Correlation ids grow, and requests leave in their order.
#[derive(Debug, Default)]
struct Gate(AtomicU64);

impl Gate {
    const CLOSED: u64 = u64::MAX;

    /// Lets a request out, unless the gate was closed.
    fn pass(&self, correlation_id: u64) -> bool {
        let pass = |last| (last != Self::CLOSED).then_some(correlation_id);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, pass).is_ok()
    }

    /// Lets nothing more out; the last one that left.
    fn close(&self) -> u64 {
        self.0.swap(Self::CLOSED, Ordering::AcqRel)
    }
}

/// The requests, as tonic takes them.
struct Outgoing {
    requests: mpsc::Receiver<v1::ProduceRequest>,
    gate: Arc<Gate>,
}

impl Stream for Outgoing {
    type Item = v1::ProduceRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.requests.poll_recv(cx));
        Poll::Ready(next.filter(|request| self.gate.pass(request.correlation_id)))
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<v1::ProduceResponse>>, Status>> + Send>>;

enum StreamState {
    /// Not asked for yet, or waiting to be tried again.
    Closed {
        retry_at: Option<Instant>,
    },
    Opening {
        opening: Opening,
        half: Half,
    },
    Open {
        answers: Box<Streaming<v1::ProduceResponse>>,
        half: Half,
    },
}

/// Our half of a stream.
struct Half {
    requests: mpsc::Sender<v1::ProduceRequest>,
    gate: Arc<Gate>,
    channel: usize,
}

/// The producer's stream to the broker.
pub(crate) struct ProduceStream {
    client: Arc<Shared>,
    state: StreamState,
    backoff: Backoff,
}

/// What happened on the stream.
pub(crate) enum StreamEvent {
    /// Requests can be sent.
    Opened,
    Answer(v1::ProduceResponse),
    /// The stream is gone; requests above `last_sent` never left. It is opened again by itself.
    Broken {
        refusal: Refusal,
        last_sent: u64,
    },
    /// The stream is gone before any request.
    NotOpened {
        refusal: Refusal,
    },
}

impl ProduceStream {
    pub(crate) fn new(client: Arc<Shared>) -> Self {
        Self { client, state: StreamState::Closed { retry_at: None }, backoff: Backoff::default() }
    }

    /// Begins to open the stream, if that was never asked for.
    pub(crate) fn want(&mut self) {
        if matches!(self.state, StreamState::Closed { retry_at: None }) {
            self.open();
        }
    }

    /// A place for a request, if the stream is open and takes one now.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, v1::ProduceRequest>> {
        match &self.state {
            StreamState::Open { half, .. } => half.requests.try_reserve().ok(),
            _ => None,
        }
    }

    /// Resolves when a request can be sent on the open stream.
    pub(crate) fn until_room(&self) -> impl Future<Output = ()> + use<> {
        let requests = match &self.state {
            StreamState::Open { half, .. } => Some(half.requests.clone()),
            _ => None,
        };
        async move {
            match requests {
                // A closed channel arrives as an event; until then there is no room.
                Some(requests) if requests.reserve().await.is_ok() => {}
                _ => std::future::pending().await,
            }
        }
    }

    /// The next event. Dropping the future loses nothing.
    pub(crate) async fn event(&mut self) -> StreamEvent {
        loop {
            match &mut self.state {
                StreamState::Closed { retry_at: None } => std::future::pending().await,
                StreamState::Closed { retry_at: Some(at) } => {
                    tokio::time::sleep_until(*at).await;
                    self.open();
                }
                StreamState::Opening { opening, .. } => {
                    let opened = opening.await;
                    return self.opened(opened);
                }
                StreamState::Open { answers, .. } => match answers.message().await {
                    Ok(Some(answer)) => {
                        self.backoff.reset();
                        return StreamEvent::Answer(answer);
                    }
                    Ok(None) => return self.broken(None),
                    Err(status) => return self.broken(Some(&status)),
                },
            }
        }
    }

    fn connection(&self) -> &Connection {
        &self.client.data
    }

    fn open(&mut self) {
        let Ok((channel_index, channel)) = self.connection().channel() else { return };
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let gate = Arc::new(Gate::default());
        let outgoing = Outgoing { requests: receiver, gate: Arc::clone(&gate) };
        let opening = async move {
            ProduceClient::new(channel).max_decoding_message_size(DECODE_BYTES_MAX).produce(outgoing).await
        };
        let half = Half { requests, gate, channel: channel_index };
        self.state = StreamState::Opening { opening: Box::pin(opening), half };
    }

    fn opened(&mut self, result: Result<Response<Streaming<v1::ProduceResponse>>, Status>) -> StreamEvent {
        let closed = StreamState::Closed { retry_at: Some(Instant::now() + self.backoff.next()) };
        let StreamState::Opening { half, .. } = std::mem::replace(&mut self.state, closed) else {
            return StreamEvent::Opened;
        };
        match result {
            Ok(response) => {
                self.connection().works(half.channel);
                self.state = StreamState::Open { answers: Box::new(response.into_inner()), half };
                StreamEvent::Opened
            }
            Err(status) => {
                StreamEvent::NotOpened { refusal: self.connection().failed(half.channel, &status) }
            }
        }
    }

    fn broken(&mut self, status: Option<&Status>) -> StreamEvent {
        let closed = StreamState::Closed { retry_at: Some(Instant::now() + self.backoff.next()) };
        let StreamState::Open { half, .. } = std::mem::replace(&mut self.state, closed) else {
            return StreamEvent::Opened;
        };
        let last_sent = half.gate.close();
        let refusal = match status {
            Some(status) => self.connection().failed(half.channel, status),
            None => {
                let reason = "the broker ended the stream".to_owned();
                self.connection().lost(half.channel, reason.clone());
                let url = self.connection().url(half.channel);
                Refusal::new(ErrorCode::Unavailable, format!("the broker at {url} is gone: {reason}"))
            }
        };
        StreamEvent::Broken { refusal, last_sent }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn what_has_not_left_when_the_stream_breaks_never_will() {
        let (requests, receiver) = mpsc::channel(4);
        let gate = Arc::new(Gate::default());
        let mut outgoing = Outgoing { requests: receiver, gate: Arc::clone(&gate) };
        for correlation_id in 1..=3 {
            requests
                .send(v1::ProduceRequest { correlation_id, ..v1::ProduceRequest::default() })
                .await
                .unwrap();
        }
        assert_eq!(outgoing.next().await.unwrap().correlation_id, 1);
        assert_eq!(outgoing.next().await.unwrap().correlation_id, 2);
        assert_eq!(gate.close(), 2);
        assert_eq!(outgoing.next().await, None);
    }
}
