//! A group's committed offsets.

use corduroy_api::v1;
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex};
use v1::groups_client::GroupsClient;

use super::{GroupOffset, read_offset, topic_partitions};
use crate::{
    Admin, Client, ClientError,
    admin::{awaitable, item_error, same_count},
    client::Repeat,
};

/// The most offsets of one request; more are sent in several.
const OFFSETS_MAX: usize = 10_000;

/// An offset to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    wire: v1::OffsetToCommit,
}

impl OffsetToCommit {
    /// The offset of the next record that the group is to read in this partition.
    pub fn new(topic: impl Into<String>, partition: PartitionIndex, offset: Offset) -> Self {
        let (topic, partition, offset) = (topic.into(), partition.0, offset.get());
        Self { wire: v1::OffsetToCommit { topic, partition, offset, ..v1::OffsetToCommit::default() } }
    }

    /// The leader epoch of the last record that was read (KIP-320).
    #[must_use]
    pub fn leader_epoch(mut self, epoch: Option<LeaderEpoch>) -> Self {
        self.wire.leader_epoch = epoch.map(LeaderEpoch::get);
        self
    }

    /// What to find next to the offset; at most 4,096 bytes.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.wire.metadata = metadata.into();
        self
    }
}

/// The commit of offsets for a group without members; awaiting it sends it. Made by [`Admin::commit_offsets`].
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct CommitGroupOffsets {
    client: Client,
    request: v1::CommitOffsetsRequest,
}

impl Admin {
    /// Everything that a group has committed, by topic and partition.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, with the nearest name as its hint; or as [`Admin::list_groups`].
    pub async fn fetch_offsets(&self, group: impl AsRef<str>) -> Result<Vec<GroupOffset>, ClientError> {
        self.fetch(group.as_ref(), Vec::new()).await
    }

    /// What a group has committed in these partitions, in the order given; also for a group that does not exist yet.
    ///
    /// # Errors
    /// As [`Admin::list_groups`]. Of an item: `TOPIC_NOT_FOUND`, `PARTITION_NOT_FOUND`.
    pub async fn fetch_offsets_in<T: AsRef<str>>(
        &self,
        group: impl AsRef<str>,
        partitions: impl IntoIterator<Item = (T, PartitionIndex)>,
    ) -> Result<Vec<GroupOffset>, ClientError> {
        let topics = topic_partitions(partitions);
        let count = topics.iter().map(|topic| topic.partitions.len()).sum();
        if count == 0 {
            return Ok(Vec::new());
        }
        same_count(count, self.fetch(group.as_ref(), topics).await?)
    }

    async fn fetch(
        &self,
        group: &str,
        topics: Vec<v1::TopicPartitions>,
    ) -> Result<Vec<GroupOffset>, ClientError> {
        let shared = &self.client.shared;
        let answer = shared.coordinator(Repeat::Reads, |channel| {
            let request = v1::FetchOffsetsRequest { group: group.to_owned(), topics: topics.clone() };
            async move { GroupsClient::new(channel).fetch_offsets(request).await }
        });
        match answer.await {
            Ok(answer) => answer.offsets.into_iter().map(read_offset).collect(),
            Err(error) => Err(shared.with_group_suggestion(group, error).await),
        }
    }

    /// Commits offsets for a group without members, as an administrator does; each has its own result, in the order
    /// given. A group that does not exist is made.
    ///
    /// # Errors
    /// Of the whole call: `GROUP_NOT_EMPTY`, or it got no answer. Of an item: `TOPIC_NOT_FOUND`,
    /// `PARTITION_NOT_FOUND`, `INVALID_REQUEST` for too much metadata.
    pub fn commit_offsets(
        &self,
        group: impl Into<String>,
        offsets: impl IntoIterator<Item = OffsetToCommit>,
    ) -> CommitGroupOffsets {
        CommitGroupOffsets {
            client: self.client.clone(),
            request: v1::CommitOffsetsRequest {
                group: group.into(),
                member: None,
                offsets: offsets.into_iter().map(|offset| offset.wire).collect(),
                validate_only: false,
            },
        }
    }
}

impl CommitGroupOffsets {
    /// Checks everything and changes nothing.
    pub fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }

    async fn send(self) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let v1::CommitOffsetsRequest { group, member: _, offsets, validate_only } = self.request;
        let mut results = Vec::with_capacity(offsets.len());
        for part in offsets.chunks(OFFSETS_MAX) {
            let call = |channel| {
                let (group, offsets) = (group.clone(), part.to_vec());
                let request = v1::CommitOffsetsRequest { group, member: None, offsets, validate_only };
                async move { GroupsClient::new(channel).commit_offsets(request).await }
            };
            let answer = self.client.shared.coordinator(Repeat::Never, call).await?;
            let items = same_count(part.len(), answer.offsets)?;
            results.extend(items.into_iter().map(|item| item_error(item.error)));
        }
        Ok(results)
    }
}

awaitable!(CommitGroupOffsets, Result<Vec<Result<(), ClientError>>, ClientError>);
