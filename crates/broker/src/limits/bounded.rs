//! A listener for short questions: few connections at one time, none for long, and none that only holds a place.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{Sleep, sleep},
};

/// Connections at one time. A further one takes the place of one that has not asked anything yet; where all are being
/// answered, it waits.
const CONNECTIONS_MAX: usize = 128;
/// How long a connection lives: time for a slow scrape, and too short to sit on a place.
const LIFETIME: Duration = Duration::from_secs(60);
/// After a failed accept (no file handle left, usually) the listener rests this long instead of spinning.
const REST: Duration = Duration::from_millis(100);
/// What ends the head of a request.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// Accepts connections that end after [`LIFETIME`] whatever their client does, at most [`CONNECTIONS_MAX`] at one
/// time. So clients that send half a request cannot keep others from being answered.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Places>,
}

/// The connections that have a place.
#[derive(Debug, Default)]
struct Places {
    open: Mutex<HashMap<u64, Arc<Place>>>,
    given_back: Notify,
    /// Grows with each connection and each step of one, so that the one is known that stood still for longest.
    steps: AtomicU64,
}

/// What is known of one connection.
#[derive(Debug)]
struct Place {
    id: u64,
    /// It has not sent a whole request that is still to be answered.
    waiting: AtomicBool,
    last_step: AtomicU64,
    taken_away: AtomicBool,
    /// The task that drives the connection.
    driver: AtomicWaker,
}

impl Places {
    fn step(&self) -> u64 {
        self.steps.fetch_add(1, Relaxed)
    }

    /// Takes a place, if need be from a connection that only waits. `None`: all are being answered.
    fn take(&self) -> Option<Arc<Place>> {
        let mut open = self.open.lock();
        if open.len() >= CONNECTIONS_MAX {
            let waiting = open.values().filter(|place| place.waiting.load(Relaxed));
            let idlest = waiting.min_by_key(|place| place.last_step.load(Relaxed))?.id;
            if let Some(place) = open.remove(&idlest) {
                place.taken_away.store(true, Relaxed);
                // The waker's own ordering makes the flag visible to the task that it wakes.
                place.driver.wake();
            }
        }
        let id = self.step();
        let place = Arc::new(Place {
            id,
            waiting: AtomicBool::new(true),
            last_step: AtomicU64::new(id),
            taken_away: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        });
        open.insert(id, Arc::clone(&place));
        Some(place)
    }

    fn give_back(&self, place: &Place) {
        if self.open.lock().remove(&place.id).is_some() {
            self.given_back.notify_one();
        }
    }
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::default() }
    }

    async fn place(&self) -> Arc<Place> {
        loop {
            if let Some(place) = self.places.take() {
                return place;
            }
            // One that is given back before this is remembered.
            self.places.given_back.notified().await;
        }
    }
}

impl Listener for BoundedListener {
    type Io = MortalStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (MortalStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let (place, places) = (self.place().await, Arc::clone(&self.places));
                    let death = Box::pin(sleep(LIFETIME));
                    return (MortalStream { stream, death, place, places, head_matched: 0 }, peer);
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

/// A stream that fails at the end of its life, or when its place is taken away.
#[derive(Debug)]
pub(crate) struct MortalStream {
    stream: TcpStream,
    death: Pin<Box<Sleep>>,
    place: Arc<Place>,
    places: Arc<Places>,
    /// How much of [`HEAD_END`] the last bytes read were.
    head_matched: usize,
}

impl MortalStream {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.place.driver.register(cx.waker());
        if self.place.taken_away.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.death.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn stepped(&self) {
        self.place.last_step.store(self.places.step(), Relaxed);
    }

    /// Looks for the end of a request's head. What it takes for one too many only keeps its place until it is answered.
    fn read_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let expected = HEAD_END.get(self.head_matched) == Some(byte);
            self.head_matched = if expected { self.head_matched + 1 } else { usize::from(*byte == b'\r') };
            if self.head_matched == HEAD_END.len() {
                self.head_matched = 0;
                self.place.waiting.store(false, Relaxed);
            }
        }
        self.stepped();
    }
}

impl AsyncRead for MortalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.read_bytes(bytes);
        }
        read
    }
}

impl AsyncWrite for MortalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            // What follows is the rest of this answer, or the wait for another request.
            self.place.waiting.store(true, Relaxed);
            self.stepped();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for MortalStream {
    fn drop(&mut self) {
        self.places.give_back(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    use tokio::io::AsyncWriteExt as _;

    async fn listener() -> (BoundedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (BoundedListener::new(listener), address)
    }

    #[tokio::test]
    async fn nobody_keeps_a_place_for_long() {
        let (mut listener, address) = listener().await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        tokio::time::pause();
        // The clock jumps to the only thing that can happen: the end of its life.
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_has_asked_keeps_its_place_and_the_idlest_of_the_others_gives_it_up() {
        let (mut listener, address) = listener().await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let client = TcpStream::connect(address).await.unwrap();
            open.push((client, listener.accept().await.0));
        }
        // The first two send: a whole head in two parts, and half of one.
        let mut buffer = [0; 64];
        for (at, part) in [(0, &b"GET / HTTP/1.1\r\n\r"[..]), (0, b"\n"), (1, b"GET / HT")] {
            let (client, stream) = &mut open[at];
            client.write_all(part).await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), part.len());
        }
        let _next = TcpStream::connect(address).await.unwrap();
        let (_accepted, _) = listener.accept().await;
        let taken_away = |open: &[(TcpStream, MortalStream)]| {
            let taken =
                open.iter().enumerate().filter(|(_, (_, stream))| stream.place.taken_away.load(Relaxed));
            taken.map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(taken_away(&open), [2]);
        let aborted = open[2].1.read(&mut buffer).await.unwrap_err();
        assert_eq!(aborted.kind(), io::ErrorKind::ConnectionAborted);
        // Where all are being answered, the next one waits until a place is given back.
        for place in listener.places.open.lock().values() {
            place.waiting.store(false, Relaxed);
        }
        let _later = TcpStream::connect(address).await.unwrap();
        assert!(listener.places.take().is_none());
        drop(open.swap_remove(0));
        listener.accept().await;
        assert_eq!(taken_away(&open), [2]);
    }
}
