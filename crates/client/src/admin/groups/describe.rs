//! Listing and describing groups.

use corduroy_api::{Refusal, v1};
use corduroy_types::{BrokerId, TimestampMs};
use v1::groups_client::GroupsClient;

use super::{
    GroupDescription, GroupMember, GroupPartition, GroupState, GroupSummary, read_offset, read_partitions,
};
use crate::{Admin, ClientError, admin::same_count, client::Repeat};

impl Admin {
    /// Lists groups, ordered by name.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `TIMED_OUT`, `STARTING`, `COORDINATOR_LOADING`: retry later. A coordinator that is
    /// loading is asked again within the request time-out.
    pub async fn list_groups(&self) -> Result<Vec<GroupSummary>, ClientError> {
        self.list_groups_in([]).await
    }

    /// Lists groups that are in one of these states; none given: all groups.
    ///
    /// # Errors
    /// As [`Admin::list_groups`].
    pub async fn list_groups_in(
        &self,
        states: impl IntoIterator<Item = GroupState>,
    ) -> Result<Vec<GroupSummary>, ClientError> {
        let states: Vec<i32> = states.into_iter().map(|state| state.to_wire().into()).collect();
        let answer = self
            .client
            .shared
            .coordinator(Repeat::Reads, |channel| {
                let request = v1::ListGroupsRequest { states: states.clone() };
                async move { GroupsClient::new(channel).list_groups(request).await }
            })
            .await?;
        Ok(answer.groups.into_iter().map(read_summary).collect())
    }

    /// Describes groups, each with its own result, in the order given.
    ///
    /// # Errors
    /// Of the whole call when it got no answer. Of an item: `GROUP_NOT_FOUND`, with the nearest name as its hint.
    pub async fn describe_groups<T: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Result<GroupDescription, ClientError>>, ClientError> {
        let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let answer = self
            .client
            .shared
            .coordinator(Repeat::Reads, |channel| {
                let request = v1::DescribeGroupsRequest { groups: names.clone() };
                async move { GroupsClient::new(channel).describe_groups(request).await }
            })
            .await?;
        let mut items = Vec::with_capacity(names.len());
        for (name, described) in names.iter().zip(same_count(names.len(), answer.groups)?) {
            items.push(match described.error {
                Some(error) => {
                    Err(self.client.shared.with_group_suggestion(name, Refusal::from(error).into()).await)
                }
                None => read_described(described),
            });
        }
        Ok(items)
    }

    /// Describes one group.
    ///
    /// # Errors
    /// `GROUP_NOT_FOUND`, with the nearest name as its hint; or as [`Admin::list_groups`].
    pub async fn describe_group(&self, name: impl AsRef<str>) -> Result<GroupDescription, ClientError> {
        let items = self.describe_groups([name.as_ref()]).await?;
        items.into_iter().next().unwrap_or_else(|| Err(ClientError::unexpected("no group was described")))
    }
}

fn read_summary(summary: v1::GroupSummary) -> GroupSummary {
    let state = GroupState::from_wire(summary.state());
    let v1::GroupSummary {
        group,
        state: _,
        member_count,
        topic_count,
        lag_records,
        lag_ms,
        lost_partition_count,
    } = summary;
    GroupSummary { name: group, state, member_count, topic_count, lag_records, lag_ms, lost_partition_count }
}

fn read_described(described: v1::DescribedGroup) -> Result<GroupDescription, ClientError> {
    let state = GroupState::from_wire(described.state());
    let v1::DescribedGroup {
        error: _,
        group,
        state: _,
        group_epoch,
        assignor,
        coordinator,
        empty_since_ms,
        members,
        partitions,
    } = described;
    Ok(GroupDescription {
        name: group,
        state,
        group_epoch,
        assignor,
        coordinator: BrokerId(coordinator),
        empty_since: empty_since_ms.map(TimestampMs),
        members: members.into_iter().map(read_member).collect::<Result<_, _>>()?,
        partitions: partitions.into_iter().map(read_partition).collect::<Result<_, _>>()?,
    })
}

fn read_member(member: v1::GroupMember) -> Result<GroupMember, ClientError> {
    let v1::GroupMember {
        member: id,
        member_epoch,
        instance,
        client_id,
        client_address,
        subscription,
        session_timeout_ms,
        rebalance_timeout_ms,
        joined_at_ms,
        assigned,
        revoking,
        target,
    } = member;
    let v1::Subscription { topics, pattern } = subscription.unwrap_or_default();
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(GroupMember {
        id,
        member_epoch,
        instance: given(instance),
        client_id,
        client_address,
        topics,
        pattern: given(pattern),
        session_timeout_ms,
        rebalance_timeout_ms,
        joined_at: TimestampMs(joined_at_ms),
        assigned: read_partitions(assigned)?,
        revoking: read_partitions(revoking)?,
        target: read_partitions(target)?,
    })
}

fn read_partition(partition: v1::GroupPartition) -> Result<GroupPartition, ClientError> {
    let v1::GroupPartition { offset, owner, lag_records, lag_ms } = partition;
    let Some(offset) = offset else {
        return Err(ClientError::unexpected("the broker described a group's partition without its name"));
    };
    let owner = Some(owner).filter(|owner| !owner.is_empty());
    Ok(GroupPartition { offset: read_offset(offset)?, owner, lag_records, lag_ms })
}
