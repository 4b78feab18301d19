//! A listener for short requests: few connections at a time, each for a limited time, and none may block the
//! others.

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

/// Connections at one time. One more replaces a connection that has not sent a request. If all of them are being
/// answered, it waits.
const CONNECTIONS_MAX: usize = 128;
/// How long a connection lives: long enough for a slow scrape.
const LIFETIME: Duration = Duration::from_secs(60);
/// After a failed accept (no file handle left, usually) the listener rests this long instead of spinning.
const REST: Duration = Duration::from_millis(100);
/// What ends the head of a request.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// Accepts connections that end after [`LIFETIME`], at most [`CONNECTIONS_MAX`] at one time, so that clients that
/// send half a request cannot keep others from being answered.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Slots>,
}

/// The open connections.
#[derive(Debug, Default)]
struct Slots {
    open: Mutex<HashMap<u64, Arc<Slot>>>,
    freed: Notify,
    /// Grows with each connection and each step of one, so that the connection that has been idle for longest is
    /// known.
    steps: AtomicU64,
}

/// What is known of one connection.
#[derive(Debug)]
struct Slot {
    id: u64,
    /// It has not sent a whole request that still has to be answered.
    waiting: AtomicBool,
    last_step: AtomicU64,
    revoked: AtomicBool,
    /// The task that drives the connection.
    driver: AtomicWaker,
}

impl Slots {
    fn step(&self) -> u64 {
        self.steps.fetch_add(1, Relaxed)
    }

    /// Takes a slot, if necessary from a connection that only waits. `None` if all are being answered.
    fn take(&self) -> Option<Arc<Slot>> {
        let mut open = self.open.lock();
        if open.len() >= CONNECTIONS_MAX {
            let waiting = open.values().filter(|slot| slot.waiting.load(Relaxed));
            let idlest = waiting.min_by_key(|slot| slot.last_step.load(Relaxed))?.id;
            if let Some(slot) = open.remove(&idlest) {
                slot.revoked.store(true, Relaxed);
                // The waker's own ordering makes the flag visible to the task that it wakes.
                slot.driver.wake();
            }
        }
        let id = self.step();
        let slot = Arc::new(Slot {
            id,
            waiting: AtomicBool::new(true),
            last_step: AtomicU64::new(id),
            revoked: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        });
        open.insert(id, Arc::clone(&slot));
        Some(slot)
    }

    fn free(&self, slot: &Slot) {
        if self.open.lock().remove(&slot.id).is_some() {
            self.freed.notify_one();
        }
    }
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, slots: Arc::default() }
    }

    async fn slot(&self) -> Arc<Slot> {
        loop {
            if let Some(slot) = self.slots.take() {
                return slot;
            }
            // A slot that is freed before this call is not missed: the notification is stored.
            self.slots.freed.notified().await;
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
                    let (slot, slots) = (self.slot().await, Arc::clone(&self.slots));
                    let death = Box::pin(sleep(LIFETIME));
                    return (MortalStream { stream, death, slot, slots, head_matched: 0 }, peer);
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

/// A stream that fails at the end of its life, or when its slot is taken.
#[derive(Debug)]
pub(crate) struct MortalStream {
    stream: TcpStream,
    death: Pin<Box<Sleep>>,
    slot: Arc<Slot>,
    slots: Arc<Slots>,
    /// How much of [`HEAD_END`] the last bytes read were.
    head_matched: usize,
}

impl MortalStream {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.slot.driver.register(cx.waker());
        if self.slot.revoked.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.death.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn stepped(&self) {
        self.slot.last_step.store(self.slots.step(), Relaxed);
    }

    /// Looks for the end of a request's head. A false match only keeps the slot until it is answered.
    fn read_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let expected = HEAD_END.get(self.head_matched) == Some(byte);
            self.head_matched = if expected { self.head_matched + 1 } else { usize::from(*byte == b'\r') };
            if self.head_matched == HEAD_END.len() {
                self.head_matched = 0;
                self.slot.waiting.store(false, Relaxed);
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
            // The bytes that follow are the rest of this answer, or another request.
            self.slot.waiting.store(true, Relaxed);
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
        self.slots.free(&self.slot);
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
    async fn no_one_keeps_a_place_for_long() {
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
        let revoked = |open: &[(TcpStream, MortalStream)]| {
            let taken = open.iter().enumerate().filter(|(_, (_, stream))| stream.slot.revoked.load(Relaxed));
            taken.map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(revoked(&open), [2]);
        let aborted = open[2].1.read(&mut buffer).await.unwrap_err();
        assert_eq!(aborted.kind(), io::ErrorKind::ConnectionAborted);
        // If all are being answered, the next connection waits for a slot.
        for slot in listener.slots.open.lock().values() {
            slot.waiting.store(false, Relaxed);
        }
        let _later = TcpStream::connect(address).await.unwrap();
        assert!(listener.slots.take().is_none());
        drop(open.swap_remove(0));
        listener.accept().await;
        assert_eq!(revoked(&open), [2]);
    }
}
