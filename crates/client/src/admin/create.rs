//! Creating topics.

use corduroy_api::{Refusal, topic_id_from_wire, v1};
use corduroy_types::TopicId;
use v1::admin_client::AdminClient;

use super::{Admin, TopicConfig, awaitable, describe::read_configs, item_error, same_count};
use crate::{Client, ClientError, client::Repeat};

/// A topic to be created. What is not set is the broker's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTopic {
    wire: v1::NewTopic,
}

impl NewTopic {
    /// A topic of this name: 1 to 249 of `a-z A-Z 0-9 . _ -`.
    pub fn named(name: impl Into<String>) -> Self {
        Self { wire: v1::NewTopic { name: name.into(), ..v1::NewTopic::default() } }
    }

    /// How many partitions, at least 1.
    #[must_use]
    pub fn partitions(mut self, count: u32) -> Self {
        self.wire.partition_count = count;
        self
    }

    /// On how many brokers each partition is kept, at least 1.
    #[must_use]
    pub fn replication(mut self, replicas: u32) -> Self {
        self.wire.replication = replicas;
        self
    }

    /// A topic config: Kafka's dotted key, and the value as people write it, like `("retention.ms", "7d")`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.wire.configs.push(v1::ConfigEntry { key: key.into(), value: value.into() });
        self
    }
}

impl From<&str> for NewTopic {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

/// A topic as it was created, or with `validate_only` as it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; `None` with `validate_only`.
    pub id: Option<TopicId>,
    /// How many partitions it has.
    pub partition_count: u32,
    /// On how many brokers each is kept.
    pub replication: u32,
    /// Every topic config.
    pub configs: Vec<TopicConfig>,
    /// With `if_not_exists`: it was there already.
    pub existed: bool,
}

/// The creation of topics; awaiting it sends it. Made by [`Admin::create_topics`] and [`Admin::create_topic`].
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct CreateTopics<const ONE: bool> {
    client: Client,
    request: v1::CreateTopicsRequest,
}

impl Admin {
    /// Creates one topic.
    ///
    /// # Errors
    /// `TOPIC_EXISTS` unless `if_not_exists`; `INVALID_TOPIC_NAME`, `INVALID_PARTITION_COUNT`,
    /// `INVALID_REPLICATION`, `UNKNOWN_CONFIG_KEY`, `INVALID_CONFIG_VALUE`: correct what the message names.
    pub fn create_topic(&self, topic: impl Into<NewTopic>) -> CreateTopics<true> {
        CreateTopics {
            client: self.client.clone(),
            request: v1::CreateTopicsRequest { topics: vec![topic.into().wire], validate_only: false },
        }
    }

    /// Creates topics, each with its own result, in the order given.
    ///
    /// # Errors
    /// Of the whole call when it got no answer; of an item as [`Admin::create_topic`].
    pub fn create_topics(&self, topics: impl IntoIterator<Item = NewTopic>) -> CreateTopics<false> {
        let topics = topics.into_iter().map(|topic| topic.wire).collect();
        CreateTopics {
            client: self.client.clone(),
            request: v1::CreateTopicsRequest { topics, validate_only: false },
        }
    }
}

impl<const ONE: bool> CreateTopics<ONE> {
    /// A topic of that name that exists already is success, whatever its partitions and configs.
    pub fn if_not_exists(mut self) -> Self {
        for topic in &mut self.request.topics {
            topic.if_not_exists = true;
        }
        self
    }

    /// Checks everything and changes nothing.
    pub fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }

    async fn send_all(self) -> Result<Vec<Result<CreatedTopic, ClientError>>, ClientError> {
        let request = &self.request;
        let answer = self
            .client
            .shared
            .control(Repeat::Never, |channel| {
                let request = request.clone();
                async move { AdminClient::new(channel).create_topics(request).await }
            })
            .await?;
        Ok(same_count(self.request.topics.len(), answer.topics)?.into_iter().map(read_created).collect())
    }
}

impl CreateTopics<true> {
    async fn send(self) -> Result<CreatedTopic, ClientError> {
        self.send_all().await?.into_iter().next().unwrap_or_else(|| Err(ClientError::unexpected("no answer")))
    }
}

impl CreateTopics<false> {
    async fn send(self) -> Result<Vec<Result<CreatedTopic, ClientError>>, ClientError> {
        self.send_all().await
    }
}

awaitable!(CreateTopics<true>, Result<CreatedTopic, ClientError>);
awaitable!(CreateTopics<false>, Result<Vec<Result<CreatedTopic, ClientError>>, ClientError>);

fn read_created(created: v1::CreatedTopic) -> Result<CreatedTopic, ClientError> {
    let v1::CreatedTopic { error, name, topic_id, partition_count, replication, configs, existed } = created;
    item_error(error)?;
    let id = topic_id_from_wire(&topic_id).map_err(Refusal::from)?;
    Ok(CreatedTopic { name, id, partition_count, replication, configs: read_configs(configs), existed })
}
