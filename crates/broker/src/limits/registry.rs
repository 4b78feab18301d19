//! The open connections.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::BudgetShare;
use crate::metrics::{ConnectionMetrics, ConnectionResult};

/// One connection: its address, what it holds, and the switch that ends it. Every request carries it among its
/// extensions, as `Arc<Connection>`.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    peer: SocketAddr,
    receive: Arc<BudgetShare>,
    fetch: Arc<BudgetShare>,
    killed: AtomicBool,
    /// The task that drives the connection, while it waits for the socket.
    driver: AtomicWaker,
}

impl Connection {
    /// The connection that a request came on.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Option<Arc<Self>> {
        request.extensions().get::<Arc<Self>>().cloned()
    }

    /// The peer's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn receive_share(&self) -> &Arc<BudgetShare> {
        &self.receive
    }

    pub(super) fn fetch_share(&self) -> &Arc<BudgetShare> {
        &self.fetch
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    pub(super) fn driver(&self) -> &AtomicWaker {
        &self.driver
    }

    /// Breaks the connection: its next read or write fails, and everything it holds is dropped.
    pub(super) fn kill(&self) -> bool {
        let first = !self.killed.swap(true, Relaxed);
        // The waker's own ordering makes the flag visible to the task that it wakes.
        self.driver.wake();
        first
    }

    /// Bytes that it has held for too long.
    fn stalled_bytes(&self, now: Instant) -> Option<u64> {
        let of_both = [self.receive.stalled_bytes(now), self.fetch.stalled_bytes(now)];
        of_both.into_iter().flatten().reduce(|a, b| a + b)
    }
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Registry {
    connections_max: usize,
    metrics: ConnectionMetrics,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Weak<Connection>>,
}

impl Registry {
    pub(super) fn new(connections_max: u32, metrics: ConnectionMetrics) -> Self {
        let connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
        Self { connections_max, metrics, open: Mutex::default() }
    }

    /// Takes a new connection in, unless there are too many. The caller has to call [`Self::close`] at the end.
    pub(super) fn open(
        &self,
        peer: SocketAddr,
        receive: Arc<BudgetShare>,
        fetch: Arc<BudgetShare>,
    ) -> Option<Arc<Connection>> {
        let mut open = self.open.lock();
        if open.connections.len() >= self.connections_max {
            self.metrics.count(ConnectionResult::Refused);
            return None;
        }
        let id = open.next;
        open.next += 1;
        let connection = Arc::new(Connection {
            id,
            peer,
            receive,
            fetch,
            killed: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        });
        open.connections.insert(id, Arc::downgrade(&connection));
        self.metrics.count(ConnectionResult::Accepted);
        self.metrics.open.inc();
        Some(connection)
    }

    /// Forgets a connection whose socket is closed.
    pub(super) fn close(&self, connection: &Connection) {
        if self.open.lock().connections.remove(&connection.id).is_some() {
            self.metrics.open.dec();
        }
    }

    /// Breaks all connections.
    pub(super) fn close_all(&self) {
        // Collected first, because a connection that ends takes the lock.
        let open: Vec<_> = self.open.lock().connections.values().filter_map(Weak::upgrade).collect();
        for connection in &open {
            connection.kill();
        }
    }

    /// Breaks the connection that has held the most memory for too long, if there is one. Only a waiter for that
    /// memory calls this, so nothing is broken while there is enough.
    pub(super) fn close_most_stalled(&self) {
        let now = Instant::now();
        let open: Vec<_> = self.open.lock().connections.values().filter_map(Weak::upgrade).collect();
        let alive = open.iter().filter(|connection| !connection.is_killed());
        let stalled = alive.filter_map(|connection| Some((connection.stalled_bytes(now)?, connection)));
        let Some((bytes, connection)) = stalled.max_by_key(|(bytes, _)| *bytes) else { return };
        if connection.kill() {
            self.metrics.count(ConnectionResult::Killed);
            tracing::warn!(
                event = "B0301",
                peer = %connection.peer,
                bytes,
                "closed a connection that held memory without progress while others waited for it"
            );
        }
    }
}
