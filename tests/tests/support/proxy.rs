//! A way to a broker that can be cut anywhere, and that stays where it is when the broker moves.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::Random;

/// Forwards connections; dropped, it forwards nothing more.
pub struct Proxy {
    pub url: String,
    state: Arc<ProxyState>,
    accepting: JoinHandle<()>,
}

struct ProxyState {
    target: Mutex<SocketAddr>,
    random: Mutex<Random>,
    /// After how many bytes, both ways together, a new connection is cut; `None`: never.
    cut_after: Mutex<Option<Range<u64>>>,
    cuts: AtomicUsize,
}

impl Proxy {
    /// Listens on a port of its own. Every connection is cut after a number of bytes in `cut_after`, chosen by `seed`.
    pub async fn start(target: SocketAddr, seed: u64, cut_after: Option<Range<u64>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let state = Arc::new(ProxyState {
            target: Mutex::new(target),
            random: Mutex::new(Random(seed)),
            cut_after: Mutex::new(cut_after),
            cuts: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(forward(client, Arc::clone(&state)));
                }
            }
        });
        Self { url, state, accepting }
    }

    /// Forwards new connections to another address.
    pub fn aim(&self, target: SocketAddr) {
        *self.state.target.lock().expect("no test panics with it") = target;
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut client: TcpStream, state: Arc<ProxyState>) {
    let target = *state.target.lock().expect("no test panics with it");
    let Ok(mut broker) = TcpStream::connect(target).await else { return };
    let mut left = match &*state.cut_after.lock().expect("no test panics with it") {
        Some(range) => {
            let among = range.end - range.start;
            range.start + state.random.lock().expect("no test panics with it").below(among)
        }
        None => u64::MAX,
    };
    let (mut from_client, mut from_broker) = ([0; 4096], [0; 4096]);
    loop {
        let sent = tokio::select! {
            read = client.read(&mut from_client) => pass(read, &from_client, &mut broker, &mut left).await,
            read = broker.read(&mut from_broker) => pass(read, &from_broker, &mut client, &mut left).await,
        };
        if sent.is_none() {
            return;
        }
        if left == 0 {
            state.cuts.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Hands on what was read, as far as the connection lives; `None` when it has ended by itself.
async fn pass(read: std::io::Result<usize>, bytes: &[u8], to: &mut TcpStream, left: &mut u64) -> Option<()> {
    let read = read.ok().filter(|read| *read > 0)?;
    let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(read);
    *left -= u64::try_from(passed).unwrap_or(u64::MAX);
    to.write_all(bytes.get(..passed)?).await.ok()
}
