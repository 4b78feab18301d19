//! A client's socket that the broker can close from another task.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::{Limits, registry::Connection};

/// How long a new connection may take to send the HTTP/2 preface. Keep-alive begins only after it.
const PREFACE_WITHIN: Duration = Duration::from_secs(10);
const PREFACE_BYTES: usize = 24;

/// The socket of one [`Connection`].
pub(crate) struct GuardedIo {
    stream: TcpStream,
    connection: Arc<Connection>,
    limits: Arc<Limits>,
    /// Until the preface has arrived: its deadline, and how many bytes of it are missing.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
}

impl GuardedIo {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>, limits: Arc<Limits>) -> Self {
        let preface = Some((Box::pin(sleep(PREFACE_WITHIN)), PREFACE_BYTES));
        Self { stream, connection, limits, preface }
    }

    /// Fails once the connection was killed; otherwise registers this task, so that killing the connection wakes
    /// it.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.connection.driver().register(cx.waker());
        if self.connection.is_killed() {
            let text = "closed by the broker: it held memory without progress";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
        Ok(())
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some((deadline, missing)) = &mut self.preface {
            let arrived = buffer.filled().len() - before;
            if arrived >= *missing {
                self.preface = None;
            } else {
                *missing -= arrived;
                if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        read
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for GuardedIo {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

impl Drop for GuardedIo {
    fn drop(&mut self) {
        self.limits.registry.close(&self.connection);
    }
}
