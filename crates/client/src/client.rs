//! The client itself: its two connections, and what producers, consumers and admin calls share.

use std::{future::Future, sync::Arc, time::Duration};

use corduroy_types::{ErrorCode, Outcome};
use tokio::time::Instant;
use tonic::{Response, Status, transport::Channel};

use crate::{
    Admin, BrokerUrls, ClientBuilder, ClientError, ConsumerBuilder, ProducerBuilder, connection::Connection,
    error::is_unsent, event::EventSink, topics::TopicCache,
};

/// A client of a Corduroy broker: the way to producers, consumers and admin calls.
///
/// Cheap to clone; clones share two connections (one for records, one for everything else), which reconnect
/// whenever they break.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = corduroy_testing::Broker::start().await?;
/// use corduroy_client::{Client, NewTopic, Record};
///
/// # let url = broker.url();
/// // `url` is "http://127.0.0.1:9480", say.
/// let client = Client::builder(url).connect().await?;
/// client.admin().create_topic(NewTopic::named("orders").partitions(3)).if_not_exists().await?;
///
/// let producer = client.producer().build().await?;
/// let meta = producer.send(Record::to("orders").key("alice").value("1 book")).await?;
/// println!("partition {} offset {}", meta.partition, meta.offset);
/// # assert_eq!(meta.offset.get(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) data: Connection,
    pub(crate) control: Connection,
    pub(crate) request_timeout: Duration,
    pub(crate) topics: TopicCache,
    pub(crate) events: EventSink,
    /// What the program calls itself; may be empty.
    pub(crate) client_id: String,
}

impl Client {
    /// Begins a client of the broker at this address, `http://HOST:PORT`; several are tried in turn.
    pub fn builder(urls: impl Into<BrokerUrls>) -> ClientBuilder {
        ClientBuilder::new(urls.into())
    }

    /// Begins a producer.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Begins a consumer.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone())
    }

    /// Topics, their configs, offsets, and the cluster's state.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }
}

/// Whether a call may be sent a second time when its connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, so it is tried on every address, and once more on a new connection.
    Reads,
    /// It may have taken effect.
    Never,
}

/// How an rpc is called in the trace: by its answer, `ListTopicsResponse`.
fn rpc_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.rsplit("::").next().unwrap_or(name);
    name.strip_suffix("Response").unwrap_or(name)
}

impl Shared {
    /// One call over the control connection, within the request time-out.
    pub(crate) async fn control<T, F, C>(&self, repeat: Repeat, call: C) -> Result<T, ClientError>
    where
        C: Fn(Channel) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = match repeat {
            Repeat::Reads => self.control.address_count() + 1,
            Repeat::Never => 1,
        };
        let all = async {
            let mut attempt = 1;
            loop {
                let (index, channel) = self.control.channel()?;
                let (url, begun) = (self.control.url(index), Instant::now());
                let answered = call(channel).await;
                let (rpc, elapsed_ms) = (rpc_name::<T>(), begun.elapsed().as_millis());
                let status = match answered {
                    Ok(response) => {
                        tracing::debug!(rpc, url, elapsed_ms, "answered");
                        self.control.works(index);
                        return Ok(response.into_inner());
                    }
                    Err(status) => {
                        tracing::debug!(rpc, url, elapsed_ms, %status, "failed");
                        status
                    }
                };
                let mut refusal = self.control.failed(index, &status);
                if is_unsent(&status) {
                    refusal.outcome = Some(Outcome::NotWritten);
                }
                if attempt >= attempts || refusal.code != ErrorCode::Unavailable {
                    return Err(ClientError::from(refusal));
                }
                attempt += 1;
            }
        };
        match tokio::time::timeout(self.request_timeout, all).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::new(
                ErrorCode::TimedOut,
                format!("the broker did not answer within {} ms", self.request_timeout.as_millis()),
            )),
        }
    }
}
