//! One logical connection: the addresses it may use, the one it uses, and whether it works.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use corduroy_api::Refusal;
use corduroy_types::ErrorCode;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    ClientError,
    error::{cause_of, has_detail, is_connection_failure, refusal_of},
    event::{ConnectionRole, Event, EventSink},
    foreign::foreign_answer,
    urls::BrokerUrl,
};

/// What one HTTP/2 stream may have in transit towards us.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// What all streams of a connection may have in transit towards us.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Large frames keep the cost for each of them out of bulk transfers.
const FRAME_BYTES_MAX: u32 = 1 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message a client takes: above any record batch that a broker can be configured for.
pub(crate) const DECODE_BYTES_MAX: usize = 128 << 20;

/// How a connection is made.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionOptions {
    pub(crate) urls: Vec<BrokerUrl>,
    pub(crate) client_id: Option<String>,
    pub(crate) events: EventSink,
}

/// A connection that reconnects when it is used after a failure.
///
/// With several addresses, a failure moves on to the next one.
#[derive(Debug)]
pub(crate) struct Connection {
    role: ConnectionRole,
    channels: Vec<(String, Channel)>,
    /// Which of them have answered like a broker.
    worked: Vec<AtomicBool>,
    current: AtomicUsize,
    /// Since when it is known to be down.
    down_since: Mutex<Option<Instant>>,
    events: EventSink,
}

impl Connection {
    pub(crate) fn new(role: ConnectionRole, options: &ConnectionOptions) -> Result<Self, ClientError> {
        let channels = options
            .urls
            .iter()
            .map(|url| Ok((url.text.clone(), endpoint(url, options.client_id.as_deref())?.connect_lazy())))
            .collect::<Result<Vec<_>, ClientError>>()?;
        Ok(Self {
            role,
            worked: channels.iter().map(|_| AtomicBool::new(false)).collect(),
            channels,
            current: AtomicUsize::new(0),
            down_since: Mutex::new(None),
            events: options.events.clone(),
        })
    }

    /// How many addresses there are to try.
    pub(crate) fn address_count(&self) -> usize {
        self.channels.len()
    }

    /// The channel to use now, and which one it is.
    pub(crate) fn channel(&self) -> Result<(usize, Channel), ClientError> {
        let index = self.current.load(Ordering::Relaxed) % self.channels.len().max(1);
        match self.channels.get(index) {
            Some((_, channel)) => Ok((index, channel.clone())),
            None => Err(ClientError::new(ErrorCode::InvalidAddress, "no broker address was given")),
        }
    }

    /// The address of a channel.
    pub(crate) fn url(&self, index: usize) -> &str {
        self.channels.get(index).map_or("", |(url, _)| url)
    }

    /// Reads the status that a call over channel `index` ended with, and notes a lost connection.
    pub(crate) fn failed(&self, index: usize, status: &Status) -> Refusal {
        if let Some(what) = self.foreign(index, status) {
            let refusal = self.not_a_broker(index, &what);
            self.lost(index, format!("no Corduroy broker listens there: {what}"));
            return refusal;
        }
        let refusal = refusal_of(status, self.url(index));
        if is_connection_failure(status) {
            self.lost(index, cause_of(status));
        } else if !matches!(refusal.code, ErrorCode::ShuttingDown | ErrorCode::Starting) {
            // A broker that comes or goes answers too, but the connection does not work again by that.
            self.works(index);
        }
        refusal
    }

    /// What is wrong with the server behind channel `index`, if it is no broker and never was.
    fn foreign(&self, index: usize, status: &Status) -> Option<String> {
        let has_worked = self.worked.get(index).is_some_and(|worked| worked.load(Ordering::Relaxed));
        if has_worked || has_detail(status) { None } else { foreign_answer(status) }
    }

    fn not_a_broker(&self, index: usize, what: &str) -> Refusal {
        // With other addresses to try, the next one may be a broker's.
        let code =
            if self.address_count() > 1 { ErrorCode::Unavailable } else { ErrorCode::UnexpectedAnswer };
        Refusal::new(code, format!("no Corduroy broker listens at {}: {what}", self.url(index))).with_hint(
            "Clients connect to the broker's listen.grpc, port 9480 by default; 9481 is for metrics and health.",
        )
    }

    /// Notes that the connection over channel `index` is gone.
    pub(crate) fn lost(&self, index: usize, reason: String) {
        let next = (index + 1) % self.channels.len().max(1);
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        let mut down_since = self.down_since.lock();
        if down_since.is_none() {
            *down_since = Some(Instant::now());
            // Emitted under the lock, so that the end never comes before the beginning.
            self.events.emit(Event::Disconnected {
                role: self.role,
                url: self.url(index).to_owned(),
                reason,
            });
        }
    }

    /// Notes that a call over channel `index` was answered.
    pub(crate) fn works(&self, index: usize) {
        if let Some(worked) = self.worked.get(index) {
            worked.store(true, Ordering::Relaxed);
        }
        let mut down_since = self.down_since.lock();
        if let Some(since) = down_since.take() {
            let url = self.url(index).to_owned();
            self.events.emit(Event::Reconnected { role: self.role, url, after: since.elapsed() });
        }
    }
}

fn endpoint(url: &BrokerUrl, client_id: Option<&str>) -> Result<Endpoint, ClientError> {
    let invalid = |e: tonic::transport::Error| {
        ClientError::new(ErrorCode::InvalidAddress, format!("{} cannot be used: {e}", url.text))
    };
    let agent = match client_id {
        Some(id) => format!("{id} corduroy-client/{}", env!("CARGO_PKG_VERSION")),
        None => format!("corduroy-client/{}", env!("CARGO_PKG_VERSION")),
    };
    Ok(Endpoint::from(url.uri.clone())
        .user_agent(agent)
        .map_err(invalid)?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn an_answer_of_a_broker_that_goes_is_no_reconnection() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        let options = ConnectionOptions {
            urls: crate::urls::BrokerUrls::from("http://127.0.0.1:1").parse().unwrap(),
            client_id: None,
            events: EventSink::new(move |event| sink.lock().push(event)),
        };
        let connection = Connection::new(ConnectionRole::Data, &options).unwrap();
        connection.lost(0, "the broker ended the stream".to_owned());
        for code in [ErrorCode::ShuttingDown, ErrorCode::Starting] {
            connection.failed(0, &Refusal::new(code, "not now").into_status());
        }
        assert!(matches!(&events.lock()[..], [Event::Disconnected { .. }]), "{events:?}");
        connection.failed(0, &Refusal::new(ErrorCode::TopicNotFound, "no such topic").into_status());
        assert!(
            matches!(&events.lock()[..], [Event::Disconnected { .. }, Event::Reconnected { .. }]),
            "{events:?}"
        );
    }
}
