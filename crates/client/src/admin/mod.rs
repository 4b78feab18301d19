//! Admin calls: topics, their configs, offsets, consumer groups, and the cluster's state.

mod alter;
mod cluster;
mod create;
mod describe;
mod groups;
mod offsets;
mod producers;

pub use alter::{
    AddPartitions, AddedPartitions, AlterTopicConfigs, ConfigChange, DeleteRecords, DeleteTopics,
    DeletedRecords, DeletedTopic, RecoverPartition,
};
pub use cluster::{
    AcceptJournalDamage, BrokerDescription, ClusterDescription, DamagedRange, Finding, Health, SetLogLevel,
};
pub use create::{CreateTopics, CreatedTopic, NewTopic};
pub use describe::{
    ConfigSource, PartitionDescription, RetentionBlock, TopicConfig, TopicDescription, TopicSummary,
};
pub use groups::{
    CommitGroupOffsets, CommittedOffset, DeleteGroups, DeletedGroup, ForgetOffsets, GroupDescription,
    GroupMember, GroupOffset, GroupPartition, GroupState, GroupSummary, OffsetToCommit, RemoveMember,
    RemovedMember,
};
pub use offsets::{ListedOffset, OffsetSpec};
pub use producers::{PartitionProducers, RememberedProducer};

use corduroy_api::{Refusal, v1};
use corduroy_types::{LeaderEpoch, Offset};

use crate::{Client, ClientError};

/// Admin calls. Made by [`Client::admin`]; cheap to make and to clone.
///
/// Reads are sent again when their connection broke; changes are not, because they may have taken effect. A change
/// is a builder that is awaited: `admin.delete_topics(["a"]).validate_only().await`. With `validate_only` the broker
/// checks everything and changes nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = corduroy_testing::Broker::start().await?;
/// # let client = broker.client();
/// use corduroy_client::{ErrorCode, NewTopic};
///
/// let admin = client.admin();
/// admin.create_topic(NewTopic::named("orders").partitions(3).config("retention.ms", "7d")).await?;
/// for topic in admin.list_topics().await? {
///     println!("{} has {} partitions", topic.name, topic.partition_count);
/// }
/// let error = admin.describe_topic("ordres").await.unwrap_err();
/// assert_eq!(error.code(), ErrorCode::TopicNotFound);
/// println!("{}: {}", error.message(), error.hint());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }
}

/// The error of one item of an answer, if there is one.
fn item_error(error: Option<v1::Error>) -> Result<(), ClientError> {
    match error {
        None => Ok(()),
        Some(error) => Err(Refusal::from(error).into()),
    }
}

fn offset(field: &str, value: u64) -> Result<Offset, ClientError> {
    Offset::new(value).ok_or_else(|| ClientError::unexpected(format!("{field} {value} is no offset")))
}

fn leader_epoch(value: u32) -> Result<LeaderEpoch, ClientError> {
    LeaderEpoch::new(value)
        .ok_or_else(|| ClientError::unexpected(format!("leader epoch {value} is out of range")))
}

/// Answers must have as many items as the request.
fn same_count<T>(asked: usize, items: Vec<T>) -> Result<Vec<T>, ClientError> {
    if items.len() == asked {
        Ok(items)
    } else {
        Err(ClientError::unexpected(format!("the broker answered {} items to {asked}", items.len())))
    }
}

/// Makes a change awaitable: `change.await` sends it.
macro_rules! awaitable {
    ($change:ty, $output:ty) => {
        impl std::future::IntoFuture for $change {
            type Output = $output;
            type IntoFuture = std::pin::Pin<Box<dyn std::future::Future<Output = $output> + Send>>;
            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.send())
            }
        }
    };
}
use awaitable;

/// Defines a change: a request that is built up, and sent when it is awaited, in the way of `Shared` that is named.
macro_rules! change {
    ($(#[$doc:meta])* $name:ident, $request:ty, $way:ident: $service:ident::$rpc:ident -> $answer:ty, $output:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        #[must_use = "nothing is sent until it is awaited"]
        pub struct $name {
            client: $crate::Client,
            request: $request,
        }

        impl $name {
            /// Checks everything and changes nothing.
            pub fn validate_only(mut self) -> Self {
                self.request.validate_only = true;
                self
            }

            async fn call(&self) -> Result<$answer, $crate::ClientError> {
                let call = |channel| {
                    let request = self.request.clone();
                    async move { $service::new(channel).$rpc(request).await }
                };
                self.client.shared.$way($crate::client::Repeat::Never, call).await
            }
        }

        $crate::admin::awaitable!($name, $output);
    };
}
use change;
