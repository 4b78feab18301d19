//! The real Corduroy engine in your own tests: in this process, in memory, on a free loopback port.
//!
//! ```
//! use corduroy_client::Record;
//! use corduroy_testing::Broker;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start().await?;
//! broker.topic("orders", 3).await?;
//! let producer = broker.client().producer().build().await?;
//! producer.send(Record::to("orders").key("alice").value("1")).await?;
//! assert_eq!(broker.records("orders").await?.len(), 1);
//! broker.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Never: a dependency of anything but tests.

mod groups;
mod power;

use std::{net::SocketAddr, sync::Arc};

use corduroy_broker::{RunningBroker, StartError, config::BrokerConfig};
use corduroy_client::{Client, ClientError, ConsumeError, Message, NewTopic, OffsetSpec};
use corduroy_log::SimDisk;

pub use groups::{Behind, Lag, NotCaughtUp};
pub use power::PowerSwitch;

/// Why the broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It did not start; the message says why.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system gives it no threads.
    #[error("no runtime for the broker: {0}")]
    Runtime(#[from] std::io::Error),
    /// The client cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why the records of a topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The topic cannot be consumed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Reading stopped.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
}

/// A broker of its own for one test. Dropped, it is gone with everything in it.
#[derive(Debug)]
pub struct Broker {
    disk: SimDisk,
    power: PowerSwitch,
    running: Option<RunningBroker>,
    address: SocketAddr,
    http: SocketAddr,
    url: String,
    client: Client,
}

impl Broker {
    /// Starts an empty broker with the configuration of a development node.
    ///
    /// # Errors
    /// [`BrokerError`]: the machine has no threads or no loopback port left.
    pub async fn start() -> Result<Self, BrokerError> {
        Self::start_with(|_| ()).await
    }

    /// Starts an empty broker whose configuration was changed before.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_with(change: impl FnOnce(&mut BrokerConfig)) -> Result<Self, BrokerError> {
        let mut config = BrokerConfig::for_tests("/corduroy");
        change(&mut config);
        Self::start_on(SimDisk::new(), config).await
    }

    async fn start_on(disk: SimDisk, config: BrokerConfig) -> Result<Self, BrokerError> {
        let (power, running) = power::start(&disk, config).await?;
        let address = running.grpc_addr();
        let url = format!("http://{address}");
        let client = Client::builder(url.as_str()).connect_lazy()?;
        Ok(Self { disk, power, address, http: running.http_addr(), running: Some(running), url, client })
    }

    /// A client of this broker.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it listens: `http://127.0.0.1:PORT`. Another one after each restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens for gRPC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics and health.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Its disk, to fill it, to make it fail, or to damage what is on it.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// As [`corduroy_client::Admin::create_topic`].
    pub async fn topic(&self, name: &str, partitions: u32) -> Result<(), ClientError> {
        self.client.admin().create_topic(NewTopic::named(name).partitions(partitions)).await.map(drop)
    }

    /// All records of a topic now, by partition and offset.
    ///
    /// # Errors
    /// The topic does not exist, or the broker cannot be reached.
    pub async fn records(&self, topic: &str) -> Result<Vec<Message>, ReadError> {
        let consumer = self.client.consumer().topics([topic]).start(OffsetSpec::Start).until(OffsetSpec::End);
        let mut consumer = consumer.build().await?;
        let mut messages = Vec::new();
        while let Some(message) = consumer.next().await {
            messages.push(message?);
        }
        messages.sort_by_key(|message| (message.partition(), message.offset()));
        Ok(messages)
    }

    /// Cuts its power on request, from any thread.
    pub fn power(&self) -> PowerSwitch {
        self.power.clone()
    }

    /// Cuts the power, unless that was done before; then starts it again with what was synced, and nothing else.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn restart_after_power_loss(&mut self) -> Result<(), BrokerError> {
        self.restart_after_power_loss_with(|_| ()).await
    }

    /// As [`Broker::restart_after_power_loss`], with a disk that was changed meanwhile: full, damaged, or failing.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn restart_after_power_loss_with(
        &mut self,
        change: impl FnOnce(&SimDisk),
    ) -> Result<(), BrokerError> {
        self.power.cut();
        if let Some(running) = self.running.take() {
            self.power.wait(running).await;
        }
        self.disk.heal();
        self.disk.crash();
        change(&self.disk);
        self.start_again().await
    }

    /// Stops it cleanly and starts it again.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn restart(&mut self) -> Result<(), BrokerError> {
        if let Some(running) = self.running.take() {
            self.power.stop(running).await;
        }
        self.start_again().await
    }

    async fn start_again(&mut self) -> Result<(), BrokerError> {
        let config = BrokerConfig::clone(self.power.config());
        *self = Self::start_on(self.disk.clone(), config).await?;
        Ok(())
    }

    /// Compacts now what is due to be, which otherwise happens in the background; returns how many partitions were.
    pub async fn compact(&self) -> usize {
        match &self.running {
            Some(running) => running.compact().await,
            None => 0,
        }
    }

    /// Stops it cleanly. Returns whether everything was written and closed.
    pub async fn stop(mut self) -> bool {
        match self.running.take() {
            Some(running) => self.power.stop(running).await,
            None => true,
        }
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Arc<BrokerConfig> {
        self.power.config()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.power.cut();
    }
}
