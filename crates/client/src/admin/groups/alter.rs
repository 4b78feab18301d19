//! Deleting groups and their offsets, and putting members out.

use corduroy_api::{Refusal, v1};
use corduroy_types::{PartitionIndex, TopicName};
use v1::groups_client::GroupsClient;

use super::{read_partitions, topic_partitions};
use crate::{
    Admin, ClientError,
    admin::{change, same_count},
};

change! {
    /// The deletion of groups; awaiting it sends it. Made by [`Admin::delete_groups`].
    DeleteGroups, v1::DeleteGroupsRequest, coordinator: GroupsClient::delete_groups -> v1::DeleteGroupsResponse,
    Result<Vec<Result<DeletedGroup, ClientError>>, ClientError>
}

change! {
    /// The forgetting of committed offsets; awaiting it sends it. Made by [`Admin::forget_offsets`].
    ForgetOffsets, v1::ForgetOffsetsRequest, coordinator: GroupsClient::forget_offsets -> v1::ForgetOffsetsResponse,
    Result<u32, ClientError>
}

change! {
    /// The putting out of a member; awaiting it sends it. Made by [`Admin::remove_member`].
    RemoveMember, v1::RemoveMemberRequest, coordinator: GroupsClient::remove_member -> v1::RemoveMemberResponse,
    Result<RemovedMember, ClientError>
}

/// A group that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedGroup {
    /// Its name.
    pub name: String,
    /// How many committed offsets it had.
    pub offset_count: u32,
}

/// A member that was removed from its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedMember {
    /// Its id.
    pub id: String,
    /// What it had.
    pub assigned: Vec<(TopicName, PartitionIndex)>,
}

impl Admin {
    /// Deletes groups without members, and all that they have committed, each with its own result, in the order
    /// given.
    ///
    /// # Errors
    /// Of the whole call when it got no answer: whether groups are gone is then unknown. Of an item:
    /// `GROUP_NOT_FOUND`, with the nearest name as its hint; `GROUP_NOT_EMPTY`.
    pub fn delete_groups<T: AsRef<str>>(&self, groups: impl IntoIterator<Item = T>) -> DeleteGroups {
        let groups = groups.into_iter().map(|name| name.as_ref().to_owned()).collect();
        DeleteGroups {
            client: self.client.clone(),
            request: v1::DeleteGroupsRequest { groups, validate_only: false },
        }
    }

    /// Forgets what a group without members has committed in these partitions. Returns in how many of them it had.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, with the nearest name as its hint; `GROUP_NOT_EMPTY`.
    pub fn forget_offsets<T: AsRef<str>>(
        &self,
        group: impl Into<String>,
        partitions: impl IntoIterator<Item = (T, PartitionIndex)>,
    ) -> ForgetOffsets {
        let (group, topics) = (group.into(), topic_partitions(partitions));
        ForgetOffsets {
            client: self.client.clone(),
            request: v1::ForgetOffsetsRequest { group, topics, validate_only: false },
        }
    }

    /// Puts a member out of its group: by its id, or by the instance id of a static member. It may join again.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, with the nearest name as its hint; `UNKNOWN_MEMBER`.
    pub fn remove_member(&self, group: impl Into<String>, member: impl Into<String>) -> RemoveMember {
        let (group, member) = (group.into(), member.into());
        RemoveMember {
            client: self.client.clone(),
            request: v1::RemoveMemberRequest { group, member, validate_only: false },
        }
    }
}

impl DeleteGroups {
    async fn send(self) -> Result<Vec<Result<DeletedGroup, ClientError>>, ClientError> {
        let answer = self.call().await?;
        let asked = &self.request.groups;
        let mut items = Vec::with_capacity(asked.len());
        for (name, deleted) in asked.iter().zip(same_count(asked.len(), answer.groups)?) {
            let v1::DeletedGroup { error, group, offset_count } = deleted;
            items.push(match error {
                Some(error) => {
                    Err(self.client.shared.with_group_suggestion(name, Refusal::from(error).into()).await)
                }
                None => Ok(DeletedGroup { name: group, offset_count }),
            });
        }
        Ok(items)
    }
}

impl ForgetOffsets {
    async fn send(self) -> Result<u32, ClientError> {
        match self.call().await {
            Ok(v1::ForgetOffsetsResponse { offset_count }) => Ok(offset_count),
            Err(error) => Err(self.client.shared.with_group_suggestion(&self.request.group, error).await),
        }
    }
}

impl RemoveMember {
    async fn send(self) -> Result<RemovedMember, ClientError> {
        match self.call().await {
            Ok(v1::RemoveMemberResponse { member: id, assigned }) => {
                Ok(RemovedMember { id, assigned: read_partitions(assigned)? })
            }
            Err(error) => Err(self.client.shared.with_group_suggestion(&self.request.group, error).await),
        }
    }
}
