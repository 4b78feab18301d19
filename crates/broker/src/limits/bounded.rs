//! A listener for short questions: few connections at one time, none for long.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// Connections at one time; later ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 128;
/// How long a connection lives: time for a slow scrape, and too short to sit on a place.
const LIFETIME: Duration = Duration::from_secs(60);
/// After a failed accept (no file handle left, usually) the listener rests this long instead of spinning.
const REST: Duration = Duration::from_millis(100);

/// Accepts connections that end after [`LIFETIME`] whatever their client does, at most [`CONNECTIONS_MAX`] at one
/// time.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            // Nothing closes the semaphore.
            Err(_closed) => std::future::pending().await,
        }
    }
}

impl Listener for BoundedListener {
    type Io = MortalStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (MortalStream, SocketAddr) {
        let place = self.place().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    return (MortalStream { stream, death: Box::pin(sleep(LIFETIME)), _place: place }, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(REST).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A stream that fails at the end of its life.
#[derive(Debug)]
pub(crate) struct MortalStream {
    stream: TcpStream,
    death: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl MortalStream {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.death.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl AsyncRead for MortalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MortalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn places_are_few_and_nobody_keeps_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = BoundedListener::new(listener);
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let client = TcpStream::connect(address).await.unwrap();
            open.push((client, listener.accept().await.0));
        }
        let _client = TcpStream::connect(address).await.unwrap();
        assert_eq!(listener.places.available_permits(), 0);
        let (_silent, mut stream) = open.pop().unwrap();
        tokio::time::pause();
        // The clock jumps to the only thing that can happen: the end of its life.
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(stream);
        tokio::time::resume();
        listener.accept().await;
    }
}
