//! Options of a consumer, and finding out where it begins and ends.

use std::{collections::HashSet, sync::Arc, time::Duration};

use corduroy_api::v1;
use corduroy_types::{ErrorCode, MIB, Offset, PartitionIndex};

use super::{Consumer, batch::Source, growth::Growth, state::Partition};
use crate::{Client, ClientError, GroupConsumerBuilder, OffsetSpec, client::Shared, topics::topic_name};

const BUFFER_BYTES: u64 = 64 * MIB;
/// How often topics are looked up for added partitions.
const TOPIC_REFRESH: Duration = Duration::from_secs(5);

/// Options of a [`Consumer`]; made by [`Client::consumer`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct ConsumerBuilder {
    client: Client,
    topics: Vec<String>,
    assigned: Vec<(String, PartitionIndex, OffsetSpec)>,
    start: OffsetSpec,
    until: Option<OffsetSpec>,
    buffer_bytes: u64,
    topic_refresh: Duration,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            topics: Vec::new(),
            assigned: Vec::new(),
            start: OffsetSpec::Start,
            until: None,
            buffer_bytes: BUFFER_BYTES,
            topic_refresh: TOPIC_REFRESH,
        }
    }

    /// Reads as a member of a group instead: its members share the partitions out, and the group remembers how far
    /// it has come. What else was set before is forgotten.
    pub fn group(self, group: impl Into<String>) -> GroupConsumerBuilder {
        GroupConsumerBuilder::new(self.client, group.into())
    }

    /// Reads all partitions of these topics: those that there are now from [`start`](Self::start), and, unless there is an
    /// [`until`](Self::until), those that are added later from their start.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Reads single partitions, each from a place of its own.
    pub fn assign<T: Into<String>>(
        mut self,
        partitions: impl IntoIterator<Item = (T, u32, OffsetSpec)>,
    ) -> Self {
        let partition =
            |(topic, partition, from): (T, u32, OffsetSpec)| (topic.into(), PartitionIndex(partition), from);
        self.assigned.extend(partitions.into_iter().map(partition));
        self
    }

    /// Where the partitions begin that [`topics`](Self::topics) have when the consumer is built: at [`OffsetSpec::Start`] by default (Kafka:
    /// `auto.offset.reset`, which begins at the end).
    pub fn start(mut self, start: OffsetSpec) -> Self {
        self.start = start;
        self
    }

    /// Where each partition ends, exclusive: never by default. A place that depends on what is there, like
    /// [`OffsetSpec::End`], is found when the consumer is built.
    pub fn until(mut self, until: OffsetSpec) -> Self {
        self.until = Some(until);
        self
    }

    /// How much may be fetched ahead, in bytes: 64 MiB by default, at least 1 MiB (Kafka: near `fetch.max.bytes`).
    /// Messages that the program keeps count, too; one answer of the broker may pass the limit, and what the
    /// connection holds, up to 8 MiB, comes on top.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How often [`topics`](Self::topics) are looked up for partitions that were added: every 5 s by default, more than zero
    /// (Kafka: `metadata.max.age.ms`).
    pub fn topic_refresh(mut self, every: Duration) -> Self {
        self.topic_refresh = every;
        self
    }

    /// Finds the topics and where to begin and end, and starts fetching.
    ///
    /// The places are found here: whatever is appended after this returns comes behind [`OffsetSpec::End`].
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND` with the nearest name as its hint, `PARTITION_NOT_FOUND`, `INVALID_TOPIC_NAME`,
    /// `INVALID_REQUEST` when nothing is to be read or a partition was named twice; `UNAVAILABLE`, `TIMED_OUT`,
    /// `STARTING`: retry later.
    #[tracing::instrument(level = "debug", name = "consume", skip_all)]
    pub async fn build(self) -> Result<Consumer, ClientError> {
        if self.buffer_bytes < MIB {
            return Err(invalid(format!("buffer_bytes is {}, must be at least {MIB}", self.buffer_bytes)));
        }
        if self.topic_refresh.is_zero() {
            return Err(invalid("topic_refresh is zero, must be more".to_owned()));
        }
        let shared = &self.client.shared;
        let mut wanted = Vec::new();
        let mut followed = Vec::new();
        for topic in &self.topics {
            // Not from the cache: a partition that it does not know would count as added later.
            let info = shared.refresh_topic(&topic_name(topic)?).await?;
            followed.push(Arc::clone(&info));
            wanted.extend(info.partitions().map(|partition| (Arc::clone(&info), partition, self.start)));
        }
        for (topic, partition, from) in &self.assigned {
            let mut info = shared.topic(&topic_name(topic)?).await?;
            if partition.0 >= info.partition_count {
                info = shared.refresh_topic(&info.name).await?;
            }
            if partition.0 >= info.partition_count {
                let count = info.partition_count;
                let message = format!("topic {topic:?} has {count} partitions, no partition {partition}");
                return Err(ClientError::new(ErrorCode::PartitionNotFound, message));
            }
            wanted.push((info, *partition, *from));
        }
        if wanted.is_empty() {
            return Err(invalid("a consumer needs topics or partitions to read".to_owned()));
        }
        let mut seen = HashSet::new();
        if let Some((info, partition, _)) = wanted.iter().find(|(i, p, _)| !seen.insert((i.name.clone(), *p)))
        {
            return Err(invalid(format!("topic {} partition {partition} was given twice", info.name)));
        }
        let named =
            |spec| wanted.iter().map(move |(info, partition, _)| (info.name.as_str(), *partition, spec));
        let from = wanted.iter().map(|(info, partition, from)| (info.name.as_str(), *partition, *from));
        let starts = resolve(shared, from).await?;
        let ends = match self.until {
            Some(until) => resolve(shared, named(until)).await?.into_iter().map(Some).collect(),
            None => vec![None; wanted.len()],
        };
        let partitions = wanted
            .iter()
            .zip(starts)
            .zip(ends)
            .map(|(((info, partition, _), start), until)| {
                let source = Source { topic: info.name.clone(), partition: *partition };
                Partition::new(Arc::new(source), info.wire_id(), start, until)
            })
            .collect();
        let follows = self.until.is_none() && !followed.is_empty();
        let added = follows.then(|| Growth::start(Arc::clone(shared), followed, self.topic_refresh));
        Ok(Consumer::start(Arc::clone(shared), partitions, self.buffer_bytes, added))
    }
}

/// The offsets that places have now. Only those that are not offsets already are asked for.
pub(crate) async fn resolve<'a>(
    shared: &Shared,
    places: impl Iterator<Item = (&'a str, PartitionIndex, OffsetSpec)> + Clone,
) -> Result<Vec<Offset>, ClientError> {
    resolve_each(shared, places).await?.into_iter().collect()
}

/// The same, each with its own result.
pub(crate) async fn resolve_each<'a>(
    shared: &Shared,
    places: impl Iterator<Item = (&'a str, PartitionIndex, OffsetSpec)> + Clone,
) -> Result<Vec<Result<Offset, ClientError>>, ClientError> {
    let asked = places
        .clone()
        .filter(|(_, _, spec)| !matches!(spec, OffsetSpec::Offset(_)))
        .map(|(topic, partition, spec)| v1::ListOffsetsPartition {
            topic: topic.to_owned(),
            partition: partition.0,
            spec: Some(spec.to_wire()),
        })
        .collect();
    let mut found = shared.list_offsets(asked).await?.into_iter();
    let offsets = places.map(|(_, _, spec)| match spec {
        OffsetSpec::Offset(offset) => Ok(offset),
        _ => match found.next() {
            Some(listed) => listed.map(|listed| listed.offset),
            None => Err(ClientError::unexpected("the broker listed fewer offsets than were asked for")),
        },
    });
    Ok(offsets.collect())
}

fn invalid(message: String) -> ClientError {
    ClientError::new(ErrorCode::InvalidRequest, message)
}
