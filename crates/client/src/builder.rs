//! Options of a client.

use std::{sync::Arc, time::Duration};

use crate::{
    BrokerUrls, Client, ClientError,
    client::Shared,
    connection::{Connection, ConnectionOptions},
    event::{ConnectionRole, Event, EventSink},
    topics::TopicCache,
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of a [`Client`]; made by [`Client::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    urls: BrokerUrls,
    client_id: Option<String>,
    request_timeout: Duration,
    events: EventSink,
}

impl ClientBuilder {
    pub(crate) fn new(urls: BrokerUrls) -> Self {
        Self { urls, client_id: None, request_timeout: REQUEST_TIMEOUT, events: EventSink::default() }
    }

    /// A name for this program, sent to the broker as the first word of the user agent (Kafka: `client.id`).
    /// Visible ASCII without spaces.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// How long a lookup or admin call may take, 30 s by default (Kafka: `request.timeout.ms`). Producing has its
    /// own limit, [`delivery_timeout`](crate::ProducerBuilder::delivery_timeout).
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Called whenever a connection is lost or works again, and when something happens to a consumer of a group. It runs on the runtime's threads: it must not block.
    pub fn on_event(mut self, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.events = EventSink::new(listener);
        self
    }

    /// Connects, and asks the broker who it is, so that a wrong address shows here and not later.
    ///
    /// # Errors
    /// `INVALID_ADDRESS`: correct the URL. `UNAVAILABLE`, `TIMED_OUT`, `STARTING`: the broker is not there (yet);
    /// try again, or use [`connect_lazy`](Self::connect_lazy) and let the calls wait. `UNSUPPORTED`,
    /// `UNEXPECTED_ANSWER`: what listens there is no Corduroy broker; the message says what it is instead.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let client = self.connect_lazy()?;
        client.admin().describe_cluster().await?;
        Ok(client)
    }

    /// A client that connects when it is first used: a broker that is down is no error here.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `INVALID_ADDRESS` when a URL cannot be dialled at all, or the client id is not visible ASCII.
    pub fn connect_lazy(self) -> Result<Client, ClientError> {
        let options =
            ConnectionOptions { urls: self.urls.parse()?, client_id: self.client_id, events: self.events };
        Ok(Client {
            shared: Arc::new(Shared {
                events: options.events.clone(),
                client_id: options.client_id.clone().unwrap_or_default(),
                data: Connection::new(ConnectionRole::Data, &options)?,
                control: Connection::new(ConnectionRole::Control, &options)?,
                request_timeout: self.request_timeout,
                topics: TopicCache::default(),
            }),
        })
    }
}
