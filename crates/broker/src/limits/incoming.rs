//! The accept loop.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    net::TcpListener,
    time::{Sleep, sleep},
};

use super::{Limits, io::GuardedIo};

/// After a failed accept (no file handle left, usually) the listener rests this long instead of spinning.
const REST: Duration = Duration::from_millis(100);

/// Accepted connections, each in the registry; those above `listen.max_connections` are closed at once.
pub(crate) struct Incoming {
    listener: TcpListener,
    limits: Arc<Limits>,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, limits: Arc<Limits>) -> Self {
        Self { listener, limits, rest: None }
    }
}

impl Stream for Incoming {
    type Item = io::Result<GuardedIo>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                std::task::ready!(rest.as_mut().poll(cx));
                self.rest = None;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer)) => {
                    // Without it small answers wait for TCP acknowledgements. A socket that refuses the option is
                    // broken.
                    if stream.set_nodelay(true).is_err() {
                        continue;
                    }
                    let Some(connection) = self.limits.connect(peer) else { continue };
                    let limits = Arc::clone(&self.limits);
                    return Poll::Ready(Some(Ok(GuardedIo::new(stream, connection, limits))));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.rest = Some(Box::pin(sleep(REST)));
                }
            }
        }
    }
}
